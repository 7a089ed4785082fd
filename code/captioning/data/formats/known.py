"""The captions of a folder, or of a file without its pictures: for who needs no picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from captioning.data.files import BrokenSource, read_json
from captioning.data.formats.table import FORMATS, detect
from captioning.data.formats.tree import Tree
from captioning.data.readers import Row


def captioned_in(place: Path, files: list[str]) -> set[str]:
    """The real paths of the pictures that have a caption in a folder of any format, or in a file about `files`.

    Raises BrokenSource for what cannot be read, ValueError for a file in which no captions were recognised.
    """
    if not place.exists():
        raise FileNotFoundError(f"{place}: no such file or folder; correct --skip")
    home = Path(os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files]))
    tree = Tree(place.absolute()) if place.is_dir() else Tree(home, place)
    name, found, _ = detect(tree)
    if place.is_file() and not found:
        raise ValueError(
            f"{place}: no captions in it were recognised {''.join(tree.damaged.values())}; docs/formats.md shows the "
            "formats"
        )
    rows = FORMATS[name].read(tree, found, "test")
    return {
        os.path.realpath(row["image"]) for _, row in rows if row["captions"] and any(map(str.strip, row["captions"]))
    }


def rows_alone(place: Path) -> list[tuple[str, Row]]:
    """(split, row) of a folder of any format, or of a file of one, whose pictures need not be there.

    Of another file there are none. Raises BrokenSource for a damaged one.
    """
    tree = Tree(place.absolute()) if place.is_dir() else Tree(place.absolute().parent, place, pictures=False)
    name, found, _ = detect(tree)
    return list(FORMATS[name].read(tree, found, "test"))


def captions_of(place: Path, split: str | None = None, default: str = "test") -> dict[str, list[str]]:
    """{id: captions} of those pictures of `rows_alone` that have some, of the split that `of_split` chooses.

    Raises BrokenSource for a split that is not there, and where two entries have one id.
    """
    rows = [(told, row) for told, row in rows_alone(place) if row["captions"]]
    found: dict[str, Row] = {}
    for row in of_split(place, rows, split, default):
        first = found.setdefault(row["image_id"], row)
        if (first["image"], first["captions"]) != (row["image"], row["captions"]):
            both = " and ".join(f"{each['image']} ({each['captions'][0]!r:.60})" for each in (first, row))
            raise BrokenSource(
                f"{place}: {both} have one id, {row['image_id']!r}; give each an id of its own, or keep one of them"
            )
    return {image_id: row["captions"] for image_id, row in found.items()}


def of_split(place: Path, entries: list[tuple[str, Any]], split: str | None, default: str) -> list[Any]:
    """Those of `entries` (split, what it is) that are of `split`; without one of `default`, or of the only one there.

    Raises BrokenSource for a split that is not there.
    """
    splits = list(dict.fromkeys(told for told, _ in entries))
    wanted = split or (splits[0] if len(splits) == 1 else default)
    if entries and wanted not in splits:
        raise BrokenSource(
            f"{place}: has the splits {', '.join(splits)}, not {wanted!r}; "
            + ("name one that is there with --split, or " if default == "test" else "")
            + "give the captions that are meant in a file or folder of their own"
        )
    return [entry for told, entry in entries if told == wanted]


def domains_of(place: Path) -> dict[str, str]:
    """{id: domain} of the pictures of which one is told, as nocaps does in its COCO file."""
    if place.is_file() and place.suffix == ".json":
        content = read_json(place, (dict, list))
        images = content.get("images") if isinstance(content, dict) else None
        entries = [entry for entry in images if isinstance(entry, dict)] if isinstance(images, list) else []
        return {str(entry["id"]): entry["domain"] for entry in entries if {"id", "domain"} <= entry.keys()}
    rows = rows_alone(place) if place.is_dir() else []
    told = {row["image_id"]: (row.get("attributes") or {}).get("domain") for _, row in rows}
    return {image_id: domain for image_id, domain in told.items() if domain}
