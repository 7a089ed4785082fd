"""Mini-fashion: the drawing repeats itself, the captions tell the truth, and the checker reads it back."""

import hashlib
import json
import random
import shutil
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from captioning.data import drawing, minifashion
from captioning.data.fashion_captions import CONFLICT, LEXICON
from captioning.data.minifashion import ATTRIBUTES, WOVEN, attribute_accuracy, describe, mark, read_attributes

SMALL = {"train": 24, "val": 4, "test": 4}


def some_attributes(count: int) -> list[dict[str, str]]:
    rng = random.Random(7)
    return [minifashion.sample_attributes(rng) for _ in range(count)]


def told(attributes: dict[str, str]) -> dict[str, str]:
    """What a caption says of them: presences that are "no" go without saying."""
    return {name: value for name, value in attributes.items() if value != "no"}


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# ---- attributes ---------------------------------------------------------------------------------------------------


def test_attributes_stay_in_their_vocabulary_and_order():
    for attributes in some_attributes(500):
        assert list(attributes) == [name for name in ATTRIBUTES if name in attributes]
        assert all(value in ATTRIBUTES[name] for name, value in attributes.items())


def test_what_cannot_be_seen_is_not_an_attribute():
    for attributes in some_attributes(500):
        covered = attributes["outer"] == "yes"
        assert ("sleeve" in attributes) is not covered
        assert ("outer_fabric" in attributes) is covered and ("outer_pattern" in attributes) is covered
        if attributes["length"] == "long":
            assert attributes["socks"] == "no"
        if attributes["garment"] == "tank top" and covered:
            assert attributes["neckline"] == "suspenders"
        for prefix in ("", "lower_", "outer_"):
            if f"{prefix}fabric" in attributes:
                assert attributes[f"{prefix}pattern"] in WOVEN[attributes[f"{prefix}fabric"]]


def test_no_value_is_common_enough_to_be_guessed():
    sample = some_attributes(3000)
    for name, values in ATTRIBUTES.items():
        counts = Counter(attributes[name] for attributes in sample if name in attributes)
        assert set(counts) == set(values)
        most = {2: 0.67, 3: 0.4, 4: 0.34}.get(len(values), 0.3)
        assert max(counts.values()) / counts.total() < most, name


def test_a_constant_caption_scores_low():
    sample = some_attributes(300)
    best = max(
        attribute_accuracy([describe(a, random.Random(0))] * 100, sample[:100])["overall"] for a in some_attributes(30)
    )
    assert best < 0.45
    assert attribute_accuracy([""] * 300, sample)["overall"] < 0.3


# ---- drawing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [64, 128, 200, 384])
def test_a_picture_has_the_size_asked_for(size):
    attributes = some_attributes(1)[0]
    picture = minifashion.draw(attributes, size, random.Random(0))
    assert (picture.mode, picture.size) == ("RGB", (size, size))


def test_a_picture_repeats_itself_and_looks_the_same_at_every_size():
    for i, attributes in enumerate(some_attributes(8)):
        picture = minifashion.draw(attributes, 128, random.Random(i))
        assert picture.tobytes() == minifashion.draw(attributes, 128, random.Random(i)).tobytes()
        large = minifashion.draw(attributes, 256, random.Random(i)).reduce(2)
        other = minifashion.draw(attributes, 128, random.Random(i + 1))
        assert distance(picture, large) < 0.4 * distance(picture, other)


def distance(a: Image.Image, b: Image.Image) -> float:
    return sum(ImageStat.Stat(ImageChops.difference(a, b)).mean)


@pytest.mark.parametrize("name", [name for name in ATTRIBUTES if not name.startswith("outer_")])
def test_every_attribute_changes_the_picture(name):
    attributes = next(a for a in some_attributes(200) if a.get("sleeve") == "short" and a["lower"] == "shorts")
    pictures = set()
    for value in ATTRIBUTES[name]:
        changed = attributes | {name: value} | {"outer_fabric": "cotton", "outer_pattern": "solid color"}
        pictures.add(minifashion.draw(changed, 128, random.Random(0)).tobytes())
    assert len(pictures) == len(ATTRIBUTES[name])


