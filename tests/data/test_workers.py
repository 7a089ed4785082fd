import os
import socket
from multiprocessing import reduction

import pytest

from captioning.data.workers import forked


def hand_over(pipe):
    pipe.send(reduction.DupFd(pipe.fileno()))  # as torch sends the memory of a tensor
    pipe.recv()


@pytest.mark.skipif(not forked(1), reason="nothing is forked here")
def test_who_asks_a_worker_for_a_tensor_and_goes_leaves_no_traceback(capfd):
    """As a command does that is told to end just then."""
    begun = forked(1)
    ours, theirs = begun.Pipe()
    worker = begun.Process(target=hand_over, args=(theirs,))
    worker.start()
    shared = ours.recv()
    with socket.socket(socket.AF_UNIX) as asks:
        asks.connect(shared._id[0])
    os.close(shared.detach())  # it still answers who asks next
    ours.send("done")
    worker.join()
    assert worker.exitcode == 0
    assert capfd.readouterr().err == ""
