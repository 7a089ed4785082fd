"""A language model that sees, through the commands: it is trained, captions, is scored, rewarded and taught from."""

import csv
import json

import pytest

from captioning import paths
from captioning.data import sources
from captioning.evaluation import splits
from captioning.models import saved
from small_run import draw, say
from tiny_language import write_language

EYES = ["--encoder.name", "test_resnet", "--encoder.weights", "null", "--encoder.image_size", 64]
SMALL = ["--recipe.workers", 0, "--training.epochs", 1, "--training.batch_size", 4, "--decoding.max_length", 8]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "DATASET", folder / "dataset")
        patch.setattr(paths, "OUTPUT", folder / "output")
        patch.setattr(splits, "FEATURES", folder / "output" / "features")
        patch.setattr(sources, "_problems", lambda pictures, workers: [None] * len(pictures))  # no processes
        language = write_language(folder / "language")
        decoder = {"language": language, "hidden": 12, "words": 4, "words_epochs": 1, "layers": "[0,2]"}
        decoder |= {"adapters.rank": 2, "adapters.targets": '["q_proj","v_proj"]'}
        options = [f"--decoder.{name}={value}" for name, value in decoder.items()]
        data = ["--data", "folder", "--folder", draw(folder / "photos"), "--run", folder / "output" / "seeing"]
        assert say("train", "seeing", *data, *options, *EYES, *SMALL) == (0, "")
        yield folder


def test_it_was_trained_and_is_saved_apart_from_the_language_model(home):
    run = home / "output" / "seeing"
    assert json.loads((run / "experiment.json").read_text())["decoding"]["max_length"] == 8
    assert (home / "output" / "seeing_words" / "best").is_dir()
    model = saved.load(run)
    assert model.config.layers == (0, 2) and model.config.trained == "adapters"
    language = (home / "language" / "model.safetensors").stat().st_size
    own = sum(x.numel() for name, x in model.state_dict().items() if not model.elsewhere(name))
    assert 0 < (run / "best" / "model.safetensors").stat().st_size - 4 * own < language


def test_it_captions_and_is_scored(home, capsys):
    run, table = home / "output" / "seeing", home / "captions.csv"
    assert say("caption", home / "photos" / "a", "--model", run, "--out", table) == (0, "")
    assert len(list(csv.DictReader(table.open()))) == 4
    assert say("evaluate", run) == (0, "")
    scores = json.loads((run / "scores_val.json").read_text())["scores"]
    assert "CIDEr-D" in scores["seeing"] and "shuffled pictures" in " ".join(scores)


def test_it_is_rewarded_and_teaches(home):
    run, small = home / "output" / "seeing", [*SMALL[:6]]
    rl = ["--rl.samples", 2, "--rl.max_length", 6]
    assert say("reinforce", run, *small, *rl) == (0, "")
    assert saved.load(home / "output" / "seeing_rl").kind == "seeing"
    sizes = ["--decoder.picture=12", "--decoder.embedding=8", "--decoder.hidden=16"]
    captions = ["--distill.captions", "true", "--distill.logits", 0]
    assert say("distill", "gru", run, *sizes, *captions, *small) == (0, "")
    assert saved.load(home / "output" / "seeing_student").kind == "gru"
    status, said = say("distill", "gru", run, *sizes, *small, "--run", home / "output" / "other")
    assert status == 1 and "their logits cannot be compared. Learn from captions" in said


def test_it_is_not_exported_and_says_why(home):
    status, said = say("export", home / "output" / "seeing", "--onnx", "--check", 0)
    assert status == 1
    assert "a model of kind 'seeing': only gru, attention, transformer" in said
    assert "transformers" in said
