"""The files of a folder, and which of them a name in a caption file means."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cached_property
from pathlib import Path, PurePath, PureWindowsPath

from captioning.data.files import BrokenSource
from captioning.data.pictures import hidden, is_picture

SPLIT_NAMES = {  # what folders and files of a split are called, as `datasets` has it
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


class Tree:
    """A folder, and its files in any depth as paths from there; hidden files and folders are not looked at."""

    def __init__(self, folder: Path):
        self.folder = folder
        found = sorted(path for path in folder.rglob("*") if not hidden(path.relative_to(folder)))
        self.files = [path.relative_to(folder) for path in found if path.is_file()]
        self.pictures = [path for path in self.files if is_picture(path)]

    def named(self, *suffixes: str) -> list[PurePath]:
        """The files with one of the suffixes that do not lie beside a picture of their name."""
        beside = {path.with_suffix("") for path in self.pictures}
        return [path for path in self.files if path.suffix in suffixes and path.with_suffix("") not in beside]

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
        """The picture, as a path from the folder, that a caption file means by a path, from wherever, or by a name
        without suffix; the name itself where there is none.

        It is the one whose path ends in most of the name. Raises BrokenSource where that are several.
        """
        parts = [part for part in PureWindowsPath(name).parts if part not in (".", "..", "/", "\\")]  # both slashes
        if name in self._whole:
            return name
        for start in range(len(parts)):
            found = self._ends.get("/".join(parts[start:]), [])
            if len(found) > 1:
                raise BrokenSource(
                    f"{source}: {name!r} may be {found[0]} or {found[1]}; write the path from {self.folder}"
                )
            if found:
                return found[0]
        return parts[-1] if parts else name

    @cached_property
    def _whole(self) -> set[str]:
        return {path.as_posix() for path in self.pictures}


def split_of(path: PurePath, default: str) -> str:
    """The split that a folder in a path names, the first of them; else `default`."""
    return next((SPLIT_NAMES[part.lower()] for part in path.parts[:-1] if part.lower() in SPLIT_NAMES), default)


def split_of_file(path: PurePath, default: str) -> str:
    """The same for a file of captions, whose own name may tell, too: coco-train-00012.tar, captions_val2014.json."""
    words = re.findall("[a-z]+", path.stem.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), split_of(path, default))
