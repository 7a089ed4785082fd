"""How the package writes: whole or not at all, and only where nothing of anybody else's is lost.

A command may write into a folder or file that is new, empty, or its own earlier work, and stops with one sentence
before its own work begins where it is not. A folder that it wrote is marked (`MARK`): which command, and a digest of
each file, so that a file which somebody put there or changed is known. What is half written has a hidden name beside
its place, until a rename puts it there; what becomes of that on a full disk or by a kill is told in disk.py.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from captioning.disk import DiskFull, alone, follow_umask, hidden, room_for

MARK = ".captioning.json"  # of a folder that a command wrote
SHOWN = 3  # names in a message
HALF = re.compile("[\ud800-\udfff]")  # of a pair of surrogates: in the name of a file that is not UTF-8


def claim(folder: Path, by: str, unmarked: Collection[str] = ()) -> None:
    """Make sure that `captioning BY` may write the folder.

    unmarked: the names that all together, and nothing else, are its work of the time before there was a mark. Raises
    FileExistsError for a folder that holds anything else than its earlier work as it left it, NotADirectoryError for a
    file, PermissionError where nothing can be written.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, expected a folder: give another name")
    if folder.is_dir() and {path.name for path in folder.iterdir()} != {*unmarked}:
        refuse_others(folder, foreign(folder, by))
    check_writable(folder.absolute())


def foreign(folder: Path, by: str) -> list[str]:
    """The files in a folder that `captioning BY` has not written, or that are not any more as it wrote them."""
    mark = folder / MARK
    about = json.loads(mark.read_text(encoding="utf-8")) if json_with("by", "files")(mark) else {"by": None}
    known = about["files"] if about["by"] == by else {}
    files = (path for path in sorted(folder.rglob("*")) if not path.is_dir() and path != mark)
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return [name for name, path in names.items() if name not in known or digest(path) != known[name]]


def refuse_others(folder: Path, names: Collection[str]) -> None:
    """Raises FileExistsError naming the files of others in a folder, if there are any."""
    if names:
        raise FileExistsError(
            f"{folder} is not empty and holds what is not this command's earlier work as it left it ({some(names)}): "
            "nothing was changed; give a new folder, or move these files away"
        )


