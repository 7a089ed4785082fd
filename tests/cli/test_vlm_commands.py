"""Tiny models in the layouts of SmolVLM, Qwen2.5-VL, LLaVA and Florence-2, through every command that takes such."""

import json
import math
import shutil

import pytest

from captioning import paths
from captioning.cli import demo
from captioning.data import sources
from captioning.models import vlm
from captioning.serving import asking, web
from small_run import draw, say
from tiny_vlm import KINDS, write_vlm

SHORT = ["--decoding.max_length", 6]
SMALL = ["--recipe.workers", 0, "--training.epochs", 1, "--training.batch_size", 2, "--training.accumulation", 1]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "DATASET", folder / "dataset")
        patch.setattr(paths, "OUTPUT", folder / "output")
        patch.setattr(sources, "_problems", lambda pictures, workers: [None] * len(pictures))  # no processes
        draw(folder / "photos")
        for kind in KINDS:
            write_vlm(folder / kind, kind)
        yield folder


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def tuned(home, kind):
    """The run of `train vlm --lora`."""
    run = home / "output" / f"{kind}_tuned"
    data = ["--data", "folder", "--folder", home / "photos", "--run", run]
    assert say("train", "vlm", "--start.weights", home / kind, "--lora", *data, *SMALL, *SHORT) == (0, "")
    return run


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_it_captions_as_transformers_says(home, kind, capsys):
    asked = ["--model", home / kind, "--prompt", "<CAPTION>" if kind == "florence2" else "What is {name}?", *SHORT]
    assert say("caption", home / "photos", *asked, "--json", "--workers", 0, "--batch_size", 3) == (0, "")
    rows = lines(capsys.readouterr().out)
    assert len(rows) == 7 and len({row["image"] for row in rows}) == 7
    model = vlm.load(home / kind)
    for row in rows[:2]:  # alone, and not among others of other lengths
        name = row["image"].rpartition("/")[2].removesuffix(".png")
        model.prompt = "<CAPTION>" if kind == "florence2" else f"What is {name}?"
        alone = model.generate([model.read(row["image"])], vlm.Decoding(max_length=6))
        assert row["caption"] == alone.best[0]
        assert row["log_probability"] == pytest.approx(float(alone.log_probs), abs=2e-3)


def test_it_is_scored_with_controls_where_it_was_not_trained_here(home, kind, capsys):
    asked = ["--data", "folder", "--folder", home / "photos", "--split", "val", *SHORT]
    assert say("evaluate", home / kind, *asked) == (0, "")
    place = home / "output" / f"{home.name}_{kind}"
    found = json.loads((place / "scores_val_photos.json").read_text())
    controls = {"constant caption", "random training caption", "shuffled pictures"}
    assert found["scores"].keys() == {kind} | controls
    assert all(each["CIDEr-D"].keys() == {"score", "low", "high"} for each in found["scores"].values())
    assert found["prompt"] == ("<CAPTION>" if kind == "florence2" else "Describe the picture in one sentence.")
    assert len(json.loads((place / "predictions_val_photos.json").read_text())) == 2
    assert not list((home / kind).glob("scores*")), "nothing is written beside the weights"


def test_it_is_tuned_and_captions_scores_and_writes_as_a_run(home, kind, tuned, capsys):
    best = tuned / "best"
    assert (best / "adapter_model.safetensors").is_file() and not (best / "model.safetensors").exists()
    assert "lora_" in str(dict(vlm.load(tuned).network.named_parameters()).keys())
    assert say("evaluate", tuned) == (0, "")
    assert "shuffled pictures" in json.loads((tuned / "scores_val.json").read_text())["scores"]
    assert say("caption", home / "photos" / "a", "--model", tuned, *SHORT, "--workers", 0) == (0, "")
    assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith(str(home))]) == 4


