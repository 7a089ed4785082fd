"""How a command ends when it is told to: as Ctrl-C ends it, by an exception, so that nothing half done stays."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from captioning.data.workers import STOPS

MOMENT = 0.01  # seconds
USUAL = (signal.SIG_DFL, signal.default_int_handler)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raises KeyboardInterrupt with the number of the signal; one that is ignored (by `nohup`) stays so.

    It may come inside a library's code that makes another error of what is raised there, or in a callback of which
    Python shows the errors and goes on: it is raised all the same, of the callback a moment later. (What the system
    refuses meanwhile, as a full disk does, stays what it is.)
    """
    came: list[int] = []
    later: list[threading.Timer] = []

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        came.append(number)
        raise KeyboardInterrupt(number)

    def unraisable(lost: sys.UnraisableHookArgs) -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt) and came and hasattr(signal, "pthread_kill"):
            # At once it would be raised in here. The hook, as handlers do, runs in the main thread.
            later.append(threading.Timer(MOMENT, signal.pthread_kill, (threading.get_ident(), came[-1])))
            later[-1].start()
        else:
            hook(lost)

    taken = {number: before for number in STOPS if (before := signal.getsignal(number)) in USUAL}
    hook, sys.unraisablehook = sys.unraisablehook, unraisable
    try:
        for number in taken:
            signal.signal(number, stop)
        yield
    except Exception as error:
        if came and not isinstance(error, OSError):
            raise KeyboardInterrupt(came[-1]) from error
        raise
    finally:
        for timer in later:
            timer.cancel()
        sys.unraisablehook = hook
        for number, before in taken.items():
            signal.signal(number, before)


def until_stopped() -> NoReturn:
    """Waits for Ctrl-C or a signal. The main thread, which alone runs handlers of signals, wakes up each second: it
    may be another one of a server that the system gave the signal to, and that wakes nobody."""
    while True:
        time.sleep(1)


def told(error: KeyboardInterrupt) -> tuple[str, int]:
    """What is said of it, and the exit status as shells have it: 130, or for `kill` 143."""
    number = signal.Signals(error.args[0] if error.args else signal.SIGINT)
    what = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
    return f"captioning: {what}; the same command goes on where this one was", 128 + number
