"""Batches: everything random is a function of (seed, epoch, row)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image

from captioning.data.batches import (
    CaptionRows,
    Collate,
    EpochSampler,
    View,
    encoded,
    picture_batches,
    picture_tensor,
    shifted,
    training_batches,
    views,
)
from captioning.data.config import Augmentation
from captioning.text import WordTokenizer

SIZE, PICTURES = 8, 10
TOKENIZER = WordTokenizer.train(["a b c d e f g h"])


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Dataset:
    """Noise pictures; picture i has the captions "a", "b", ..., i % 3 + 3 of them."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    images = [str(folder / f"{i}.png") for i in range(PICTURES)]
    for image in images:
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(image)
    return Dataset.from_dict({"image": images, "captions": [list("abcde"[: i % 3 + 3]) for i in range(PICTURES)]})


def make(data: Dataset, **settings) -> CaptionRows:
    return CaptionRows(data, TOKENIZER, SIZE, **({"augmentation": Augmentation(mirror=True, shift=2)} | settings))


def texts(tokens: list[torch.Tensor]) -> list[str]:
    return [TOKENIZER.decode(row.tolist()) for row in tokens]


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def epoch_of(loader, epoch: int) -> list[dict]:
    loader.batch_sampler.sampler.set_epoch(epoch)
    return list(loader)


def test_a_function_of_seed_epoch_and_row(data):
    def item(seed, epoch, row):
        torch.manual_seed(torch.seed() % 1000)  # whatever the state of the global generators
        np.random.seed(None)  # noqa: NPY002
        found, image, tokens, _ = make(data, seed=seed)[epoch, row]
        assert found == (epoch, row)
        return image.tolist(), texts(tokens)

    assert item(1, 2, 3) == item(1, 2, 3)
    views = [item(1, epoch, 3) for epoch in range(6)]
    assert len({str(image) for image, _ in views}) > 3 and len({str(words) for _, words in views}) > 1
    assert [item(2, epoch, 3) for epoch in range(6)] != views


def test_captions_are_drawn_without_repetition(data):
    rows = make(data, captions=3)
    for epoch in range(8):
        for row in range(PICTURES):
            found = texts(rows[epoch, row][2])
            assert len(set(found)) == 3 and set(found) <= set("abcde"[: row % 3 + 3])
    drawn = [texts(make(data)[epoch, 2][2])[0] for epoch in range(60)]
    assert set(drawn) == set("abcde")  # each gets its turn


def test_too_few_captions_are_repeated_evenly(data):
    found = texts(make(data, captions=7)[0, 0][2])
    assert len(found) == 7 and sorted(found.count(word) for word in "abc") == [2, 2, 3]


def test_pictures_without_captions(data):
    bare = data.map(lambda row, i: {"captions": [] if i in (1, 4) else row["captions"]}, with_indices=True)
    with pytest.raises(ValueError, match=r"2 of 10 pictures have no caption.*metadata\.jsonl.*or drop the pictures"):
        make(bare)
    assert len(make(bare.filter(lambda row: row["captions"]))) == 8


def test_augmented_pictures(data):
    """Each picture is one of the 2 x 25 views that the augmentation allows, and evaluation-like rows are untouched."""
    plain = picture_tensor(data[0]["image"], SIZE)
    assert torch.equal(make(data, augmentation=None)[3, 0][1], plain)
    views = {
        str(view.tolist()): (mirrored, dx, dy)
        for dx in range(-2, 3)
        for dy in range(-2, 3)
        for mirrored, view in enumerate((shifted(plain, dx, dy), shifted(plain, dx, dy).flip(-1)))
    }
    rows = make(data)
    seen = [views[str(rows[epoch, 0][1].tolist())] for epoch in range(200)]
    assert {mirrored for mirrored, *_ in seen} == {0, 1}
    assert {dx for _, dx, _ in seen} == {dy for *_, dy in seen} == {-2, -1, 0, 1, 2}


