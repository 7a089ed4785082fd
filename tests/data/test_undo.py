"""Undo files: many changes of one file, those of other people, and one process at a time.

How a run is killed and goes on is in tests/serving/test_written.py.
"""

import os

import pytest

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
        changes.change([(path.with_name("a.jpg"), path.with_name(name), new)])


def test_many_changes_of_a_file_go_back_to_the_first(path):
    for new in (b"second", b"first \xff\r\n", b"third", b"second"):
        change(path, "a.txt", new)
    change(path, "b.txt", b"new")
    assert undo.undo(path) == 2
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == {"a.txt": b"first \xff\r\n"}
    with pytest.raises(FileNotFoundError, match=r"undo\.jsonl: nothing to undo"):
        undo.undo(path)


def test_what_somebody_put_back_stays_but_for_a_run_that_goes_on(path):
    change(path, "a.txt", b"second")
    (path.parent / "a.txt").write_bytes(b"first \xff\r\n")
    change(path, "b.txt", b"new")
    assert (path.parent / "a.txt").read_bytes() == b"first \xff\r\n"
    (path.parent / "b.txt").unlink()
    with changing(path, ABOUT) as changes:
        assert changes.go_on() == {str(path.parent / "a.jpg")}
    assert (path.parent / "b.txt").read_bytes() == b"new"  # of the last changes
    assert (path.parent / "a.txt").read_bytes() == b"first \xff\r\n"


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
