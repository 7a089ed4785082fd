"""Every format that can be written is read again as what it was; what it has no place for is said."""

import json
import random

import numpy as np
import pytest
from datasets import DatasetDict
from PIL import Image

from captioning.data import archives, sources
from captioning.data.formats import parquet
from captioning.data.formats.convert import convert
from captioning.data.formats.table import FORMATS

WRITTEN = [name for name, form in FORMATS.items() if form.write and form.read]
WORDS = [
    "a",
    "red",
    "dress",
    ",",
    "cats'",
    '"hat"',
    "é",
    "猫",
    "[x]",
    "{y}",
    "<b>",
    "&",
    "it\\n",
    "1,000",
    "|",
    "#",
    "\t",
]


@pytest.fixture(autouse=True)
def unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "PICTURES", tmp_path / "pictures")


def made_up(folder, seed: int, bare: bool = True, several: bool = True) -> DatasetDict:
    """A data set of pictures in folders of their splits, with anything in its captions."""
    rng = random.Random(seed)
    lines = []
    for split in ("train", "val", "test"):
        for number in range(rng.randint(1, 4)):
            name = f"{split}/{rng.choice(['', 'deep/', 'a.b/'])}{rng.choice(['x', 'pic.v', '0'])}{number}.png"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([seed, number, len(split)]).integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)
            texts = [said(rng) for _ in range(rng.randint(0 if bare else 1, 3 if several else 1))]
            entry = {"file_name": name, "split": split, "captions": texts} if texts else {"file_name": name}
            entry |= {"style": "Sweet"} if rng.random() < 0.3 else {}
            lines.append(entry | ({"attributes": {"tags": "a, b"}} if rng.random() < 0.3 and texts else {}))
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return sources.load("folder", folder)


def said(rng: random.Random) -> str:
    return " ".join(" ".join(rng.choices(WORDS, k=rng.randint(1, 6))).split()) or "x"


def table(dataset: DatasetDict, *columns: str) -> dict:
    """What it says: {split: {id: (the pixels' bytes, the columns)}}."""
    return {
        split: {row["image_id"]: (archives.content(row["image"]), *(row.get(name) for name in columns)) for row in rows}
        for split, rows in dataset.items()
    }


def load(to: str, out) -> DatasetDict:
    return sources.load(to if to == "sidecar-lines" else "folder", out)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("to", WRITTEN)
def test_what_is_written_is_read_again(to, seed, tmp_path):
    """All that the format carries; a data set that has no more than that comes back whole, and nothing is said."""
    kept = FORMATS[to].carries
    data = made_up(tmp_path / "a", seed, "pictures without captions" in kept, "several captions" in kept)
    lost = convert(data, tmp_path / "a", tmp_path / "b", to)
    again = load(to, tmp_path / "b")
    columns = ["captions", *({"style"} & kept), *({"attributes"} & kept)]
    assert table(again, *columns) == table(data, *columns)
    extra = [
        name
        for name in ("style", "attributes")
        if name not in kept and any(name in rows.features for rows in data.values())
    ]
    assert len(lost) == len(extra) and all(name in " ".join(lost) for name in extra)


@pytest.mark.parametrize("to", WRITTEN)
def test_what_a_format_cannot_carry_is_said(to, tmp_path):
    data = made_up(tmp_path / "a", 1)
    kept = FORMATS[to].carries
    lost = " ".join(convert(data, tmp_path / "a", tmp_path / "b", to))
    assert ("have more than one" in lost) == ("several captions" not in kept)
    assert ("without a caption are not named" in lost) == ("pictures without captions" not in kept)


@pytest.mark.parametrize("part", ["", "train"])
def test_a_folder_that_is_read_is_not_replaced(tmp_path, part):
    data = made_up(tmp_path / "mine", seed=1)
    convert(data, tmp_path / "mine", tmp_path / "earlier", "imagefolder")
    before = {path: path.read_bytes() for path in (tmp_path / "earlier").rglob("*") if path.is_file()}
    again = sources.load("folder", tmp_path / "earlier")
    for link in (False, True):
        with pytest.raises(ValueError, match="earlier, which would be replaced: give another folder"):
            convert(again, tmp_path / "earlier" / part, tmp_path / "earlier", "kohya", link)
    assert {path: path.read_bytes() for path in before} == before


def test_a_caption_that_looks_like_a_list_is_read_again_from_a_table(tmp_path):
    made_up(tmp_path / "a", seed=1)
    said = {"file_name": next((tmp_path / "a").rglob("*.png")).relative_to(tmp_path / "a").as_posix()}
    said |= {"captions": ['["x"]', "['y', 'z'] on a sign"]}
    (tmp_path / "a" / "metadata.jsonl").write_text(json.dumps(said))
    convert(sources.load("folder", tmp_path / "a"), tmp_path / "a", tmp_path / "b", "csv")
    [rows] = sources.load("folder", tmp_path / "b").values()
    assert rows["captions"][:] == [said["captions"]]


@pytest.mark.parametrize("whole", [True, False])
def test_ids_that_become_paths_are_found_again(whole, tmp_path):
    """From COCO, into a folder or into a file beside the pictures."""
    home = tmp_path / "a"
    made_up(home, seed=1)
    (home / "metadata.jsonl").unlink()
    files = [path.relative_to(home).as_posix() for path in (home / "val").rglob("*.png")]
    images = [{"id": f"no{number}", "file_name": file} for number, file in enumerate(files, 10)]
    said = [{"image_id": image["id"], "caption": f"no. {image['id'][2:]}"} for image in images]
    (home / "captions_val.json").write_text(json.dumps({"images": images, "annotations": said}))
    out = tmp_path / "b" if whole else home / "captions_val_results.json"
    [lost] = convert(sources.load("folder", home / "captions_val.json"), home, out, "coco-results")
    assert lost == f"ids become the paths of the pictures: {len(files)} are others, such as 'no10'"
    found = {row["image_id"]: row["captions"] for row in sources.load("folder", out)["val"]}
    assert found == {file: [f"no. {number}"] for number, file in enumerate(files, 10)}
