"""Whatever a command writes, it loses nothing of anybody else's: all verbs that write, on folders with other files."""

import json
import shutil

import pytest

from captioning.data import minivizwiz
from captioning.evaluation import results
from captioning.evaluation.runs import describe_run
from captioning.serving import export
from small_run import SMALL, say, small_home

STUDENT = SMALL[6:]  # it sees through the encoder of its teacher
AGAIN = ["--training.epochs", 1, "--training.batch_size", 4, "--recipe.workers", 0]
WRITERS = '[{"kind": "captioner", "prompt": "clothes-v1", "model": "%s"}]'
NAMES = ("thesis.txt", "README.md", "config.json", "model.safetensors", "log.jsonl", "onnx.json", "index.html",
         "train_captions.json", "train.parquet", "metadata.jsonl", "best/config.json")  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with small_home(tmp_path_factory.mktemp("home")) as folder:
        yield folder


@pytest.fixture(scope="module")
def given(home):
    """What the commands read."""
    run, place = home / "output" / "run", home / "given"
    place.mkdir()
    assert say("backup", run, "--out", place / "run.tar") == (0, "")
    truth = {"1": ["a man rides a horse"], "2": ["two dogs play"]}
    (place / "truth.json").write_text(json.dumps(truth))
    (place / "said.json").write_text(json.dumps({key: texts[0] for key, texts in truth.items()}))
    (place / "requests.json").write_text(json.dumps([{"image": str(home / "photos" / "a" / "0.png")}]))
    shutil.copytree(run / "best", place / "vizwiz" / "best")
    vizwiz = minivizwiz.build(place / "data", {"train": 2, "val": 2, "test": 2}, size=32, seed=0, workers=1)
    describe_run(place / "vizwiz", data="vizwiz", folder=vizwiz, decoding={"max_length": 5}, minutes=1)
    return {"run": run, "photos": home / "photos"} | {
        name: place / file
        for name, file in [
            ("tar", "run.tar"), ("said", "said.json"), ("truth", "truth.json"), ("requests", "requests.json"),
            ("vizwiz", "vizwiz"),
        ]
    }  # fmt: skip


def snapshot(folder):
    """Everything in a folder, byte for byte."""
    there = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else "folder" for path in there}


INTO_FOLDERS = {
    "train": lambda g, out: ["train", "gru", "--data", "folder", "--folder", g["photos"], "--run", out, *SMALL],
    "reinforce": lambda g, out: ["reinforce", g["run"], "--run", out, "--rl.samples", 2, *AGAIN],
    "distill": lambda g, out: ["distill", "gru", g["run"], "--run", out, *STUDENT],
    "export": lambda g, out: ["export", g["run"], "--onnx", "--check", 0, "--out", out],
    "push": lambda g, out: ["push", g["run"], "me/captioner", "--out", out],
    "restore": lambda g, out: ["restore", g["tar"], out],
    "rebuild": lambda g, out: [
        *("rebuild", out, "--data", "folder", "--folder", g["photos"]),
        *("--writers", WRITERS % (g["run"] / "best")),
    ],
    "data convert": lambda g, out: ["data", "convert", g["photos"], out, "--to", "imagefolder"],
    "caption shards": lambda g, out: [*caption(g["photos"], g, out), "--to", "webdataset"],
    "docs": lambda g, out: ["docs", "--out", out],
    "demo": lambda g, out: ["demo", g["run"], "--feedback", out],
}
INTO_FILES = {
    "backup": (".tar", lambda g, out: ["backup", g["run"], "--out", out]),
    "score": (".json", lambda g, out: ["score", g["said"], g["truth"], "--out", out]),
    "evaluate": (".csv", lambda g, out: ["evaluate", g["run"], "--log-csv", out]),
    "caption jsonl": (".jsonl", lambda g, out: caption(g["photos"], g, out)),
    "caption csv": (".csv", lambda g, out: caption(g["photos"], g, out)),
    "caption requests": (".json", lambda g, out: caption(g["requests"], g, out)),
    "caption random": (".json", lambda g, out: ["caption", "--random", 1, "--model", g["run"], "--out", out]),
    "submit": (".json", lambda g, out: ["submit", g["vizwiz"], "--out", out]),
}
RUNS = ("train", "reinforce", "distill")  # have --resume
NEEDED = {"export": "onnxscript", "docs": "pdoc", "demo": "gradio"}


def caption(what, given, out):
    return ["caption", what, "--model", given["run"], "--workers", 0, "--out", out]


