"""Personality-Captions: references, and the table of its styles, of which its own list lacks some."""

import json

import pytest
from PIL import Image

from captioning.cli.data import data
from captioning.data import download, sources
from captioning.data.styles import listed_styles, style_table, unlisted


@pytest.fixture
def personality(tmp_path):
    """Two pictures in the layout of Personality-Captions."""
    for name in ("ab12", "cd34"):
        (tmp_path / "yfcc_images").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / f"yfcc_images/{name}.jpg")
    rows = {
        "train": [("Sweet", "ab12"), ("Sweet", "cd34"), ("Crazy", "ab12")],
        "val": [("Cynical (Doubtful)", "ab12")],
        "test": [("Odd", "cd34")],
    }
    (tmp_path / "personality_captions").mkdir()
    for split, entries in rows.items():
        written = [{"personality": style, "comment": f"{style}!", "image_hash": name} for style, name in entries]
        if split == "test":
            written[0]["additional_comments"] = ["b", "c", "d", "e"]
        (tmp_path / f"personality_captions/{split}.json").write_text(json.dumps(written))
    traits = "Positive Traits:\nSweet\nWarm\n\nNegative Traits:\nCynical (Doubtful)\n"
    (tmp_path / "personality_captions/personalities.txt").write_text(traits)
    return tmp_path


def test_one_reference_in_train_and_five_in_test(personality):
    dataset = sources.load("personality", personality)
    assert [len(dataset[split][0]["captions"]) for split in ("train", "val", "test")] == [1, 1, 5]


def test_headings_are_no_styles(personality):
    assert listed_styles(personality) == ["Sweet", "Warm", "Cynical (Doubtful)"]
    assert listed_styles(personality / "yfcc_images") == []


def test_the_table_is_the_union_of_the_list_and_the_data(personality):
    dataset = sources.load("personality", personality)
    table = style_table(dataset, listed_styles(personality))
    assert list(table.index) == ["Sweet", "Warm", "Cynical (Doubtful)", "Crazy", "Odd"]
    assert table["listed"].tolist() == [True, True, True, False, False]
    assert table["train"].tolist() == [2, 0, 0, 1, 0] and table["test"].tolist() == [0, 0, 0, 0, 1]
    assert unlisted(table) == (
        "5 styles; not in personalities.txt: Crazy (1 captions), Odd (1 captions); in it but without a caption: Warm"
    )
    assert list(style_table(dataset).index) == ["Crazy", "Cynical (Doubtful)", "Odd", "Sweet"]


def test_a_data_set_without_styles_has_no_table(personality):
    dataset = sources.load("personality", personality).remove_columns("style")
    with pytest.raises(ValueError, match="no column `style` in train, val, test"):
        style_table(dataset)


def test_the_check_of_the_data_set_says_what_the_list_lacks(personality, monkeypatch, capsys):
    monkeypatch.setitem(download.SETS, "personality", ())
    data(["personality"], folder=personality, check=True)
    assert "5 styles; not in personalities.txt: Crazy (1 captions), Odd" in capsys.readouterr().out