def test_crops_are_parts_of_the_picture_and_the_same_in_every_epoch(data):
    augmentation = Augmentation(mirror=True, crops=2)
    assert views(augmentation) == [View(m, crop) for crop in range(3) for m in (False, True)]
    expected = {str(picture_tensor(data[0]["image"], SIZE, view, 0).tolist()): view for view in views(augmentation)}
    rows = make(data, augmentation=augmentation)
    assert {expected[str(rows[epoch, 0][1].tolist())] for epoch in range(100)} == set(views(augmentation))
    for row in range(100):
        x0, y0, x1, y1 = View(crop=1).box(200, 100, row)
        assert x0 >= 0 and y0 >= 0 and x1 <= 200 and y1 <= 100 and x1 - x0 >= 160 and y1 - y0 >= 80
    assert View(mirrored=True).box(200, 100, 0) is None
    assert View(crop=1).box(200, 100, 0) != View(crop=2).box(200, 100, 0) != View(crop=2).box(200, 100, 1)


def test_features_have_the_view_that_the_picture_would_have(data):
    """View 0 is all zeros and view 1 all ones; the pictures of the same seed are mirrored where ones come."""
    features = tuple(np.full((PICTURES, 4, 5), view, np.float16) for view in range(2))
    mirror = Augmentation(mirror=True)
    pictures, cached = make(data, augmentation=mirror), make(data, augmentation=mirror, features=features)
    views = []
    for epoch, row in [(epoch, row) for epoch in range(3) for row in range(PICTURES)]:
        image, view = pictures[epoch, row][1], cached[epoch, row][1]
        assert view.shape == (4, 5) and view.dtype == torch.float16
        plain = picture_tensor(data[row]["image"], SIZE)
        assert torch.equal(image, plain.flip(-1) if view[0, 0] else plain)
        views.append(int(view[0, 0]))
    assert {0, 1} == set(views)


@pytest.mark.parametrize(
    ("rows", "views", "augmentation", "message"),
    [
        (PICTURES, 1, Augmentation(mirror=True), "expected 2 view"),
        (PICTURES - 1, 1, Augmentation(), "of 10 pictures"),
        (PICTURES, 1, Augmentation(shift=1), "cannot be shifted"),
    ],
)
def test_features_that_do_not_fit(data, rows, views, augmentation, message):
    with pytest.raises(ValueError, match=message):
        make(data, augmentation=augmentation, features=(np.zeros((rows, 4, 5)),) * views)


def test_shifted():
    image = torch.arange(6).view(1, 2, 3).expand(3, 2, 3)  # rows 0 1 2 and 3 4 5
    assert shifted(image, 1, 0)[0].tolist() == [[0, 0, 1], [3, 3, 4]]  # to the right
    assert shifted(image, -2, 0)[1].tolist() == [[2, 2, 2], [5, 5, 5]]
    assert shifted(image, 0, 1)[2].tolist() == [[0, 1, 2], [0, 1, 2]]  # down
    assert shifted(image, 1, -1)[0].tolist() == [[3, 3, 4], [3, 3, 4]]
    assert torch.equal(shifted(image, 0, 0), image)


def test_long_captions_are_cut():
    a, b, c = TOKENIZER.encode("a b c")
    bos, eos = TOKENIZER.bos_id, TOKENIZER.eos_id
    assert encoded(TOKENIZER, "a b c", 4).tolist() == [bos, a, b, c, eos]
    assert encoded(TOKENIZER, "a b c", 3).tolist() == [bos, a, b, c]
    assert encoded(TOKENIZER, "a b c", 2).tolist() == [bos, a, b]
    assert encoded(TOKENIZER, "", 2).tolist() == [bos, eos]


