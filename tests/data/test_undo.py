"""Undo files: many changes of one file, those of other people, and one process at a time.

How a run is killed and goes on is in tests/serving/test_written.py.
"""

import os

import pytest

from captioning import writing
from captioning.data import undo
from captioning.data.undo import changing
from captioning.disk import alone

ABOUT = {"by": "test"}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"first \xff\r\n")
    return tmp_path / "undo.jsonl"


def change(path, name, new):
    with changing(path, ABOUT) as changes:
        changes.change([(path.with_name(name).with_suffix(".jpg"), path.with_name(name), new)])


def test_many_changes_of_a_file_go_back_to_the_first(path):
    for new in (b"second", b"first \xff\r\n", b"third", b"second"):
        change(path, "a.txt", new)
    change(path, "b.txt", b"new")
    assert undo.undo(path) == 2
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == {"a.txt": b"first \xff\r\n"}
    with pytest.raises(FileNotFoundError, match=r"undo\.jsonl: nothing to undo"):
        undo.undo(path)


def killed_before_writing(path, monkeypatch, *names):
    """A batch of files, of which the last ones are not written any more."""

    def dies(place, content):
        if place.name in names:
            raise KeyboardInterrupt
        writing.write(place, content)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), changing(path, ABOUT) as changes:
        patch.setattr(undo, "write", dies)
        changes.change([(path.with_name(f"{n}.jpg"), path.with_name(f"{n}.txt"), b"new") for n in "bcd"])


def test_a_batch_that_a_kill_cut_off_is_made_where_its_picture_is_still_there(path, monkeypatch):
    change(path, "a.txt", b"second")
    (path.parent / "a.txt").write_bytes(b"first \xff\r\n")
    killed_before_writing(path, monkeypatch, "c.txt", "d.txt")
    (path.parent / "b.txt").write_bytes(b"by hand")
    (path.parent / "c.jpg").touch()
    with changing(path, ABOUT) as changes:
        assert changes.go_on() == {str(path.parent / name) for name in ("b.jpg", "c.jpg")}
    assert (path.parent / "b.txt").read_bytes() == b"by hand" and (path.parent / "c.txt").read_bytes() == b"new"
    assert not (path.parent / "d.txt").exists()  # its picture is gone
    assert (path.parent / "a.txt").read_bytes() == b"first \xff\r\n"  # of a batch before


@pytest.mark.parametrize("killed", [False, True])
def test_a_finished_batch_is_not_made_again(path, monkeypatch, killed):
    """Neither one that was written in one go nor one that a second run finished."""
    (path.parent / "b.jpg").touch()
    if killed:
        killed_before_writing(path, monkeypatch, "b.txt")
        with changing(path, ABOUT) as changes:
            changes.go_on()
    else:
        change(path, "b.txt", b"new")
    (path.parent / "b.txt").unlink()
    with changing(path, ABOUT) as changes:
        assert changes.go_on() == set()
    assert not (path.parent / "b.txt").exists()


def test_where_nothing_changes_there_is_no_undo_file(path):
    with changing(path, ABOUT) as changes:
        changes.change([])
        assert changes.told() == "nothing was changed" and not path.exists()
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]


def test_one_process_changes_or_takes_back_at_a_time(path):
    change(path, "a.txt", b"second")
    with changing(path, ABOUT):
        if not (child := os.fork()):
            told = 0
            for work in (lambda: undo.undo(path), lambda: change(path, "a.txt", b"third")):
                try:
                    work()
                except BlockingIOError as error:
                    told += f"another process is at work on it (process {os.getppid()}" in str(error)
            os._exit(told)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert (path.parent / "a.txt").read_bytes() == b"second"
    with alone(path):
        assert undo.undo(path) == 1
