"""Links of the notebooks and of the pages of docs/: on pages that were made of them they lead to pages."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbformat import NotebookNode


def notebook_html(notebook: NotebookNode, source: Path, here: str, pages: Mapping[str, str]) -> str:
    """A notebook as a page of its own; `source` is its file, the rest as in `relinked`."""
    shown = nbformat.from_dict(notebook)
    for cell in shown.cells:
        if cell.cell_type == "markdown":
            cell.source = relinked(cell.source, here, pages)
    where = {"metadata": {"path": str(source.parent)}}
    return HTMLExporter(embed_images=True).from_notebook_node(shown, where)[0]


def chapter_pages(folder: Path) -> dict[str, str]:
    """{notebook: its page}, as `relinked` takes them, of a folder's chapters."""
    return {path.name: path.with_suffix(".html").name for path in folder.glob("[0-9][0-9]_*.ipynb")}


def relinked(text: str, here: str, pages: Mapping[str, str]) -> str:
    """Markdown whose links to files lead to their pages; where there is none, the words of the link alone are left.

    here: the file with the text. pages: {file: its page}, from the folders that hold all files, and all pages.
    """

    def link(found: re.Match) -> str:
        words, path, section = found.groups(default="")
        page = pages.get(posixpath.normpath(posixpath.join(posixpath.dirname(here), path)))
        if page is None:
            return words
        return f"[{words}]({posixpath.relpath(page, posixpath.dirname(pages[here]) or '.')}{section})"

    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]+)?\)", link, text)
