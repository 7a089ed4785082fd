"""The documentation as web pages: the README and docs/, the notebooks as they were committed, and the API from the
docstrings."""

from __future__ import annotations

import pkgutil
import re
import shutil
import warnings
from importlib import import_module
from pathlib import Path

import nbformat
from jinja2 import Environment, PackageLoader
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html

import captioning
from captioning.course.page import read_chapter
from captioning.writing import claim, new_folder

NOT_API = ("captioning.__main__", "captioning.cli")  # commands: `captioning --help` documents them


def build(root: Path, output: Path) -> Path:
    """Write `index.html` and a page each for those of docs/, notebooks and modules, into a folder that is new, empty
    or made by an earlier call; the index. `root` is the repository. Raises what `writing.claim` raises."""
    import pdoc

    claim(output, "docs")

    pdoc.render.configure(docformat="markdown", footer_text="Image captioning: the course and its package")
    with new_folder(output, "docs") as made:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a room's page looks in vain for what was left out: it has been said
            pdoc.pdoc(*modules(), output_directory=made / "api")
        notebooks = sorted((root / "code").glob("[0-9][0-9]_*.ipynb"))
        for notebook in notebooks:
            html, _ = HTMLExporter(embed_images=True).from_notebook_node(
                nbformat.read(notebook, as_version=4), {"metadata": {"path": str(notebook.parent)}}
            )
            (made / notebook.with_suffix(".html").name).write_text(html, encoding="utf-8")
        shutil.copytree(root / "code" / "figures", made / "code" / "figures", dirs_exist_ok=True)
        chapters, texts = [*map(read_chapter, notebooks)], sorted((root / "docs").glob("*.md"))
        template = Environment(loader=PackageLoader("captioning.course", "."), autoescape=True).get_template(
            "docs.html.j2"
        )
        (made / "docs").mkdir()
        for text in (root / "README.md", *texts):
            up = "../" if text in texts else ""
            html = template.render(chapters=chapters, pages=[(each.stem, title(each)) for each in texts], up=up,
                                   text=text_html(text, up))  # fmt: skip
            target = made / "docs" / f"{text.stem}.html" if up else made / "index.html"
            target.write_text(html, encoding="utf-8")
    return output.absolute() / "index.html"


def modules() -> list[str]:
    """The package and its rooms, which pdoc goes through on its own; `!NAME` for what it is to leave out."""
    rooms = [module.name for module in pkgutil.iter_modules(captioning.__path__, "captioning.")]
    within = [module.name for module in pkgutil.walk_packages(captioning.__path__, "captioning.")]
    absent = [name for name in within if not name.startswith(NOT_API) and not importable(name)]
    return ["captioning", *(name for name in rooms if name not in NOT_API), *(f"!{name}$" for name in absent)]


def importable(name: str) -> bool:
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        print(f"{name}: left out, it needs {error.name}")
        return False
    return True


def title(page: Path) -> str:
    """The first heading of a page of docs/."""
    return page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def text_html(page: Path, up: str) -> str:
    """A Markdown page as HTML. Links to notebooks and docs/ lead to their pages, from a page of docs/ by way of `up`;
    other files of the repository are named only."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(rf"\]\({up}code/(\d\d_\w+)\.ipynb\)", rf"]({up}\1.html)", text)
    text = re.sub(r"\]\(((?:docs/)?[\w-]+)\.md(#[\w-]+)?\)", r"](\1.html\2)", text)
    text = re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|[./\w-]+\.html)[^)]+\)", r"\1", text)
    return markdown2html(re.sub(r"<!--.*?-->\n?", "", text))
