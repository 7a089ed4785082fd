"""Mini-fashion's variant street: places drawn, told, and read back."""

import random

import pytest
from PIL import ImageChops

from captioning.data import minifashion
from captioning.data.fashion_captions import CONFLICT, read_attributes
from captioning.data.scenes import (
    INDOORS,
    SCENE,
    THINGS_OF,
    describe_scene,
    mark_scene,
    read_scene,
    sample_scene,
    scene_claims,
    scene_facts,
)
from captioning.evaluation.splits import scorer

SMALL = {"train": 12, "val": 2, "test": 2}


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    return minifashion.build(tmp_path_factory.mktemp("street"), "street", SMALL, workers=1)


def some_scenes(count):
    rng = random.Random(3)
    return [sample_scene(rng) for _ in range(count)]


def test_places_stay_in_their_vocabulary():
    for seen in some_scenes(300):
        assert list(seen) == [name for name in SCENE if name in seen]
        assert all(value in SCENE[name] for name, value in seen.items())
        assert ("wall" in seen) is (seen["scene"] in INDOORS) is ("light" not in seen)
        assert seen["left"] != seen["right"] and {seen["left"], seen["right"]} <= set(THINGS_OF[seen["scene"]])


def test_every_sentence_is_read_back_in_full_and_tells_nothing_of_clothes():
    rng = random.Random(5)
    for seen in some_scenes(500):
        text = describe_scene(seen, rng)
        assert read_scene(text) == seen, text
        assert all(mark_scene(text, seen).values())
        assert read_attributes(text) == {}, text


def test_every_claim_of_a_true_sentence_is_a_fact_and_every_fact_is_claimed():
    rng = random.Random(7)
    for seen in some_scenes(200):
        assert scene_claims(describe_scene(seen, rng)) == scene_facts(seen)


def test_claims_are_counted_one_by_one():
    assert scene_claims("a street . a beach with a boat") == {
        ("scene", "street"), ("scene", "beach"), ("object", "boat")
    }  # fmt: skip
    assert scene_claims("on the left is a red car") == {
        ("object", "car"), ("colour", "red car"), ("side", "car left")
    }  # fmt: skip


def test_claims_of_a_whole_caption_are_the_facts_of_its_picture(street):
    for row in street["train"]:
        assert minifashion.claims(f"{row['captions'][0]} {row['background']}") == minifashion.facts(row["attributes"])


def test_clothes_tell_nothing_of_the_place(street):
    assert all(read_scene(captions[0]) == {} for captions in street["train"]["captions"])


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("a red car on the left and a bus on the right", {"left": "car", "left_color": "red", "right": "bus"}),
        ("on the right is a blue boat . it is dark", {"right": "boat", "right_color": "blue", "light": "night"}),
        ("a park . a beach", {"scene": CONFLICT}),
        ("the wall is nice", {}),
        ("a room with a green wall", {"scene": "room", "wall": "green"}),
    ],
)
def test_reads_other_sentences(text, claims):
    assert read_scene(text) == claims


def test_silence_and_inventions_about_the_place_are_wrong():
    truth = {"scene": "park", "light": "day", "wall": None}
    assert mark_scene("a park", truth) == {"scene": True, "light": False}
    assert mark_scene("a park by day with a red wall", truth) == {"scene": True, "light": True, "wall": False}


def test_people_and_captions_are_those_of_the_plain_variant(street, tmp_path):
    plain = minifashion.build(tmp_path, "plain", SMALL, workers=1)
    assert street["train"]["captions"] == plain["train"]["captions"]
    assert street["train"]["image_id"] == plain["train"]["image_id"]
    for row, other in zip(street["train"]["attributes"], plain["train"]["attributes"], strict=True):
        assert {name: row[name] for name in other} == other and row["scene"]


def test_every_place_looks_different():
    attributes = minifashion.sample_attributes(random.Random(0))
    scenes = {seen["scene"]: seen for seen in some_scenes(100)}
    assert len(scenes) == len(SCENE["scene"])
    pictures = [minifashion.draw(attributes | seen, 64, random.Random(1)) for seen in scenes.values()]
    for i, one in enumerate(pictures):
        for other in pictures[:i]:
            assert ImageChops.difference(one, other).getbbox() is not None


def test_attributes_of_the_place_count_in_the_score(street):
    rows, score = street["train"], scorer(street["train"])
    clothes = {row["image_id"]: row["captions"][0] for row in rows}
    both = {row["image_id"]: f"{row['captions'][0]} {row['background']}" for row in rows}
    assert score(both)["attributes"] == 1.0
    assert 0.5 < score(clothes)["attributes"] < 0.9
