"""What other programs write, as their documentation shows it, is recognised and read."""

import base64
import io
import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioning.data import archives, features, sources
from captioning.data.batches import Pictures
from captioning.data.files import BrokenSource
from captioning.data.formats import parquet
from captioning.data.formats.shown import look, told
from captioning.data.formats.table import FORMATS, READ
from captioning.data.pictures import read_picture

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "PICTURES", tmp_path / "pictures")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def draw(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(number))


def jpeg(number=0):
    data = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 20 * (number % 12), np.uint8)).save(data, "JPEG")
    return data.getvalue()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8")


def seen(folder, name="folder", unread=()):
    """The format, and {split: {id: captions}}; what is not read is said."""
    data, left_out = sources.read(name, folder)
    assert left_out["detail"].tolist() == list(unread)
    for rows in data.values():
        for row in rows:
            read_picture(row["image"])
    found = {split: dict(zip(rows["image_id"], rows["captions"], strict=True)) for split, rows in data.items()}
    return look(folder, name)["format"], found


def test_taggui_has_tags_beside_pictures(folder):
    """One caption with its commas, whatever the tags are; none where there is no file."""
    draw(folder, "a.jpg", "deep/b.png", "c.webp")
    put(folder / "a.txt", "1girl, red dress, looking at viewer")
    put(folder / "deep" / "b.txt", "\ufeffa hat,\n a scarf \n")
    assert seen(folder) == (
        "sidecars",
        {"test": {"a.jpg": ["1girl, red dress, looking at viewer"], "c.webp": [], "deep/b.png": ["a hat, a scarf"]}},
    )
    assert seen(folder, "sidecar-lines")[1]["test"]["deep/b.png"] == ["a hat,", "a scarf"]


def test_an_empty_sidecar_is_no_caption_and_is_said(folder):
    draw(folder, "a.jpg", "b.jpg")
    put(folder / "a.txt", " \n")
    (folder / "b.txt").write_bytes(b"caf\xe9")
    draw(folder, "c.jpg")
    left_out = sources.read("folder", folder)[1]
    assert left_out[["image_id", "kind"]].to_numpy().tolist() == [["a.jpg", "bad caption"], ["b.jpg", "bad caption"]]


def test_kohya_has_caption_files_in_folders_of_repeats(folder):
    draw(folder, "10_sks dog/a.jpg", "1_dog/b.jpg")
    put(folder / "10_sks dog" / "a.caption", "sks dog on a beach")
    put(folder / "1_dog" / "b.jpg.txt", "a dog")  # OneTrainer and others keep the suffix
    assert seen(folder) == (
        "sidecars",
        {"test": {"1_dog/b.jpg": ["a dog"], "10_sks dog/a.jpg": ["sks dog on a beach"]}},
    )


def test_kohya_has_a_file_of_captions_and_tags(folder):
    """Keys as its scripts make them: whole paths of another machine, paths in the folder, names without suffix."""
    draw(folder, "a.jpg", "sub/b.png", "train/c.jpg", "d.jpg")
    entries = {"/home/me/set/a.jpg": {"caption": "a dog", "tags": "dog, beach"}, "sub/b": {"tags": "cat, sofa"}}
    entries |= {"/home/me/set/train/c.jpg": {"caption": "one\ntwo", "train_resolution": [512, 768]}, "d": {}}
    put(folder / "meta_cap.json", entries)
    found = {"a.jpg": ["a dog"], "sub/b.png": ["cat, sofa"], "d.jpg": []}
    assert seen(folder) == ("kohya", {"train": {"train/c.jpg": ["one", "two"]}, "test": found})
    data = sources.load("folder", folder)
    assert [row["attributes"]["tags"] for row in data["test"]] == ["dog, beach", None, None]


def tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def img2dataset(number):
    key = f"{number:09d}"
    facts = {"caption": f"no. {number}", "url": "https://example.org/a.jpg", "key": key, "status": "success"}
    return {
        f"{key}.jpg": jpeg(number),
        f"{key}.txt": f"no. {number}".encode(),
        f"{key}.json": json.dumps(facts).encode(),
    }


def test_img2dataset_has_shards_and_tables_beside_them(folder):
    tar(folder / "00000.tar", img2dataset(0) | img2dataset(1))
    tar(folder / "00001.tar", img2dataset(10_000))
    put(folder / "00000_stats.json", {"count": 2, "successes": 2})
    import pandas as pd

    pd.DataFrame({"url": ["https://example.org/a.jpg"], "caption": ["no. 0"]}).to_parquet(folder / "00000.parquet")
    names = ["00000.tar/000000000.jpg", "00000.tar/000000001.jpg", "00001.tar/000010000.jpg"]
    assert seen(folder) == (
        "webdataset",
        {"test": dict(zip(names, [["no. 0"], ["no. 1"], ["no. 10000"]], strict=True))},
    )


def test_img2dataset_unpacked_is_a_folder_of_sidecars(folder):
    for number in (0, 1):
        for name, data in img2dataset(number).items():
            (folder / "00000").mkdir(exist_ok=True)
            (folder / "00000" / name).write_bytes(data)
    put(folder / "00000_stats.json", {"count": 2})
    assert seen(folder) == ("sidecars", {"test": {"00000/000000000.jpg": ["no. 0"], "00000/000000001.jpg": ["no. 1"]}})


def test_shards_tell_their_split_and_their_keys_may_have_dots(folder):
    files = {
        "a.b/c.0001.jpg": jpeg(),
        "a.b/c.0001.txt": b"first",
        "a.b/c.0002.jpg": jpeg(1),
        "a.b/c.0002.txt": b"second",
    }
    tar(folder / "coco-train-00000.tar", files)
    tar(folder / "val" / "0.tar", {"x.jpg": jpeg(2), "y.cls": b"3"})
    assert seen(folder)[1] == {
        "train": {f"coco-train-00000.tar/a.b/c.000{n}.jpg": [text] for n, text in ((1, "first"), (2, "second"))},
        "val": {"val/0.tar/x.jpg": []},
    }


def test_a_picture_in_a_shard_is_read_where_it_lies(folder):
    tar(folder / "0.tar", {"a.jpg": jpeg(3), "b.jpg": jpeg(4)})
    rows = sources.load("folder", folder)["test"]
    assert [int(Pictures(list(rows["image"]), 8)[n].float().mean()) for n in (1, 0)] == [80, 60]
    assert {archives.file_of(image) for image in rows["image"]} == {str(folder / "0.tar")}
    assert not len(sources.check(sources.load("folder", folder), workers=0))


def test_an_id_in_a_shard_may_be_a_number_and_a_key_that_is_there_twice_is_refused(folder):
    tar(folder / "0.tar", {"a.jpg": jpeg(), "a.json": json.dumps({"image_id": 7, "captions": ["x"]}).encode()})
    assert seen(folder) == ("webdataset", {"test": {"7": ["x"]}})
    with tarfile.open(folder / "0.tar", "w") as archive:
        for name, data in ("a.jpg", jpeg(1)), ("a.txt", b"red"), ("a.jpg", jpeg(9)), ("a.txt", b"blue"):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    with pytest.raises(BrokenSource, match=r"0\.tar: a\.jpg is there twice; write the shard again"):
        sources.load("folder", folder)


@pytest.mark.parametrize("size", [700, 2000, 0])
def test_a_shard_that_is_cut_off_is_named(folder, size):
    tar(folder / "0.tar", {"a.jpg": jpeg(), "b.jpg": jpeg()})
    with (folder / "0.tar").open("r+b") as file:
        file.truncate(size)
    with pytest.raises(BrokenSource, match=r"0\.tar: no whole, uncompressed tar archive"):
        sources.load("folder", folder)