def test_boxes_hold_what_is_worn():
    for i, attributes in enumerate(some_attributes(20)):
        boxes = minifashion.boxes(f"picture {i}", attributes | {"nothing": None}, size=64)
        for name in ("hat", "belt", "ring", "wrist", "neckwear", "socks"):
            assert (name in boxes) == (attributes[name] == "yes")
        assert all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for x0, y0, x1, y1 in boxes.values())
        assert boxes["head"][3] < boxes["lower_garment"][3] < boxes["shoes"][3]


def test_a_ring_changes_its_box_and_nothing_else():
    attributes = next(each for each in some_attributes(50) if each["ring"] == "yes")
    with_ring, without = (drawing.draw(attributes | {"ring": x}, 128, random.Random(3)) for x in ("yes", "no"))
    changed = ImageChops.difference(with_ring, without).getbbox()
    box = drawing.boxes(attributes, 128, random.Random(3))["ring"]
    assert changed == pytest.approx([128 * edge for edge in box], abs=1)  # pictures are drawn at twice the size


# ---- captions -------------------------------------------------------------------------------------------------------


def test_every_caption_reads_back_as_exactly_what_it_tells():
    rng = random.Random(1)
    for attributes in some_attributes(2000):
        caption = describe(attributes, rng)
        assert read_attributes(caption) == told(attributes), caption
        assert all(mark(caption, attributes).values())


def test_captions_have_the_form_of_the_data_set_they_imitate():
    captions = [describe(attributes, random.Random(3)) for attributes in some_attributes(1000)]
    lengths = sorted(len(caption.split()) for caption in captions)
    assert 45 < sum(lengths) / len(lengths) < 62
    assert lengths[0] >= 28 and lengths[-1] <= 105
    for caption in captions:
        assert caption == " ".join(caption.lower().split()) and caption.endswith(" .")
        assert ". ." not in caption and ", ," not in caption and ", ." not in caption
    assert len({word for caption in captions for word in caption.split()}) < 110


def test_missing_attributes_are_not_told():
    attributes = some_attributes(1)[0] | dict.fromkeys(("sleeve", "outer_fabric", "outer_pattern")) | {"outer": "no"}
    caption = describe(attributes, random.Random(0))
    assert "None" not in caption and "sleeve" not in caption
    assert all(mark(caption, attributes).values())


def test_paraphrases_differ_and_tell_the_same():
    attributes = some_attributes(1)[0]
    captions = {describe(attributes, random.Random(i)) for i in range(5)}
    assert len(captions) == 5
    assert {json.dumps(read_attributes(caption), sort_keys=True) for caption in captions} == {
        json.dumps(told(attributes), sort_keys=True)
    }


