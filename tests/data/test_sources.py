import json
import warnings
from pathlib import Path

import pandas as pd
import pytest
from datasets import Dataset, DatasetDict
from PIL import Image

from captioning.data import sources
from captioning.data.files import BrokenSource
from captioning.paths import real_data


def draw(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "teal").save(path)


def write(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def ids(dataset: DatasetDict) -> dict[str, list[str]]:
    return {split: table["image_id"][:] for split, table in dataset.items()}


def flickr_files(folder: Path) -> None:
    draw(folder, *(f"Flicker8k_Dataset/{name}.jpg" for name in "abcd"))
    lines = [f"{name}.jpg#{k}\t{name} number {k} ." for name in "abcd" for k in range(2)]
    write(folder / "Flickr8k.token.txt", "\n".join(lines) + "\n")


def karpathy(name: str, entries: list[tuple[str, str]], **extra) -> dict:
    images = [
        {"filename": file, "split": split, "sentences": [{"raw": f"about {file}"}]} | extra for file, split in entries
    ]
    return {"dataset": name, "images": images}


# --- the formats ---


def test_flickr8k_official_lists_without_a_test_list(tmp_path):
    flickr_files(tmp_path)
    write(tmp_path / "Flickr_8k.trainImages.txt", "b.jpg\na.jpg\n")
    write(tmp_path / "Flickr_8k.devImages.txt", "c.jpg\n")
    dataset = sources.load("flickr8k", tmp_path)
    assert ids(dataset) == {"train": ["b.jpg", "a.jpg"], "val": ["c.jpg"]}
    assert dataset["train"][1] == {
        "image": str(tmp_path / "Flicker8k_Dataset" / "a.jpg"),
        "image_id": "a.jpg",
        "captions": ["a number 0 .", "a number 1 ."],
    }


def test_flickr_csv_with_quotes_and_drawn_splits(tmp_path):
    names = [f"{k}.jpg" for k in range(8)]
    draw(tmp_path, *(f"Images/{name}" for name in names))
    write(tmp_path / "captions.txt", "image,caption\n" + "".join(f'{n},"one, ""two"" , {n}"\n' for n in names))
    dataset = sources.load("flickr8k", tmp_path)
    assert {split: len(table) for split, table in dataset.items()} == {"train": 6, "val": 1, "test": 1}
    assert sorted(sum(ids(dataset).values(), [])) == names
    assert dataset["val"][0]["captions"] == [f'one, "two" , {dataset["val"][0]["image_id"]}']
    assert ids(sources.load("flickr8k", tmp_path)) == ids(dataset)
    assert ids(sources.load("flickr8k", tmp_path, share=0.25))["val"] != ids(dataset)["val"]


def test_flickr_csv_without_quotes_keeps_what_stands_before_a_comma(tmp_path):
    draw(tmp_path, "Images/1.jpg")
    write(tmp_path / "captions.txt", "image,caption\n1.jpg,A man , in a red hat .\n1.jpg,A dog .\n")
    assert sources.load("flickr8k", tmp_path)["train"]["captions"][:] == [["A man , in a red hat .", "A dog ."]]
    write(tmp_path / "captions.txt", "image\n1.jpg\n")
    with pytest.raises(BrokenSource, match="the first line is 'image', expected a header like `image,caption`"):
        sources.load("flickr8k", tmp_path)


def test_kaggles_flickr30k_has_bars_between_its_columns_and_a_row_without_one(tmp_path):
    draw(tmp_path, "flickr30k_images/1.jpg")
    rows = ["1.jpg| 0| Two men , in hats .", "1.jpg| 3| 2 dogs | 1 cat .", "1.jpg| 4   A dog runs ."]
    write(tmp_path / "results.csv", "\n".join(["image_name| comment_number| comment", *rows, ""]))
    dataset = sources.load("flickr30k", tmp_path)
    assert dataset["train"]["captions"][:] == [["Two men , in hats .", "2 dogs | 1 cat .", "A dog runs ."]]
    write(tmp_path / "results.csv", "image_name| comment_number| comment\n1.jpg| A dog\n")
    with pytest.raises(
        BrokenSource, match=r"results\.csv, line 2: '1\.jpg\| A dog', expected `file\| number\| caption`"
    ):
        sources.load("flickr30k", tmp_path)


def test_karpathy_flickr_takes_the_file_of_its_own_set(tmp_path):
    draw(tmp_path, "flickr30k-images/1.jpg", "flickr30k-images/2.jpg")
    write(tmp_path / "dataset_flickr8k.json", karpathy("flickr8k", [("9.jpg", "train")]))
    write(tmp_path / "dataset_flickr30k.json", karpathy("flickr30k", [("1.jpg", "train"), ("2.jpg", "test")]))
    assert ids(sources.load("flickr30k", tmp_path)) == {"train": ["1.jpg"], "test": ["2.jpg"]}


def test_coco_karpathy_moves_restval_to_train(tmp_path):
    draw(tmp_path, *(f"val2014/{k}.jpg" for k in range(4)))
    write(tmp_path / "annotations/captions_train2014.json", {"images": [], "annotations": []})
    data = karpathy("coco", [("0.jpg", "train"), ("1.jpg", "restval"), ("2.jpg", "val")], filepath="val2014")
    for number, entry in enumerate(data["images"]):
        entry["cocoid"] = 100 + number
    write(tmp_path / "dataset_coco.json", data)
    dataset = sources.load("coco", tmp_path)
    assert ids(dataset) == {"train": ["100", "101"], "val": ["102"]}
    assert dataset["val"][0]["image"] == str(tmp_path / "val2014" / "2.jpg")


@pytest.mark.parametrize("year", ["2014", "2017"])
def test_coco_annotations(tmp_path, year):
    draw(tmp_path, f"train{year}/x.jpg", f"val{year}/y.jpg")
    for split, file, number in (("train", "x.jpg", 7), ("val", "y.jpg", 0)):
        captions = [{"image_id": number, "caption": f"{file} {k}"} for k in range(2)]
        images = [{"id": number, "file_name": file}]
        write(tmp_path / f"annotations/captions_{split}{year}.json", {"images": images, "annotations": captions})
    dataset = sources.load("coco", tmp_path)
    assert ids(dataset) == {"train": ["7"], "val": ["0"]}
    assert dataset["train"][0]["captions"] == ["x.jpg 0", "x.jpg 1"]


def deepfashion_name(person: int, view: int = 1) -> str:
    return f"WOMEN-Dresses-id_{person:08d}-0{view}_1_front.jpg"


def test_deepfashion_holds_val_out_by_person(tmp_path):
    train = [deepfashion_name(person, view) for person in range(20) for view in (1, 2, 3)]
    test = [deepfashion_name(3, 4), deepfashion_name(99)]
    draw(tmp_path / "images", *train, *test)
    write(tmp_path / "train_captions.json", dict.fromkeys(train, "a dress ."))
    write(tmp_path / "test_captions.json", dict.fromkeys(test, "a dress ."))
    dataset = sources.load("deepfashion", tmp_path)
    assert {split: len(table) for split, table in dataset.items()} == {"train": 54, "val": 6, "test": 2}
    people = {split: {name[17:25] for name in names} for split, names in ids(dataset).items()}
    assert len(people["val"]) == 2 and not people["val"] & people["train"]
    assert ids(dataset)["test"] == test
    assert ids(sources.load("deepfashion", tmp_path, seed=1))["val"] != ids(dataset)["val"]
    assert len(sources.load("deepfashion", tmp_path, share=0.5)["val"]) == 30


def test_deepfashion_unsplit_captions_hold_test_out_too(tmp_path):
    names = [deepfashion_name(person, view) for person in range(10) for view in (1, 2)]
    draw(tmp_path / "images", *names)
    write(tmp_path / "captions.json", dict.fromkeys(names, "a dress ."))
    dataset = sources.load("deepfashion", tmp_path)
    assert {split: len(table) for split, table in dataset.items()} == {"train": 16, "val": 2, "test": 2}


def test_vizwiz_leaves_out_rejected_and_precanned_captions(tmp_path):
    for number, split in enumerate(("train", "val", "test")):
        draw(tmp_path, f"{split}/VizWiz_{split}_{number:08d}.jpg")
        data = {"images": [{"id": number, "file_name": f"VizWiz_{split}_{number:08d}.jpg"}]}
        if split != "test":
            marks = [("a cup", 0, 0), ("spam", 1, 0), ("Quality issues are too severe", 0, 1)]
            data["annotations"] = [
                {"image_id": number, "caption": text, "is_rejected": bool(bad), "is_precanned": bool(canned)}
                for text, bad, canned in marks
            ]
        write(tmp_path / f"annotations/{split}.json", data)
    dataset = sources.load("vizwiz", tmp_path)
    assert ids(dataset) == {"train": ["0"], "val": ["1"], "test": ["2"]}
    assert [dataset[split][0]["captions"] for split in ("train", "val", "test")] == [["a cup"], ["a cup"], []]


def test_personality_keeps_two_styles_of_one_picture_apart(tmp_path):
    draw(tmp_path, "yfcc_images/ab12.jpg")
    rows = [{"personality": s, "comment": f"{s}!", "image_hash": "ab12"} for s in ("Sweet", "Cynical (Doubtful)")]
    for split in ("train", "val", "test"):
        write(tmp_path / f"personality_captions/{split}.json", rows)
    rows[0]["additional_comments"] = ["so sweet", "how nice"]
    write(tmp_path / "personality_captions/test.json", rows)
    dataset = sources.load("personality", tmp_path)
    assert ids(dataset)["train"] == ["ab12/Sweet", "ab12/Cynical (Doubtful)"]
    assert dataset["test"][0]["captions"] == ["Sweet!", "so sweet", "how nice"]
    assert dataset["test"]["style"][:] == ["Sweet", "Cynical (Doubtful)"]


def test_plain_folder(tmp_path):
    draw(tmp_path, "b.png", "deep/a.jpg", "train/c.webp")
    write(tmp_path / "notes.txt", "not a picture")
    dataset = sources.load("folder", tmp_path)
    assert ids(dataset) == {"train": ["train/c.webp"], "test": ["b.png", "deep/a.jpg"]}
    assert dataset["test"][0]["captions"] == []
    assert set(ids(sources.load("folder", tmp_path, split="val"))) == {"train", "val"}


def test_folder_with_metadata(tmp_path):
    draw(tmp_path, "a.jpg", "b.jpg", "c.jpg", "unnamed.jpg")
    lines = [
        {
            "file_name": "a.jpg",
            "caption": "one",
            "split": "train",
            "attributes": {"hat": "yes"},
            "provenance": "by hand",
        },
        {"file_name": "b.jpg", "captions": ["two", "three"], "split": "train", "attributes": {"belt": "no"}},
        {"file_name": "c.jpg", "split": "val"},
    ]
    write(tmp_path / "metadata.jsonl", "\n".join(map(json.dumps, lines)))
    dataset = sources.load("folder", tmp_path)
    table = dataset["train"]
    assert table["captions"][:] == [["one"], ["two", "three"]]
    assert table["attributes"][:] == [{"hat": "yes", "belt": None}, {"hat": None, "belt": "no"}]
    assert table["provenance"][:] == ["by hand", None]
    assert ids(dataset)["val"] == ["c.jpg"] and dataset["val"].features == table.features


# --- damage to the structure: a clear error ---


def test_missing_files_are_listed_with_what_was_looked_for(tmp_path):
    write(tmp_path / "readme.txt", "")
    with pytest.raises(BrokenSource, match=r"looked for Flickr8k\.token\.txt or .* found readme\.txt"):
        sources.load("flickr8k", tmp_path)
    with pytest.raises(BrokenSource, match="captions_train2014"):
        sources.load("coco", tmp_path)
    with pytest.raises(BrokenSource, match="no such folder"):
        sources.load("coco", tmp_path / "nowhere")
    with pytest.raises(BrokenSource, match="unknown data set 'coca', expected one of minifashion, .*coco"):
        sources.load("coca", tmp_path)


def test_json_cut_in_half_names_file_and_position(tmp_path):
    text = json.dumps(karpathy("coco", [("0.jpg", "train")] * 9), indent=1)
    write(tmp_path / "dataset_coco.json", text[: len(text) // 2])
    with pytest.raises(BrokenSource, match=rf"dataset_coco\.json: cut off .* of {len(text) // 2} \(line \d+"):
        sources.load("coco", tmp_path)


def test_one_cut_line_of_metadata_is_named(tmp_path):
    draw(tmp_path, "a.jpg")
    write(tmp_path / "metadata.jsonl", '{"file_name": "a.jpg", "caption": "x"}\n{"file_name": "b.j')
    with pytest.raises(BrokenSource, match=r"metadata\.jsonl, line 2"):
        sources.load("folder", tmp_path)


@pytest.mark.parametrize("name", ["../x.jpg", "a/../../x.jpg", "/etc/x.jpg", "..\\x.jpg", "C:\\x.jpg", ""])
def test_a_name_that_climbs_out_is_refused(tmp_path, name):
    write(tmp_path / "dataset_coco.json", karpathy("coco", [(name, "train")]))
    with pytest.raises(BrokenSource, match="climbs out"):
        sources.load("coco", tmp_path)


def test_duplicate_ids_are_refused(tmp_path):
    draw(tmp_path, "a.jpg")
    write(tmp_path / "dataset_flickr8k.json", karpathy("flickr8k", [("a.jpg", "train"), ("a.jpg", "train")]))
    with pytest.raises(BrokenSource, match=r"id 'a\.jpg' is there twice in train"):
        sources.load("flickr8k", tmp_path)


def test_a_repeated_json_key_is_not_dropped_without_a_word(tmp_path):
    name = deepfashion_name(1)
    write(tmp_path / "captions.json", f'{{"{name}": "one", "{name}": "two"}}')
    with pytest.raises(BrokenSource, match=rf"captions\.json: '{name}' is there 2 times"):
        sources.load("deepfashion", tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "expected a dict, found a list"),
        ({"images": None}, "'images' is None, expected a list"),
        ({"images": [{"split": "train"}]}, "no 'filename'"),
        (karpathy("coco", [("a.jpg", "dev")]), "split 'dev', expected one of train, val, test"),
    ],
)
def test_other_structures_are_refused(tmp_path, content, words):
    write(tmp_path / "dataset_coco.json", content)
    with pytest.raises(BrokenSource, match=words):
        sources.load("coco", tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"dataset_type": "train", "data": [{"image_id": "ab", "caption_str": "a sign"}]},  # TextCaps
        {"ab.jpg": {"caption": "a sign", "tags": "sign"}},  # kohya
        {"images": [], "annotations": {"1": "a sign"}},
        karpathy("coco", [("a.jpg", "train")]),
    ],
)
def test_other_files_in_the_place_of_annotations_end_in_one_sentence(tmp_path, content):
    write(tmp_path / "annotations/captions_train2014.json", content)
    with pytest.raises(BrokenSource, match=r"captions_train2014\.json: .*restore the entry"):
        sources.load("coco", tmp_path)