def test_karpathys_file_of_any_set(folder):
    draw(folder, "images/val2014/a.jpg", "images/b.jpg")
    sentences = [{"raw": "A dog .", "tokens": ["a", "dog"]}, {"raw": "Dog", "tokens": ["dog"]}]
    images = [{"filepath": "val2014", "filename": "a.jpg", "split": "restval", "cocoid": 42, "sentences": sentences}]
    put(folder / "dataset_mine.json", {"images": [*images, {"filename": "b.jpg", "split": "test", "sentences": []}]})
    assert seen(folder) == ("karpathy", {"train": {"42": ["A dog .", "Dog"]}, "test": {"b.jpg": []}})


def test_nocaps_tells_domains(folder):
    draw(folder, "val/0013ea2087020901.jpg", "val/00.jpg")
    images = [{"id": 0, "file_name": "0013ea2087020901.jpg", "domain": "near-domain"}]
    images += [{"id": 1, "file_name": "00.jpg", "domain": "out-domain"}]
    said = [{"image_id": n, "id": n, "caption": f"no. {n}"} for n in (0, 1)]
    put(folder / "nocaps_val_4500_captions.json", {"images": images, "annotations": said, "info": {}, "licenses": []})
    assert seen(folder) == ("coco-captions", {"val": {"0": ["no. 0"], "1": ["no. 1"]}})
    rows = sources.load("folder", folder)["val"]
    assert [row["attributes"]["domain"] for row in rows] == ["near-domain", "out-domain"]


CURE = "not read, for what is in it was not recognised; docs/formats.md shows the formats"


def test_an_image_id_is_the_same_as_a_number_and_as_a_string_and_one_of_no_image_is_said(folder):
    draw(folder, "a.jpg", "b.jpg")
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": "2", "file_name": "b.jpg"}]
    said = [{"image_id": "1", "caption": "x"}, {"image_id": 2, "caption": "y"}, {"image_id": 9, "caption": "lost"}]
    put(folder / "captions_val.json", {"images": images, "annotations": said})
    why = f"{folder / 'captions_val.json'}: annotations of 1 ids that no image has, such as 9; correct them"
    assert seen(folder, unread=[why]) == ("coco-captions", {"val": {"1": ["x"], "2": ["y"]}})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("val.csv", "image;caption\nb.jpg;y\n"),
        ("val.tsv", "image\tcaption\nb.jpg\ty\n"),
        ("val.jsonl", '{"image": "b.jpg", "description": "y"}\n'),
        ("chat.jsonl", {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "y"}]}),
        ("val.json", {"data": [{"image": "b.jpg", "caption": "y"}]}),
    ],
)
@pytest.mark.parametrize("others", [True, False])
def test_a_file_that_may_have_captions_and_is_not_recognised_is_named(folder, name, content, others):
    draw(folder, "a.jpg", "b.jpg")
    if others:
        put(folder / "train.csv", "image,caption\na.jpg,x\n")
    put(folder / name, content)
    left_out = sources.read("folder", folder)[1]
    assert left_out.to_numpy().tolist() == [["", name, "captions not read", CURE]]


def test_a_file_too_deep_and_a_table_of_captions_without_pictures_are_named(folder):
    draw(folder, "a.jpg")
    put(folder / "x" / "y" / "captions.csv", "image,caption\na.jpg,x\n")
    import pandas as pd

    pd.DataFrame({"image": ["a.jpg"], "caption": ["x"]}).to_parquet(folder / "train.parquet")
    seen(folder, unread=[CURE, "not read, for it lies more than one folder down; move it up"])


def test_notes_about_a_set_and_undo_files_are_nothing_to_speak_of(folder):
    draw(folder, "a.jpg")
    put(folder / "dataset_infos.json", {"default": {"features": {}}})
    put(folder / "annotations" / "instances_val2017.json", {"images": [], "annotations": []})
    put(folder / "a.jpg.supplemental-metadata.json", {"title": "a.jpg"})
    put(folder / "earlier.jsonl", '{"undo of captioning": {"to": "xmp"}}\n')
    assert seen(folder) == ("sidecars", {"test": {"a.jpg": []}})


