"""All formats, and which of them a folder is in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePath
from typing import NamedTuple

from captioning.data.formats import imagefolder, sidecars, webdataset
from captioning.data.formats.tree import Tree
from captioning.data.readers import Row, Rows

ALL = frozenset(("several captions", "splits", "ids", "style", "attributes", "provenance"))


class Format(NamedTuple):
    """What finds a format's files in a folder, reads them, and writes them: `write(rows, place)`.

    `file` is what is written, in the folder of the pictures, where `{split}` stands for one file a split; empty where
    `write` takes the folder. `carries` are those of `ALL` that the format has a place for.
    """

    find: Callable[[Tree], list[PurePath]]
    read: Callable[[Tree, list[PurePath], str], Rows]
    write: Callable[[list[Row], Path], None] | None = None
    file: str = ""
    carries: frozenset[str] = frozenset()
    beside: bool = True  # whether the pictures are files of their own, beside what is written


# The order in which they are looked for: the first that is there is read, the others are named.
FORMATS = {
    "imagefolder": Format(imagefolder.find, imagefolder.read, imagefolder.write, "metadata.jsonl", ALL - {"ids"}),
    "webdataset": Format(webdataset.find, webdataset.read, webdataset.write, carries=ALL, beside=False),
    "sidecars": Format(sidecars.find, sidecars.read, sidecars.write, carries=frozenset()),
    "sidecar-lines": Format(
        sidecars.find,
        partial(sidecars.read, lines=True),
        partial(sidecars.write, joint="\n"),
        carries=frozenset(["several captions"]),
    ),
    "csv": Format(
        imagefolder.find,
        imagefolder.read,
        imagefolder.write_csv,
        "metadata.csv",
        ALL - {"ids", "attributes"},
    ),
}


def detect(tree: Tree) -> tuple[str, list[PurePath], list[PurePath]]:
    """The format of a folder, its files, and those with captions of other formats, which are then not read.

    A folder with pictures and nothing else is one of `sidecars` that are not there.
    """
    found = {name: files for name, each in FORMATS.items() if (files := each.find(tree))}
    name = next(iter(found), "sidecars")
    read = {*found.get(name, [])}
    if name == "imagefolder":  # which takes what lies beside pictures that no table speaks for
        spoken_for = {path.parent for path in read}
        read |= {path for path in found.get("sidecars", []) if not spoken_for & set(path.parents)}
    others = {path for files in found.values() for path in files} - read
    return name, found.get(name, []), sorted(others)
