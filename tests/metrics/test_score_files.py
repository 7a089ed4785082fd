"""Files and folders of captions: which of their captions are references, training captions and predictions."""

import json
import re

import pytest

from captioning.data.files import BrokenSource
from captioning.data.formats.coco import SKIPPED
from captioning.metrics.files import read_captions, read_references, read_scored


def karpathy(place, *entries):
    """(filepath, filename, split, caption)"""
    images = [
        {"filename": name, "split": split, "sentences": [{"raw": text}]} | ({"filepath": path} if path else {})
        for path, name, split, text in entries
    ]
    place.write_text(json.dumps({"images": images, "dataset": "mine"}))
    return place


def lines(place, *records):
    place.write_text("".join(json.dumps(record) + "\n" for record in records))
    return place


def pictures(folder, captions):
    """A folder of pictures with captions beside them."""
    for name, text in captions.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        path.with_suffix(".txt").write_text(text)
    return folder


TWO = ("", "a.jpg", "test", "a dog"), ("", "b.jpg", "train", "a cat")
RECORDS = [{"image": name, "split": split, "caption": text} for _, name, split, text in TWO]
METADATA = [{"file_name": name, "split": split, "captions": [text]} for _, name, split, text in TWO]


@pytest.mark.parametrize(
    "make",
    [
        lambda home: karpathy(home / "set.json", *TWO),
        lambda home: lines(home / "all.jsonl", *RECORDS),
        lambda home: lines(home / "metadata.jsonl", *METADATA),
        lambda home: pictures(home / "set", {"a.jpg": "a dog", "train/b.jpg": "a cat"}),
    ],
)
def test_training_captions_of_a_set_with_splits_are_those_of_train(make, tmp_path):
    place = make(tmp_path)
    found = read_scored(place, place, train=place)
    assert found["predictions"] == found["references"] == {"a.jpg": ["a dog"]}
    assert list(found["train"].values()) == [["a cat"]]


def test_training_captions_without_splits_are_all_that_there_are(tmp_path):
    folder = pictures(tmp_path / "photos", {"a.jpg": "a dog", "b.jpg": "a cat"})
    found = read_scored(folder, folder, train=folder)
    assert found["train"] == {"a.jpg": ["a dog"], "b.jpg": ["a cat"]}
    (folder / "val").mkdir()
    pictures(folder / "val", {"c.jpg": "a bus"})
    with pytest.raises(
        BrokenSource, match="has the splits test, val, not 'train'; .* in a file or folder of their own"
    ):
        read_scored(folder, folder, train=folder)


def test_the_split_is_that_of_the_predictions_too(tmp_path):
    captions = {"test/0.jpg": "a dog", "val/1.jpg": "a cat"}
    truth, said = pictures(tmp_path / "truth", captions), pictures(tmp_path / "said", captions)
    found = read_scored(said, truth, against=said, split="val")
    assert found["predictions"] == found["against"] == found["references"] == {"val/1.jpg": ["a cat"]}
    flat = pictures(tmp_path / "flat", {"val_1.jpg": "a cat"})
    assert read_scored(flat, truth, split="val")["predictions"] == {"val_1.jpg": ["a cat"]}
    with pytest.raises(BrokenSource, match="flat: has the splits test, not 'val'; name one that is there with --split"):
        read_scored(flat, flat, split="val")


def test_what_vizwiz_leaves_out_is_left_out_of_its_file_as_of_its_folder(tmp_path):
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in range(3)]
    marks = [dict.fromkeys(SKIPPED, False), {"is_precanned": True}, {"is_rejected": True}]
    said = [{"image_id": n, "caption": f"{n} {k}"} | marks[k] for n in range(2) for k in range(3)]
    said.append({"image_id": 2, "caption": "not clear", "is_precanned": True})
    (tmp_path / "annotations").mkdir()
    file = tmp_path / "annotations" / "val.json"
    file.write_text(json.dumps({"images": images, "annotations": said}))
    assert read_references(file) == read_references(tmp_path) == {"0": ["0 0"], "1": ["1 0"]}