def test_blank_lines_before_the_first_are_passed_over(folder):
    draw(folder, "a.jpg", "b.jpg")
    put(folder / "train.jsonl", '\n\n{"image": "a.jpg", "caption": "x"}\n')
    put(folder / "val.csv", "\nimage,caption\nb.jpg,y\n")
    assert seen(folder) == ("records", {"train": {"a.jpg": ["x"]}, "val": {"b.jpg": ["y"]}})


def test_boxes_are_no_captions(folder):
    draw(folder, "a.jpg")
    put(folder / "instances_val.json", {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"bbox": [0]}]})
    assert seen(folder) == ("sidecars", {"test": {"a.jpg": []}})


def test_textcaps_has_a_line_a_caption(folder):
    draw(folder, "train_images/a.jpg", "test_images/b.jpg")
    entry = {"image_id": "a", "image_path": "train/a.jpg", "set_name": "train", "reference_strs": ["x", "y"]}
    entries = [entry | {"caption_str": text, "caption_id": n} for n, text in enumerate("xy")]
    put(folder / "TextCaps_0.1_train.json", {"dataset_name": "textcaps", "data": entries})
    put(
        folder / "TextCaps_0.1_test.json", {"data": [{"image_id": "b", "image_path": "test/b.jpg", "set_name": "test"}]}
    )
    assert seen(folder) == ("textcaps", {"train": {"a": ["x", "y"]}, "test": {"b": []}})


def turns(*said):
    return [{"role": ["user", "assistant"][n % 2], "content": text} for n, text in enumerate(said)]


def test_chats_of_scripts_that_fine_tune(folder):
    draw(folder, "a.jpg", "b.jpg", "c.jpg")
    lines = [{"messages": turns("<image>What?", "A cat.", "And?", "It sleeps."), "images": ["a.jpg"]}]
    lines += [{"messages": turns("<image>", "A cat."), "images": ["a.jpg"]}]
    parts = [{"type": "text", "text": "A dog."}]
    lines += [{"messages": turns([{"type": "image"}], parts), "images": [{"path": "/data/b.jpg"}]}]
    put(folder / "train.jsonl", "\n".join(map(json.dumps, lines)))
    llava = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A bird."}]
    put(folder / "llava_val.json", [{"id": "1", "image": "c.jpg", "conversations": llava}])
    found = {"train": {"a.jpg": ["It sleeps.", "A cat."], "b.jpg": ["A dog."]}, "val": {"c.jpg": ["A bird."]}}
    assert seen(folder) == ("chat", found)
    put(folder / "train.jsonl", json.dumps({"messages": turns("x", "y"), "images": ["a.jpg", "b.jpg"]}))
    with pytest.raises(BrokenSource, match=r"images \['a.jpg', 'b.jpg'\], expected one path"):
        sources.load("folder", folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "captions.jsonl",
            '{"image": "/other/a.jpg", "caption": "x", "log_probability": -1}\n{"image": "b.jpg", "caption": "y"}',
        ),
        ("captions.csv", "image,caption\na.jpg,x\nb.jpg,y\n"),
        ("list.json", [{"image": "a.jpg", "caption": ["x"]}, {"image": "b.jpg", "caption": "y"}]),
        ("mine.json", {"a.jpg": "x", "b.jpg": ["y"]}),
    ],
)
def test_lists_of_pictures_and_captions(folder, name, content):
    draw(folder, "a.jpg", "b.jpg")
    put(folder / name, content)
    assert seen(folder) == ("records", {"test": {"a.jpg": ["x"], "b.jpg": ["y"]}})


