"""Notebooks as pages that stand alone: nothing in them comes over a network, and links between the notebooks and the
pages of docs/ lead to the pages that were made of them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

import nbformat
from jinja2 import pass_context
from jinja2.runtime import Context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode


class Formulas(IPythonRenderer):
    """What a notebook says, with its formulas as MathML, which browsers draw without a script."""

    def inline_math(self, body: str) -> str:
        return mathml(body, "inline")

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")


def mathml(formula: str, display: str) -> str:
    """A formula of TeX, or its code where it is none. About a function without brackets there is the space that TeX
    has, and converters leave out."""
    name = r"<mi>(log|ln|tanh)</mi>(?!<mo[^>]*>&#x00028;)"
    try:
        return re.sub(name, r'<mo lspace="0.17em" rspace="0.17em">\1</mo>', convert(formula, display=display))
    except Exception:  # the converter's errors have no class in common
        return f"<code>{escape(formula)}</code>"


class Page(HTMLExporter):
    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:
        pictures = context.get("cell", {}).get("attachments", {})
        folder = context["resources"]["metadata"]["path"]
        renderer = Formulas(escape=False, attachments=pictures, embed_images=True, path=folder)
        return MarkdownWithMath(renderer=renderer).render(source)


def notebook_html(notebook: NotebookNode, source: Path, here: str, pages: Mapping[str, str]) -> str:
    """A notebook as a page of its own; `source` is its file, the rest as in `relinked`."""
    shown = nbformat.from_dict(notebook)
    for cell in shown.cells:
        if cell.cell_type == "markdown":
            cell.source = relinked(cell.source, here, pages)
    where = {"metadata": {"path": str(source.parent)}}
    page = Page(embed_images=True, template_file=str(Path(__file__).with_name("notebook.html.j2")))
    return page.from_notebook_node(shown, where)[0]


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