def test_comments_that_are_no_list_are_not_taken_for_letters(tmp_path):
    draw(tmp_path, "yfcc_images/ab.jpg")
    rows = [{"personality": "Sweet", "comment": "so sweet", "image_hash": "ab", "additional_comments": "nice"}]
    write(tmp_path / "train.json", rows)
    with pytest.raises(BrokenSource, match="'additional_comments' is nice, expected a list"):
        sources.load("personality", tmp_path)


def test_an_open_quote_in_csv_does_not_swallow_the_rest(tmp_path):
    write(tmp_path / "captions.txt", 'image,caption\na.jpg,"open\nb.jpg,shut\n')
    with pytest.raises(BrokenSource, match=r"captions\.txt, line"):
        sources.load("flickr8k", tmp_path)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "Flickr8k.token.txt").write_bytes(b"a.jpg#0\t\xff\xfe")
    with pytest.raises(BrokenSource, match="byte 8 is not UTF-8"):
        sources.load("flickr8k", tmp_path)


# --- single bad items: a listed skip ---


@pytest.fixture
def damaged(tmp_path):
    """COCO with good.jpg, gone.jpg (missing), bad.jpg (half its captions unusable), mute.jpg (none usable)."""
    names = ["good", "gone", "bad", "mute"]
    draw(tmp_path / "train2014", *(f"{name}.jpg" for name in names if name != "gone"))
    captions = {1: ["fine"], 2: ["fine"], 3: ["", None, 7, "two\u2028lines\n"], 4: ["  "]}
    data = {
        "images": [{"id": k, "file_name": f"{name}.jpg"} for k, name in enumerate(names, 1)],
        "annotations": [{"image_id": k, "caption": text} for k, texts in captions.items() for text in texts],
    }
    write(tmp_path / "annotations/captions_train2014.json", data)
    write(tmp_path / "annotations/captions_val2014.json", {"images": [], "annotations": []})
    return tmp_path


