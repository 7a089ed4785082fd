import signal
import sys
import time

import pytest

from captioning.cli.stopping import ended_by_signals


def test_a_signal_that_a_library_made_another_error_of_is_told_as_a_signal():
    with pytest.raises(KeyboardInterrupt) as raised, ended_by_signals():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("could not determine the shape") from None
    assert raised.value.args == (signal.SIGTERM,)


def test_what_the_system_refuses_stays_what_it_is():
    with pytest.raises(OSError, match="full"), ended_by_signals():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            raise OSError("the disk is full")


def test_an_error_without_a_signal_stays_one():
    with pytest.raises(RuntimeError), ended_by_signals():
        raise RuntimeError


class Callback:
    """Is called where Python shows errors and goes on, as what several libraries do at the end of an object."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_in_a_callback_is_raised_a_moment_later(capfd):
    usual, begun = signal.getsignal(signal.SIGTERM), time.monotonic()
    with pytest.raises(KeyboardInterrupt) as raised, ended_by_signals():
        Callback()
        time.sleep(60)
    assert time.monotonic() - begun < 30
    assert raised.value.args == (signal.SIGTERM,)
    assert capfd.readouterr().err == ""
    assert signal.getsignal(signal.SIGTERM) is usual


def test_a_signal_in_the_last_callback_of_a_command_does_not_come_after_it(monkeypatch):
    monkeypatch.setattr("captioning.cli.stopping.MOMENT", 0.2)
    with ended_by_signals():
        Callback()
    time.sleep(0.5)  # the usual handler of SIGTERM would end all of these tests


def test_another_error_in_a_callback_is_shown(capfd, monkeypatch):
    monkeypatch.setattr("sys.unraisablehook", shown := lambda lost: print(lost.exc_value))
    monkeypatch.setattr(Callback, "__del__", lambda self: 1 / 0)
    with ended_by_signals():
        Callback()
    assert capfd.readouterr().out == "division by zero\n"
    assert sys.unraisablehook is shown