@pytest.mark.parametrize("others", [NAMES[:1], NAMES], ids=["one file", "the names that commands write"])
@pytest.mark.parametrize(("verb", "resume"), [*((verb, True) for verb in INTO_FOLDERS), *((v, False) for v in RUNS)])
def test_a_folder_with_a_file_of_others_stays_byte_for_byte(verb, resume, others, given, tmp_path):
    pytest.importorskip(NEEDED.get(verb, "json"))
    words = INTO_FOLDERS[verb](given, tmp_path / "t")
    for place in ("t", "t.old", "t.partial"):
        for name in others:
            (tmp_path / place / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place / name).write_text("{}" if name.endswith(".json") else "mine\n")
    before = snapshot(tmp_path)
    status, said = say(*words, *([] if resume else ["--resume", "false"]))
    assert status == 1 and f"{tmp_path / 't'} " in said and sorted(others)[0] in said
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("content", [b"my diary\n", b'{"image": "a.jpg", "mine": 1}', b"image,caption\na,b\n"])
@pytest.mark.parametrize("verb", INTO_FILES)
def test_a_file_of_others_stays_byte_for_byte(verb, content, given, tmp_path):
    suffix, words = INTO_FILES[verb]
    for name in (f"x{suffix}", "x.partial", f"x{suffix}.partial", f".x{suffix}.partial"):
        (tmp_path / name).write_bytes(content)
    before = snapshot(tmp_path)
    status, said = say(*words(given, tmp_path / f"x{suffix}"))
    assert status == 1 and f"x{suffix}" in said
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("verb", [verb for verb in INTO_FILES if verb != "evaluate"])
def test_a_folder_that_is_not_there_is_said_before_the_work(verb, given, tmp_path, monkeypatch):
    monkeypatch.setattr("captioning.metrics.report.score", None)
    monkeypatch.setattr("captioning.models.base.CaptionModel.generate", None)
    suffix, words = INTO_FILES[verb]
    status, said = say(*words(given, tmp_path / "nodir" / f"x{suffix}"))
    assert status == 1 and "there is no folder" in said and not (tmp_path / "nodir").exists()


@pytest.mark.parametrize("verb", ["train", "push", "export"])
def test_earlier_work_is_replaced_until_somebody_else_has_a_file_in_it(verb, given, tmp_path, monkeypatch):
    pytest.importorskip(NEEDED.get(verb, "json"))
    monkeypatch.setattr(export, "write_graph", lambda module, inputs, outputs, path: path.write_text("a graph"))
    words = INTO_FOLDERS[verb](given, tmp_path / "t") + (["--resume", "false"] if verb == "train" else [])
    for _ in range(2):
        assert say(*words) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
    (tmp_path / "t" / "thesis.txt").write_text("mine")
    before = snapshot(tmp_path)
    status, said = say(*words)
    assert status == 1 and "thesis.txt" in said
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("verb", ["score", "caption jsonl", "caption requests", "evaluate"])
def test_an_earlier_file_may_be_written_again(verb, given, tmp_path):
    suffix, words = INTO_FILES[verb]
    for _ in range(2):
        assert say(*words(given, tmp_path / f"x{suffix}")) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == [f"x{suffix}"]


def test_a_run_is_no_place_for_an_export_or_a_repository(given, tmp_path):
    shutil.copytree(given["run"], tmp_path / "run")
    before = snapshot(tmp_path)
    for verb in ("export", "push"):
        if verb == "push" or pytest.importorskip("onnxscript"):
            status, said = say(*INTO_FOLDERS[verb](given | {"run": tmp_path / "run"}, tmp_path / "run"))
            assert status == 1 and "is not empty" in said
    assert snapshot(tmp_path) == before


def test_a_rebuilding_does_not_write_over_the_captions_that_it_reads(given, tmp_path):
    folder = tmp_path / "df"
    (folder / "images").mkdir(parents=True)
    for number, split in enumerate(("train", "test")):
        name = f"WOMEN-id_0000000{number}-01.png"
        shutil.copy(given["photos"] / "a" / "0.png", folder / "images" / name)
        (folder / f"{split}_captions.json").write_text(json.dumps({name: "She wears a hat."}))
    before = snapshot(folder)
    writers = WRITERS % (given["run"] / "best")
    status, said = say("rebuild", folder, "--data", "deepfashion", "--folder", folder, "--writers", writers)
    assert status == 1 and "holds files but no run" in said
    assert snapshot(folder) == before


def test_results_of_others_are_not_replaced(given, tmp_path, monkeypatch):
    """Neither in a run nor in the table of results; and it is said before the work."""
    run = tmp_path / "run"
    shutil.copytree(given["run"], run)
    monkeypatch.setattr("captioning.models.base.CaptionModel.generate", None)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results.csv")
    for path, content in (
        (run / "scores_test.json", '{"mine": 1}'),
        (run / "predictions_test.json", '{"1": "a dog"}'),
        (tmp_path / "results.csv", "name,mark\nme,1\n"),
    ):
        path.write_text(content)
        before = snapshot(tmp_path)
        status, said = say("evaluate", run, "--split", "test", "--record")
        assert status == 1 and f"{path} is there already" in said
        assert snapshot(tmp_path) == before
        path.unlink()


def test_scores_are_shown_even_where_they_cannot_be_written(given, tmp_path, monkeypatch, capsys):
    def full(number):
        raise OSError(28, "No space left on device")

    assert say("score", given["said"], given["truth"], "--out", tmp_path / "x.json") == (0, "")
    before = (tmp_path / "x.json").read_bytes()
    capsys.readouterr()
    monkeypatch.setattr("captioning.writing.os.fsync", full)
    assert say("score", given["said"], given["truth"], "--out", tmp_path / "x.json")[0] == 1
    assert "CIDEr-D" in capsys.readouterr().out and (tmp_path / "x.json").read_bytes() == before
