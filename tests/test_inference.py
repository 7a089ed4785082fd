"""Captions for picture files: what is found, what is written, and what happens to pictures that cannot be read."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from captioning.data.batches import picture_tensor
from captioning.decoding import Decoding
from captioning.inference import caption_files, find_pictures, write

BEAM = Decoding(beams=3, max_length=8)


@pytest.fixture
def photos(tmp_path):
    """Four pictures: a.jpg, b.png and, a folder further down, c.JPG and d.webp; and a text file."""
    folder = tmp_path / "photos"
    (folder / "deep" / "down").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.png", "deep/down/c.JPG", "deep/down/d.webp"):
        Image.fromarray(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def model(make_model):
    return make_model("transformer")


def spoil(folder):
    """Three files that no decoder can read, named after what is wrong with them."""
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("this is not a picture")
    (folder / "truncated.jpg").write_bytes((folder / "a.jpg").read_bytes()[:300])


def test_finds_files_folders_in_any_depth_and_patterns_each_once(photos):
    a, b, c, d = (str(photos / name) for name in ("a.jpg", "b.png", "deep/down/c.JPG", "deep/down/d.webp"))
    assert find_pictures([str(photos)]) == [a, b, c, d]
    assert find_pictures([b, str(photos)]) == [b, a, c, d]
    assert find_pictures([f"{photos}/*.p*"]) == [b]
    assert find_pictures([f"{photos}/**/*.webp", a]) == [d, a]


def test_a_pattern_leaves_folders_out_and_takes_files_by_their_names(photos):
    odd = photos / "odd[1].jpg"
    odd.write_bytes((photos / "a.jpg").read_bytes())
    assert str(photos / "deep") not in find_pictures([f"{photos}/*"])
    assert find_pictures([str(odd)]) == [str(odd)]


@pytest.mark.parametrize("name", ["nowhere.jpg", "nothing/*.jpg", "empty"])
def test_a_name_that_matches_nothing_is_an_error_that_names_it(name, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no picture there; give files, folders or patterns") as error:
        find_pictures([str(tmp_path / name)])
    assert name in str(error.value)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_a_caption_is_what_generate_says_of_the_picture(model, photos, tmp_path, batch_size):
    out = tmp_path / "captions.jsonl"
    assert caption_files(model, [str(photos)], out, BEAM, batch_size) == []
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["image"] for row in rows] == find_pictures([str(photos)])
    for row in rows:
        alone = model.generate(picture_tensor(row["image"], 64)[None], BEAM)
        assert row["caption"] == alone.best[0]
        assert row["log_probability"] == pytest.approx(float(alone.log_probs[0, 0]), abs=1e-3)


def test_several_captions_a_picture_are_rows_of_their_own_best_first(model, photos, tmp_path):
    out = tmp_path / "captions.csv"
    caption_files(model, [str(photos)], out, Decoding(beams=3, captions=2, max_length=8))
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [file for file in find_pictures([str(photos)]) for _ in range(2)]
    images = torch.stack([picture_tensor(row["image"], 64) for row in rows[::2]])
    expected = model.generate(images, Decoding(beams=3, captions=2, max_length=8))
    assert [row["caption"] for row in rows] == [text for texts in expected.texts for text in texts]


def test_without_out_captions_are_printed(model, photos, capsys):
    caption_files(model, [str(photos / "b.png")], None, BEAM)
    expected = model.generate(picture_tensor(str(photos / "b.png"), 64)[None], BEAM).best[0]
    assert capsys.readouterr().out == f"{photos / 'b.png'}\t{expected}\n"


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_unreadable_pictures_are_reported_and_do_not_stop_the_others(model, photos, tmp_path, batch_size):
    healthy, out = find_pictures([str(photos)]), tmp_path / "captions.jsonl"
    spoil(photos)
    broken = caption_files(model, [str(photos)], out, BEAM, batch_size)
    assert [json.loads(line)["image"] for line in out.read_text().splitlines()] == healthy
    assert len(broken) == 3
    for message, name, problem in zip(
        broken, ("empty", "text", "truncated"), ("0 bytes", "no known picture format", "damaged"), strict=True
    ):
        assert str(photos / f"{name}.jpg") in message and problem in message


def test_another_suffix_of_out_is_an_error_before_any_work(photos, tmp_path):
    with pytest.raises(ValueError, match=r"suffix '\.txt', expected \.jsonl or \.csv"):
        caption_files(None, [str(photos)], tmp_path / "captions.txt", BEAM)
    assert not (tmp_path / "captions.txt").exists()


def test_rows_survive_commas_quotes_and_letters_of_other_languages():
    rows = [{"image": "ein, bild.jpg", "caption": 'a "big" café , 写真', "log_probability": -1.5}]
    table, lines = io.StringIO(), io.StringIO()
    write(iter(rows), table, ".csv")
    write(iter(rows), lines, ".jsonl")
    [read] = csv.DictReader(io.StringIO(table.getvalue()))
    assert read == {"image": "ein, bild.jpg", "caption": 'a "big" café , 写真', "log_probability": "-1.5"}
    assert json.loads(lines.getvalue()) == rows[0] and "写真" in lines.getvalue()
