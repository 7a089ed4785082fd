"""What a disk does to those who write on it: it is full, others write there too, and processes are killed on it.

What is half written has a hidden name beside its place (`hidden`). One process at a time writes a file or folder
(`alone`), so that whatever lies there half written when it begins was left by one that was killed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

HIDDEN = re.compile(r"\.(?P<name>.+)\.captioning\.(?P<what>partial|old|gone|lock)")  # what `hidden` makes
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_WORDS = re.compile("os error (?:28|122|27)|PytorchStreamWriter|inline_container")  # of safetensors and of torch
PATIENCE = 2  # seconds of waiting for another process without a word


class DiskFull(OSError):
    """There is no room for a file (`what`: which, and how much there is), but something is safe."""

    def __init__(self, what: str, safe: str):
        super().__init__(f"{what}. {safe}")
        self.what = what


@contextmanager
def room_for(path: Path, safe: str) -> Iterator[None]:
    """Raises DiskFull, which tells what is `safe`, where Python, safetensors or torch say that the disk is full."""
    try:
        yield
    except DiskFull as error:  # of a file within; what is safe is known best out here
        raise DiskFull(error.what, safe) from error
    except Exception as error:  # safetensors' own is one, and torch's a RuntimeError
        if getattr(error, "errno", None) not in FULL and not FULL_WORDS.search(str(error)):
            raise
        what = f"{shown(path)}: no room for it ({error}); {free(path) / 1e6:,.1f} MB are free there"
        raise DiskFull(what, safe) from error


def require_room(path: Path, size: int) -> None:
    """Raises DiskFull where the disk has not `size` bytes left, before they are written."""
    if free(path) < size:
        what = f"{shown(path)}: needs {size / 1e6:,.1f} MB, and {free(path) / 1e6:,.1f} MB are free there"
        raise DiskFull(what, "Nothing of it was written: make room, then give the same command again")


def free(path: Path) -> int:
    """Bytes that are free where `path` is or will be."""
    return shutil.disk_usage(next(each for each in path.absolute().parents if each.exists())).free


@contextmanager
def alone(path: Path, wait: bool = False) -> Iterator[None]:
    """Be the only process that writes a file or folder, until the context or the process ends.

    What a killed one left there is cleared away. Another one that is at work is waited for with `wait`; else
    BlockingIOError says who it is. What is no ordinary file (a pipe, /dev/null) is anybody's.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        yield
        return
    place = path.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    mine = hidden(place, "lock")
    lock = FileLock(mine, is_singleton=True)  # one for all of this process, which may take it again
    try:
        lock.acquire(timeout=PATIENCE if wait else 0)
    except Timeout as error:
        who = mine.read_text() if mine.is_file() else ""
        busy = f"{path}: another process is at work on it ({who or 'just begun'})"
        if not wait:
            raise BlockingIOError(f"{busy}; wait for it, or give another name") from error
        print(f"{busy}: waiting", file=sys.stderr)
        lock.acquire()
    try:
        if lock.lock_counter == 1:
            clear(place)
            with room_for(path, "Nothing was changed"):
                mine.write_text(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}")
        yield
    finally:
        if lock.lock_counter == 1:
            mine.unlink(missing_ok=True)  # one that waits for it finds that out, and makes it again
        lock.release()


def in_place(folder: Path) -> Path:
    """The folder, or where it lies if a process was killed while it was replaced."""
    old = hidden(folder, "old")
    return old if old.exists() and not folder.exists() else folder


def hidden(path: Path, what: str) -> Path:
    """The name beside `path` of what is half written (partial), replaced (old), deleted (gone), or of its lock."""
    return path.with_name(f".{path.name}.captioning.{what}")


def shown(path: Path) -> Path:
    """What a message calls a file or folder that has a hidden name until it is whole."""
    found = HIDDEN.fullmatch(path.name)
    return path.with_name(found["name"]) if found else path


def sweep(folder: Path) -> None:
    """Clear away what killed processes left half written in a folder of the package's own."""
    for path in {shown(path) for path in filter(left_over, folder.iterdir())}:
        with suppress(BlockingIOError), alone(path):
            pass  # it was done when this was alone


def left_over(path: Path) -> bool:
    """Whether it has a name of `hidden`."""
    return bool(HIDDEN.fullmatch(path.name))


def clear(path: Path) -> None:
    """Delete what killed processes left of a file or folder; but what has no successor yet goes back to its place."""
    for left in (hidden(path, what) for what in ("partial", "old", "gone")):
        if left == hidden(path, "old") and not os.path.lexists(path) and os.path.lexists(left):
            left.rename(path)
        elif left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


def follow_umask(folder: Path, pattern: str = "*.safetensors") -> None:
    """Give files the mode that any new file gets: safetensors makes them for their owner alone."""
    probe = hidden(folder / "mode", "partial")
    probe.touch()
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in folder.glob(pattern):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)