def test_lists_keep_a_style_and_attributes_and_say_that_ids_are_not_kept(folder):
    draw(folder, "a.jpg", "b.jpg")
    entry = {"image": "a.jpg", "caption": "x", "style": "Sweet", "image_id": 7, "attributes": {"hat": "yes"}}
    put(folder / "mine.json", [entry, {"image": "b.jpg", "caption": "y", "image_id": 8}])
    data, left_out = sources.read("folder", folder)
    rows = data["test"].to_list()
    assert [(row["style"], row["attributes"]) for row in rows] == [("Sweet", {"hat": "yes"}), (None, {"hat": None})]
    why = "mine.json has image_id; the ids are the paths of the pictures"
    assert left_out.to_numpy().tolist() == [["test", "a.jpg", "id not kept", why]]


def test_a_list_in_a_cell_is_refused_as_in_metadata(folder):
    draw(folder, "a.jpg")
    put(folder / "mine.csv", "image,captions\na.jpg,\"['x', 'y']\"\n")
    with pytest.raises(BrokenSource, match=r"captions is .*, a list in one cell; write a row for each caption"):
        sources.load("folder", folder)


@pytest.mark.parametrize("name, column", [("list.csv", "image"), ("metadata.csv", "file_name")])
def test_a_split_is_known_however_it_is_written(folder, name, column):
    draw(folder, "a.jpg", "b.jpg")
    put(folder / name, f"{column},caption,split\na.jpg,x,Train\nb.jpg,y,Validation\n")
    assert seen(folder)[1] == {"train": {"a.jpg": ["x"]}, "val": {"b.jpg": ["y"]}}


def test_columns_of_other_meanings_and_styles_of_captions_do_not_stop_a_table(folder):
    draw(folder, "a.jpg", "b.jpg")
    lines = ("image,caption,style,attributes", "a.jpg,x,gloomy,brown", "a.jpg,y,sweet,brown", "b.jpg,z,sweet,")
    put(folder / "list.csv", "\n".join(lines))
    data, left_out = sources.read("folder", folder)
    rows = {row["image_id"]: (row["captions"], row["style"]) for row in data["test"]}
    assert rows == {"a.jpg": (["x", "y"], None), "b.jpg": (["z"], "sweet")}
    assert left_out[["image_id", "kind"]].to_numpy().tolist() == [["a.jpg", "style not kept"]]


def test_kaggles_flickr(folder):
    draw(folder, "flickr30k_images/1.jpg", "flickr30k_images/2.jpg")
    put(
        folder / "results.csv",
        "image_name| comment_number| comment\n1.jpg| 0| a dog .\n2.jpg| 0| a cat .\n2.jpg| 1| cat\n",
    )
    name, found = seen(folder)
    assert name == "flickr" and {k: v for rows in found.values() for k, v in rows.items()} == {
        "1.jpg": ["a dog ."],
        "2.jpg": ["a cat .", "cat"],
    }


def test_coco_cn_and_flickr8k_cn(folder):
    draw(folder, "val2014/COCO_val2014_000000000042.jpg", "val2014/COCO_val2014_000000000073.jpg")
    people = (
        "COCO_val2014_000000000042#0\t一只猫\nCOCO_val2014_000000000042#1\t猫\nCOCO_val2014_000000000073#0\t一条狗\n"
    )
    put(folder / "imageid.human-written-caption.txt", people)
    put(folder / "imageid.manually-translated-caption.txt", "COCO_val2014_000000000073#0\t狗\n")
    put(folder / "coco-cn_train.txt", "COCO_val2014_000000000042\n")
    with pytest.raises(BrokenSource, match="'COCO_val2014_000000000073' is in none of coco-cn_train.txt"):
        seen(folder)
    put(folder / "coco-cn_test.txt", "COCO_val2014_000000000073\n")
    names = [f"imageid.{how}-caption.txt" for how in ("manually-translated", "human-written")]
    more = f"{names[0]}: translations; move {names[1]} away to read them"
    found = {split: list(rows.values()) for split, rows in seen(folder, unread=[more])[1].items()}
    assert found == {"train": [["一只猫", "猫"]], "test": [["一条狗"]]}


