"""How a command ends when it is told to: as Ctrl-C ends it, by an exception, so that nothing half done stays."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # `kill`; the terminal goes


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raises KeyboardInterrupt with the number of the signal; one that is ignored (by `nohup`) stays so."""
    taken = [number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def until_stopped() -> NoReturn:
    """Waits for Ctrl-C or a signal. The main thread, which alone runs handlers of signals, wakes up each second: it
    may be another one of a server that the system gave the signal to, and that wakes nobody."""
    while True:
        time.sleep(1)


def stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(number)


def told(error: KeyboardInterrupt) -> tuple[str, int]:
    """What is said of it, and the exit status as shells have it: 130, or for `kill` 143."""
    number = signal.Signals(error.args[0] if error.args else signal.SIGINT)
    what = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
    return f"captioning: {what}; the same command goes on where this one was", 128 + number
