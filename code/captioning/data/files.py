"""Reading the text files of a data set, with errors that say where the damage is."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import zip_longest
from pathlib import Path
from types import UnionType
from typing import Any, NoReturn


class BrokenSource(ValueError):
    """A data set whose files cannot be used as they are: what was found and where, what was expected, what to do."""


def existing(folder: Path, *names: str) -> Path | None:
    """The first of the names that is there."""
    return next((folder / name for name in names if (folder / name).exists()), None)


def missing(folder: Path, *names: str) -> BrokenSource:
    """The error to raise where none of the names is there."""
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:20]) or "nothing"
    return BrokenSource(f"{folder}: looked for {' or '.join(names)}; found {found}; see dataset/README.md")


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BrokenSource(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8 or download it again") from error


def first_line(path: Path) -> str:
    """The first line that is not blank, for who is to know a file by it; bytes that are no text are replaced."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return next((line for line in file if line.strip()), "")


def read_json(path: Path, kind: type | tuple[type, ...], **options: Any) -> Any:
    """The content, which must be a `kind` (dict or list, or either); `options` go to `json.loads`."""
    text = read_text(path)
    try:
        content = json.loads(text, parse_constant=lambda name: no_number(name, str(path)), **options)
    except json.JSONDecodeError as error:
        raise BrokenSource(
            f"{path}: cut off or damaged at character {error.pos} of {len(text)} (line {error.lineno}, column "
            f"{error.colno}: {error.msg}); download the file again"
        ) from error
    if not isinstance(content, kind):
        expected = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise BrokenSource(f"{path}: expected a {expected}, found a {type(content).__name__}; is it another file?")
    return content


def read_json_lines(path: Path) -> Iterator[Any]:
    for number, line in enumerate(read_text(path).split("\n"), 1):
        place = f"{path}, line {number}"
        try:
            if line.strip():
                yield json.loads(line, parse_constant=lambda name, place=place: no_number(name, place))
        except json.JSONDecodeError as error:
            raise BrokenSource(f"{place}, column {error.colno}: {error.msg}; restore the line") from error


def no_number(name: str, place: str) -> NoReturn:
    """For `parse_constant`: Python reads NaN and Infinity, which are not JSON and which no other program would read."""
    raise BrokenSource(f"{place}: {name} is no JSON; write null, or leave the entry out")


def read_csv(path: Path, texts: Collection[str] | None = None) -> Iterator[dict[str, str]]:
    """The rows of a CSV file as {column: cell}; the first line has the columns' names, cells that lack are empty.

    A row that is longer than the header has commas that nobody quoted. They belong to its last column if that is one
    of `texts` (None: whatever it is called); else there is no telling, and `BrokenSource` is raised.
    """
    lines = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(filter(None, lines), [])]
        for cells in filter(None, lines):
            if len(cells) > len(header) and texts is not None and header[-1] not in texts:
                raise BrokenSource(
                    f"{path}, line {lines.line_num}: {len(cells)} cells {cells}, expected {len(header)} "
                    f"({', '.join(header)}); put a cell that has commas in double quotes"
                )
            last = len(header) - 1
            yield dict(zip_longest(header, [*cells[:last], ",".join(cells[last:])], fillvalue=""))
    except csv.Error as error:
        raise BrokenSource(f"{path}, line {lines.line_num}: {error}; restore the line or download it again") from error


def field(entry: Any, key: str, path: Path, kind: type | UnionType = object) -> Any:
    """`entry[key]`, which must be a `kind`."""
    if not isinstance(entry, dict) or key not in entry:
        raise BrokenSource(f"{path}: no {key!r} in {str(entry)[:80]}; restore the entry, or is it another file?")
    if not isinstance(entry[key], kind):
        raise BrokenSource(f"{path}: {key!r} is {str(entry[key])[:80]}, expected a {name_of(kind)}; restore the entry")
    return entry[key]


def name_of(kind: type | UnionType) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace(" | ", " or ")


def unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object (for `object_pairs_hook`), whose repeated keys `json` would drop without a word."""
    key, times = Counter(key for key, _ in pairs).most_common(1)[0] if pairs else ("", 0)
    if times > 1:
        raise BrokenSource(f"{path}: {key!r} is there {times} times; keep one of the entries")
    return dict(pairs)
