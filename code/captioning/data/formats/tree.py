"""The files of a folder, and which of them a name in a caption file means."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from captioning.data.files import BrokenSource, read_json, unique
from captioning.data.pictures import files_in, is_picture
from captioning.data.readers import Row

SPLIT_NAMES = {  # what folders and files of a split are called, as `datasets` has it
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


class Tree:
    """A folder, and its files in any depth as paths from there; hidden files and folders are not looked at.

    only: a file of captions, from anywhere, about the pictures of the folder, in place of all others; without
    `pictures` for its words alone.
    """

    def __init__(self, folder: Path, only: Path | None = None, pictures: bool = True):
        self.folder = folder
        self.files = files_in(folder) if pictures else []
        self.pictures = [path for path in self.files if is_picture(path)]
        if only:
            only = only.absolute()
            self.files = [*self.pictures, only.relative_to(folder) if only.is_relative_to(folder) else PurePath(only)]
        self._contents: dict[PurePath, Any] = {}
        self._left_out: dict[Path, list[str]] = {}  # of the paths of a file, the folders before
        self._meant: dict[tuple[Path, str], str] = {}  # by what name a file means a picture

    @classmethod
    def of(cls, place: Path) -> Tree:
        """Of a folder; of a file of captions, with the pictures of the folder in which it lies."""
        place = place.absolute()
        return cls(place.parent, place) if place.is_file() else cls(place)

    def named(self, *suffixes: str) -> list[PurePath]:
        """The files with one of the suffixes that are not of one picture, beside which they lie."""
        beside = {*self.pictures, *(path.with_suffix("") for path in self.pictures)}
        return [path for path in self.files if path.suffix in suffixes and path.with_suffix("") not in beside]

    def jsons(self, known: Callable[[Any], bool]) -> list[PurePath]:
        """The .json files, in the folder or one below, whose content is of a kind."""
        return [path for path in self._jsons if path not in self.damaged and known(self.content(path))]

    @cached_property
    def damaged(self) -> dict[PurePath, str]:
        """What is wrong with those of them that are no JSON, or neither object nor list."""
        found = {}
        for path in self._jsons:
            try:
                self.content(path)
            except BrokenSource as error:
                found[path] = str(error)
        return found

    def near(self, path: PurePath) -> bool:
        """Whether a file lies in the folder or one below, where the captions of a whole set are."""
        return len(path.parts) <= 2 or path.is_absolute()

    @cached_property
    def _jsons(self) -> list[PurePath]:
        return [path for path in self.named(".json") if self.near(path) and not path.stem.endswith("_stats")]

    def content(self, path: PurePath) -> Any:
        """What a .json file holds, an object or a list; read once."""
        if path not in self._contents:
            whole = self.folder / path
            self._contents[path] = read_json(whole, (dict, list), object_pairs_hook=lambda pairs: unique(whole, pairs))
        return self._contents[path]

    def placed(self, row: Row, source: PurePath) -> Row:
        """A row, its picture where `place` finds it."""
        name = PurePath(row["image"]).relative_to(self.folder).as_posix()
        return row | {"image": f"{self.folder}{os.sep}{self.place(name, self.folder / source)}"}

    @cached_property
    def _ends(self) -> dict[str, list[str]]:
        """{the end of a picture's path, with its suffix or without: the pictures that it may mean}."""
        ends = defaultdict(list)
        for path in map(PurePath.as_posix, self.pictures):
            parts = path.split("/")
            for start in range(len(parts)):
                end = "/".join(parts[start:])
                ends[end].append(path)
                ends[end.rpartition(".")[0]].append(path)
        return ends

    def place(self, name: str, source: Path) -> str:
        """The picture, as a path from the folder, that a caption file means by a path or by a path without suffix; the
        name itself where there is none.

        It may begin with the names of this folder (photos/a.jpg in photos/), or on another machine: then the same
        folders are left out of all paths in the file, so that no lost picture is taken for another one of its name.
        Raises BrokenSource where a name may mean several pictures, or several names one.
        """
        path = PureWindowsPath(name)  # which knows both slashes
        parts = [part for part in path.parts if part not in (path.anchor, "..")]
        for start in self._starts(parts, bool(path.root), source):
            found = [name] if name in self._whole else self._meant_by("/".join(parts[start:]))
            if len(found) > 1:
                raise BrokenSource(
                    f"{source}: {name!r} may be {found[0]} or {found[1]}; write the path from {self.folder}"
                )
            if found:
                self._note(name, found[0], parts[:start], source)
                return found[0]
        return "/".join(parts) or name

    def _meant_by(self, end: str) -> list[str]:
        """The pictures that the end of a path may mean: the one that is just there comes before those in folders."""
        ends = self._ends.get(end, [])
        return (
            [path for path in ends if path == end] or [path for path in ends if path.rpartition(".")[0] == end] or ends
        )

    def _starts(self, parts: list[str], absolute: bool, source: Path) -> Sequence[int]:
        """Where in a path that from this folder may begin."""
        home = [part for part in self.folder.parts if part != self.folder.anchor]
        if not absolute:  # at its beginning, or after what this folder is called
            return [start for start in range(len(parts)) if not start or parts[:start] == home[-start:]]
        known = self._left_out.get(source, home)
        return [len(known)] if parts[: len(known)] == known else range(len(parts))

    def _note(self, name: str, picture: str, left_out: list[str], source: Path) -> None:
        if left_out and self._left_out.setdefault(source, left_out) != left_out:
            others = "/".join(self._left_out[source])
            raise BrokenSource(
                f"{source}: {name!r} would be {picture}, but before others stands {others}; write paths from "
                f"{self.folder}"
            )
        if (other := self._meant.setdefault((source, picture), name)) != name:
            raise BrokenSource(
                f"{source}: {other!r} and {name!r} would both be {picture}; write paths from {self.folder}"
            )

    @cached_property
    def _whole(self) -> set[str]:
        return {path.as_posix() for path in self.pictures}


def split_named(name: str) -> str:
    """The split that a file of captions says a picture belongs to; any that is not known is one of its own."""
    return SPLIT_NAMES.get(name.lower(), name)


def split_of(path: PurePath, default: str) -> str:
    """The split that a folder in a path names, the first of them; else `default`."""
    return next((SPLIT_NAMES[part.lower()] for part in path.parts[:-1] if part.lower() in SPLIT_NAMES), default)


def split_of_file(path: PurePath, default: str) -> str:
    """The same for a file of captions, whose own name may tell, too: coco-train-00012.tar, captions_val2014.json."""
    words = re.findall("[a-z]+", path.stem.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), split_of(path, default))
