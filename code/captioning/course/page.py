"""The page of the course: what executed notebooks showed, chapter by chapter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path

import nbformat
from jinja2 import Environment, PackageLoader
from nbconvert.filters import markdown2html
from nbformat import NotebookNode

from captioning.course.standalone import chapter_pages, relinked
from captioning.writing import write


@dataclass(frozen=True)
class Result:
    """What one cell tagged `result` showed, under the heading that it stands below."""

    heading: str
    html: str

    @property
    def figure(self) -> str:
        """Its first picture, as an `img`; empty without one."""
        found = re.search(r"<img [^>]*>", self.html)
        return found[0] if found else ""


@dataclass(frozen=True)
class Chapter:
    """What the page tells of one executed notebook."""

    name: str  # 01_cnn_gru
    title: str
    introduction: str  # HTML
    finding: str  # HTML: the first conclusion of the cell tagged `finding`; empty without one
    profile: str
    minutes: float  # in the kernel
    failure: str  # empty when every cell ran
    results: list[Result]


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that hold code, empty ones left out."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def read_chapter(path: Path) -> Chapter:
    """Read what the page shows out of an executed notebook."""
    notebook = nbformat.read(path, as_version=4)
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    title = re.search(r"^# +(.+)", prose, re.M)
    paragraphs = [block for block in re.split(r"\n\s*\n", prose) if re.match(r"[\w*`\"“_\[]", block)]
    introduction = relinked("".join(paragraphs[:1]), path.name, chapter_pages(path.parent))
    return Chapter(
        name=path.stem,
        title=title[1].strip() if title else path.stem,
        introduction=markdown2html(introduction),
        finding=find_conclusion(notebook),
        profile=notebook.metadata.get("course", {}).get("profile", ""),
        minutes=sum(map(seconds, code_cells(notebook))) / 60,
        failure=find_failure(notebook),
        results=list(read_results(notebook)),
    )


def find_conclusion(notebook: NotebookNode) -> str:
    """The first sentence in bold of the cell tagged `finding`, without the table or figure that it is from."""
    told = [cell.source for cell in notebook.cells if "finding" in tags(cell)]
    found = re.search(r"\*\*(\S.+?)\*\*", told[0], re.S) if told else None
    sentence = re.sub(r"\s*\((?:Table|Figure)s? [^)]*\)", "", found[1]) if found else ""
    return markdown2html(sentence).strip().removeprefix("<p>").removesuffix("</p>")


def seconds(cell: NotebookNode) -> float:
    """How long the kernel was at a cell; 0 for one that it never finished."""
    timing = cell.metadata.get("execution", {})
    ends = (timing.get("iopub.execute_input"), timing.get("shell.execute_reply"))
    if not all(ends):
        return 0.0
    start, end = map(datetime.fromisoformat, ends)
    return (end - start).total_seconds()


def find_failure(notebook: NotebookNode) -> str:
    """Where and why the notebook stopped; empty when every cell ran."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        if "raises-exception" in tags(cell):
            continue
        for output in cell.outputs:
            if output.output_type == "error":
                return f"cell {number}: {output.ename}: {output.evalue}"
        if cell.execution_count is None:
            return f"stopped before cell {number}"
    return ""


def read_results(notebook: NotebookNode) -> Iterator[Result]:
    """The outputs of the cells tagged `result`, each with the last heading above it."""
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = ([heading] + re.findall(r"^#{2,} +(.+)", cell.source, re.M))[-1].strip(" *`")
        elif "result" in tags(cell):
            html = "\n".join(filter(None, (to_html(output, heading) for output in cell.outputs)))
            yield Result(heading, html)


def to_html(output: NotebookNode, heading: str) -> str:
    """One output in the richest form it has; nothing for what went to stderr (warnings, progress bars), and not the
    style of pandas' tables, which browsers take for one of the whole page."""
    if output.output_type == "stream":
        return f"<pre>{escape(output.text)}</pre>" if output.name == "stdout" else ""
    data = output.get("data", {})
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            picture = data[kind].replace("\n", "")
            return f'<img alt="{escape(heading)}" src="data:{kind};base64,{picture}">'
    if "image/svg+xml" in data or "text/html" in data:
        html = data.get("image/svg+xml") or re.sub(r"<style scoped>.*?</style>", "", data["text/html"], flags=re.S)
        return f'<div class="table">{html}</div>'
    if "text/markdown" in data:
        return f'<div class="table">{markdown2html(data["text/markdown"])}</div>'
    return f"<pre>{escape(data.get('text/plain', ''))}</pre>"


def write_page(output: Path, notebooks: list[Path]) -> Path:
    """Write index.html about those of the executed notebooks that are there."""
    from captioning.course.opening import opening  # torch is slow to load, and `docs` needs none

    chapters = [read_chapter(path) for path in notebooks if path.exists()]
    template = Environment(loader=PackageLoader("captioning.course", "."), autoescape=True).get_template(
        "course.html.j2"
    )
    page, style = output / "index.html", files("captioning.serving").joinpath("web.css").read_text(encoding="utf-8")
    write(page, template.render(chapters=chapters, opening=opening(), style=style))
    return page