def test_bad_captions_and_missing_pictures_are_left_out_and_listed(damaged):
    dataset, left_out = sources.read("coco", damaged)
    assert ids(dataset) == {"train": ["1", "3"]}
    assert dataset["train"]["captions"][:] == [["fine"], ["two lines"]]
    assert list(left_out.columns) == ["split", "image_id", "kind", "detail"]
    assert left_out[["image_id", "kind"]].to_numpy().tolist() == [
        ["2", "missing picture"],
        ["3", "bad caption"],
        ["3", "bad caption"],
        ["3", "bad caption"],
        ["4", "bad caption"],
    ]
    assert "gone.jpg" in left_out["detail"][0] and "caption 2 is 7" in left_out["detail"][3]


def test_load_warns_of_what_it_leaves_out(damaged):
    with pytest.warns(UserWarning, match=r"left out 1 x missing picture, the first: train 2 \(.*; 4 x bad caption"):
        sources.load("coco", damaged)


def test_a_set_of_which_nothing_is_usable_is_an_error(tmp_path):
    write(tmp_path / "dataset_coco.json", karpathy("coco", [("a.jpg", "train")]))
    with pytest.raises(BrokenSource, match=r"no usable picture, 1 left out, the first: no file .*a\.jpg"):
        sources.load("coco", tmp_path)


