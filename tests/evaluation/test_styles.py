"""Evaluation by style: the classifier, what changes with the style, scores by style, and the table of evaluations."""

import csv
import random

import numpy as np
import pytest
from datasets import Dataset

from captioning.data.minifashion import sample_attributes
from captioning.data.personalities import NEUTRAL, PERSONALITIES, TOLD, caption
from captioning.decoding.config import Decoding
from captioning.evaluation import styles
from captioning.evaluation.splits import caption_rows
from captioning.metrics.base import Captioned
from captioning.metrics.style import StyleClassifier, StyleRecognised, style_change, style_distances

SHOUTS, SIGHS = ["wow a hat!", "wow a belt!", "a sock, wow!"], ["alas, a hat.", "a belt, alas.", "alas, a sock."]


@pytest.fixture(scope="module")
def classifier():
    return StyleClassifier(SHOUTS + SIGHS, ["Loud"] * 3 + ["Sad"] * 3)


def test_the_classifier_reads_what_tells_the_styles_apart(classifier):
    assert classifier.recognise(["wow, a ring!", "a ring, alas."]) == ["Loud", "Sad"]
    assert classifier.recognise([]) == []
    again = StyleClassifier(SHOUTS + SIGHS, ["Loud"] * 3 + ["Sad"] * 3)
    assert np.array_equal(again.weights.weight.detach(), classifier.weights.weight.detach())


def test_it_finds_the_personalities_of_mini_fashion_in_captions_that_it_has_not_seen():
    rng = random.Random(0)

    def written(number):
        pairs = []
        for i in range(number):
            seen, style = sample_attributes(rng), PERSONALITIES[i % 8]
            pairs.append((caption({name: seen[name] for name in TOLD}, style, rng), style))
        return zip(*pairs, strict=True)

    classifier = StyleClassifier(*written(480))
    texts, truth = written(160)
    right = np.mean([a == b for a, b in zip(classifier.recognise(texts), truth, strict=True)])
    assert 0.75 < right < 1.0  # a voice slips into its kin's now and then


def test_one_style_is_nothing_to_tell_apart():
    with pytest.raises(ValueError, match="two or more, found 1"):
        StyleClassifier(["a hat"], ["Sad"])


def test_the_metric_is_the_share_of_asked_styles_that_are_recognised(classifier):
    captions = {"1/Loud": "wow a hat!", "1/Sad": "wow a hat!", "2/Sad": "alas, a hat."}
    asked = {i: i.split("/")[1] for i in captions}
    captioned = Captioned(tuple(captions), list(captions.values()), [], [], [])
    measured = StyleRecognised(classifier, asked)(captioned)
    assert measured.names == ("style",) and measured.statistics[:, 0].tolist() == [1, 0, 1]
    assert measured.from_sums(measured.statistics.sum(0)).tolist() == [pytest.approx(2 / 3)]
    table = classifier.confusion(captions, asked)
    assert table.loc["Loud"].tolist() == [1, 0] and table.loc["Sad"].tolist() == [0.5, 0.5]


def test_what_another_style_changes():
    voices = {"Loud": {"1": "wow a hat", "2": "a"}, "Sad": {"1": "alas a hat", "2": "a"}, "Mute": {"1": "x", "2": "a"}}
    distances = style_distances(voices)
    assert distances.loc["Loud", "Sad"] == distances.loc["Sad", "Loud"] == pytest.approx((0.5 + 0) / 2)
    assert distances.loc["Loud", "Mute"] == 0.5 and distances.loc["Sad", "Sad"] == 0
    change = style_change(voices)
    assert change["changed"] == 0.5 and change["voices"] == 2.0
    assert change["distance"] == pytest.approx((0.25 + 0.5 + 0.5) / 3)


def test_voices_tell_the_same_pictures():
    with pytest.raises(ValueError, match="Sad tell other pictures than Loud"):
        style_distances({"Loud": {"1": "a"}, "Sad": {"2": "a"}})
    with pytest.raises(ValueError, match="two styles or more"):
        style_change({"Loud": {"1": "a"}})


