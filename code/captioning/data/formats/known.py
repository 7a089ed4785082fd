"""Which pictures have captions already."""

from __future__ import annotations

import os
from pathlib import Path

from captioning.data.formats.table import FORMATS, detect
from captioning.data.formats.tree import Tree


def captioned_in(place: Path, files: list[str]) -> set[str]:
    """The real paths of the pictures that have a caption in a folder of any format, or in a file about `files`.

    Raises BrokenSource for what cannot be read, ValueError for a file in which no captions were recognised.
    """
    if not place.exists():
        raise FileNotFoundError(f"{place}: no such file or folder; correct --skip")
    home = Path(os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files]))
    tree = Tree(place.absolute()) if place.is_dir() else Tree(home, place)
    name, found, others = detect(tree)
    if place.is_file() and not found:
        raise ValueError(
            f"{place}: no captions in it were recognised {''.join(others.values())}; dataset/README.md shows"
        )
    rows = FORMATS[name].read(tree, found, "test")
    return {
        os.path.realpath(row["image"]) for _, row in rows if row["captions"] and any(map(str.strip, row["captions"]))
    }
