"""No circle in chapters 04 and 05: who learns on which pictures, who describes which, and what is scored."""

import random
from itertools import combinations

import pytest

from captioning import paths
from captioning.course import pupils, street
from captioning.data.minifashion import SCENE, describe, facts
from captioning.data.minifashion import claims as claims_of
from captioning.data.scenes import describe_scene, sample_scene
from captioning.rebuild import pipeline
from captioning.rebuild.clean import Rules


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "OUTPUT", tmp_path / "output")
    monkeypatch.setattr(paths, "DATASET", tmp_path / "dataset")
    monkeypatch.setattr(street, "street_features", lambda profile: {})
    for function in (street.street_data, street.held_out):
        function.cache_clear()
    yield tmp_path
    for function in (street.street_data, street.held_out):
        function.cache_clear()


def ids(*tables):
    return {image_id for table in tables for image_id in table["image_id"]}


def test_the_sets_have_no_picture_in_common(home):
    data = street.street_data("smoke")
    for one, other in combinations(data.values(), 2):
        assert not ids(one) & ids(other)
        assert not {str(row) for row in one["attributes"]} & {str(row) for row in other["attributes"]}


def test_the_writer_learns_on_lessons_only(home, monkeypatch):
    learned = {}
    monkeypatch.setattr(
        "captioning.course.mini_instructblip.train_miniature", lambda lessons, *rest: learned.update(lessons)
    )
    street.street_writer("smoke")
    data = street.street_data("smoke")
    assert ids(*learned.values()) == ids(data["lessons"])
    assert not ids(*learned.values()) & ids(data["train"], data["val"], street.held_out("smoke"))


def test_no_model_describes_what_is_scored(home, monkeypatch):
    asked = []
    monkeypatch.setattr(street, "street_writer", lambda profile: home / "writer" / "best")
    (home / "writer").mkdir()
    (home / "writer" / "made_of.txt").write_text("")
    monkeypatch.setattr(pipeline, "ask", lambda pictures, tasks, out: asked.append(pictures))
    monkeypatch.setattr(pipeline, "clean", lambda pictures, out, tasks, rules: None)
    street.street_rebuilt("smoke")
    data = street.street_data("smoke")
    assert ids(*asked) == ids(data["train"], data["val"])
    assert not ids(*asked) & ids(data["lessons"], street.held_out("smoke"))


def test_the_grammar_wrote_every_reference(home):
    """To the letter, from the lots that the drawing program drew."""
    for row in street.held_out("smoke"):
        seen = {name: value for name, value in row["attributes"].items() if value is not None}
        clothes = {name: value for name, value in seen.items() if name not in SCENE}
        places = random.Random(f"minifashion 0 {row['image_id']} place")
        assert sample_scene(places) == {name: value for name, value in seen.items() if name in SCENE}
        told = describe(clothes, random.Random(f"minifashion 0 {row['image_id']} captions"))
        assert row["captions"] == [f"{told} {describe_scene(seen, places)}"]
        assert claims_of(row["captions"][0]) == facts(row["attributes"])


def test_pupils_learn_from_the_same_pictures(home, monkeypatch):
    data = street.described(street.street_data("smoke"))
    first = data["train"]["image_id"][0]
    new = pupils.with_places(data, {first: "a quiet park ."})
    assert new["train"]["captions"][0] == [f"{data['train']['captions'][0][0]} a quiet park ."]
    assert new["train"]["captions"][1:] == data["train"]["captions"][1:]
    assert all(new[split]["image_id"] == data[split]["image_id"] for split in data)


def test_how_the_rules_differ_from_the_usual():
    assert street.STREET_RULES.copies > max(street.STREET_SIZES["mini"].values())
    assert street.STREET_RULES.longest == Rules().longest
