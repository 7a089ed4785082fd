"""The profile of photographs: its three splits, and who says what is true of them."""

from pathlib import Path

import pytest

from captioning.course import fashion
from captioning.data import minifashion, photo_claims
from small_flickr8k import write_flickr8k


@pytest.fixture
def flickr8k(tmp_path):
    """Eight pictures to train on and four of dev, as the official files have them; no list of test pictures."""
    folder = tmp_path / "flickr8k"
    write_flickr8k(folder, [["A dog runs ."] * 5] * 12, train=8, size=8)
    return folder


def names(rows):
    return [Path(image).name for image in rows["image"]]


def test_without_test_pictures_dev_is_scored_and_nothing_is_chosen_on_it(flickr8k):
    data = fashion.photographs(flickr8k)
    assert names(data["test"]) == [f"{number}.jpg" for number in range(8, 12)]
    assert names(data["val"]) == ["6.jpg", "7.jpg"]
    assert names(data["train"]) == [f"{number}.jpg" for number in range(6)]


def test_with_test_pictures_the_splits_are_the_official_ones(flickr8k):
    (flickr8k / "Flickr_8k.testImages.txt").write_text("7.jpg\n")
    data = fashion.photographs(flickr8k)
    assert (names(data["test"]), len(data["val"]), len(data["train"])) == (["7.jpg"], 4, 8)


def test_the_attributes_are_what_people_agree_on(flickr8k):
    data = fashion.photographs(flickr8k)
    assert data["train"][0]["attributes"] == dict.fromkeys(photo_claims.VALUES) | {"animal": "dog", "action": "run"}
    assert fashion.fashion_claims("photos") is photo_claims
    assert fashion.fashion_claims("mini") is minifashion


def test_the_folder_is_ones_own_else_the_one_that_is_lent(monkeypatch, tmp_path):
    monkeypatch.setattr(fashion.paths, "DATASET", tmp_path / "dataset")
    monkeypatch.setenv("CAPTIONING_REAL_DATA", str(tmp_path))
    assert fashion.flickr8k_folder() == tmp_path / "flickr8k"
    (tmp_path / "dataset" / "flickr8k").mkdir(parents=True)
    assert fashion.flickr8k_folder() == tmp_path / "dataset" / "flickr8k"