# ---- the checker ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("", {}),
        ("the the long long . . ,", {}),
        ("her tank shirt has no sleeves", {"gender": "woman", "garment": "tank top", "sleeve": "sleeveless"}),
        ("the sleeves are cut off", {"sleeve": "sleeveless"}),
        ("a knitted pullover", {"fabric": "knitting", "garment": "sweater"}),
        ("A Long-Sleeved SHIRT!", {"garment": "shirt", "sleeve": "long"}),
        ("a short sleeve t-shirt", {"garment": "t-shirt", "sleeve": "short"}),
        # a modifier belongs to the noun after it, else to the garment before it
        (
            "a striped shirt and a denim skirt",
            {"pattern": "striped", "garment": "shirt", "lower_fabric": "denim", "lower": "skirt"},
        ),
        (
            "the skirt is of long length . the fabric is furry and it has plaid patterns",
            {"lower": "skirt", "length": "long", "lower_fabric": "furry", "lower_pattern": "lattice"},
        ),
        (
            "the shirt with floral patterns and a long trousers",
            {"garment": "shirt", "pattern": "floral", "lower": "trousers", "length": "long"},
        ),
        ("the lower clothing is with cotton fabric", {"lower_fabric": "cotton"}),
        ("three-point pants", {"lower": "shorts", "length": "three-point"}),
        ("a color block top , plain bottoms", {"pattern": "color block", "lower_pattern": "solid color"}),
        ("a leather belt and a fur coat", {"belt": "yes", "outer": "yes", "outer_fabric": "furry"}),
        # neckline words count where the neckline is spoken of
        ("it has a square neckline", {"neckline": "square"}),
        ("round glasses and a square belt", {"glasses": "glasses", "belt": "yes"}),
        ("a v-neck sweater", {"neckline": "v-shape", "garment": "sweater"}),
        # negation
        ("no hat and no belt but a ring", {"hat": "no", "belt": "no", "ring": "yes"}),
        ("he is not wearing a hat or sunglasses", {"gender": "man", "hat": "no", "glasses": "no"}),
        ("there is no outer clothing", {"outer": "no"}),
        ("there isn't a ring on her finger", {"gender": "woman", "ring": "no"}),
        # words inside other words
        ("wearing earrings , a string and shorting", {}),
        ("a human in womanly chatter", {}),
        ("sunglasses", {"glasses": "sunglasses"}),
        ("there is an accessory on his wrist", {"gender": "man", "wrist": "yes"}),
        ("an accessory in his neck", {"gender": "man", "neckwear": "yes"}),
        # contradictions are claims, and never right
        ("a hat . there is no hat", {"hat": CONFLICT}),
        ("its neckline is round v-shape square", {"neckline": CONFLICT}),
        ("this lady wears a belt . his belt", {"gender": CONFLICT, "belt": "yes"}),
        ("glasses and sunglasses", {"glasses": CONFLICT}),
    ],
)  # fmt: skip
def test_the_checker_reads_claims_and_nothing_else(caption, expected):
    assert read_attributes(caption) == expected


def test_the_published_sentence_forms_are_read():
    """Sentences of DeepFashion-MultiModal itself, one after the other."""
    caption = (
        "the upper clothing has long sleeves , cotton fabric and solid color patterns . the neckline of it is v-shape "
        ". the lower clothing is of long length . the fabric is denim and it has graphic patterns . this lady also "
        "wears an outer clothing , with cotton fabric and complicated patterns . the female is wearing a ring on her "
        "finger . the female has neckwear ."
    )
    assert read_attributes(caption) == {
        "gender": "woman",
        "sleeve": "long",
        "fabric": "cotton",
        "pattern": "solid color",
        "neckline": "v-shape",
        "length": "long",
        "lower_fabric": "denim",
        "lower_pattern": "graphic",
        "outer": "yes",
        "outer_fabric": "cotton",
        "ring": "yes",
        "neckwear": "yes",
    }


def test_the_checker_survives_any_shuffle_of_words():
    rng = random.Random(5)
    for attributes in some_attributes(300):
        words = describe(attributes, rng).split()
        rng.shuffle(words)
        for name, value in read_attributes(" ".join(words)).items():
            assert value == CONFLICT or value in ATTRIBUTES[name.removeprefix("outer_")]


def test_the_lexicon_holds_every_value():
    for kind, values in LEXICON.items():
        for name, known in ATTRIBUTES.items():
            if kind == name or (kind in ("fabric", "pattern") and name.endswith(kind)):
                assert set(known) - {"no"} <= set(values) | {""}
    assert set(ATTRIBUTES["garment"]) <= set(LEXICON["upper"])


def test_marks_follow_the_convention():
    truth = {"gender": "woman", "fabric": "denim", "hat": "yes", "belt": "no", "outer": "no", "sleeve": None}
    silent = mark("", truth)
    assert silent == {"gender": False, "fabric": False, "hat": False, "belt": True, "outer": True}
    claims = mark("her denim shirt has long sleeves . a belt . a jacket with floral patterns", truth)
    assert claims == {
        "gender": True,
        "fabric": True,
        "hat": False,
        "belt": False,
        "outer": False,
        "sleeve": False,  # not to be seen, and claimed
        "garment": False,
        "outer_pattern": False,
    }
    assert mark("no belt", truth)["belt"] and not mark("a belt , no belt", truth)["belt"]


