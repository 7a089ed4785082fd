"""Processes that read or draw pictures beside the one that works with them, and end with it.

A signal that comes while a process is forked would be raised in the middle of that, and be lost or told by a traceback:
it is kept until the fork is done. Ctrl-C, and the end of a terminal, reach all processes there; these leave it to the
first.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import context, process
from types import TracebackType

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def held() -> Iterator[None]:
    """Signals that would end this process wait until the context does; in other threads they do not arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    ours = [number for number in STOPS if signal.getsignal(number) is not None]  # else not one of Python's
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in came:
        signal.raise_signal(number)


@contextmanager
def unheard() -> Iterator[None]:
    """A process that is begun in this context, in whatever way, does not hear what a terminal sends to all of them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [number for number in STOPS if number != signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Worker(getattr(context, "ForkProcess", process.BaseProcess)):
    """A process that is forked while signals wait, and that its parent ends."""

    def start(self) -> None:
        with held():
            super().start()

    def run(self) -> None:
        for number in STOPS:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
        sys.excepthook = unless_left
        super().run()


def unless_left(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Shows errors of the thread that hands tensors over, which multiprocessing gives to sys.excepthook and goes on,
    but not that who asked for one has gone meanwhile."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


class Forked(getattr(context, "ForkContext", context.BaseContext)):
    Process = Worker


def forked(workers: int | None) -> Forked | None:
    """For `multiprocessing_context` and `mp_context`: how so many workers begin; None, as usual, elsewhere than on
    Linux, where nothing is forked."""
    return Forked() if workers and sys.platform == "linux" else None
