"""A file of captions judged: what is scored, what is left out and said, and what stands beside it."""

import doctest
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from captioning.data.files import BrokenSource
from captioning.metrics import bleu
from captioning.metrics.controls import nearest_neighbours
from captioning.metrics.files import metrics_at_hand, read_captions
from captioning.metrics.report import score, score_table
from captioning.metrics.score import Scorer

REFERENCES = {
    "1": ["a man rides a brown horse", "a man on a horse"],
    "2": ["two dogs play in the snow", "dogs run through deep snow"],
    "3": ["a red bus on a wet street", "a bus in the rain"],
    "4": ["a child eats an apple", "the girl has a green apple"],
}
GOOD = {"1": "a man on a brown horse", "2": "two dogs in the snow", "3": "a red bus", "4": "a child eats"}
POOR = {"1": "a horse", "2": "two cats", "3": "a man", "4": "a dog in the snow"}
TRAIN = {"a": ["a man on a brown horse"], "b": ["two dogs run", "a dog runs"], "c": ["a red bus"]}


def test_a_report_has_the_scores_the_controls_the_test_and_diversity():
    report = score(GOOD, REFERENCES, against=POOR, train=TRAIN)
    assert list(report.scores) == [
        *("predictions", "against", "constant caption", "random training caption", "shuffled pictures")
    ]
    assert report.scores["predictions"].values.tolist() == Scorer(REFERENCES)(GOOD).values.tolist()
    assert report.p == Scorer(REFERENCES)(GOOD).p_against(Scorer(REFERENCES)(POOR))
    assert report.diversity["predictions"]["novel"] == pytest.approx(2 / 4)
    stored = json.loads(json.dumps(report.json()))
    assert stored["scores"]["against"]["CIDEr-D"]["score"] == report.scores["against"]["CIDEr-D"]
    assert list(score_table(report.scores).index) == list(report.scores)


def test_without_training_captions_the_constant_is_chosen_from_the_references_and_says_so():
    report = score(GOOD, REFERENCES)
    assert list(report.scores) == ["predictions", "shuffled pictures", "constant caption (of the references)"]
    assert report.p == {}
    assert "novel" not in report.diversity["predictions"]


def test_the_nearest_neighbour_comes_with_features_also_when_pictures_are_left_out():
    there, here = np.eye(3), np.array([[0, 0, 1], [9, 9, 9], [0, 1, 0], [1, 0, 0]])
    with pytest.warns(UserWarning, match="1 of 4 pictures have no caption in predictions"):
        report = score({i: c for i, c in GOOD.items() if i != "2"}, REFERENCES, train=TRAIN, features=(there, here))
    near = nearest_neighbours(TRAIN, there, "134", here[[0, 2, 3]])
    assert near["1"] == "a red bus" and near["3"] in TRAIN["b"] and near["4"] == TRAIN["a"][0]
    wanted = Scorer({i: REFERENCES[i] for i in "134"})(near)
    assert report.scores["nearest neighbour"].values.tolist() == wanted.values.tolist()


def test_what_does_not_fit_is_left_out_counted_and_named():
    wrong = GOOD | {"2": ["two dogs in the snow", "snow"], "3": None, "9": "a cat"}
    del wrong["4"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = score(wrong, REFERENCES)
    said = [str(warning.message) for warning in caught]
    assert report.scores["predictions"].ids == ("1", "2")
    for start in (
        "1 of 4 predictions hold something that is no caption: left out (e.g. '3')",
        "1 of 4 pictures have several captions in predictions: the first is scored (e.g. '2')",
        "1 of 4 pictures have no caption in predictions: left out, the scores are of the others only (e.g. '4')",
        "1 of 4 predictions have no references: left out; are they of another split? (e.g. '9')",
    ):
        assert start in said
    assert all(__file__ == warning.filename for warning in caught)  # the message points at the caller


def test_nothing_in_common_is_an_error():
    with warnings.catch_warnings(), pytest.raises(ValueError, match="predictions of '9', references of '1', '2', '3'"):
        warnings.simplefilter("ignore")
        score({"9": "a cat"}, REFERENCES)


def test_several_captions_a_picture_are_judged_for_their_variety():
    same = {i: [text, text] for i, text in GOOD.items()}
    varied = {i: [GOOD[i], POOR[i]] for i in GOOD}
    with pytest.warns(UserWarning, match="the first is scored"):
        report = score(same, REFERENCES, against=varied)
    assert report.scores["predictions"].values.tolist() == report.scores["against"].values.tolist()
    assert report.diversity["predictions"]["self-CIDEr"] == pytest.approx(0, abs=1e-6)
    assert report.diversity["against"]["self-CIDEr"] > 0.3


@pytest.mark.parametrize(
    "content",
    [
        [{"image_id": 1, "caption": "a man"}, {"image_id": "2", "caption": "a dog"}, {"image_id": 1, "caption": "b"}],
        {"images": [], "annotations": [{"image_id": 1, "caption": "a man"}, {"image_id": 1, "caption": "b"}]}
        | {"info": {"image_id": 2}},
        {"1": ["a man", "b"]},
    ],
)
def test_the_files_of_the_field_are_read(content, tmp_path):
    (tmp_path / "captions.json").write_text(json.dumps(content))
    assert read_captions(tmp_path / "captions.json")["1"] == ["a man", "b"]


@pytest.mark.parametrize(
    "text, message",
    [
        ('[{"image_id": 1, "capt', "cut off or damaged at character"),
        ('"a man"', "expected a list or dict, found a str"),
        ('[{"caption": "a man"}]', "no 'image_id' in"),
        ('[{"image_id": [1], "caption": "a man"}]', "neither a number nor a string"),
        ('{"1": "a", "1": "b"}', "'1' is there 2 times"),
    ],
)
def test_a_file_that_is_something_else_is_refused(text, message, tmp_path):
    (tmp_path / "captions.json").write_text(text)
    with pytest.raises(BrokenSource, match=message):
        read_captions(tmp_path / "captions.json")
    with pytest.raises(FileNotFoundError, match="expected JSON: COCO results"):
        read_captions(tmp_path / "none.json")


def test_a_metric_that_cannot_be_had_is_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found, absent = metrics_at_hand(spice=tmp_path)
    assert not found
    assert [line.split()[0] for line in absent] == ["METEOR", "SPICE"]
    assert all("\n" not in line for line in absent)


def test_the_page_on_what_each_metric_counts_is_true():
    page = Path(bleu.__file__).with_name("README.md")
    failed, attempted = doctest.testfile(str(page), module_relative=False)
    assert not failed and attempted > 15
