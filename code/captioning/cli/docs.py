"""`captioning docs`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from captioning import paths


def docs(out: Path | None = None) -> None:
    """Build the documentation as web pages: README, notebooks, and the API from the docstrings.

    Args:
        out: folder of the pages, output/docs by default; a new one, or earlier pages that nobody has changed
    """
    if not find_spec("pdoc"):
        raise ValueError("the API pages need pdoc: pip install 'captioning[docs,course]'")
    repository = Path(__file__).resolve().parents[3]
    if not (repository / "README.md").is_file():
        raise FileNotFoundError(f"{repository} is no copy of the repository, whose notebooks the pages show")
    from captioning.course.docs import build

    print(f"open {build(repository, out or paths.OUTPUT / 'docs').as_uri()}")


COMMANDS = {"docs": docs}
