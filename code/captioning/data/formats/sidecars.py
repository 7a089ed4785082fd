"""Sidecars: a.txt or a.caption beside a.jpg, as kohya's scripts, TagGUI, OneTrainer and img2dataset have them.

A file is one caption, tags with commas and all; or one a line, which only a person can say (format `sidecar-lines`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath

from captioning.data.formats.tree import Tree, split_of
from captioning.data.readers import Row, Rows, new_row
from captioning.writing import write as write_file

SUFFIXES = (".txt", ".caption")
ELSEWHERE = ("metadata", "captions")  # names of files that hold the captions of a folder, in other programs
TABLES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")  # of files that may hold captions, each of which is named
CURE = "not read, for what is in it was not recognised; docs/formats.md shows the formats"


def find(tree: Tree) -> list[PurePath]:
    files = set(tree.files)
    return [beside for path in tree.pictures if (beside := sidecar(path, files))]


def read(tree: Tree, found: list[PurePath], split: str, lines: bool = False) -> Rows:
    """A row a picture, with or without a sidecar; with `lines` each line of one is a caption of its own."""
    yield from rows(tree, tree.pictures, split, lines)


def rows(tree: Tree, pictures: Iterable[PurePath], split: str, lines: bool = False) -> Rows:
    files = set(tree.files)
    strays = {path.parent: path for path in tree.files if path.stem.lower() in ELSEWHERE and path.suffix not in TABLES}
    for path in pictures:
        beside, captions = sidecar(path, files), None
        if beside:
            text = (tree.folder / beside).read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
            captions = [line for line in text.split("\n") if line.strip()] or [""] if lines else [text]
        row = new_row(tree.folder, path.as_posix(), captions, tree.folder)
        stray = None if beside else next((strays[place] for place in path.parents if place in strays), None)
        yield split_of(path, split), row | ({"unread": f"{stray}: {CURE}"} if stray else {})


def sidecar(picture: PurePath, files: set[PurePath]) -> PurePath | None:
    """The file that has the caption of a picture: a.txt, or a.jpg.txt, and after them those with .caption."""
    return next((path for path in names(picture) if path in files), None)


def names(picture: PurePath) -> list[PurePath]:
    """What a sidecar of the picture may be called."""
    return [
        path for suffix in SUFFIXES for path in (picture.with_suffix(suffix), picture.with_name(picture.name + suffix))
    ]


def write(rows: list[Row], folder: Path, joint: str = " ") -> None:
    """A .txt beside each picture that has captions. Raises ValueError where two pictures would share one."""
    check_apart([row["file"] for row in rows])
    for row in rows:
        if row["captions"]:
            write_file((folder / row["file"]).with_suffix(".txt"), joint.join(row["captions"]) + "\n")


def check_apart(pictures: Iterable[str], what: str = ".txt") -> None:
    """Raises ValueError for pictures whose names differ in the suffix only: they would share one file."""
    if pairs := sharing((name, PurePath(name).with_suffix(what)) for name in pictures):
        raise ValueError(f"{told(pairs)}; rename one of each")


def sharing(places: Iterable[tuple[str, PurePath]]) -> list[tuple[str, str, PurePath]]:
    """(a picture, another one, the file) wherever two pictures have the same file."""
    seen: dict[PurePath, str] = {}
    return [(first, name, file) for name, file in places if (first := seen.setdefault(file, name)) != name]


def told(pairs: list[tuple[str, str, PurePath]]) -> str:
    """How many pictures share a file, and the first of them."""
    first, other, file = pairs[0]
    return f"{first} and {other} would share {file.name}" + (f" (pairs like this: {len(pairs)})" * (len(pairs) > 1))


def combined(known: str, text: str, existing: str, joint: str) -> str | None:
    """A text with another; None where it is to stay as it is. What is around the known one (a byte order mark, a new
    line at its end) stays there."""
    said = known.removeprefix("\ufeff").strip()
    if not said:
        return text
    if existing in ("skip", "overwrite"):
        return text if existing == "overwrite" else None
    start = known.index(said)
    added = f"{said}{joint}{text}" if existing == "append" else f"{text}{joint}{said}"
    return known[:start] + added + known[start + len(said) :]
