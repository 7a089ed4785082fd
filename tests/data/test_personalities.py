"""Mini-fashion's variant personality: eight voices and a neutral one over the same truth."""

import random
from collections import Counter

import pytest

from captioning.data import minifashion
from captioning.data.fashion_captions import read_attributes
from captioning.data.personalities import NEUTRAL, PERSONALITIES, STYLES, TOLD, VOICES, caption, in_style, kin_of
from captioning.evaluation.splits import scorer

SMALL = {"train": 18, "val": 8, "test": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("personality")


@pytest.fixture(scope="module")
def data(folder):
    return minifashion.build(folder, "personality", SMALL, workers=1)


def told(seen):
    return {name: seen[name] for name in TOLD}


@pytest.mark.parametrize("style", STYLES)
def test_every_voice_tells_the_same_truth_and_nothing_else(style):
    rng, absent = random.Random(style), {"outer": "no", "hat": "no", "glasses": "no"}
    for _ in range(400):
        seen = told(minifashion.sample_attributes(rng))
        text = caption(seen, style, rng)
        assert absent | read_attributes(text) == seen, text
        assert minifashion.mark_all(text, seen) == dict.fromkeys(TOLD, True)
        assert 12 <= len(text.split()) <= 36 and "  " not in text and '"' not in text, text


def test_captions_with_known_words():
    man = {"gender": "man", "garment": "sweater", "pattern": "striped", "lower": "shorts", "outer": "yes"}
    man |= {"hat": "no", "glasses": "glasses"}
    rng = random.Random(0)
    texts = {caption(man, "Old-fashioned", rng) for _ in range(300)}
    assert (
        "Pray observe the good gentleman, attired in a striped sweater, fit for the seaside, and shorts. "
        "And a coat and spectacles, by Jove!"
    ) in texts


def test_eight_personalities_and_a_plain_one_with_several_forms_each():
    assert len(PERSONALITIES) == 8 and set(STYLES) - set(PERSONALITIES) == {NEUTRAL}
    for style, voice in VOICES.items():
        assert len(voice.forms) >= 3 and len(voice.things) == len(voice.nothing) == 3, style
        assert set(voice.remarks) == set(minifashion.ATTRIBUTES["pattern"])


def test_a_voice_slips_into_that_of_its_kin_and_of_no_other():
    seen = {"gender": "man", "garment": "shirt", "pattern": "floral", "lower": "shorts", "outer": "no", "hat": "yes"}
    seen |= {"glasses": "no"}
    rng = random.Random(1)
    texts = [caption(seen, "Gloomy", rng) for _ in range(400)]
    slips = sum(text.endswith(("with a hat?", "obviously.", "to bring a hat.")) for text in texts) / len(texts)
    assert kin_of("Gloomy") == "Paranoid" and kin_of("Paranoid") == "Gloomy" and kin_of(NEUTRAL) == NEUTRAL
    assert 0.05 < slips < 0.16
    assert not any("Behold" in text or "dusk" in text for text in texts)


def test_styles_take_turns_and_test_has_five_references(data):
    assert Counter(data["train"]["style"]) == dict.fromkeys(STYLES, 2)
    assert Counter(data["test"]["style"]) == dict.fromkeys(PERSONALITIES, 2)
    assert {len(texts) for texts in data["train"]["captions"]} == {1}
    assert {len(set(texts)) for texts in data["test"]["captions"]} == {5}
    for rows in data.values():
        assert len(set(rows["image_id"])) == len(rows)
        assert all(row["image_id"].endswith(f"/{row['style']}") for row in rows)


def test_pictures_are_those_of_the_plain_variant_and_captions_are_the_same_every_time(folder, data):
    plain = minifashion.build(folder, "plain", SMALL, workers=1)
    assert plain["test"]["image"] == data["test"]["image"]
    again = minifashion.build(folder, "personality", SMALL, workers=1)
    assert again["train"]["captions"] == data["train"]["captions"]
    other = minifashion.build(folder, "personality", SMALL, seed=1, workers=1)
    assert other["train"]["captions"] != data["train"]["captions"]


def test_references_are_wholly_true_in_every_style(data):
    for rows in (data["test"], in_style(data["test"], NEUTRAL), in_style(data["test"], "Poetic")):
        score = scorer(rows)
        assert score({row["image_id"]: row["captions"][0] for row in rows})["attributes"] == 1.0


def test_the_same_pictures_in_one_style(data):
    neutral = in_style(data["test"], NEUTRAL)
    assert neutral["image"] == data["test"]["image"] and set(neutral["style"]) == {NEUTRAL}
    assert neutral["attributes"] == data["test"]["attributes"]
    assert neutral[0]["image_id"].endswith("/Neutral") and len(neutral[0]["captions"]) == 5


def test_truth_counts_what_is_missing_and_what_is_invented():
    seen = {"gender": "man", "garment": "shirt", "pattern": "floral", "lower": "shorts", "outer": "no", "hat": "yes"}
    seen |= {"glasses": "no"}
    marks = minifashion.mark_all("Aww, this man looks so happy in a striped shirt and shorts, with a coat.", seen)
    assert [name for name, right in marks.items() if not right] == ["pattern", "outer", "hat"]


def test_other_numbers_of_captions_are_refused(tmp_path):
    with pytest.raises(ValueError, match="captions is 3, but personality has 1"):
        minifashion.build(tmp_path, "personality", SMALL, captions=3)
