"""A run in one archive and back; an archive that would write elsewhere is refused, whole."""

import io
import json
import tarfile

import pytest
import torch

from captioning.models.saved import load
from captioning.sharing import backup as archives
from captioning.sharing import portable


@pytest.fixture
def run(make_model, tmp_path):
    """A run with what training leaves behind."""
    folder = tmp_path / "run"
    make_model("gru").save_pretrained(folder / "best")
    (folder / "config.json").write_text('{"lr": 0.1, "encoder": {"weights": "/home/me/w.pth"}}')
    command = "python -m captioning train gru --folder '/home/me/my data/set' --run=/home/me/out --data flickr8k"
    (folder / "experiment.json").write_text(json.dumps({"folder": "/home/me/my data/set", "command": command}))
    (folder / "log.jsonl").write_text('{"epoch": 1}\n')
    (folder / "scores_val.json").write_text("{}")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "optimizer.bin").write_text("large")
    return folder


def test_there_and_back(run, tmp_path):
    names = archives.backup(run, tmp_path / "a.tar")
    assert {"best/model.safetensors", "best/config.json", "best/tokenizer.json", "config.json", "log.jsonl"} <= {*names}
    assert not any("checkpoints" in name for name in names)
    assert sorted(archives.restore(tmp_path / "a.tar", tmp_path / "deep" / "back")) == sorted(names)
    before, after = load(run).state_dict(), load(tmp_path / "deep" / "back").state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (tmp_path / "deep" / "back" / "config.json").read_text() == (run / "config.json").read_text()


def test_without_data_paths_nothing_tells_whose_machine_it_was(run, tmp_path):
    archives.backup(run, tmp_path / "a.tar", data_paths=False)
    assert b"/home/me" not in (tmp_path / "a.tar").read_bytes()
    archives.restore(tmp_path / "a.tar", tmp_path / "back")
    facts = json.loads((tmp_path / "back" / "experiment.json").read_text())
    assert facts == {
        "folder": "set",
        "command": "python -m captioning train gru --folder set --run=out --data flickr8k",
    }
    assert json.loads((tmp_path / "back" / "config.json").read_text())["encoder"] == {"weights": "w.pth"}
    load(tmp_path / "back")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("../a/b", "b"), ("./a/b", "b"), ("a/../../b/c", "c"), ("..\\a\\b", "b"),
        ("/a/b", "b"), ("~/b", "b"), ("C:\\a\\b", "b"), ("d:/a/b/", "b"), ("me/captioner", "me/captioner"),
        ("https://host/a", "https://host/a"), ("", ""), ("flickr8k", "flickr8k"), ("...", "..."),
    ],
)  # fmt: skip
def test_paths_are_cut_to_their_last_name(text, expected):
    assert portable.last_name(text) == expected


def test_what_is_there_is_not_replaced(run, tmp_path):
    archives.backup(run, tmp_path / "a.tar")
    with pytest.raises(FileExistsError, match=r"a\.tar is there already"):
        archives.backup(run, tmp_path / "a.tar")
    with pytest.raises(FileExistsError, match="run is not empty"):
        archives.restore(tmp_path / "a.tar", run)


def entry(name, **more):
    found = tarfile.TarInfo(name)
    for key, value in more.items():
        setattr(found, key, value)
    return found


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (entry("/etc/cron"), "an absolute path"),
        (entry("C:\\x"), "an absolute path"),
        (entry("best/../../x"), "climbs out of the folder"),
        (entry("best\\..\\..\\x"), "climbs out of the folder"),
        (entry("x", type=tarfile.SYMTYPE, linkname="/etc"), "a link to /etc"),
        (entry("x", type=tarfile.LNKTYPE, linkname="../y"), r"a link to \.\./y"),
        (entry("x", type=tarfile.CHRTYPE), "neither a file nor a folder"),
    ],
)
def test_archives_that_climb_out_are_refused_before_anything_is_written(bad, why, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    with tarfile.open(tmp_path / "bad.tar", "w") as packed:
        packed.addfile(entry("best/config.json", size=2), io.BytesIO(b"{}"))
        packed.addfile(bad)
    with pytest.raises(ValueError, match=rf"refused, nothing was written.*{why}"):
        archives.restore(tmp_path / "bad.tar", inside / "run")
    assert list(inside.iterdir()) == [] and not (tmp_path / "x").exists()


def test_other_files_are_no_backups(tmp_path):
    (tmp_path / "a.tar").write_text("not an archive")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        archives.restore(tmp_path / "a.tar", tmp_path / "run")
    with tarfile.open(tmp_path / "b.tar", "w") as packed:
        packed.addfile(entry("config.json", size=2), io.BytesIO(b"{}"))
    with pytest.raises(ValueError, match="the archive holds no saved model"):
        archives.restore(tmp_path / "b.tar", tmp_path / "run")
    assert not (tmp_path / "run").exists()