def test_flickr8k_cn_has_blanks_for_tabs(folder):
    draw(folder, "1000268201_693b08cb0e.jpg")
    put(folder / "flickr8kzhc.caption.txt", "1000268201_693b08cb0e.jpg#zhc#0 一个小女孩\n")
    put(folder / "flickr8kzhb.caption.txt", "1000268201_693b08cb0e.jpg#zhb#0 机器翻译\n")
    more = "flickr8kzhb.caption.txt: translations; move flickr8kzhc.caption.txt away to read them"
    assert seen(folder, unread=[more]) == ("tokens", {"test": {"1000268201_693b08cb0e.jpg": ["一个小女孩"]}})


@pytest.mark.parametrize("layout", ["MUGE", "Chinese-CLIP"])
def test_muge_has_its_pictures_in_a_table(folder, layout):
    lines = "".join(f"{n}\t{base64.urlsafe_b64encode(jpeg(n)).decode()}\n" for n in (1, 2))
    put(folder / ("IC_train.tsv" if layout == "MUGE" else "train_imgs.tsv"), lines)
    if layout == "MUGE":
        texts = [{"image_id": "1", "text": ["红色连衣裙", "裙"]}, {"image_id": "2", "text": ["帽子"]}]
    else:
        texts = [{"text_id": 1, "text": "红色连衣裙", "image_ids": [1]}, {"text_id": 2, "text": "裙", "image_ids": [1]}]
        texts += [{"text_id": 3, "text": "帽子", "image_ids": [2]}]
    name = "IC_train.jsonl" if layout == "MUGE" else "train_texts.jsonl"
    put(folder / name, "\n".join(json.dumps(text) for text in texts))
    assert seen(folder) == ("muge", {"train": {"1": ["红色连衣裙", "裙"], "2": ["帽子"]}})
    images = sources.load("folder", folder)["train"]["image"]
    assert [archives.content(image) for image in images] == [jpeg(1), jpeg(2)]


def test_parquet_of_the_hub(folder):
    """Features as `datasets` writes them, several captions or one, a column of splits as nlphuggingface has it."""
    from datasets import Dataset, Features, Image, List, Value

    rows = [
        {"image": {"bytes": jpeg(n), "path": f"{n}.jpg"}, "caption": [f"no. {n}", "x"], "img_id": str(n)}
        for n in (0, 1)
    ]
    kinds = Features({"image": Image(), "caption": List(Value("string")), "img_id": Value("string")})
    (folder / "data").mkdir()
    for split in ("train", "validation"):
        Dataset.from_list(rows, features=kinds).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    name, found = seen(folder)
    assert name == "parquet" and {split: list(rows.values()) for split, rows in found.items()} == {
        "train": [["no. 0", "x"], ["no. 1", "x"]],
        "val": [["no. 0", "x"], ["no. 1", "x"]],
    }
    rows = [{"picture": jpeg(), "a": "x", "b": "y"}]
    Dataset.from_list(rows).to_parquet(folder / "more.parquet")
    with pytest.raises(BrokenSource, match="no column captions, caption, text among a, b; rename one"):
        seen(folder)


def to_parquet(path, **columns):
    import pyarrow as pa
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [{"bytes": data, "path": "x.jpg"} for data in columns.pop("pictures", [jpeg(1), jpeg(2)])]
    parquet.write_table(pa.table({"image": pictures} | columns), path)