def test_accuracy_pools_the_marks():
    truth = [{"hat": "yes", "belt": "no"}, {"hat": "no", "belt": "no"}]
    scores = attribute_accuracy(["a hat", "a hat and a belt"], truth)
    assert scores == {"overall": 0.5, "hat": 0.5, "belt": 0.5}
    with pytest.raises(ValueError, match="argument"):
        attribute_accuracy(["a hat"], truth)


# ---- the data set ---------------------------------------------------------------------------------------------------


def test_files_do_not_depend_on_the_number_of_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(minifashion, "ALONE", 0)
    for workers in (1, 2):
        minifashion.build(tmp_path / str(workers), sizes=SMALL, size=64, workers=workers)
    one, two = digest(tmp_path / "1"), digest(tmp_path / "2")
    assert one == two and len(one) == 32 + 3
    other = minifashion.build(tmp_path / "other", sizes=SMALL, size=64, seed=1, workers=1)
    assert digest(tmp_path / "other").keys() != one.keys()
    assert other["train"][0]["attributes"] != minifashion.build(tmp_path / "1", sizes=SMALL, size=64)["train"][0]


def test_a_seed_means_these_attributes_and_captions():
    rows = minifashion._rows({"train": 50}, seed=0, captions=2)["train"]
    text = json.dumps(rows, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "86d7825cb974c64a"


def test_the_data_set_follows_the_schema_and_is_read_not_redrawn(tmp_path, monkeypatch):
    built = minifashion.build(tmp_path, sizes=SMALL, size=64, captions=3)
    assert {split: len(rows) for split, rows in built.items()} == SMALL
    for row in built["train"]:
        assert Path(row["image"]).is_absolute() and Path(row["image"]).stem == row["image_id"]
        with Image.open(row["image"]) as picture:
            assert picture.size == (64, 64)
        assert list(row["attributes"]) == list(ATTRIBUTES)
        assert len(row["captions"]) == 3
        for caption in row["captions"]:
            assert all(mark(caption, row["attributes"]).values())
    monkeypatch.setattr(minifashion, "draw", None)
    again = minifashion.build(tmp_path, sizes=SMALL, size=64, captions=3)
    assert again["test"].to_list() == built["test"].to_list()
    assert [path.name[0] for path in tmp_path.iterdir()] != ["."], "left-overs of the atomic write"


def test_splits_share_neither_people_nor_combinations():
    rows = minifashion._rows(minifashion.SIZES, seed=0, captions=1)
    people = [row["image_id"].split("-id_")[1][:8] for split in rows for row in rows[split]]
    combinations = [tuple(row["attributes"].items()) for split in rows for row in rows[split]]
    assert len(set(people)) == len(set(combinations)) == len(people) == 3600


def test_a_folder_that_another_process_finished_first_is_kept(tmp_path, monkeypatch):
    expected = minifashion.build(tmp_path / "other", sizes=SMALL, size=64)

    @contextmanager
    def waited_for(home, wait):
        shutil.copytree(tmp_path / "other" / home.name, home)
        yield

    monkeypatch.setattr(minifashion, "alone", waited_for)
    monkeypatch.setattr(minifashion, "_write", None)
    found = minifashion.build(tmp_path / "mine", sizes=SMALL, size=64)
    assert found["train"]["captions"] == expected["train"]["captions"]


def test_a_drawing_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError("no space left")

    monkeypatch.setattr(minifashion, "draw", broken)
    with pytest.raises(OSError, match="no space left"):
        minifashion.build(tmp_path, sizes=SMALL, size=64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"), [({"variant": "plane"}, "'plane'.*'plain'"), ({"captions": 6}, "6.*1 to 5")]
)
def test_wrong_settings_are_named(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        minifashion.build(tmp_path, **wrong)
