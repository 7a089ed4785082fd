"""What is asked again, what is told apart, and where the answers of each picture go."""

import json

import pytest
from datasets import DatasetDict
from PIL import Image

from captioning.data import sources
from captioning.rebuild import pipeline
from captioning.rebuild.backends import WriterFailed
from captioning.rebuild.pipeline import Task
from captioning.rebuild.prompts import prompt

CLOTHES, BACKGROUND = prompt("clothes-v2"), prompt("background-v2")
FILES = [f"{split}/{part}/{i}.jpg" for split in ("train", "val") for part in "ab" for i in range(3)] + ["train/one.jpg"]


@pytest.fixture
def folder(tmp_path):
    """Pictures of which most have the name of another one."""
    for i, name in enumerate(FILES):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, 0, 0)).save(path)
    return tmp_path / "photos"


class Speaker:
    """A writer that says which picture it sees, and fails where, and as long as, it is told to."""

    def __init__(self, fails=()):
        self.fails, self.asked = set(fails), []

    def write(self, images, prompt, seed):
        self.asked += images
        if self.fails & set(images):
            raise WriterFailed("out of words")
        place = {"clothes": "she wears a red long skirt", "background": "there is a car in a street"}[prompt.topic]
        return [[f"{place} number {image} {seed + i} ."] for i, image in enumerate(images)]

    def facts(self):
        return {"kind": "speaker"}


def tasks(fails=(), size=4, **more):
    return [
        Task("own", Speaker(), CLOTHES, size, **more),
        Task("vlm", Speaker(fails), BACKGROUND, size, **more),
    ]


def raw(out, name="vlm"):
    lines = pipeline.read_batches(out / "answers" / f"{name}.jsonl")
    return [(line["ids"], line["texts"], line["errors"]) for line in lines]


@pytest.mark.parametrize("parallel", [1, 3])
def test_what_ended_in_an_error_is_asked_again(folder, tmp_path, parallel, capsys):
    pictures = pipeline.pictures_of(sources.load("folder", folder))
    pipeline.ask(pictures, tasks(parallel=parallel), tmp_path / "whole")
    broken = [pictures["image"][i] for i in (1, 4, 5, 6, 7, 12)]  # one of a batch, and a whole batch
    asked, out = tasks(broken, parallel=parallel), tmp_path / "out"
    pipeline.ask(pictures, asked, out)
    rebuilt = pipeline.clean(pictures, out, asked)
    assert rebuilt.left_out == [pictures["image_id"][i] for i in (1, 4, 5, 6, 7, 12)]
    assert capsys.readouterr().err.count("out of words") == 6
    again = tasks(parallel=parallel)
    pipeline.ask(pictures, again, out)
    assert sorted(again[1].writer.asked) == sorted(broken) and not again[0].writer.asked
    assert raw(out) == raw(tmp_path / "whole"), "as if nothing had happened"
    assert not pipeline.clean(pictures, out, again).left_out


def test_what_fails_again_stops_nothing(folder, tmp_path):
    pictures = pipeline.pictures_of(sources.load("folder", folder))
    broken, out = pictures["image"][4:8], tmp_path / "out"
    for _ in range(2):
        asked = tasks(broken)
        pipeline.ask(pictures, asked, out)
        assert pipeline.clean(pictures, out, asked).left_out == pictures["image_id"][4:8]
    assert len(raw(out)) == 4


def test_pictures_of_one_name_are_told_apart(folder, tmp_path):
    data = sources.load("folder", folder)
    pictures, asked, out = pipeline.pictures_of(data), tasks(), tmp_path / "out"
    pipeline.ask(pictures, asked, out)
    pipeline.clean(pictures, out, asked)
    train, val = (json.loads((out / f"{split}_captions.json").read_text()) for split in ("train", "val"))
    assert sorted(train) == sorted([*FILES[:6], "one.jpg"]), "a path only where it must be"
    assert sorted(val) == sorted(FILES[6:12])
    assert all(str(folder / name) in caption for name, caption in val.items())
    assert pipeline.load(out)["train"]["image_id"] == pictures["image_id"][:7]


def test_one_id_in_two_splits_is_two_pictures(folder, tmp_path):
    data = sources.load("folder", folder)
    same = {"train": data["train"].select(range(3)), "val": data["val"].select(range(3))}
    same = {
        split: table.remove_columns("image_id").add_column("image_id", ["x", "y", f"only {split}"])
        for split, table in same.items()
    }
    pictures, asked = pipeline.pictures_of(DatasetDict(same)), tasks()
    assert pictures["image_id"] == ["train/x", "train/y", "only train", "val/x", "val/y", "only val"]
    pipeline.ask(pictures, asked, tmp_path / "out")
    rebuilt = pipeline.clean(pictures, tmp_path / "out", asked)
    rows = [row for table in rebuilt.data.values() for row in table]
    assert len(rows) == 6 and all(row["image"] in row["clothes"] and row["image"] in row["background"] for row in rows)


@pytest.mark.parametrize("names", [("vlm", "vlm"), ("own", "a/b")])
def test_writers_have_names_of_their_own_that_files_can_have(folder, tmp_path, names):
    pictures = pipeline.pictures_of(sources.load("folder", folder))
    asked = [Task(name, Speaker(), BACKGROUND) for name in names]
    with pytest.raises(ValueError, match=f"{names[1]}.*`name` of its own"):
        pipeline.ask(pictures, asked, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_side_by_side_is_refused():
    with pytest.raises(ValueError, match="parallel=0: need at least 1"):
        Task("vlm", Speaker(), BACKGROUND, parallel=0)
