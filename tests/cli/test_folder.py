"""--folder and --data are obeyed, or refused, by every command that reads a run; also after the run was moved."""

import json
import shutil

import pytest

from captioning.data import sources
from captioning.evaluation import results, runs
from captioning.evaluation.runs import load_data
from captioning.serving import export
from small_run import SMALL, draw, say, small_home

AGAIN = ["--training.epochs", 1, "--training.batch_size", 4, "--recipe.workers", 0]
NEW = ("green shoes", "brown shoes", "old shoes", "new shoes", "shoes", "a shoe", "one shoe")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with small_home(tmp_path_factory.mktemp("home")) as folder:
        draw(folder / "newset", NEW)
        yield folder


@pytest.fixture
def run(home, tmp_path):
    return shutil.copytree(home / "output" / "run", tmp_path / "run")


@pytest.fixture
def read(monkeypatch):
    """The folders that were read as data sets, in order."""
    found, load = [], sources.load
    monkeypatch.setattr(
        sources, "load", lambda name, folder, **more: found.append(str(folder)) or load(name, folder, **more)
    )
    return found


COMMANDS = {
    "evaluate": lambda run, out: ["evaluate", run],
    "reinforce": lambda run, out: ["reinforce", run, "--run", out, "--rl.samples", 2, *AGAIN],
    "distill": lambda run, out: ["distill", "gru", run, "--run", out, *SMALL[6:]],
    "distill, decoded as before": lambda run, out: ["distill", "gru", run, "--run", out, *SMALL[6:-5], *SMALL[-3:]],
    "caption": lambda run, out: ["caption", "--random", 2, "--model", run],
    "export": lambda run, out: ["export", run, "--onnx", "--check", 1, "--out", out],
}


@pytest.mark.parametrize("data", [[], ["--data", "folder"]], ids=["folder", "data and folder"])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_folder_that_is_given_is_the_one_that_is_read(command, data, run, home, read, tmp_path, monkeypatch):
    if command == "export":
        pytest.importorskip("onnxscript")
        monkeypatch.setattr(export, "write_graph", lambda *parts: None)
        monkeypatch.setattr(export.OnnxCaptioner, "__init__", lambda self, folder: None)
        monkeypatch.setattr("captioning.serving.export.compare", lambda *parts: None)
    if command == "caption":
        data = []  # it has no --data
    assert say(*COMMANDS[command](run, tmp_path / "new"), "--folder", home / "newset", *data) == (0, "")
    assert read == [str(home / "newset")]
    if (tmp_path / "new" / "experiment.json").exists():
        assert runs.read_run(tmp_path / "new")["folder"] == str(home / "newset")


def test_other_data_is_scored_beside_the_runs_own_results(run, home, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results.csv")
    monkeypatch.setattr(results.record, "__defaults__", (tmp_path / "results.csv",))
    assert say("evaluate", run, "--split", "test", "--record") == (0, "")
    own = {path.name: path.read_bytes() for path in run.glob("*_test*.json")}
    assert own.keys() == {"predictions_test.json", "scores_test.json"}
    assert say("evaluate", run, "--split", "test", "--folder", home / "newset", "--record") == (0, "")
    assert {name: (run / name).read_bytes() for name in own} == own
    scores = json.loads((run / "scores_test_newset.json").read_text())
    assert (scores["data"], scores["folder"]) == ("newset", str(home / "newset"))
    assert {row["data"] for row in results.read_results(tmp_path / "results.csv")} == {"folder", "newset"}
    # a folder of the same name elsewhere is neither of the two
    (tmp_path / "deep").mkdir()
    draw(tmp_path / "deep" / "newset", NEW[::-1])
    status, said = say("evaluate", run, "--split", "test", "--folder", tmp_path / "deep" / "newset")
    assert status == 1 and "scores_test_newset.json is there already" in said


def test_predictions_are_keyed_by_the_path_and_not_by_the_name(run, home):
    """Two pictures are called 0.png."""
    assert say("evaluate", run, "--split", "train") == (0, "")
    ids = [entry["image_id"] for entry in json.loads((run / "predictions_train.json").read_text())]
    assert ids == ["a/0.png", "b/0.png", "a/1.png"]
    out = run / "captions.jsonl"
    assert say("caption", home / "photos", "--model", run, "--workers", 0, "--out", out) == (0, "")
    named = [json.loads(line)["image"] for line in out.read_text().splitlines()]
    assert len(named) == len(set(named)) == 7 and str(home / "photos" / "b" / "0.png") in named


def test_the_same_data_elsewhere_is_the_runs_own(run, home, tmp_path, read):
    """A run that was moved to another machine, and its data set to another place there."""
    facts = json.loads((run / "experiment.json").read_text())
    shutil.copytree(home / "photos", tmp_path / "moved")
    for gone in ("/nowhere/photos", "photos"):  # as it was, and as `backup --no-data-paths` leaves it
        (run / "experiment.json").write_text(json.dumps(facts | {"folder": gone}))
        assert say("evaluate", run, "--split", "test", "--folder", tmp_path / "moved") == (0, "")
        assert read.pop() == str(tmp_path / "moved") and (run / "scores_test.json").exists()
        assert not list(run.glob("scores_test_*"))
        (run / "scores_test.json").unlink()
        status, said = say("evaluate", run, "--split", "test")
        assert status == 1 and "say with --folder where that lies" in said and "nowhere" not in said
        shutil.copytree(home / "photos", home / "dataset" / "folder")
        assert say("evaluate", run, "--split", "test") == (0, "")
        assert read.pop() == str(home / "dataset" / "folder") and (run / "scores_test.json").exists()
        shutil.rmtree(home / "dataset" / "folder")


def test_a_folder_that_nothing_would_be_read_from_is_refused(run, home):
    photos = home / "photos"
    for words, said in (
        (["caption", photos, "--model", run, "--folder", photos], "for requests by image_hash and for --random"),
        (["caption", photos, "--random", 1, "--model", run, "--folder", photos], "with --random and pictures"),
        (["export", run, "--onnx", "--check", 0, "--folder", photos], "which --check 0 leaves out"),
        (["evaluate", run, "--folder", photos / "nowhere"], f"{photos / 'nowhere'}: no such folder"),
    ):
        status, message = say(*words)
        assert status == 1 and said in message


@pytest.mark.parametrize("asked", [{}, {"data": "coco"}, {"folder": "x"}, {"data": "coco", "folder": "x"}])
def test_what_is_asked_for_stands_before_what_was_noted(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(runs.paths, "DATASET", tmp_path / "dataset")
    runs.describe_run(tmp_path, data="flickr8k", folder=tmp_path, decoding={"beams": 3}, minutes=2)
    found = runs.read_run(tmp_path, **asked)
    folder = asked.get("folder") or (tmp_path / "dataset" / "coco" if "data" in asked else tmp_path)
    assert found["data"] == asked.get("data", "flickr8k") and found["minutes"] == 2
    assert found["folder"] == str(type(tmp_path)(folder).absolute())


def test_a_data_set_without_a_needed_split_is_one_sentence(run, home):
    described = {"data": "folder", "folder": str(home / "newset")}
    with pytest.raises(ValueError, match="has the splits .*, not 'nosplit'"):
        load_data(run, described, "nosplit")
