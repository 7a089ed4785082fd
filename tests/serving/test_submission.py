"""Submission files: what the checker refuses, and the command from a run to a file."""

import json
import sys
from pathlib import Path

import pytest
import torch

from captioning import cli
from captioning.data import minivizwiz
from captioning.evaluation.runs import describe_run
from captioning.models.config import EncoderConfig
from captioning.serving import submission
from captioning.text import WordTokenizer

IDS = [7, 8, 9]
GOOD = [{"image_id": i, "caption": f"thing {i}"} for i in IDS]


def test_a_complete_file_has_no_problems():
    assert submission.problems(GOOD, IDS) == []
    assert submission.problems(GOOD[::-1], IDS) == []


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (GOOD[:2], "image_id 9: no caption"),
        ([*GOOD, GOOD[0]], "image_id 7: 2 captions, expected 1"),
        ([*GOOD, {"image_id": 1, "caption": "x"}], "image_id 1: no picture of this split"),
        ([*GOOD[:2], {"image_id": 9, "caption": " "}], "image_id 9: caption ' ', expected some words"),
        ([*GOOD[:2], {"image_id": 9, "caption": None}], "image_id 9: caption None, expected some words"),
        ([*GOOD[:2], {"image_id": "9", "caption": "x"}], "entry 2: image_id '9', expected a number without quotes"),
        ([*GOOD[:2], {"image_id": True, "caption": "x"}], "entry 2: image_id True, expected a number without quotes"),
        ([*GOOD[:2], {"id": 9, "caption": "x"}], "entry 2: {'id': 9, 'caption': 'x'}, expected image_id and caption"),
        ({"7": "x"}, "a dict, expected a list"),
    ],
)
def test_each_fault_is_named(entries, said):
    assert any(problem.startswith(said) for problem in submission.problems(entries, IDS))


def test_a_file_is_written_whole_or_not_at_all_and_never_over_another(tmp_path):
    path, predictions = tmp_path / "submission.json", {"9": "c", "7": "a", "8": "b"}
    with pytest.raises(ValueError, match="image_id 8: no caption"):
        submission.write({"7": "a", "9": "c"}, IDS, path)
    assert list(tmp_path.iterdir()) == []
    submission.write(predictions, IDS, path)
    assert json.loads(path.read_text()) == [{"image_id": i, "caption": c} for i, c in zip(IDS, "abc", strict=True)]
    with pytest.raises(FileExistsError, match="is there already"):
        submission.write({"7": "x", "8": "x", "9": "x"}, IDS, path)
    assert json.loads(path.read_text())[0]["caption"] == "a"
    submission.write({"7": "x", "8": "x", "9": "x"}, IDS, path, overwrite=True)
    assert json.loads(path.read_text())[0]["caption"] == "x"


@pytest.fixture
def run(make_model, tmp_path):
    """A captioner that was never trained, as a finished run on VizWiz."""
    torch.manual_seed(0)
    folder = minivizwiz.build(tmp_path / "data", {"train": 2, "val": 2, "test": 3}, size=32, seed=0, workers=1)
    tokenizer = WordTokenizer.train(["a man in pants"])
    encoder = EncoderConfig("resnet10t", {"channels": [8, 16, 32, 64], "stem_width": 8}, None, "all", 32)
    make_model("gru", encoder, tokenizer).save_pretrained(tmp_path / "run" / "best")
    describe_run(tmp_path / "run", data="vizwiz", folder=folder, decoding={"max_length": 5, "min_length": 2}, minutes=1)
    return tmp_path / "run"


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["captioning", *map(str, words)])
    cli.main()


def test_from_a_run_to_a_checked_file(run, monkeypatch, capsys):
    command(monkeypatch, "submit", run)
    path = run / "submission_test.json"
    assert [entry["image_id"] for entry in json.loads(path.read_text())] == [4, 5, 6]
    assert "3 captions, checked" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="is there already"):
        command(monkeypatch, "submit", run)
    command(monkeypatch, "submit", run, "--overwrite")
    command(monkeypatch, "submit", run, "--check", path)
    path.write_text(json.dumps(json.loads(path.read_text())[1:]))
    with pytest.raises(SystemExit, match="image_id 4: no caption"):
        command(monkeypatch, "submit", run, "--check", path)
    with pytest.raises(SystemExit, match=r"annotations/dev\.json: no such file"):
        command(monkeypatch, "submit", run, "--split", "dev")


@pytest.mark.parametrize("lost", [[5], [4, 5, 6]])
def test_a_picture_that_is_missing_is_named_before_anything_is_captioned(lost, run, monkeypatch):
    folder = Path(json.loads((run / "experiment.json").read_text())["folder"])
    for number in lost:
        (folder / "test" / f"VizWiz_test_{number:08d}.jpg").unlink()
    monkeypatch.setattr("captioning.models.base.CaptionModel.generate", None)
    said = (
        rf"data.*: {len(lost)} of 3 pictures of test are missing or left out \(image_id {', '.join(map(str, lost))}\)"
    )
    with pytest.warns(UserWarning, match="missing picture"), pytest.raises(SystemExit, match=said):
        command(monkeypatch, "submit", run)
    assert not (run / "submission_test.json").exists()


@pytest.mark.parametrize("more", [["--out", "x.json"], ["--overwrite"], ["--decoding.beams", 2]])
def test_a_check_takes_no_options_of_writing(more, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="--out, --overwrite and --decoding are for a new file"):
        command(monkeypatch, "submit", run, "--check", tmp_path / "a.json", *more)
