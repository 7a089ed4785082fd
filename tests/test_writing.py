"""What may be written where, and how: only over nothing or one's own, and whole or not at all."""

import json
import os

import pytest

from captioning import disk, writing
from captioning.evaluation import runs


def snapshot(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make(folder, **files):
    with writing.new_folder(folder, "export") as made:
        for name, text in (files or {"a": "1"}).items():
            (made / name).write_text(text)


def test_a_folder_that_is_new_empty_or_ones_own_is_written_and_replaced(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "deep" / "new", tmp_path / "empty"):
        make(folder, a="1", b="2")
        make(folder, a="3")
        assert {path.name for path in folder.iterdir()} == {"a", writing.MARK} and (folder / "a").read_text() == "3"
        assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "thesis.txt").write_text("mine"),
        lambda folder: (folder / "a").write_text("changed by hand"),
        lambda folder: ((folder / "deep").mkdir(), (folder / "deep" / "x").write_text("mine")),
        lambda folder: (folder / "link").symlink_to("nowhere"),
        lambda folder: (folder / writing.MARK).write_text("[]"),
        lambda folder: (folder / writing.MARK).unlink(),
    ],
)
def test_what_others_put_or_changed_there_stays(tmp_path, change):
    make(tmp_path / "t")
    change(tmp_path / "t")
    before = snapshot(tmp_path)
    with pytest.raises(FileExistsError, match="t is not empty and holds what is not this command's earlier work"):
        make(tmp_path / "t")
    assert snapshot(tmp_path) == before


def test_the_folder_of_another_command_and_a_file_are_refused(tmp_path):
    make(tmp_path / "t")
    with pytest.raises(FileExistsError, match=r"\(a\)"):
        writing.claim(tmp_path / "t", "push")
    with pytest.raises(NotADirectoryError, match="a is a file, expected a folder"):
        writing.claim(tmp_path / "t" / "a", "export")


def test_work_from_before_there_was_a_mark_is_known_by_all_of_its_names(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).touch()
    writing.claim(tmp_path, "export", unmarked=("a", "b"))
    with pytest.raises(FileExistsError):
        writing.claim(tmp_path, "export", unmarked=("a", "b", "c"))


def test_bystanders_with_the_names_of_other_tools_stay(tmp_path):
    for name in ("t.old", "t.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("mine")
    make(tmp_path / "t")
    make(tmp_path / "t")
    writing.remove(tmp_path / "t")
    assert {path.name for path in tmp_path.iterdir()} == {"t.old", "t.partial"}
    assert all((tmp_path / name / "thesis.txt").exists() for name in ("t.old", "t.partial"))


def test_what_fails_in_the_middle_leaves_what_was_there(tmp_path):
    make(tmp_path / "t")
    (tmp_path / "x.json").write_text("good")
    before = snapshot(tmp_path)
    with pytest.raises(ZeroDivisionError), writing.new_folder(tmp_path / "t", "export") as made:
        (made / "a").write_text("half")
        _ = 1 / 0
    with pytest.raises(ZeroDivisionError), writing.aside(tmp_path / "x.json") as partial:
        partial.write_text("half")
        _ = 1 / 0
    assert snapshot(tmp_path) == before


def test_a_full_disk_leaves_the_good_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    writing.write_json(path, {"good": 1})

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        writing.write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"good": 1} and list(tmp_path.iterdir()) == [path]


def test_a_file_is_claimed_before_the_work(tmp_path):
    (tmp_path / "mine.json").write_text('{"a": 1}')
    (tmp_path / "empty.json").touch()
    own = writing.json_with("scores")
    for path in (tmp_path / "new.json", tmp_path / "empty.json", "/dev/null"):
        writing.claim_file(type(tmp_path)(path), own)
    with pytest.raises(FileExistsError, match=r"mine\.json is there already and is not this command's earlier work"):
        writing.claim_file(tmp_path / "mine.json", own)
    (tmp_path / "mine.json").write_text('{"scores": 1, "more": 2}')
    writing.claim_file(tmp_path / "mine.json", own)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nodir; make it first"):
        writing.claim_file(tmp_path / "nodir" / "x.json", own)
    with pytest.raises(IsADirectoryError, match="is a folder, expected a file"):
        writing.claim_file(tmp_path, own)


def test_a_place_without_permission_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(writing.os, "access", lambda path, mode: False)
    for claim in (lambda: writing.claim_file(tmp_path / "x"), lambda: writing.claim(tmp_path / "y" / "z", "export")):
        with pytest.raises(PermissionError, match="permission denied"):
            claim()


def test_a_link_stays_a_link_and_a_file_keeps_its_mode(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    writing.write(link, "new")
    assert link.is_symlink() and real.read_text() == "new" and real.stat().st_mode & 0o777 == 0o640
    writing.write(tmp_path / "fresh", "x")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o666 & ~mask


def test_json_with_names_that_are_no_utf8_is_json(tmp_path):
    writing.write_json(tmp_path / "x.json", {"bad\udcff": "Ärmel"})
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == {"bad\udcff": "Ärmel"}


def test_of_a_linked_folder_the_link_stays(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a").touch()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    writing.remove(tmp_path / "run")
    assert (tmp_path / "run").is_symlink() and not any((tmp_path / "run").iterdir())
    disk.hidden(tmp_path / "best", "partial").symlink_to(tmp_path / "disk")
    disk.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "run"]


def test_a_run_within_a_run_is_not_replaced_with_it(tmp_path):
    for run in (tmp_path, tmp_path / "child"):
        runs.open_run(run, {"processes": 1}, resume=True)
    with pytest.raises(ValueError, match="holds the run and other files: child. Delete or move them yourself"):
        runs.open_run(tmp_path, {"processes": 1}, resume=False)
    assert (tmp_path / "child" / "config.json").is_file()
