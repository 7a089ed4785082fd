"""Mini-VizWiz: the layout of the real data set, flaws that do what they say, annotators of different care."""

import json
import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from captioning.data import minivizwiz, sources
from captioning.data.annotators import ANNOTATORS, CANNED, annotate, visible
from captioning.data.fashion_captions import read_attributes
from captioning.data.minifashion import draw, sample_attributes
from captioning.data.minivizwiz import Flaws, photograph, sample_flaws

SIZES = {"train": 40, "val": 6, "test": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return minivizwiz.build(tmp_path_factory.mktemp("data"), SIZES, size=64, workers=1)


def test_the_folder_is_read_like_the_real_data_set(folder):
    data = sources.read("vizwiz", folder)[0]
    assert data["test"]["captions"][:] == [[]] * 5
    annotations = json.loads((folder / "annotations/train.json").read_text())
    assert len(annotations["annotations"]) == 5 * 40
    assert {"id", "image_id", "caption", "is_rejected", "is_precanned", "text_detected"} == set(
        annotations["annotations"][0]
    )
    assert "annotations" not in json.loads((folder / "annotations/test.json").read_text())
    assert all(CANNED not in captions for captions in data["train"]["captions"])


def test_the_same_seed_gives_the_same_files_and_two_pictures_differ(folder, tmp_path):
    again = minivizwiz.build(tmp_path, SIZES, size=64, workers=2)
    for path in sorted(folder.rglob("*.*")):
        assert path.read_bytes() == (again / path.relative_to(folder)).read_bytes()
    pictures = [path.read_bytes() for path in folder.glob("train/*.jpg")]
    assert len(set(pictures)) == 40


def test_kept_captions_are_kept_in_train_only(tmp_path):
    def annotation(text, rejected, canned):
        return {"image_id": 1, "caption": text, "is_rejected": rejected, "is_precanned": canned}

    found = [annotation("a cup", False, False), annotation("spam", True, False), annotation(CANNED, False, True)]
    (tmp_path / "annotations").mkdir()
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / split / "a.jpg")
        content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": found}
        (tmp_path / f"annotations/{split}.json").write_text(json.dumps(content))
    data = sources.load("vizwiz", tmp_path, precanned=True)
    assert data["train"]["captions"][:] == [["a cup", CANNED]] and data["val"]["captions"][:] == [["a cup"]]
    assert sources.load("vizwiz", tmp_path, rejected=True)["train"]["captions"][:] == [["a cup", "spam"]]
    assert sources.load("vizwiz", tmp_path)["train"]["captions"][:] == [["a cup"]]


def test_by_its_own_name_it_is_drawn_on_first_use(tmp_path):
    data = sources.load("minivizwiz", tmp_path / "new", sizes={"train": 3, "val": 2, "test": 2}, size=32, workers=1)
    assert set(data) == {"train", "val", "test"} and "attributes" in data["train"].column_names


@pytest.fixture(scope="module")
def drawing():
    rng = random.Random(3)
    return draw(sample_attributes(rng), 64, rng)


def pixels(image):
    return np.asarray(image, dtype=float)


def test_no_flaw_is_no_change(drawing):
    assert np.abs(pixels(photograph(drawing, Flaws())) - pixels(drawing)).max() <= 1


def test_each_flaw_does_what_it_says(drawing):
    clear = pixels(drawing)
    sharpness = np.abs(np.diff(clear, axis=1)).mean()
    for flaws in (Flaws(blur=0.03), Flaws(smear=0.06)):
        assert np.abs(np.diff(pixels(photograph(drawing, flaws)), axis=1)).mean() < 0.8 * sharpness
    assert pixels(photograph(drawing, Flaws(light=0.5))).mean() == pytest.approx(clear.mean() / 2, rel=0.02)
    assert pixels(photograph(drawing, Flaws(glare=(0.5, 0.5))))[28:36, 28:36].mean() > 245
    turned = pixels(photograph(drawing, Flaws(turn=180)))
    assert np.abs(turned[::-1, ::-1] - clear).mean() < 6
    closer = photograph(drawing, Flaws(zoom=2.0))
    middle = drawing.crop((16, 16, 48, 48)).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.abs(pixels(closer) - pixels(middle)).mean() < 6


def test_a_frame_may_reach_beyond_the_drawing(drawing):
    for flaws in (Flaws(zoom=1.2, right=0.3, down=-0.2, turn=33), Flaws(zoom=0.9, right=-0.1, turn=200)):
        whole = Image.new("RGB", (320, 320), drawing.getpixel((1, 1)))
        whole.paste(drawing, (128, 128))
        half, x, y = 32 / flaws.zoom, 160 + 64 * flaws.right, 160 + 64 * flaws.down
        whole = whole.rotate(flaws.turn, Image.Resampling.BICUBIC, center=(x, y), fillcolor=drawing.getpixel((1, 1)))
        frame = (x - half, y - half, x + half, y + half)
        seen = whole.resize((64, 64), Image.Resampling.BICUBIC, box=frame)
        assert np.abs(pixels(photograph(drawing, flaws)) - pixels(seen)).max() <= 1


def test_what_the_frame_cuts_off_is_not_told():
    attributes = sample_attributes(random.Random(0)) | {"hat": "yes", "socks": "yes"}
    top, bottom = Flaws(zoom=1.5, down=0.15).frame
    assert (top, bottom) == pytest.approx((0.3167, 0.9833), abs=1e-3)
    assert "hat" not in visible(attributes, top, bottom) and "socks" in visible(attributes, top, bottom)


def test_the_careful_annotator_tells_the_truth_and_the_careless_less():
    rng, truths, wrong = random.Random(0), 0, Counter()
    for _ in range(200):
        seen = sample_attributes(rng)
        for place, found in enumerate(annotate(seen, 1.0, "clear", rng)):
            claimed = read_attributes(found["caption"])
            wrong[place] += sum(seen.get(name) != value for name, value in claimed.items())
            truths += len(claimed)
    assert wrong[0] == 0 and wrong[3] > wrong[1] > 0
    assert truths > 4000


def test_pictures_that_show_nothing_are_given_up():
    rng = random.Random(0)
    seen = sample_attributes(rng)
    hopeless = annotate(seen, 0.0, "blurry", rng)
    assert [found["caption"] for found in hopeless] == [CANNED] * 5 and all(f["is_precanned"] for f in hopeless)
    assert len(hopeless) == len(ANNOTATORS)
    some = [sample_flaws(rng) for _ in range(2000)]
    assert 0.03 < np.mean([flaws.readable < 0.1 for flaws in some]) < 0.08
    assert 0.2 < np.mean([flaws == Flaws() for flaws in some]) < 0.4
