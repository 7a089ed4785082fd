"""Which picture in which style, from JSON to JSON; and styles through the commands, on a tiny OFA."""

import csv
import json
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import captioning
from captioning import cli, paths
from captioning.data import sources
from captioning.data.batches import picture_tensor
from captioning.data.files import BrokenSource
from captioning.data.personalities import STYLES
from captioning.decoding.config import Decoding
from captioning.evaluation import splits
from captioning.models.ofa.captioner import OFACaptioner
from captioning.models.ofa.config import OFAConfig
from captioning.models.ofa.tokenizer import BPETokenizer
from captioning.serving import requests
from conftest import TINY_ENCODER

SIZES = {"train": 18, "val": 8, "test": 8}
SHORT = Decoding(beams=2, max_length=6)


@pytest.fixture(scope="module")
def ofa():
    torch.manual_seed(0)
    config = OFAConfig(32, 64, 1, 1, 2, positions=256, styles=STYLES, search={"beams": 2, "max_length": 6})
    return OFACaptioner(config, TINY_ENCODER, BPETokenizer.train(["a hat, alas! what a nice hat", *STYLES])).eval()


@pytest.fixture
def place(tmp_path, ofa):
    """A folder with a model, two pictures and one picture that is named by its hash."""
    ofa.save_pretrained(tmp_path / "model")
    (tmp_path / "hashed").mkdir()
    for number, name in enumerate(("a.png", "b.png", "hashed/ab12.jpg")):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


def ask(place, *entries):
    (place / "requests.json").write_text(json.dumps(entries))
    return place / "requests.json"