def test_ids_of_numbers_in_parquet_and_rows_of_one_picture(folder):
    path = folder / "train-00000-of-00001.parquet"
    to_parquet(path, image_id=[7, 8], caption=["x", "y"])
    assert seen(folder) == ("parquet", {"train": {"7": ["x"], "8": ["y"]}})
    to_parquet(path, image_id=[7, 7], caption=["x", "y"], pictures=[jpeg(1)] * 2)
    assert seen(folder) == ("parquet", {"train": {"7": ["x", "y"]}})
    to_parquet(path, image_id=["q", "q"], caption=["x", "y"])
    with pytest.raises(BrokenSource, match="image_id 'q' is there twice in train, of two pictures"):
        sources.load("folder", folder)


def test_captions_of_a_kind_that_is_not_read_are_said_once_of_a_parquet_file(folder):
    to_parquet(folder / "train.parquet", image_id=["a", "b"], sentences=[[{"raw": "x"}], [{"raw": "y"}]])
    why = "train.parquet has sentences and no texts or lists of them; write those as captions"
    assert seen(folder, unread=[why]) == ("parquet", {"train": {"a": [], "b": []}})


def test_configurations_that_are_read_as_one_split_are_named(folder):
    for language, captions in ("en", ["one", "two"]), ("fr", ["un", "deux"]):
        to_parquet(folder / language / "train" / "0000.parquet", caption=captions)
        to_parquet(folder / language / "validation-00000-of-00001.parquet", caption=captions)
    [[split, _, kind, why]] = sources.read("folder", folder)[1].to_numpy().tolist()
    assert (split, kind) == ("train", "folders in one split")
    assert why == f"en, fr are all in train; read one alone with --folder {folder / 'en'}"
    assert sources.load("folder", folder / "fr")["train"]["captions"][:] == [["un"], ["deux"]]


def test_the_first_format_is_read_and_the_others_are_said_to_be_there(folder):
    draw(folder, "a.jpg")
    put(folder / "a.txt", "beside")
    put(folder / "metadata.jsonl", {"file_name": "a.jpg", "caption": "in the table"})
    facts = look(folder)
    assert (facts["format"], facts["samples"][0]["captions"]) == ("imagefolder", ["in the table"])
    [left] = facts["left out"]
    assert (left["image_id"], left["kind"]) == ("a.txt", "captions not read")
    assert look(folder, "sidecars")["samples"][0]["captions"] == ["beside"]
    with pytest.raises(BrokenSource, match="no file of the format kohya"):
        sources.load("kohya", folder)


def test_what_is_seen_is_told(folder):
    draw(folder, "train/a.jpg", "b.jpg")
    put(folder / "train" / "a.txt", "x")
    put(folder / "broken.json", "{")
    said = told(look(folder)).splitlines()
    assert said[0] == f"{folder}: sidecars: train/a.txt"
    assert said[1:4] == [
        "  train: 1 pictures, 1 captions (1 with 1)",
        "  test: 1 pictures, 0 captions (1 with 0)",
        "  train/a.jpg: x",
    ]
    assert said[5] == "left out: 1" and "broken.json" in said[7] and "damaged at character 1" in said[7]


def test_two_pictures_that_a_name_may_mean_are_an_error(folder):
    draw(folder, "a/0.jpg", "b/0.jpg")
    put(folder / "meta.json", {"0": {"caption": "x"}})
    with pytest.raises(BrokenSource, match=r"'0' may be a/0\.jpg or b/0\.jpg; write the path"):
        sources.load("folder", folder)


def test_of_pictures_that_a_path_may_mean_it_is_the_one_that_is_just_there(folder):
    draw(folder, "0.jpg", "a/0.jpg", "a/b/0.jpg", "0.jpg.png")
    for names in (["0.jpg", "a/0.jpg"], ["0", "a/0"], [f"{folder.name}/0.jpg", f"{folder.name}/a/0.jpg"]):
        put(folder / "captions.json", [{"image": name, "caption": name} for name in names])
        rows = sources.load("folder", folder)["test"]
        said = dict(zip(rows["image_id"][:], rows["captions"][:], strict=True))
        assert said == {"0.jpg": [names[0]], "a/0.jpg": [names[1]]}


