"""A folder of one's own: what is read of it, what is said of the rest."""

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from captioning.data import download, sources
from captioning.data.files import BrokenSource


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "mine"


def draw(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "teal").save(path, "JPEG")


def write(path: Path, *entries: dict) -> None:
    path.write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")


def captions(folder: Path) -> dict[str, dict[str, list[str]]]:
    return {
        split: dict(zip(rows["image_id"], rows["captions"], strict=True))
        for split, rows in sources.load("folder", folder).items()
    }


@pytest.mark.parametrize("key", ["text", "caption", "captions"])
@pytest.mark.parametrize("name", ["file_name", "image_file_name"])
def test_an_image_folder_has_its_captions_under_any_documented_key(folder, key, name):
    draw(folder, "0.jpg", "1.jpg")
    write(folder / "metadata.jsonl", {name: "0.jpg", key: "a cat"}, {name: "1.jpg", key: ["a dog", "a puppy"]})
    assert captions(folder) == {"test": {"0.jpg": ["a cat"], "1.jpg": ["a dog", "a puppy"]}}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_metadata_may_be_a_table(folder, suffix):
    draw(folder, "0.jpg", "1.jpg")
    rows = pd.DataFrame({"file_name": ["0.jpg", "1.jpg", "1.jpg"], "text": ["a cat, asleep", "a dog", "a puppy"]})
    rows.to_csv(folder / "metadata.csv", index=False) if suffix == "csv" else rows.to_parquet(
        folder / "metadata.parquet"
    )
    assert captions(folder) == {"test": {"0.jpg": ["a cat, asleep"], "1.jpg": ["a dog", "a puppy"]}}


def test_each_split_folder_may_have_its_own_metadata(folder):
    draw(folder, *(f"{split}/0.jpg" for split in ("train", "validation", "test")), "more/x.jpg")
    for split in ("train", "validation", "test"):
        write(folder / split / "metadata.jsonl", {"file_name": "0.jpg", "caption": f"of {split}"})
    assert captions(folder) == {
        "train": {"train/0.jpg": ["of train"]},
        "val": {"validation/0.jpg": ["of validation"]},
        "test": {"test/0.jpg": ["of test"], "more/x.jpg": []},
    }


def test_folders_of_a_split_have_their_usual_names_in_any_depth(folder):
    names = {"train": ["Train", "training"], "val": ["val", "valid", "validation", "dev"], "test": ["testing", "eval"]}
    draw(folder, *(f"images/{name}/a.jpg" for group in names.values() for name in group))
    found = captions(folder)
    assert {split: sorted(rows) for split, rows in found.items()} == {
        split: sorted(f"images/{name}/a.jpg" for name in group) for split, group in names.items()
    }


def test_an_entry_may_name_its_split_as_a_folder_would(folder):
    draw(folder, "0.jpg", "1.jpg")
    write(
        folder / "metadata.jsonl",
        {"file_name": "0.jpg", "text": "a", "split": "validation"},
        {"file_name": "1.jpg", "text": "b", "split": "holdout"},
    )
    with pytest.raises(BrokenSource, match="split 'holdout', expected one of train, val, test; correct the entry"):
        captions(folder)
    write(folder / "metadata.jsonl", {"file_name": "0.jpg", "text": "a", "split": "validation"})
    assert captions(folder) == {"val": {"0.jpg": ["a"]}}


def test_lines_of_one_picture_are_put_together(folder):
    draw(folder, "0.jpg")
    lines = [{"file_name": "0.jpg", "caption": text, "style": "Sweet"} for text in ("a dog", "a brown dog")]
    write(folder / "metadata.jsonl", *lines)
    assert captions(folder) == {"test": {"0.jpg": ["a dog", "a brown dog"]}}
    write(folder / "metadata.jsonl", lines[0], lines[1] | {"style": "Cynical"})
    with pytest.raises(BrokenSource, match=r"'0\.jpg' has style 'Sweet' in one entry and 'Cynical' in another"):
        captions(folder)


@pytest.mark.parametrize("beside", ["captions.txt", "metadata.xml"])
def test_captions_that_are_not_read_are_said_to_be(folder, beside):
    draw(folder, "deep/0.jpg")
    (folder / "deep" / beside).write_text('["a cat"]')
    dataset, left_out = sources.read("folder", folder)
    assert dataset["test"]["captions"][:] == [[]]  # the picture is kept
    [finding] = left_out.itertuples(index=False)
    assert finding[:3] == ("test", "deep/0.jpg", "captions not read")
    assert finding.detail.startswith(f"deep/{beside}: not read, for what is in it was not recognised")
    with pytest.warns(UserWarning, match=rf"1 x captions not read, the first: test deep/0\.jpg \(deep/{beside}"):
        sources.load("folder", folder)


