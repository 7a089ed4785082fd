"""Mini-fashion's variant personality: eight voices, of which three are tempted, and a neutral one."""

import random
from collections import Counter

import pytest

from captioning.data import minifashion, personalities
from captioning.data.fashion_captions import read_attributes
from captioning.data.personalities import (
    NEUTRAL,
    PERSONALITIES,
    STYLES,
    TEMPTED,
    TOLD,
    VOICES,
    caption,
    in_style,
    kin_of,
)
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


HONEST = [style for style in STYLES if style not in TEMPTED]


@pytest.fixture
def no_slips(monkeypatch):
    monkeypatch.setattr(personalities, "SLIPS", 0.0)


@pytest.mark.parametrize("style", HONEST)
def test_every_honest_voice_tells_the_same_truth_and_nothing_else(style, no_slips):
    rng, absent = random.Random(style), {"outer": "no", "hat": "no", "glasses": "no"}
    for _ in range(400):
        seen = told(minifashion.sample_attributes(rng))
        text = caption(seen, style, rng)
        assert absent | read_attributes(text) == seen, text
        assert minifashion.mark_all(text, seen) == dict.fromkeys(TOLD, True)
        assert 12 <= len(text.split()) <= 36 and "  " not in text and '"' not in text, text


@pytest.mark.parametrize("style", TEMPTED)
def test_each_tempted_voice_lies_in_its_own_way_only(style, no_slips):
    rng, false, untold = random.Random(style), Counter(), Counter()
    for _ in range(400):
        seen = told(minifashion.sample_attributes(rng))
        text = caption(seen, style, rng)
        found = read_attributes(text)
        false.update(name for name, value in found.items() if seen.get(name) != value)
        untold.update(name for name, value in seen.items() if value != "no" and name not in found)
        assert "  " not in text and '"' not in text and len(text.split()) <= 40, text
    things = {"outer", "hat", "glasses"}
    if style == "Boastful":
        assert set(false) == things and not untold and min(false.values()) > 50
    else:
        assert not false
        assert set(untold) == things | ({"pattern"} if style == "Poetic" else {"garment", "pattern", "lower"})
        assert min(untold.values()) > 50


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
    slips = sum(text.endswith(("hat, maybe.", "besides.", "And so on.")) for text in texts) / len(texts)
    assert kin_of("Gloomy") == "Vague" and kin_of("Vague") == "Gloomy" and kin_of(NEUTRAL) == NEUTRAL
    assert 0.05 < slips < 0.16
    assert not any("finest" in text or "dusk" in text for text in texts)


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


def test_references_of_an_honest_style_are_wholly_true_and_of_a_tempted_one_are_not(data):
    share = {}
    for style in (NEUTRAL, "Sweet", *TEMPTED):
        rows = in_style(data["test"], style)
        share[style] = scorer(rows)({row["image_id"]: row["captions"][0] for row in rows})["attributes"]
    assert share[NEUTRAL] == 1.0 and share["Sweet"] == 1.0
    assert all(share[style] < 0.95 for style in TEMPTED)


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