def test_it_writes_a_data_set_anew(home, kind, tuned):
    for model, name in ((home / kind, "released"), (tuned, "tuned")):
        writers = [
            {"kind": "chat", "prompt": prompt, "model": str(model), "precision": "float32", "name": prompt,
             "sampling": {"sample": False, "max_tokens": 4}}
            for prompt in ("clothes-v2", "background-v2")
        ]  # fmt: skip
        out = home / "output" / f"{kind}_{name}_rebuilt"
        data = ["--data", "folder", "--folder", home / "photos", f"--writers={json.dumps(writers)}"]
        status, said = say("rebuild", out, *data)
        assert status == 1 and "no picture has both clothes and a background left" in said, "random weights say nothing"
        answers = lines((out / "answers" / "clothes-v2.jsonl").read_text())
        assert sum(len(line["ids"]) for line in answers) == 7 and not any(any(line["errors"]) for line in answers)


def test_it_stands_on_the_page(home, kind, tuned, monkeypatch):
    shown = {}

    class Server:
        def __init__(self, models, *rest):
            shown.update(models)

        def __enter__(self):
            return "http://here"

        def __exit__(self, *error):
            pass

    def leave():
        raise KeyboardInterrupt

    monkeypatch.setattr(web, "serving", Server)
    monkeypatch.setattr(demo, "until_stopped", leave)
    prompt = [] if kind == "florence2" else ["--prompt", "What is seen?"]
    assert say("demo", home / kind, tuned, "--feedback", home / "votes", *prompt) == (0, "")
    speaker, picture = web.speaker(shown[kind]), (home / "photos" / "a" / "0.png").read_bytes()
    maps, seconds = web.spoken(speaker, picture, "", (web.BEAM, 2, 2, 0.7, 0.9, 0, 0))
    assert isinstance(speaker, web.Asked) and seconds > 0 and len(maps) == 2
    for each in maps:
        assert math.log(math.prod(each.probabilities)) == pytest.approx(each.log_probability, abs=1e-3)
        assert len(each.words) == len(each.probabilities)
    assert speaker.captioned is asking.captioned, "of a folder, too"


def test_what_cannot_be_read_or_asked_about_is_named(home, tmp_path):
    shutil.copytree(home / "photos" / "a", tmp_path / "some")
    (tmp_path / "some" / "b.jpg").write_bytes(b"no picture")
    (tmp_path / "some" / "0.txt").write_text("an old caption")
    model = vlm.load(home / "smolvlm", "Better than {caption}?")
    files = [str(tmp_path / "some" / name) for name in ("0.png", "1.png", "b.jpg")]
    [(rows, broken)] = asking.captioned(model, files, vlm.Decoding(max_length=3), 8, 0)
    assert [row["image"] for row in rows] == files[:1]
    assert "1.png: nothing is known for {caption}" in broken[0] and "b.jpg" in broken[1]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--prompt", "setnence"], "no prompt has this name; did you mean 'sentence'"),
        (["--prompt", "What is {where}?"], "no field {where}; there are {name}"),
        (["--style", "Sweet"], "--style: for captioners of this package"),
        (["--weights", "int8"], "--weights int8: for captioners of this package"),
        (["--random", 2], "--random and requests: for captioners"),
        (["--decoding.beams", 2, "--decoding.required", "dog"], "decoding.required: for captioners of this package"),
        (["--precision", "4bit"], "precision 4bit: needs the package bitsandbytes: pip install bitsandbytes"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(home, words, found, monkeypatch):
    monkeypatch.setattr(vlm, "find_spec", lambda name: None)
    status, said = say("caption", home / "photos", "--model", home / "smolvlm", "--workers", 0, *words)
    assert status == 1 and found in said, said


def test_other_commands_say_what_they_need(home, tmp_path):
    status, said = say("distill", "gru", home / "smolvlm", "--data", "folder", "--folder", home / "photos")
    assert status == 1
    status, said = say("export", home / "llava", "--onnx", "--check", 0)
    assert status == 1 and "a llava, a vision-language model of transformers: caption, evaluate, demo" in said
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.json").write_text('{"model_type": "qwen9_vl"}')
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / "new" / name).touch()
    status, said = say("caption", home / "photos", "--model", tmp_path / "new")
    assert status == 1 and "kind 'qwen9_vl', expected one of gru" in said and "\n" not in said
    status, said = say("evaluate", home / "llava")
    assert status == 1 and "was not trained here: say with --data" in said
    status, said = say("evaluate", home / "llava", "--prompt", "Is it {caption}?", "--data", "folder", "--folder",
                       home / "photos")  # fmt: skip
    assert status == 1 and "tells the {caption} that is to be said" in said
