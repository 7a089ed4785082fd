"""One writer at a time, full disks, and what killed processes left."""

import errno
import multiprocessing
import os
import socket
import time

import pytest
import torch
from safetensors.torch import save_file

from captioning import disk, writing


def hold(path, held):
    with disk.alone(path):
        held.set()
        time.sleep(60)


@pytest.fixture
def held(tmp_path):
    """A file that another process is at work on, and that process."""
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=hold, args=(tmp_path / "x", begun))
    process.start()
    assert begun.wait(60)
    yield tmp_path / "x", process
    process.kill()
    process.join()


def test_a_second_process_is_told_who_is_at_work(held):
    path, process = held
    who = rf"process {process.pid} on {socket.gethostname()} since 20\d\d-.*wait for it, or give another name"
    for write in (lambda: disk.alone(path), lambda: writing.new_folder(path, "push")):
        with pytest.raises(BlockingIOError, match=who), write():
            pass
    process.kill()
    process.join()
    with disk.alone(path):  # the lock ended with its process
        pass
    assert list(path.parent.iterdir()) == []


def test_one_process_may_be_alone_twice(tmp_path):
    with disk.alone(tmp_path / "x"), disk.alone(tmp_path / "x"):
        writing.write(tmp_path / "x", "a")
        assert {path.name for path in tmp_path.iterdir()} == {"x", ".x.captioning.lock"}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_is_no_file_is_anybodys(tmp_path):
    with disk.alone(tmp_path / "x" / ".." / ".." / ".." / ".." / ".." / "dev" / "null"):
        pass


@pytest.mark.parametrize("killed", ["partial", "gone"])
def test_what_a_killed_process_left_goes_with_the_next(tmp_path, killed):
    for name in ("a", "b"):
        disk.hidden(tmp_path / name, killed).mkdir()
        (disk.hidden(tmp_path / name, killed) / "half").touch()
    writing.write(tmp_path / "a", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".b.captioning.{killed}", "a"]
    disk.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_between_two_renames_the_old_one_is_found_and_put_back(tmp_path):
    best = tmp_path / "best"
    assert disk.in_place(best) == best
    disk.hidden(best, "old").mkdir()
    (disk.hidden(best, "old") / "weights").touch()
    disk.hidden(best, "partial").mkdir()
    assert disk.in_place(best) == disk.hidden(best, "old")
    disk.sweep(tmp_path)
    assert disk.in_place(best) == best and [path.name for path in tmp_path.rglob("*")] == ["best", "weights"]


ERRORS = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 128 vs 22"),
    RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_a_full_disk_is_told_with_the_file_and_what_is_safe(tmp_path, error):
    with pytest.raises(disk.DiskFull, match=r"a\.json: no room for it \(.*MB are free there\. What was there stays"):
        (tmp_path / "a.json").write_text("good")
        with writing.aside(tmp_path / "a.json"):
            raise error
    told = pytest.raises(disk.DiskFull, match=r"a\.json: no room.*\. The checkpoint is intact")
    with told, disk.room_for(tmp_path, "The checkpoint is intact"), writing.aside(tmp_path / "a.json"):
        raise error
    assert (tmp_path / "a.json").read_text() == "good" and len(list(tmp_path.iterdir())) == 1


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(PermissionError, match="mine"), disk.room_for(tmp_path, ""):
        raise PermissionError("mine")


def test_what_will_not_fit_is_told_before_it_is_written(tmp_path):
    disk.require_room(tmp_path / "a", 10)
    with pytest.raises(disk.DiskFull, match=r"a: needs 1,000,000,000.0 MB, and .* MB are free there. Nothing of it"):
        disk.require_room(disk.hidden(tmp_path / "a", "partial"), 10**15)


def test_half_a_line_is_not_appended(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    writing.append(path, b"1\n")

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(disk.DiskFull, match=r"a\.jsonl: no room.*What it has stays"):
        writing.append(path, b"2\n")
    assert path.read_bytes() == b"1\n"


def test_weights_can_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o027)
    try:
        with writing.aside(tmp_path / "a.safetensors") as partial:
            save_file({"a": torch.zeros(1)}, partial)
        with writing.replaced(tmp_path / "model") as folder:
            save_file({"a": torch.zeros(1)}, folder / "a.safetensors")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.safetensors")}
    assert modes == {0o640}


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch, capsys):
    made = []

    def make(path):
        made.append(path)
        path.write_text("much")

    for _ in range(2):
        with writing.kept(tmp_path / "cache" / "x", make) as found:
            assert found.read_text() == "much" and found.parent == tmp_path / "cache"
    assert len(made) == 1 and [path.name for path in (tmp_path / "cache").iterdir()] == ["x"]
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: tmp_path not in path.parents and access(path, mode))
    with writing.kept(tmp_path / "cache" / "y", make) as found:
        assert found.read_text() == "much" and tmp_path not in found.parents
    assert not found.exists() and "kept in a temporary folder only: " in capsys.readouterr().err
