"""Hugging Face's ImageFolder: metadata.jsonl, .csv or .parquet, which speaks for its folder and those in it.

{"file_name": "a.jpg", "caption": "a red dress", "split": "train"}
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from captioning.data.files import BrokenSource, field, read_csv, read_json_lines
from captioning.data.formats import sidecars
from captioning.data.formats.tree import Tree, split_named, split_of
from captioning.data.readers import EXTRAS, Row, Rows, extras, merged, new_row
from captioning.writing import aside, dumps

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
CAPTIONS = ("captions", "caption", "text")
LISTS = ("['", '["')  # what a list in a cell begins with
KNOWN = {"file_name", "split", *CAPTIONS, *EXTRAS}


def find(tree: Tree) -> list[PurePath]:
    return [path for path in tree.files if path.name in METADATA]


def read(tree: Tree, tables: list[PurePath], split: str) -> Rows:
    """The pictures that the tables name, and those of folders for which none speaks, with what lies beside them.

    An entry has `file_name` (or one `..._file_name`), relative to the folder of the table, `caption`, `text` or
    `captions`, and perhaps `split`, `style`, `attributes`, `provenance`; a picture may have several.
    """
    spoken_for = {path.parent: path for path in tables}
    for path in tables:
        others = {spoken_for[parent] for parent in path.parents if parent in spoken_for} - {path}
        if others:
            raise BrokenSource(
                f"{tree.folder}: {path} and {others.pop()} speak for the same pictures; keep one (or rename the other)"
            )
    yield from merged((row for path in tables for row in _described(tree.folder, path, split)), tree.folder)
    homes = {tree.folder / path for path in spoken_for}
    rest = [path for path in tree.pictures if not homes & set((tree.folder / path).parents)]
    yield from sidecars.rows(tree, rest, split)


def _described(folder: Path, table: PurePath, split: str) -> Rows:
    """The rows of a metadata file."""
    path = folder / table
    for entry in entries(path):
        names = [key for key in entry if key.endswith("_file_name")] if isinstance(entry, dict) else []
        name = names[0] if len(names) == 1 and "file_name" not in entry else "file_name"
        file = field(entry, name, path, str)
        row = new_row(folder / table.parent, file, captions(entry, path), path)
        row |= extras(entry, path) | {"image_id": (table.parent / file).as_posix()}
        if row["captions"] is None and (found := [key for key in entry if key not in {*KNOWN, name}]):
            row["unread"] = (
                f"{table} has {', '.join(map(repr, found))} and none of {', '.join(CAPTIONS)}; rename the key"
            )
        given = entry.get("split") and field(entry, "split", path, str)
        yield split_named(given) if given else split_of(table.parent / file, split), row


def entries(path: Path) -> Iterator[Any]:
    if path.suffix == ".jsonl":
        yield from read_json_lines(path)
    elif path.suffix == ".csv":
        yield from read_csv(path, CAPTIONS)
    else:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            yield from parquet.read_table(path).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise BrokenSource(f"{path}: no Parquet file, or a damaged one ({error}); write it again") from error


def captions(entry: dict[str, Any], path: Path) -> list[Any] | None:
    keys = [key for key in CAPTIONS if key in entry]
    if len(keys) > 1:
        raise BrokenSource(f"{path}: {' and '.join(keys)} in {str(entry)[:80]}; rename those that are no captions")
    found = entry[keys[0]] if keys else None
    return listed(found, keys[0], path) if keys else None


def listed(found: Any, key: str, path: Path) -> list[Any]:
    """The captions in a cell or an entry: one, or a list of JSON. Raises BrokenSource for what looks like a list of
    Python in the cell of a table."""
    if isinstance(found, str) and path.suffix == ".csv" and found.startswith(LISTS):
        raise BrokenSource(f"{path}: {key} is {found!r:.60}, a list in one cell; write a row for each caption")
    return found if isinstance(found, list) else [found]


def write(rows: list[Row], path: Path) -> None:
    """A line of JSON a picture. What a picture has not (captions, a style) is left out."""
    with aside(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            said = {"captions": row["captions"]} if len(row["captions"]) > 1 else {"caption": "".join(row["captions"])}
            entry = {"file_name": row["file"]} | (said if row["captions"] else {}) | {"split": row["split"]}
            more = {name: row[name] for name in EXTRAS if row.get(name) is not None}
            file.write(dumps(entry | more, ensure_ascii=False) + "\n")


def write_csv(rows: list[Row], path: Path) -> None:
    """A row a caption: file_name, caption, split, and style and provenance where a picture has them.

    A caption that begins as a list does has a blank before, so that it is not taken for one.
    """
    columns = ["file_name", "caption", "split"]
    columns += [name for name in ("style", "provenance") if any(row.get(name) is not None for row in rows)]
    with aside(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        lines = (
            (row | {"file_name": row["file"], "caption": " " * text.startswith(LISTS) + text})
            for row in rows
            for text in row["captions"]
        )
        table.writerows(lines)
