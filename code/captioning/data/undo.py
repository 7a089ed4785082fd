"""Files beside pictures, changed so that a run that is killed goes on and so that every byte can be had back.

An undo file has a line of JSON a change, on the disk before the change is made: the picture, the file, what was in it
and what will be. Changes that are made together are a batch; when all are made a line says that it is finished. Paths
are those from the undo file's own folder, so that both can be moved together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from captioning.disk import alone
from captioning.writing import append, claim_file, differences, dumps, some, write

HEAD = "undo of captioning"  # the key of the first line; its value says what changes were made


@contextmanager
def changing(path: Path, about: Mapping[str, Any]) -> Iterator[UndoFile]:
    """An undo file that is begun, or gone on with, by one process at a time.

    about: what the changes are, the same for all in a file. Raises FileExistsError for a file that is none of these,
    ValueError for one of other changes, and BlockingIOError where another process is at work with it.
    """
    claim_file(path, is_undo_file)
    with alone(path):
        if path.is_file():
            os.truncate(path, len(_whole(path)))
        yield UndoFile(path, about)


def seen(path: Path, about: Mapping[str, Any]) -> UndoFile:
    """The undo file that `changing` would open, for who only looks at it; `about` has what is known of the changes.

    Raises what `changing` raises, but for another process: it may be at work.
    """
    claim_file(path, is_undo_file)
    return UndoFile(path, (read(path)[0] if path.is_file() and path.stat().st_size else {}) | about)


class UndoFile:
    """Changes of files, each in the undo file before it is made. `changing` opens one."""

    def __init__(self, path: Path, about: Mapping[str, Any]):
        self.path, self.about = path, json.loads(dumps(about))
        begun, self.before, self.finished = (
            read(path) if path.is_file() and path.stat().st_size else (self.about, [], -1)
        )
        if begun != self.about:
            raise ValueError(
                f"{path} is the undo file of other changes ({differences(begun, self.about)}): rename it, in its "
                f"folder, and it still takes them back; or take them back now (captioning caption --undo {path})"
            )
        self.batch = self.before[-1]["batch"] + 1 if self.before else 0

    def go_on(self) -> set[str]:
        """Make what is `left`; the pictures that are `done`."""
        for _, file, new in self.left():
            write(file, new)
        if self.finished < self.batch - 1:
            self._finish(self.batch - 1)
        return self.done()

    def left(self) -> list[tuple[Path, Path, bytes]]:
        """The changes of the last batch that were not made, where a kill came before its end."""
        batch = [change for change in self.before if self.finished < change["batch"] == self.batch - 1]
        return [
            (picture, place, encoded(change["new"]))
            for change in batch
            if (picture := _place(self.path, change, "picture")).exists()
            and content(place := _place(self.path, change)) == change["old"]
        ]

    def done(self) -> set[str]:
        """The pictures whose files were changed; one whose file is again as it was before is not done."""
        last = {change["file"]: change for change in self.before}.values()
        made = [change for change in last if content(_place(self.path, change)) != change["old"]]
        return {str(_place(self.path, change, "picture")) for change in made}

    def change(self, changes: list[tuple[Path, Path, bytes]]) -> None:
        """Make changes: (picture, file, what is to be in it) each, of a file one."""
        if not changes:
            return
        lines = []
        for picture, file, new in changes:
            names = {"batch": self.batch, "picture": self._name(picture), "file": self._name(file)}
            lines.append(names | {"old": content(file), "new": decoded(new)})
        if not self.path.is_file() or not self.path.stat().st_size:
            write(self.path, _line({HEAD: self.about}))
        append(self.path, "".join(map(_line, lines)).encode())
        for _, file, new in changes:
            write(file, new)
        self._finish(self.batch)
        self.batch += 1

    def _finish(self, batch: int) -> None:
        append(self.path, _line({"finished": batch}).encode())
        self.finished = batch

    def told(self) -> str:
        """How the changes are taken back."""
        if not self.path.is_file():
            return "nothing was changed"
        return f"captioning caption --undo {self.path} takes all changes back"

    def _name(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.path.absolute().parent)).as_posix()


def is_undo_file(path: Path) -> bool:
    with path.open("rb") as file:
        return file.readline().startswith(f'{{"{HEAD}": '.encode())


def read(path: Path) -> tuple[Any, list[dict[str, Any]], int]:
    """What changes a file is of, the changes, and the last batch that is finished (-1: none)."""
    head, *lines = map(json.loads, _whole(path).decode().split("\n")[:-1])
    finished = [line["finished"] for line in lines if "finished" in line]
    return head[HEAD], [line for line in lines if "finished" not in line], max(finished, default=-1)


def _whole(path: Path) -> bytes:
    """What is in an undo file, without half a line at its end, which a kill leaves."""
    data = path.read_bytes()
    return data[: data.rfind(b"\n") + 1]


def undo(path: Path) -> int:
    """Put back what was there before, the last change first, and delete the undo file; how many were put back.

    Raises FileNotFoundError where there is none, and ValueError, when all others are put back, for files that somebody
    has changed since: they stay as they are, and so do their lines in the undo file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: nothing to undo, for there is no such file; give the one that was named")
    if not is_undo_file(path):
        raise ValueError(f"{path} is no undo file: it begins with something else; give the one that was named")
    with alone(path):
        return _put_back(path)


def _put_back(path: Path) -> int:
    about, changes, _ = read(path)
    back, kept = set(), []
    for change in reversed(changes):
        place, old = _place(path, change), change["old"]
        now = content(place)
        if now == change["new"] != old:
            place.unlink() if old is None else write(place, encoded(old))
            back.add(change["file"])
        elif now != old:
            kept.append(change)
    if kept:
        write(path, "".join(map(_line, [{HEAD: about}, *reversed(kept), {"finished": kept[0]["batch"]}])))
        names = {change["file"] for change in kept}
        raise ValueError(
            f"{len(back)} files are as they were; {len(names)} were changed since and are left ({some(names)}): "
            f'what was in them before stands under "old" in {path}'
        )
    path.unlink()
    return len(back)


def content(path: Path) -> str | None:
    """What is in a file, None where there is none."""
    return decoded(path.read_bytes()) if path.is_file() else None


def decoded(data: bytes) -> str:
    """The text of a file; bytes that are not UTF-8 come back by `encoded`."""
    return data.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _line(entry: Mapping[str, Any]) -> str:
    return dumps(entry, ensure_ascii=False) + "\n"


def _place(undo_file: Path, change: Mapping[str, Any], what: str = "file") -> Path:
    return Path(os.path.abspath(undo_file.absolute().parent / change[what]))
