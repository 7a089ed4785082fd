"""Files beside pictures, changed so that a run that is killed goes on and so that every byte can be had back.

An undo file has a line of JSON a change, on the disk before the change is made: the picture, the file, what was in it
and what will be. Paths are those from the undo file's own folder, so that both can be moved together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from captioning.writing import claim_file, dumps, some, write

HEAD = "undo of captioning"  # the key of the first line; its value says what changes were made


class UndoFile:
    """An undo file that is begun, or gone on with.

    about: what the changes are, the same for all in a file. Raises FileExistsError for a file that is none of these,
    and ValueError for one of other changes.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]):
        claim_file(path, is_undo_file)
        self.path, self.done = path, set()
        if not path.exists() or not path.stat().st_size:
            write(path, dumps({HEAD: about}, ensure_ascii=False) + "\n")
        begun, changes = read(path)
        if begun != json.loads(dumps(about)):
            raise ValueError(
                f"{path} is the undo file of other changes ({dumps(begun, ensure_ascii=False)}): give --out another "
                f"name for those of now, or take the others back (captioning caption --undo {path})"
            )
        self.batch = changes[-1]["batch"] + 1 if changes else 0
        for change in changes:  # a kill may have come between the lines of the last batch and its changes
            if change["batch"] == self.batch - 1 and _now(path, change) == _bytes(change["old"]):
                write(_place(path, change), _bytes(change["new"]))
        self.done = {str(_place(path, change, "picture")) for change in changes}

    def change(self, changes: list[tuple[Path, Path, bytes]]) -> None:
        """Make changes: (picture, file, what is to be in it) each, of a file one."""
        lines = []
        for picture, file, new in changes:
            old = file.read_bytes().decode("utf-8", "surrogateescape") if file.exists() else None
            names = {"batch": self.batch, "picture": self._name(picture), "file": self._name(file)}
            lines.append(names | {"old": old, "new": new.decode("utf-8", "surrogateescape")})
        with self.path.open("a", encoding="utf-8") as journal:
            journal.writelines(dumps(line, ensure_ascii=False) + "\n" for line in lines)
            journal.flush()
            os.fsync(journal.fileno())
        for picture, file, new in changes:
            write(file, new)
            self.done.add(os.path.abspath(picture))
        self.batch += 1

    def _name(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.path.absolute().parent)).as_posix()


def is_undo_file(path: Path) -> bool:
    with path.open("rb") as file:
        return file.readline().startswith(f'{{"{HEAD}": '.encode())


def read(path: Path) -> tuple[Any, list[dict[str, Any]]]:
    """What changes a file is of, and the changes; half a line at its end, from a kill, is cut off."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    head, *lines = map(json.loads, whole.decode().split("\n")[:-1])
    return head[HEAD], lines


def undo(path: Path) -> int:
    """Put back what was there before, the last change first, and delete the undo file; how many were put back.

    Raises ValueError, when all others are put back, for files that somebody has changed since: they stay as they are,
    and so do their lines in the undo file.
    """
    if not path.is_file() or not is_undo_file(path):
        raise ValueError(
            f"{path} is no undo file of `captioning caption --to` or `data convert`; give the one that was named"
        )
    about, changes = read(path)
    back, kept = set(), []
    for change in reversed(changes):
        now, old = _now(path, change), _bytes(change["old"])
        if now == _bytes(change["new"]) != old:
            _place(path, change).unlink() if old is None else write(_place(path, change), old)
            back.add(change["file"])
        elif now != old:
            kept.append(change)
    if kept:
        write(path, "".join(dumps(line, ensure_ascii=False) + "\n" for line in [{HEAD: about}, *reversed(kept)]))
        names = {change["file"] for change in kept}
        raise ValueError(
            f"{len(back)} files are as they were; {len(names)} were changed since and are left ({some(names)}): "
            f'what was in them before stands under "old" in {path}'
        )
    path.unlink()
    return len(back)


def _place(undo_file: Path, change: Mapping[str, Any], what: str = "file") -> Path:
    return Path(os.path.abspath(undo_file.absolute().parent / change[what]))


def _now(undo_file: Path, change: Mapping[str, Any]) -> bytes | None:
    place = _place(undo_file, change)
    return place.read_bytes() if place.is_file() else None


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")