def some(names: Collection[str]) -> str:
    """The first of many names, for a message."""
    return ", ".join(sorted(names)[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def claim_file(path: Path, own: Callable[[Path], bool] = lambda path: False) -> None:
    """Make sure that a command may write the file, before it begins to work for what will be in it.

    `own` knows the command's earlier work by its content. Raises FileExistsError for a file that is neither that nor
    empty, FileNotFoundError where there is no such folder, PermissionError where nothing can be written,
    IsADirectoryError for a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected a file: give a name in it")
    if path.exists() and not path.is_file():  # a pipe, a terminal, /dev/null
        return
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}; make it first, or correct the name")
    check_writable(path.absolute())
    if path.is_file() and path.stat().st_size and not own(path):
        raise FileExistsError(f"{path} is there already and is not this command's earlier work: give another name")


def check_writable(path: Path) -> None:
    there = next(each for each in (path, *path.parents) if each.exists())
    for place in {there, there.parent if there == path else there}:  # what is written is renamed into its folder
        if not os.access(place, os.W_OK):
            raise PermissionError(f"{path}: permission denied, {place} cannot be written to")


def json_with(*keys: str) -> Callable[[Path], bool]:
    """Whether a file is a JSON object that has these keys, for `claim_file`."""

    def own(path: Path) -> bool:
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        except ValueError:
            return False
        return isinstance(found, dict) and found.keys() >= {*keys}

    return own


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A hidden name beside a file, to be written; it takes the file's place when the context ends well, and goes else.

    What is no ordinary file (a pipe, /dev/null) is written to as it is. Another process that writes the same file is
    waited for. Raises DiskFull.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()  # else a link would be replaced and not the file that it leads to
    safe = "What was there stays" if path.is_file() else "Nothing was written"
    with alone(path, wait=True):
        partial = hidden(path, "partial")
        try:
            with room_for(path, f"{safe}: make room, then give the same command again"):
                partial.touch()
                mode = (path if path.is_file() else partial).stat().st_mode & 0o777
                yield partial
                partial.chmod(mode)  # safetensors makes files that nobody else can read
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def kept(path: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """A file of a cache, made by `make(a name aside)` if it is not there, once however many processes ask.

    Where it cannot be kept (the folder is another user's, or full) it is made in a temporary folder, for this context.
    """

    def fill(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_writable(path.parent)
        with alone(path, wait=True):
            if not path.is_file():
                with aside(path) as partial:
                    make(partial)

    with ExitStack() as stack:
        if not path.is_file():
            try:
                fill(path)
            except (PermissionError, NotADirectoryError, FileExistsError, DiskFull) as error:
                print(f"kept in a temporary folder only: {error}", file=sys.stderr)
                folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
                path = Path(folder) / path.name
                fill(path)
        yield path


def write(path: Path, content: str | bytes) -> None:
    """Put a file in place, whole or not at all, and on the disk."""
    with aside(path) as partial, partial.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        if partial != path:
            os.fsync(file.fileno())


def append(path: Path, content: bytes) -> None:
    """Add whole lines to a file, and bring them onto the disk. Of what does not fit (DiskFull) nothing stays."""
    safe = "What it has stays: make room, then the same command goes on from there"
    with room_for(path, safe), path.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            while content:
                content = content[file.write(content) :]
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(size)
            raise


def csv_line(cells: Iterable[object]) -> str:
    """A row of a CSV file; a cell with a line break is in quotes, whichever it is (csv knows that of its rows)."""
    written = io.StringIO(newline="")
    csv.writer(written).writerow(cells)
    return written.getvalue().removesuffix("\r\n") + "\n"


def write_json(path: Path, content: Any, indent: int | None = 1) -> None:
    """The same for JSON, in UTF-8."""
    write(path, dumps(content, indent=indent, ensure_ascii=False) + "\n")


def dumps(content: Any, **options: Any) -> str:
    """`json.dumps`, but what is no finite number becomes null, and half a character an escape, whatever `options`."""
    text = json.dumps(_finite(content), allow_nan=False, **options)
    return HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def differences(begun: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In which settings a run is another than the one that was begun, for a message."""
    found = []
    for key in dict.fromkeys([*begun, *now]):
        old, new = begun.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [differences(old, new)] * (old != new)
        elif old != new:
            found.append(f"{key} {dumps(old, ensure_ascii=False)}, now {dumps(new, ensure_ascii=False)}")
    return "; ".join(found)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


@contextmanager
def new_folder(folder: Path, by: str | None = None, unmarked: Collection[str] = ()) -> Iterator[Path]:
    """A hidden folder beside the one that `captioning BY` claims: it takes its place when the context ends well.

    Without `by` the folder gets no mark, and must be new or empty. Raises what `claim` raises, BlockingIOError where
    another process is at work on it, DiskFull.
    """
    claim(folder, by or "", unmarked)
    with alone(folder), replaced(folder) as partial:
        yield partial
        if by:
            files = (path for path in sorted(partial.rglob("*")) if path.is_file())
            known = {path.relative_to(partial).as_posix(): digest(path) for path in files}
            write_json(partial / MARK, {"by": by, "files": known})
        claim(folder, by or "", unmarked)  # what came while this one was filled stays


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A hidden folder beside another, to be filled, which it replaces when the context ends well, and goes else.

    Another process that replaces the same folder is waited for. Raises DiskFull.
    """
    with alone(folder, wait=True):
        partial = hidden(folder.resolve(), "partial")
        shutil.rmtree(partial, ignore_errors=True)  # of one that was killed: nobody else is at work here
        partial.mkdir()
        try:
            safe = "What was there stays" if folder.exists() else "Nothing was written"
            with room_for(folder, f"{safe}: make room, then give the same command again"):
                yield partial
            follow_umask(partial, "**/*")
            put_in_place(partial, folder.resolve())
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def put_in_place(new: Path, folder: Path) -> None:
    """Rename a folder; what is there goes only after the new one has come. Between the two `in_place` finds it."""
    old = hidden(folder, "old")
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    old.unlink() if old.is_symlink() else shutil.rmtree(old, ignore_errors=True)


def remove(folder: Path) -> None:
    """Delete a folder, if it is there; it goes out of the way at once, so that a kill leaves no half of it behind.

    Of a link, which stays, the folder that it leads to is emptied.
    """
    if folder.exists():
        place = folder.resolve()
        gone = hidden(place, "gone")
        shutil.rmtree(gone, ignore_errors=True)
        place.rename(gone)
        if folder.is_symlink():
            place.mkdir()
        shutil.rmtree(gone)


def digest(path: Path) -> str:
    """SHA-256 of a file; of a link where it leads to."""
    if path.is_symlink():
        return f"link to {path.readlink()}"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
