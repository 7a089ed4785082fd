"""Processes that read or draw pictures beside the one that works with them, and end with it.

A signal that comes while a process is forked would be raised in the middle of that, and be lost or told by a traceback:
it is kept until the fork is done. Ctrl-C reaches all processes of a terminal; these leave it to the first.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import context, process

from torch.utils.data import DataLoader

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def held() -> Iterator[None]:
    """Signals that would end this process wait until the context does; in other threads they do not arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in came:
        signal.raise_signal(number)


class Worker(getattr(context, "ForkProcess", process.BaseProcess)):
    """A process that is forked while signals wait, and that its parent ends."""

    def start(self) -> None:
        with held():
            super().start()

    def run(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in STOPS[1:]:
            signal.signal(number, signal.SIG_DFL)
        super().run()


class Readers(DataLoader):
    """A DataLoader of which all workers are begun, or none."""

    def __iter__(self) -> Iterator:
        with held():
            return super().__iter__()


class Forked(getattr(context, "ForkContext", context.BaseContext)):
    Process = Worker


def forked(workers: int | None) -> Forked | None:
    """For `multiprocessing_context` and `mp_context`: how so many workers begin; None, as usual, elsewhere than on
    Linux, where nothing is forked."""
    return Forked() if workers and sys.platform == "linux" else None
