"""Two rules of a notebook's prose: a number stands in an output, and a conclusion names its table or figure."""

import re
from collections.abc import Iterator
from decimal import Decimal

from nbformat import NotebookNode

NUMBER = re.compile(r"(?<![\w.])(?<![A-Za-z]-)(?:\d+(?:,\d{3})+|\d+)?(?:\.\d+)?(?<=\d)(?!\w|\.\d)(\s?%| percent\b)?")
# What stands beside these is no measurement: a place in a text, a release, the level of an interval.
NO_MEASUREMENT = re.compile(
    r"(?i:section|chapter|version|python|arxiv)[ :]\d[\d.]*|95 ?% (?=(?:\w+ )?(?:interval|conf))"
)
TAGS = re.compile(r"<style.*?</style>|<!--.*?-->|<[a-zA-Z/][^>]*>", re.S)
UNREAD = re.compile(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|\]\([^)]*\)", re.S)
LABEL = re.compile(r"# (Table|Figure) (\d+): \S")
NAMED = re.compile(r"(Table|Figure)s? (\d+(?:(?:,|,? and| to) \d+)*)")
BOLD = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", re.S)


def faults(notebook: NotebookNode, results: list[dict]) -> list[str]:
    """What the prose says that nothing beside it shows, one sentence each; `results` are rows of results.csv."""
    return [*unlabelled(notebook), *unnamed(notebook), *unshown(notebook, results)]


def unlabelled(notebook: NotebookNode) -> Iterator[str]:
    """Tables and figures whose numbers do not count up from 1, each kind for itself."""
    for kind in ("Table", "Figure"):
        found = [number for cell in notebook.cells for label, number in labels(cell) if label == kind]
        if found != list(range(1, len(found) + 1)):
            yield f"{kind}s do not count up from 1: {found}"


def unnamed(notebook: NotebookNode) -> Iterator[str]:
    """Bold spans of five words or more without a table or figure that stands before them."""
    before: set[tuple[str, int]] = set()
    for cell in notebook.cells:
        before |= set(labels(cell))
        for span in BOLD.findall(prose(cell)):
            named = {(kind, int(n)) for kind, numbers in NAMED.findall(span) for n in re.findall(r"\d+", numbers)}
            if len(re.findall(r"\S*\w\S*", span)) >= 5 and not (named and named <= before):
                yield f"no table or figure before it is named by: {span}"


def unshown(notebook: NotebookNode, results: list[dict]) -> Iterator[str]:
    """Decimal numbers and percentages of the prose that neither outputs, code nor the results have."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = {value for cell in code for text in (cell.source, *outputs(cell)) for _, value in numbers(text)}
    source = "\n".join(cell.source for cell in notebook.cells)
    fields = [field for row in results if row["run"] in source for field in row.values()]
    recorded = [Decimal(field) for field in fields if re.fullmatch(r"\d+\.\d+", field)]
    for cell in notebook.cells:
        for written, value in numbers(prose(cell)):
            whole = re.fullmatch(r"[\d,]+", written)
            if not (whole or value in shown or is_recorded(value, recorded)):
                yield f"{written} stands in no output, nor in the code, nor in the results of a run named here"


def labels(cell: NotebookNode) -> list[tuple[str, int]]:
    """(kind, number) of the table or figure that a code cell shows, if it says so in its first line."""
    found = LABEL.match(cell.source) if cell.cell_type == "code" else None
    return [(found[1], int(found[2]))] if found else []


def prose(cell: NotebookNode) -> str:
    """What a markdown cell says outside of code, formulas, tags and addresses."""
    text = UNREAD.sub(" x ", cell.source) if cell.cell_type == "markdown" else ""
    return re.sub(r"\s+", " ", TAGS.sub(" ", text))


def outputs(cell: NotebookNode) -> Iterator[str]:
    """The texts that a code cell printed and showed."""
    for output in cell.outputs:
        yield output.get("text", "")
        for kind in ("text/plain", "text/html", "text/markdown"):
            yield TAGS.sub(" ", output.get("data", {}).get(kind, ""))


def numbers(text: str) -> Iterator[tuple[str, Decimal]]:
    """Every number as it is written, with its value: .72, 0.72 and 72 % are the same."""
    for found in NUMBER.finditer(NO_MEASUREMENT.sub(" ", text)):
        value = Decimal(re.sub(r"[^\d.]", "", found[0]))
        yield found[0], value.scaleb(-2) if found[1] else value


def is_recorded(value: Decimal, recorded: list[Decimal]) -> bool:
    """Whether a result is this number to its digits. It takes three of them, for with two some result always is."""
    _, digits, exponent = value.as_tuple()
    return len(digits) >= 3 and any(round(number, -exponent) == value for number in recorded)
