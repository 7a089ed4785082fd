"""The documentation as web pages: the README and docs/, the notebooks as they were committed, and the API from the
docstrings."""

from __future__ import annotations

import pkgutil
import re
import shutil
import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import nbformat
from jinja2 import Environment, PackageLoader
from nbconvert.filters import markdown2html

import captioning
from captioning.course.page import read_chapter
from captioning.course.standalone import notebook_html, relinked
from captioning.writing import claim, new_folder

NOT_API = ("captioning.__main__", "captioning.cli")  # commands: `captioning --help` documents them


def build(root: Path, output: Path) -> Path:
    """Write `index.html` and a page each for those of docs/, notebooks and modules, into a folder that is new, empty
    or made by an earlier call; the index. `root` is the repository. Raises what `writing.claim` raises."""
    import pdoc

    claim(output, "docs")
    notebooks = sorted((root / "code").glob("[0-9][0-9]_*.ipynb"))
    texts, others = sorted((root / "docs").glob("*.md")), sorted(root.glob("*.md"))
    pages = {f"code/{path.name}": f"{path.stem}.html" for path in notebooks}
    pages |= {f"docs/{path.name}": f"docs/{path.stem}.html" for path in texts}
    pages |= {path.name: f"{path.stem}.html" for path in others} | {"README.md": "index.html"}
    pdoc.render.configure(docformat="markdown", footer_text="Image captioning: the course and its package")
    with new_folder(output, "docs") as made:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a room's page looks in vain for what was left out: it has been said
            pdoc.pdoc(*modules(), output_directory=made / "api")
        for notebook in notebooks:
            here = f"code/{notebook.name}"
            html = notebook_html(nbformat.read(notebook, as_version=4), notebook, here, pages)
            (made / pages[here]).write_text(html, encoding="utf-8")
        shutil.copytree(root / "code" / "figures", made / "code" / "figures", dirs_exist_ok=True)
        chapters = [*map(read_chapter, notebooks)]
        template = Environment(loader=PackageLoader("captioning.course", "."), autoescape=True).get_template(
            "docs.html.j2"
        )
        (made / "docs").mkdir()
        for text in (*others, *texts):
            here = text.relative_to(root).as_posix()
            html = template.render(chapters=chapters, pages=[(each.stem, title(each)) for each in texts],
                                   up="../" if text in texts else "", text=text_html(text, here, pages),
                                   language="zh-CN" if text.stem.endswith(".zh-CN") else "en")  # fmt: skip
            (made / pages[here]).write_text(html, encoding="utf-8")
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


def text_html(page: Path, here: str, pages: Mapping[str, str]) -> str:
    """A Markdown page as HTML; its links are those of `relinked`."""
    text = relinked(page.read_text(encoding="utf-8"), here, pages)
    return markdown2html(re.sub(r"<!--.*?-->\n?", "", text))
