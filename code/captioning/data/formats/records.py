"""Lists of pictures with captions: .jsonl or .csv lines, or a .json, as scripts and `caption --out` write them.

    {"image": "a.jpg", "caption": "a red dress"}        or a .json list of these, or {"a.jpg": "a red dress"}

A picture is called by one of `PICTURE`, a caption (or a list) by one of `CAPTION`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from captioning.data.files import BrokenSource, first_line, read_csv, read_json_lines
from captioning.data.formats.chat import first_entry
from captioning.data.formats.imagefolder import METADATA, listed
from captioning.data.formats.tree import Tree, split_named, split_of, split_of_file
from captioning.data.pictures import is_picture
from captioning.data.readers import EXTRAS, Row, Rows, fitting, merged, new_row

PICTURE = ("image", "file_name", "filename", "image_path", "filepath", "path", "file", "image_name", "img")
CAPTION = ("captions", "caption", "text", "comment")


def find(tree: Tree) -> list[PurePath]:
    lines = [path for path in tree.named(".jsonl", ".csv") if tree.near(path) and path.name not in METADATA]
    return [path for path in lines if _keys(_first(tree.folder / path))] + tree.jsons(_known)


def _first(path: Path) -> Any:
    if path.suffix == ".jsonl":
        return first_entry(path)
    return dict.fromkeys(name.strip(' "\r\n') for name in first_line(path).split(","))


def _keys(entry: Any) -> tuple[str, str] | None:
    """What a record calls its picture and its caption."""
    names = [
        next((key for key in keys if isinstance(entry, dict) and key in entry), None) for keys in (PICTURE, CAPTION)
    ]
    return None if None in names else tuple(names)


def _known(content: Any) -> bool:
    if isinstance(content, list):
        return bool(content) and bool(_keys(content[0]))
    name, said = next(iter(content.items()), ("", None))
    return is_picture(PurePath(name)) and isinstance(said, str | list)


def read(tree: Tree, files: list[PurePath], split: str) -> Rows:
    """A row a picture, with the captions of all its records; `split`, or the name of the file, tells the split."""

    def entries() -> Rows:
        for path in files:
            whole, noted = tree.folder / path, False
            for entry in _entries(tree, path):
                keys = _keys(entry)
                if not keys or not isinstance(entry[keys[0]], str):
                    raise BrokenSource(
                        f"{whole}: {str(entry)[:80]}, expected a picture ({', '.join(PICTURE)}) and a caption"
                    )
                file, captions = tree.place(entry[keys[0]], whole), listed(entry[keys[1]], keys[1], whole)
                told = entry.get("split") or split_of_file(path, split_of(PurePath(file), split))
                row = new_row(tree.folder, file, captions, whole) | fitting(entry, whole)
                if not noted and str(entry.get("image_id", file)) != file:
                    row["noted"] = ("id not kept", f"{path} has image_id; the ids are the paths of the pictures")
                    noted = True  # once is enough
                yield split_named(told), row

    yield from merged(agreed([*entries()]), tree.folder)


def agreed(rows: list[tuple[str, Row]]) -> list[tuple[str, Row]]:
    """The rows without the extras in which those of one picture differ, as a style of each caption; the first of such
    rows says so."""
    pictures = defaultdict(list)
    for split, row in rows:
        pictures[split, row["image_id"]].append(row)
    for same in pictures.values():
        differ = [key for key in EXTRAS if any(row.get(key) != same[0].get(key) for row in same)]
        for row in same if differ else ():
            for key in differ:
                row.pop(key, None)
        if differ:
            what = f"the captions of {same[0]['image_id']} have different ones; a picture has one {differ[0]}"
            same[0].setdefault("noted", (f"{', '.join(differ)} not kept", what))
    return rows


def _entries(tree: Tree, path: PurePath) -> Iterator[Any]:
    if path.suffix == ".jsonl":
        yield from read_json_lines(tree.folder / path)
    elif path.suffix == ".csv":
        yield from read_csv(tree.folder / path, CAPTION)
    else:
        content = tree.content(path)
        yield from content if isinstance(content, list) else ({"image": k, "caption": v} for k, v in content.items())