def test_collate_pads_at_the_end():
    items = [((0, 7), torch.zeros(1), [torch.tensor([1, 4, 2])], None)]
    items += [((3, 5), torch.ones(1), [torch.tensor([1, 4, 5, 6, 2])], None)]
    batch = Collate(pad_id=9)(items)
    assert batch["rows"].tolist() == [7, 5] and batch["keys"].tolist() == [7, 3 * 2**32 + 5]
    assert batch["images"].tolist() == [[0.0], [1.0]]
    assert batch["tokens"].tolist() == [[1, 4, 2, 9, 9], [1, 4, 5, 6, 2]]
    assert Collate(9, seed=2**15 + 1)(items)["keys"].tolist() == [2**48 + 7, 2**48 + 3 * 2**32 + 5]


def test_an_epoch_has_every_picture_once(data):
    loader = training_batches(make(data, captions=2), TOKENIZER.pad_id, batch_size=4, workers=0)
    first, second = epoch_of(loader, 0), epoch_of(loader, 1)
    assert len(loader) == 3 and [len(batch["rows"]) for batch in first] == [4, 4, 2]  # the last one is kept
    assert [len(batch["tokens"]) for batch in first] == [8, 8, 4]
    orders = [torch.cat([batch["rows"] for batch in epoch]).tolist() for epoch in (first, second)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(PICTURES))
    assert orders[0] != orders[1] != list(range(PICTURES))
    assert all(map(same, first, epoch_of(loader, 0)))
    words = texts(first[0]["tokens"][:2])  # the first picture's two captions come first
    assert set(words) <= set("abcde"[: orders[0][0] % 3 + 3])


def test_another_seed_draws_other_noise(data):
    keys = [
        {key for epoch in (0, 1) for batch in epoch_of(loader, epoch) for key in batch["keys"].tolist()}
        for loader in (training_batches(make(data, seed=seed), TOKENIZER.pad_id, 4, workers=0) for seed in (0, 1))
    ]
    assert len(keys[0]) == len(keys[1]) == 2 * PICTURES and not keys[0] & keys[1]


def test_worker_processes_change_nothing(data):
    here, there = (training_batches(make(data), TOKENIZER.pad_id, batch_size=4, workers=n) for n in (0, 2))
    for epoch in (0, 3):
        assert all(map(same, epoch_of(here, epoch), epoch_of(there, epoch)))


def test_pictures_in_order(data):
    batches = list(picture_batches(data["image"][:], SIZE, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 4, 2] and batches[0].dtype == torch.uint8
    assert torch.equal(torch.cat(batches)[7], picture_tensor(data[7]["image"], SIZE))


def test_pictures_are_squeezed_whole(tmp_path: Path):
    """The left half is red and the right half blue, twice as wide as high."""
    picture = Image.new("RGB", (64, 32), "red")
    picture.paste("blue", (32, 0, 64, 32))
    picture.save(tmp_path / "wide.png")
    found = picture_tensor(str(tmp_path / "wide.png"), 16)
    assert found.shape == (3, 16, 16) and found.dtype == torch.uint8
    assert found[:, :, :6].float().mean((1, 2)).tolist() == pytest.approx([255, 0, 0], abs=3)
    assert found[:, :, -6:].float().mean((1, 2)).tolist() == pytest.approx([0, 0, 255], abs=3)


def test_an_epoch_has_every_row_once_in_batches_of_like_length():
    lengths = np.random.default_rng(0).integers(5, 90, size=1000)
    sampler = EpochSampler(lengths, batch_size=16, seed=3)
    epochs = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        drawn = list(sampler)
        assert {number for number, _ in drawn} == {epoch}
        epochs.append([row for _, row in drawn])
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(1000)) and epochs[0] != epochs[1]

    batches = [lengths[epochs[0][start : start + 16]] for start in range(0, 992, 16)]
    assert np.mean([np.ptp(batch) for batch in batches]) < 10  # of 85, were they not sorted
    firsts = [batch.mean() for batch in batches]
    assert firsts != sorted(firsts)  # short and long batches come mixed