def test_pictures_of_one_name_in_two_folders_have_their_paths_as_ids(tmp_path):
    entries = [("x", "a.jpg", "test", "a dog"), ("y", "a.jpg", "test", "a bus"), ("y", "b.jpg", "test", "two men")]
    place = karpathy(tmp_path / "set.json", *entries, ("z", "b.jpg", "train", "a cat"))
    assert read_references(place) == {"x/a.jpg": ["a dog"], "y/a.jpg": ["a bus"], "b.jpg": ["two men"]}
    (tmp_path / "said.json").write_text('{"photos/y/a.jpg": "a bus", "y/b.jpg": "two men", "a.jpg": "a dog"}')
    found = read_scored(tmp_path / "said.json", place)["predictions"]
    assert found == {"y/a.jpg": ["a bus"], "b.jpg": ["two men"], "a.jpg": ["a dog"]}


def test_two_entries_of_one_id_are_refused(tmp_path):
    place = karpathy(tmp_path / "set.json", *[("", "a.jpg", "test", text) for text in ("a dog", "a bus")])
    with pytest.raises(BrokenSource, match=r"a.jpg \('a dog'\) and .*a.jpg \('a bus'\) have one id, 'a.jpg'; give"):
        read_captions(place)
    folder = tmp_path / "coco"
    folder.mkdir()
    images = [{"id": 1, "file_name": name} for name in ("a.jpg", "b.jpg")]
    coco = {"images": images, "annotations": [{"image_id": 1, "caption": "a dog"}]}
    (folder / "captions.json").write_text(json.dumps(coco))
    for each in (folder, folder / "captions.json"):
        with pytest.raises(BrokenSource, match=r"a.jpg.* and .*b.jpg.* have one id, '1'; give each an id of its own"):
            read_captions(each)
    (folder / "captions.json").write_text(json.dumps(coco | {"images": images[:1] * 2}))
    assert read_captions(folder) == read_captions(folder / "captions.json") == {"1": ["a dog"]}


BARS = "image_name| comment_number| comment\na.jpg| 0| A dog , black .\n"


@pytest.mark.parametrize(
    "name, text, found",
    [
        ("metadata.jsonl", '{"file_name": "a.jpg", "captions": ["a dog", "b"]}\n', {"a.jpg": ["a dog", "b"]}),
        ("metadata.csv", "file_name,caption\na.jpg,a dog\na.jpg,b\n", {"a.jpg": ["a dog", "b"]}),
        ("list.jsonl", '{"path": "a.jpg", "text": "a dog"}\n', {"a.jpg": ["a dog"]}),
        ("kohya.json", '{"a": {"tags": "dog, black"}, "b": {"caption": "x"}}', {"a": ["dog, black"], "b": ["x"]}),
        ("Flickr8k.token.txt", "a.jpg#0\ta dog\na.jpg#1\tb\n", {"a.jpg": ["a dog", "b"]}),
        ("results.csv", BARS, {"a.jpg": ["A dog , black ."]}),
        ("imageid.human-written-caption.txt", "a#0\t一只狗\n", {"a": ["一只狗"]}),
    ],
)
def test_files_of_data_sets_are_read(name, text, found, tmp_path):
    (tmp_path / name).write_text(text)
    assert read_references(tmp_path / name) == read_captions(tmp_path / name) == found


def test_a_file_that_is_no_list_has_no_other_captions_than_those_that_are_asked_for(tmp_path):
    place = lines(tmp_path / "said.jsonl", {"image": "a.jpg", "text": "a dog"})
    with pytest.raises(BrokenSource, match=re.escape("no 'predicted' in {'image': 'a.jpg'")):
        read_captions(place, caption_key="predicted")
    (tmp_path / "notes.txt").write_text("a dog")
    with pytest.raises(BrokenSource, match="notes.txt: no JSON; expected records .*, or a file of docs/formats.md"):
        read_captions(tmp_path / "notes.txt")
