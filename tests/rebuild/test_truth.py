"""Claims counted against the truth of a drawing."""

import math
from itertools import product

import pytest

from captioning.data.scenes import COLOURS, THINGS_OF
from captioning.rebuild.truth import CHANCE, count_claims, false_claims, how_true

TRUTH = {
    "gender": "man", "hat": "yes", "belt": "no", "sleeve": None,
    "scene": "street", "light": "day", "wall": None,
    "left": "car", "left_color": "red", "right": "bus", "right_color": "blue",
}  # fmt: skip
TOLD = (
    "the man wears a hat . the background is a street by day . a red car is on the left . a blue bus is on the right ."
)


def test_the_whole_truth():
    counts = count_claims([TOLD], [TRUTH])
    assert (counts["claimed"] == counts["true"]).all() and (counts["true"] == counts["to be said"]).all()
    assert counts["true"].to_dict() == {
        "clothes": 2, "scene": 1, "light or wall": 1, "object": 2, "side": 2, "colour": 2
    }  # fmt: skip
    assert how_true([TOLD], [TRUTH]).to_dict() == {"claims": 10, "true claims": 10, "precision": 1, "recall": 1}


@pytest.mark.parametrize(
    ("text", "false"),
    [
        ("a beach .", {("scene", "beach")}),
        ("a red car on the right .", {("side", "car right")}),
        ("a green car on the left .", {("colour", "green car")}),
        ("a red kiosk on the left .", {("object", "kiosk"), ("side", "kiosk left"), ("colour", "red kiosk")}),
        ("the man wears a belt .", {("belt", "yes")}),
        ("his sleeves are long .", {("sleeve", "long")}),
        ("a street and a red car .", set()),
    ],
)
def test_each_false_claim_is_one(text, false):
    assert false_claims(text, TRUTH) == false


def test_silence_costs_recall_and_is_no_claim():
    silent = how_true([""], [TRUTH])
    assert silent["claims"] == 0 and silent["recall"] == 0 and math.isnan(silent["precision"])
    place = how_true(["the man . a street ."], [TRUTH], ["scene", "object"])
    assert place["claims"] == 1 and place["precision"] == 1 and place["recall"] == pytest.approx(1 / 3)


def test_chance_is_the_precision_of_all_guesses_together():
    guesses = [
        f"a {colour} {thing} on the {side} ."
        for colour, thing, side in product(COLOURS, THINGS_OF["street"], ("left", "right"))
    ]
    counts = count_claims(guesses, [TRUTH] * len(guesses)).loc[list(CHANCE)]
    assert (counts["true"] / counts["claimed"]).to_dict() == pytest.approx(CHANCE)


def test_as_many_texts_as_truths():
    with pytest.raises(ValueError, match="zip"):
        count_claims([TOLD], [])