def test_an_entry_with_its_caption_under_another_key_is_named(folder):
    draw(folder, "0.jpg")
    write(folder / "metadata.jsonl", {"file_name": "0.jpg", "prompt": "a cat"})
    [finding] = sources.read("folder", folder)[1].itertuples(index=False)
    assert finding.kind == "captions not read"
    assert "has 'prompt' and none of captions, caption, text; rename the key" in finding.detail


def test_notes_that_are_no_captions_are_nothing_to_speak_of(folder):
    draw(folder, "0.jpg")
    (folder / "notes.txt").write_text("bought in May")
    assert not len(sources.read("folder", folder)[1])


def test_hidden_files_are_no_pictures_and_no_metadata(folder):
    draw(folder, "0.jpg", "._0.jpg", ".ipynb_checkpoints/0-checkpoint.jpg", "__MACOSX/0.jpg")
    write(folder / ".ipynb_checkpoints" / "metadata.jsonl", {"file_name": "0-checkpoint.jpg", "text": "old"})
    assert captions(folder) == {"test": {"0.jpg": []}}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"text": "a"}, r"metadata\.jsonl: no 'file_name' in .*restore the entry"),
        ({"a_file_name": "0.jpg", "b_file_name": "0.jpg"}, "no 'file_name' in"),
        (
            {"file_name": "0.jpg", "text": "a", "caption": "b"},
            "caption and text in .*rename those that are no captions",
        ),
        ({"file_name": "0.jpg", "attributes": {"hat": 1}}, r"attributes \{'hat': 1\}, expected strings"),
        ({"file_name": "0.jpg", "style": 3}, "'style' is 3, expected a str"),
        ({"file_name": "../0.jpg", "text": "a"}, "climbs out"),
        (["0.jpg", "a"], r"no 'file_name' in \['0.jpg', 'a'\]"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named_with_its_file_and_the_cure(folder, entry, words):
    draw(folder, "0.jpg")
    write(folder / "metadata.jsonl", entry)
    with pytest.raises(BrokenSource, match=words):
        captions(folder)


def test_two_metadata_files_for_the_same_pictures_are_refused(folder):
    draw(folder, "train/0.jpg")
    write(folder / "metadata.jsonl", {"file_name": "train/0.jpg", "text": "a"})
    (folder / "train" / "metadata.csv").write_text("file_name,text\n0.jpg,b\n")
    with pytest.raises(BrokenSource, match=r"train/metadata\.csv and metadata\.jsonl speak for the same pictures"):
        captions(folder)


def test_a_damaged_table_is_named(folder):
    draw(folder, "0.jpg")
    (folder / "metadata.csv").write_text("file_name,text,split\n0.jpg,a man, in red,train\n")
    with pytest.raises(BrokenSource, match=r"metadata\.csv, line 2: 4 cells .*expected 3 .*in double quotes"):
        captions(folder)
    (folder / "metadata.csv").write_text("file_name,captions\n0.jpg,\"['a', 'b']\"\n")
    with pytest.raises(BrokenSource, match="a list in one cell; write a row for each caption"):
        captions(folder)
    (folder / "metadata.csv").unlink()
    (folder / "metadata.parquet").write_bytes(b"PAR1")
    with pytest.raises(BrokenSource, match=r"metadata\.parquet: no Parquet file, or a damaged one"):
        captions(folder)


def test_half_a_letter_and_a_name_that_is_no_text_are_left_out_and_listed(folder):
    draw(folder, "0.jpg", "1.jpg")
    write(folder / "metadata.jsonl", {"file_name": "0.jpg", "captions": ["a cat \ud83d", "a cat"]})
    assert captions_but(folder, "bad caption") == {"0.jpg": ["a cat"]}
    (folder / "metadata.jsonl").unlink()
    (folder / "1.jpg").rename(folder / "caf\udce9.jpg")
    assert captions_but(folder, "bad name") == {"0.jpg": []}


def captions_but(folder: Path, kind: str) -> dict[str, list[str]]:
    dataset, left_out = sources.read("folder", folder)
    assert left_out["kind"].tolist() == [kind]
    left_out.to_string().encode()  # can be printed
    return dict(zip(dataset["test"]["image_id"], dataset["test"]["captions"], strict=True))


def test_a_folder_can_be_checked_as_the_other_sets_can(folder):
    draw(folder, "0.jpg", "1.heic")
    (folder / "1.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (folder / "0.txt").write_text("\n")
    download.fetch("folder", folder)  # there is nothing to download
    findings = download.verify("folder", folder, workers=0)
    assert findings[["image_id", "kind"]].to_numpy().tolist() == [
        ["0.jpg", "bad caption"],
        ["1.heic", "broken picture"],
    ]
    assert "install the package pillow-heif" in findings["detail"][1]