def table(rows):
    columns = ("image", "image_id", "captions", "style")
    return Dataset.from_list([dict(zip(columns, row, strict=True)) for row in rows])


TRAIN = table(
    [("a", "a/Loud", ["wow a hat!"], "Loud"), ("b", "b/Loud", ["wow a belt!"], "Loud")]
    + [("a", "a/Sad", ["alas, a hat."], "Sad"), ("b", "b/Sad", ["alas, a belt."], "Sad")]
)
# two styles of one picture: two items
TEST = table([("c", "c/Loud", ["wow a hat!"], "Loud"), ("c", "c/Sad", ["alas, a hat."], "Sad")])
NEAR = np.zeros((4, 1, 6), np.float32)
NEAR[:, 0, :2] = [[1, 0], [0, 1], [1, 0], [0, 1]]


class Parrot:
    """Says the style and the first number of the features."""

    styles = ("Loud", "Sad", NEUTRAL)

    def parameters(self):
        import torch

        yield torch.zeros(1)

    def generate(self, images, decoding, styles):
        class Said:
            best = [f"{style} {image[0, 0]:.0f}" for style, image in zip(styles, images, strict=True)]

        return Said


def test_every_picture_in_every_style_and_in_a_wrong_one():
    voices = styles.caption_in(Parrot(), TEST, ["Sad", NEUTRAL], Decoding(), NEAR[:2])
    assert voices == {
        "Sad": {"c/Loud": "Sad 1", "c/Sad": "Sad 0"},
        NEUTRAL: {"c/Loud": "Neutral 1", "c/Sad": "Neutral 0"},
    }
    wrong = styles.ask_wrongly(Parrot(), TEST, Decoding(), NEAR[:2])
    assert wrong == {"c/Loud": "Sad 1", "c/Sad": "Loud 0"}
    assert caption_rows(Parrot(), TEST, Decoding(), NEAR[:2]) == {"c/Loud": "Loud 1", "c/Sad": "Sad 0"}


def test_controls_that_know_the_style():
    found = styles.style_controls(TRAIN, TEST, NEAR, NEAR[[1, 0]])
    assert found["nearest neighbour of the style"] == {"c/Loud": "wow a belt!", "c/Sad": "alas, a hat."}
    constant = found["constant caption a style"]
    assert constant["c/Loud"].startswith("wow") and constant["c/Sad"].startswith("alas")
    assert set(styles.style_controls(TRAIN, TEST)) == {"constant caption a style"}


def test_the_whole_evaluation_has_every_control_and_scores_by_style():
    found = styles.score_styles("parrot", Parrot(), TRAIN, TEST, Decoding(), NEAR, NEAR[:2])
    assert list(found.scores) == [
        "parrot", "shuffled styles", "plain captions", "constant caption a style", "nearest neighbour of the style",
        "constant caption", "random training caption", "shuffled pictures", "nearest neighbour",
    ]  # fmt: skip
    assert found.ceiling == 1.0 and found.scores["constant caption a style"]["style"] == 1.0
    near = found.by_style("nearest neighbour of the style")
    assert list(near.index) == ["Loud", "Sad"] and near.loc["Loud", "BLEU-1"] == pytest.approx(1, abs=1e-6)
    assert near["n"].tolist() == [1, 1]
    said = found.json()
    assert said["confusion"]["constant caption a style"]["Sad"] == {"Loud": 0.0, "Sad": 1.0}


def test_a_row_an_evaluation_whose_columns_grow(tmp_path):
    path = tmp_path / "log.csv"
    styles.log_csv(path, run="a", **styles.flat({"lr": 0.1, "decoding": {"beams": 5}}))
    styles.log_csv(path, run="b", dropout=0.2)
    with path.open() as file:
        first, second = csv.DictReader(file)
    assert first["decoding.beams"] == "5" and first["dropout"] == "" and second["dropout"] == "0.2"
    assert first["date"] and second["run"] == "b" and second["lr"] == ""
    assert [file.name for file in tmp_path.iterdir()] == ["log.csv"]