def call(capsys, *argv):
    """Exit status, stdout, and what was given to `sys.exit`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["captioning", *map(str, argv)])
        patch.setenv("PATH", "")
        try:
            cli.main()
        except SystemExit as leave:
            return 1, capsys.readouterr().out, str(leave.code)
    return 0, capsys.readouterr().out, ""


def test_every_request_is_answered_in_its_style(place, ofa, capsys):
    path = ask(
        place,
        {"style": "gloomy ", "image": str(place / "a.png"), "reference": "a sad hat"},
        {"image": "b.png"},
        {"style": "Sweet", "image_hash": "ab12"},
    )
    options = ["--model", place / "model", "--folder", place / "hashed"]
    status, out, _ = call(capsys, "caption", "--json", path, *options)
    assert status == 0
    said = json.loads(out)
    assert list(said) == ["model_name", "model_revision", "results"]
    assert said["model_name"] == "model" and len(said["model_revision"]) == 16
    assert [list(result) for result in said["results"]] == [["style", "image", "caption", "reference"]] * 3
    assert [result["style"] for result in said["results"]] == ["Gloomy", None, "Sweet"]
    assert said["results"][0]["reference"] == "a sad hat"
    for result in said["results"]:
        image = picture_tensor(result["image"], TINY_ENCODER.image_size)[None]
        style = result["style"] and [result["style"]]
        assert result["caption"] == ofa.generate(image, ofa.usual, style).best[0]


def test_the_revision_is_that_of_the_weights_in_whatever_form_they_answer(place, capsys):
    """The packed ones of a CPU have no bytes that a digest could read."""
    words = ["caption", ask(place, {"image": "a.png"}), "--model", place / "model", "--weights"]
    revisions = {json.loads(call(capsys, *words, form)[1])["model_revision"] for form in ("fp32", "packed", "bf16")}
    assert len(revisions) == 1


def test_an_answer_is_written_whole_or_not_at_all(place, capsys, monkeypatch):
    path, out = ask(place, {"style": "Sweet", "image": "a.png"}), place / "out.json"
    assert call(capsys, "caption", path, "--model", place / "model", "--out", out)[0] == 0
    before = out.read_text()
    with monkeypatch.context() as patch:
        patch.setattr(requests.Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        assert call(capsys, "caption", path, "--model", place / "model", "--out", out)[0] == 1
    assert out.read_text() == before and not list(place.glob(".out*"))
    status, _, err = call(capsys, "caption", path, "--model", place / "model", "--out", place / "out.csv")
    assert status == 1 and "expected .json" in err


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"style": "Sweetish", "image": "a.png"}, r"entry 1: style 'Sweetish' is not one of .*Sweet"),
        ({"style": "Sweet", "image": "c.png"}, r"entry 1: no picture c\.png or .*c\.png"),
        ({"style": "Sweet", "image_hash": "cd34"}, r"entry 1: no picture .*cd34\.jpg"),
        ({"style": "Sweet"}, "entry 1: .*image or image_hash and not both"),
        ({"image": "a.png", "image_hash": "ab12"}, "image or image_hash and not both"),
        ({"image": "a.png", "sytle": "Sweet"}, "expected an object of style, image"),
        ("a.png", "expected an object"),
    ],
)
def test_requests_that_cannot_be_granted_are_listed(place, ofa, entry, message):
    path = ask(place, {"image": "a.png"}, entry)
    with pytest.raises(BrokenSource, match=message):
        requests.read_requests(path, ofa, place / "hashed")


def test_a_model_without_styles_says_so(place, make_model):
    path = ask(place, {"style": "Sweet", "image": "a.png"})
    with pytest.raises(BrokenSource, match="style 'Sweet' asked of this gru, which has no styles"):
        requests.read_requests(path, make_model("gru"), place)


def test_random_pictures_in_random_styles(place, ofa, capsys):
    found = requests.random_requests(["a", "b", "c"], ofa, 2)
    assert len({request.image for request in found}) == 2 and all(request.style in STYLES for request in found)
    assert found == requests.random_requests(["a", "b", "c"], ofa, 2)
    status, out, _ = call(capsys, "caption", place / "a.png", "--random", "5", "--model", place / "model")
    assert status == 0 and [result["image"] for result in json.loads(out)["results"]] == [str(place / "a.png")]


def test_a_folder_in_one_style(place, ofa, capsys):
    arguments = ["caption", place / "a.png", place / "b.png", "--workers", "0", "--model", place / "model"]
    status, out, _ = call(capsys, *arguments, "--style", "poetic")
    image = picture_tensor(place / "a.png", TINY_ENCODER.image_size)[None]
    assert status == 0 and out.splitlines()[0].split("\t")[1] == ofa.generate(image, ofa.usual, ["Poetic"]).best[0]
    status, _, err = call(capsys, *arguments, "--style", "Poethic")
    assert status == 0 or "Poetic" in err
    status, _, err = call(capsys, *arguments, "--style", "loud")
    assert status == 1 and "style 'loud' is not one of the 9 known" in err
    status, _, err = call(capsys, "caption", "--model", place / "model")
    assert status == 1 and "no pictures: give files" in err


def test_one_picture_in_one_style_from_python(place, ofa):
    image = picture_tensor(place / "a.png", TINY_ENCODER.image_size)[None]
    said = captioning.caption(place / "a.png", place / "model", style="Childish")
    assert said == ofa.generate(image, ofa.usual, ["Childish"]).best[0]
    with pytest.raises(ValueError, match="style 'Loud'"):
        captioning.caption(place / "a.png", ofa, style="Loud")


@pytest.fixture
def trained(place, ofa, monkeypatch):
    """A run on the variant personality, as `train` leaves it."""
    monkeypatch.setattr(paths, "DATASET", place / "dataset")
    monkeypatch.setattr(splits, "FEATURES", place / "features")
    monkeypatch.setattr(sources, "load", partial(sources.load, sizes=SIZES, size=64, workers=1))
    monkeypatch.setattr(sources, "check", partial(sources.check, workers=0))
    run = place / "run"
    ofa.save_pretrained(run / "best")
    (run / "config.json").write_text('{"lr": 0.001, "decoder": {"width": 32}}')
    facts = {"data": "minipersonality", "folder": str(place / "dataset" / "fashion"), "minutes": 1}
    (run / "experiment.json").write_text(json.dumps(facts | {"decoding": {"beams": 2, "max_length": 6}}))
    return run


def test_evaluate_by_style_and_a_row_of_everything(trained, place, capsys):
    status, out, _ = call(capsys, "evaluate", trained, "--split", "test", "--log-csv", place / "log.csv")
    assert status == 0
    assert "shuffled styles" in out and "plain captions" in out and "Old-fashioned" in out
    assert "recognised by a classifier that is right on" in out
    with (place / "log.csv").open() as file:
        [row] = csv.DictReader(file)
    assert row["run"] == "run" and row["lr"] == "0.001" and row["decoder.width"] == "32" and row["n"] == "8"
    assert row["decoding.beams"] == "2" and 0 <= float(row["style"]) <= 1 and 0 <= float(row["attributes"]) <= 1
    scores = json.loads((trained / "scores_test.json").read_text())
    assert len(scores["styles"]["by style"]["ofa"]) == 8 and len(scores["styles"]["confusion"]["ofa"]) == 8
    predictions = json.loads((trained / "predictions_test.json").read_text())
    assert len({entry["image_id"] for entry in predictions}) == 8


def test_random_items_of_the_test_split_have_their_style_and_references(trained, capsys):
    status, out, _ = call(capsys, "caption", "--random", "3", "--model", trained)
    results = json.loads(out)["results"]
    assert status == 0 and len(results) == 3
    assert all(result["style"] in STYLES and len(result["reference"]) == 5 for result in results)