def test_a_path_of_another_machine_is_found_and_one_that_is_missing_is_not_mistaken_for_another(folder):
    """As many folders are left out of all paths of a file: val/1.jpg is not what stands for a lost train/1.jpg."""
    draw(folder, "train/0.jpg", "val/1.jpg")
    entries = [
        {"image": f"/home/me/mine/{name}", "caption": name} for name in ("train/0.jpg", "train/1.jpg", "val/1.jpg")
    ]
    put(folder / "captions.json", entries)
    data, left_out = sources.read("folder", folder)
    assert {row["image_id"]: row["captions"] for rows in data.values() for row in rows} == {
        "train/0.jpg": ["train/0.jpg"],
        "val/1.jpg": ["val/1.jpg"],
    }
    assert left_out[["image_id", "kind"]].to_numpy().tolist() == [["home/me/mine/train/1.jpg", "missing picture"]]
    for names in (["train/1.jpg", "val/1.jpg"], ["mine/train/1.jpg", "mine/val/1.jpg"]):
        put(folder / "captions.json", [{"image": name, "caption": name} for name in names])
        data, left_out = sources.read("folder", folder)
        assert data["val"].to_dict()["captions"] == [[names[1]]] and left_out["image_id"].tolist() == [names[0]]
    put(folder / "captions.json", [entries[1], entries[2]])
    with pytest.raises(
        BrokenSource, match=r"val/1.jpg' would be val/1.jpg, but before others stands home/me/mine/train;"
    ):
        sources.load("folder", folder)


def test_a_set_without_splits_is_divided_the_same_each_time(folder):
    names = [f"{n:02d}.jpg" for n in range(40)]
    draw(folder, *names)
    for name in names:
        put(folder / name.replace("jpg", "txt"), f"no. {name}")
    found = seen(folder, "unsplit")[1]
    assert {split: len(rows) for split, rows in found.items()} == {"train": 32, "val": 4, "test": 4}
    draw(folder, "new.jpg")
    again = seen(folder, "unsplit")[1]
    moved = [name for split, rows in found.items() for name in rows if name not in again[split]]
    assert len(moved) <= 2
    draw(folder, "train/x.jpg")
    with pytest.raises(BrokenSource, match="has the splits test, train; read it with --data folder"):
        seen(folder, "unsplit")


def test_features_of_a_shard_are_known_by_its_file(folder):
    tar(folder / "0.tar", {"a.jpg": jpeg(3)})
    [image] = sources.load("folder", folder)["test"]["image"]
    first = features.listing([image])
    tar(folder / "0.tar", {"a.jpg": jpeg(3), "b.jpg": jpeg(3)})
    assert features.listing([image]) != first


EXAMPLES = dict(re.findall(r"^### `(\S+)`\n.*?^```text\n(.*?)^```$", PAGE, re.S | re.M))


def test_every_format_has_its_lines_in_the_documentation():
    assert re.findall(r"^### `(\S+)`$", PAGE, re.M) == list(FORMATS) and list(EXAMPLES) == list(READ)


@pytest.mark.parametrize("name", [name for name in READ if name not in ("webdataset", "parquet", "muge")])
def test_an_example_of_the_documentation_is_what_it_says(name, folder):
    if name == "xmp":
        pytest.importorskip("pyexiv2")
    draw(folder, "a.jpg", *["b.jpg"] * (name not in ("xmp", "sidecars", "sidecar-lines")))
    file, _, content = EXAMPLES[name].partition("\n")
    put(folder / file, content)
    asked = {"sidecar-lines": "sidecar-lines", "csv": "csv"}.get(name, "folder")
    data, left_out = sources.read(asked, folder)
    assert not len(left_out) and look(folder, asked)["format"] == name
    assert all(texts and all(texts) for rows in data.values() for texts in rows["captions"])