# --- check and healthy ---


def broken_set(folder: Path) -> DatasetDict:
    draw(folder, "good.png", "cut.jpg", "zero.jpg", "text.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:-200])
    (folder / "zero.jpg").write_bytes(b"")
    (folder / "text.jpg").write_bytes(b"not a picture")
    files = ["good.png", "cut.jpg", "zero.jpg", "text.jpg", "gone.jpg", "good.png", "good.png"]
    rows = {
        "image": [str(folder / file) for file in files],
        "image_id": ["good", "cut", "zero", "text", "gone", "twice", "twice"],
        "captions": [["fine"], ["fine"], ["fine"], ["fine"], ["fine"], ["fine", " "], ["fine"]],
    }
    return DatasetDict({"train": Dataset.from_dict(rows)})


@pytest.mark.parametrize("workers", [0, 1])
def test_check_finds_everything_that_could_stop_an_epoch(tmp_path, workers):
    dataset = broken_set(tmp_path)
    findings = sources.check(dataset, workers)
    assert sorted(findings[["image_id", "kind"]].itertuples(index=False, name=None)) == [
        ("cut", "broken picture"),
        ("gone", "broken picture"),
        ("text", "broken picture"),
        ("twice", "duplicate id"),
        ("twice", "empty caption"),
        ("zero", "broken picture"),
    ]
    assert set(findings["split"]) == {"train"}
    details = findings.set_index(["image_id", "kind"])["detail"]
    assert str(tmp_path / "cut.jpg") in details["cut", "broken picture"]
    kept = sources.healthy(dataset, findings)
    assert ids(kept) == {"train": ["good"]}
    assert len(sources.check(kept, workers=0)) == 0


def test_healthy_looks_at_the_split_too():
    table = Dataset.from_dict({"image": ["x", "y"], "image_id": ["1", "2"], "captions": [["a"], ["b"]]})
    findings = pd.DataFrame([("val", "1", "broken picture", "")], columns=list(sources.FINDINGS))
    kept = sources.healthy(DatasetDict({"train": table, "val": table}), findings)
    assert ids(kept) == {"train": ["1", "2"], "val": ["2"]}


@pytest.mark.skipif(real_data() is None, reason="needs CAPTIONING_REAL_DATA")
def test_real_flickr8k():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = sources.load("flickr8k", real_data() / "flickr8k")
    assert {split: len(table) for split, table in dataset.items()} == {"train": 6000, "val": 1000}
    assert {len(captions) for table in dataset.values() for captions in table["captions"]} == {5}
    first = {row["image_id"]: row["captions"] for row in dataset["train"]}["1000268201_693b08cb0e.jpg"]
    assert first[0] == "A child in a pink dress is climbing up a set of stairs in an entry way ."
    assert len(sources.check(dataset)) == 0
