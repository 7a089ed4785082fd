"""One reader for each data set format: a folder in, pairs of (split, row) out, everything as it was found.

`captioning.data.sources` turns the rows into the one schema and leaves out the bad ones. A reader raises
`BrokenSource` where the structure is damaged: a file is missing or cut off, or a name climbs out of the folder.
"""

from __future__ import annotations

import functools
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

from captioning.data.files import BrokenSource, existing, field, missing, read_csv, read_json, read_text, unique

SPLITS = ("train", "val", "test")
EXTRAS = ("style", "attributes", "provenance")
KARPATHY_SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
FLICKR_LISTS = {"train": "trainImages", "val": "devImages", "test": "testImages"}
FLICKR_CAPTIONS = ("Flickr8k.token.txt", "results_20130124.token", "captions.txt", "results.csv")
FLICKR_IMAGES = ("Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k-images", "flickr30k_images", "Images", "images")
BARS = re.compile(r"([^|]+?)\s*\|\s*(\d+)\s*\|?\s*(.*)")  # a file, a number, and a caption

# image, image_id, captions (None: the set ships none), the EXTRAS that the set has, and where there are captions that
# are not read: unread, which says so; where something else is not kept: noted, a kind of finding and its detail
Row = dict[str, Any]
Rows = Iterator[tuple[str, Row]]  # (split, row)


def flickr(folder: Path, name: str, seed: int = 0, share: float = 0.125) -> Rows:
    """Flickr8k and Flickr30k (`name`): token file, or `captions.txt` or `results.csv`, or `dataset_<name>.json`.

    The official split lists count first (a list may be missing: then so is that split), Karpathy's second; where
    there are neither, `share` of the pictures are held out for val and as many for test.
    """
    karpathy = existing(folder, f"dataset_{name}.json")
    captions_file = existing(folder, *FLICKR_CAPTIONS)
    images = existing(folder, *FLICKR_IMAGES) or folder
    lists = {split: folder / f"Flickr_8k.{part}.txt" for split, part in FLICKR_LISTS.items()}
    splits = {split: read_text(path).split() for split, path in lists.items() if path.is_file()}
    if karpathy and not (captions_file and splits):
        yield from karpathy_rows(karpathy, images)
        return
    if not captions_file:
        raise missing(folder, *FLICKR_CAPTIONS, f"dataset_{name}.json")
    captions = (_tokens if captions_file.name in FLICKR_CAPTIONS[:2] else _table)(captions_file)
    for split, files in (splits or _draw_splits(list(captions), seed, share)).items():
        for file in files:
            yield split, new_row(images, file, captions.get(file, []), captions_file)


def coco(folder: Path) -> Rows:
    """COCO: Karpathy's `dataset_coco.json` (restval goes to train) if it is there, else the official annotations.

    The official annotations have no test captions: they give train and val only.
    """
    karpathy = existing(folder, "dataset_coco.json", "annotations/dataset_coco.json")
    if karpathy:
        yield from karpathy_rows(karpathy, existing(folder, "images") or folder)
        return
    first = existing(folder, "annotations/captions_train2014.json", "annotations/captions_train2017.json")
    if not first:
        raise missing(folder, "dataset_coco.json", "annotations/captions_train2014.json (or 2017)")
    for split in ("train", "val"):
        path = Path(str(first).replace("captions_train", f"captions_{split}"))
        if not path.is_file():
            raise missing(path.parent, path.name)
        year = path.stem[-4:]
        images = existing(folder, f"{split}{year}", f"images/{split}{year}", "images") or folder
        for row in coco_rows(path, images):
            yield split, row


def deepfashion(folder: Path, seed: int = 0, share: float = 0.1) -> Rows:
    """DeepFashion-MultiModal: `{train,test}_captions.json`, one caption a picture, pictures in `images/`.

    No validation split is shipped: `share` of the person ids (`id_` and 8 digits in the file name) is held out of
    train, so that no person is in both. From an unsplit `captions.json` as many persons are held out for test.
    """
    files = {split: folder / f"{split}_captions.json" for split in ("train", "test")}
    if not all(path.is_file() for path in files.values()):
        files = {"train": folder / "captions.json"}
        if not files["train"].is_file():
            raise missing(folder, "train_captions.json and test_captions.json", "captions.json")
    for split, path in files.items():
        captions = read_json(path, dict, object_pairs_hook=functools.partial(unique, path))
        persons = {file: _person(file, path) for file in captions}
        drawn = _draw_splits(sorted(set(persons.values())), seed, share)
        moved = dict.fromkeys(drawn["val"], "val") if split == "train" else {}
        if len(files) == 1:
            moved |= dict.fromkeys(drawn["test"], "test")
        for file, caption in captions.items():
            yield moved.get(persons[file], split), new_row(folder / "images", file, [caption], path)


def vizwiz(folder: Path, rejected: bool = False, precanned: bool = False) -> Rows:
    """VizWiz-Captions: rejected and pre-canned captions are left out, as the official evaluation does.

    With `rejected` or `precanned` those of train are kept, to learn from. A picture of which no caption is left is left
    out too (and listed); test ships no captions.
    """
    for split in SPLITS:
        path = folder / f"annotations/{split}.json"
        if not path.is_file():
            raise missing(folder, f"annotations/{split}.json")
        images = existing(folder, split, f"images/{split}", "images") or folder
        marks = {"is_rejected": rejected, "is_precanned": precanned}
        skipped = tuple(mark for mark, kept in marks.items() if not (kept and split == "train"))
        for row in coco_rows(path, images, skipped):
            yield split, row


def personality(folder: Path) -> Rows:
    """Personality-Captions: one picture and style a row; the id is `hash/Style`, since styles may share a picture."""
    yield from merged(_personality_rows(folder), folder)


# --- their parts ---


def _personality_rows(folder: Path) -> Rows:
    root = existing(folder, "personality_captions") or folder
    images = existing(folder, "yfcc_images", "images") or folder
    for split in SPLITS:
        path = root / f"{split}.json"
        if not path.is_file():
            raise missing(root, path.name)
        for entry in read_json(path, list):
            style, name = field(entry, "personality", path, str), field(entry, "image_hash", path, str)
            more = field(entry, "additional_comments", path, list) if entry.get("additional_comments") else []
            captions = [entry.get("comment"), *more]
            yield split, new_row(images, f"{name}.jpg", captions, path, f"{name}/{style}") | {"style": style}


def karpathy_rows(path: Path, images: Path) -> Rows:
    """Karpathy and Fei-Fei, 2015: one file with the splits and captions of a set; ids as in the official files.

    Without `cocoid` the file's name is the id; where two of a split share it, their paths.
    """
    entries = field(read_json(path, dict), "images", path, list)
    splits = [KARPATHY_SPLITS.get(told := field(entry, "split", path, str), told) for entry in entries]
    names = [(told, field(entry, "filename", path, str)) for told, entry in zip(splits, entries, strict=True)]
    times = Counter(names)
    for (split, file), entry in zip(names, entries, strict=True):
        captions = [field(sentence, "raw", path) for sentence in field(entry, "sentences", path, list)]
        located = f"{entry['filepath']}/{file}" if "filepath" in entry else file
        name = located if times[split, file] > 1 else file
        yield split, new_row(images, located, captions, path, str(entry.get("cocoid", name)))


def coco_rows(path: Path, images: Path, skipped: tuple[str, ...] = ()) -> Iterator[Row]:
    """The COCO annotation format; `skipped` are VizWiz's marks of captions that are not to be used."""
    data = read_json(path, dict)
    annotations = field(data, "annotations", path, list) if data.get("annotations") else []  # not there in a test file
    captions: dict[str, list[Any]] = {}
    for entry in annotations:
        kept = captions.setdefault(str(field(entry, "image_id", path, int | str)), [])
        if not any(entry.get(mark) for mark in skipped):
            kept.append(entry.get("caption"))
    listed = {str(field(entry, "id", path, int | str)) for entry in field(data, "images", path, list)}
    lost = [number for number in captions if number not in listed]
    told = f"{path}: annotations of {len(lost)} ids that no image has, such as {lost[0]}; correct them" if lost else ""
    unread = {"unread": told} if lost else {}
    for entry in data["images"]:
        number, file = str(entry["id"]), field(entry, "file_name", path, str)
        row = new_row(images, file, captions.get(number, []) if annotations else None, path, number)
        domain = {"attributes": {"domain": field(entry, "domain", path, str)}} if "domain" in entry else {}  # nocaps
        yield row | domain | extras(entry, path) | unread
        unread = {}  # once is enough


def _tokens(path: Path) -> dict[str, list[str]]:
    """Lines `file.jpg#0<TAB>caption`."""
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        key, tab, caption = line.partition("\t")
        file = key.rpartition("#")[0]
        if line.strip() and not (tab and file):
            raise BrokenSource(f"{path}, line {number}: {line[:60]!r}, expected `file.jpg#0`, a tab and a caption")
        if line.strip():
            captions.setdefault(file, []).append(caption)
    return captions


def _table(path: Path) -> dict[str, list[str]]:
    """A table with a header, whose first column is the file and the last the caption: CSV, or Kaggle's `results.csv`
    of Flickr30k, which has `| ` between the columns `image_name`, `comment_number`, `comment`, and a row without the
    second of them."""
    header, *lines = read_text(path).strip("\n").split("\n")
    columns = re.split(r"[,|]", header)
    if len(columns) < 2 or Path(columns[0].strip()).suffix:
        raise BrokenSource(f"{path}: the first line is {header!r:.80}, expected a header like `image,caption`")
    captions: dict[str, list[str]] = {}
    if "|" not in header:
        for row in read_csv(path):
            file, *_, caption = row.values()
            captions.setdefault(file, []).append(caption)
        return captions
    for number, line in enumerate(lines, 2):
        match = BARS.fullmatch(line.strip())
        if line.strip() and not match:
            raise BrokenSource(f"{path}, line {number}: {line[:60]!r}, expected `file| number| caption`; restore it")
        if match:
            captions.setdefault(match[1], []).append(match[3])
    return captions


def _draw_splits(files: list[str], seed: int, share: float) -> dict[str, list[str]]:
    files = random.Random(seed).sample(sorted(files), len(files))
    held_out = round(share * len(files))
    return {"val": files[:held_out], "test": files[held_out : 2 * held_out], "train": files[2 * held_out :]}


def _person(file: str, path: Path) -> str:
    match = re.search(r"id_(\d{8})", file)
    if not match:
        raise BrokenSource(f"{path}: {file!r} has no person id (`id_` and 8 digits), by which val is held out of train")
    return match[1]


# --- and what `captioning.data.formats` has in common with them ---


def merged(rows: Rows, source: Path) -> Rows:
    """The rows of one picture as one: of formats that have a line for each caption."""
    found: dict[tuple[str, str], Row] = {}
    for split, row in rows:
        first = found.setdefault((split, row["image_id"]), row)
        if first is row:
            continue
        for key in EXTRAS:
            if first.get(key) != row.get(key):
                raise BrokenSource(
                    f"{source}: {row['image_id']!r} has {key} {first.get(key)!r} in one entry and {row.get(key)!r} in "
                    "another; make them alike, or copy the picture under another name"
                )
        if row["captions"] is not None:
            first["captions"] = [*(first["captions"] or []), *row["captions"]]
    for (split, _), row in found.items():
        yield split, row


def extras(entry: dict[str, Any], path: Path) -> Row:
    """Those of the EXTRAS that an entry has."""
    found = {key: field(entry, key, path, str) for key in ("style", "provenance") if entry.get(key) not in (None, "")}
    if entry.get("attributes") not in (None, ""):
        found["attributes"] = field(entry, "attributes", path, dict)
        if not all(isinstance(value, str | None) for value in found["attributes"].values()):
            raise BrokenSource(f"{path}: attributes {found['attributes']}, expected strings; put values in quotes")
    return found


def fitting(entry: dict[str, Any], path: Path) -> Row:
    """The same of a table of others, in which columns of these names may hold anything."""
    known = {key: entry.get(key) for key in EXTRAS}
    strings = {key: value for key, value in known.items() if isinstance(value, str) and key != "attributes"}
    facts = known["attributes"]
    if isinstance(facts, dict) and all(isinstance(value, str | None) for value in facts.values()):
        strings["attributes"] = facts
    return extras(strings, path)


def new_row(images: Path, file: str, captions: Any, source: Path, image_id: str | None = None) -> Row:
    """One row, with the file's name as its id if none is given; refuses a name that would leave `images`."""
    parts = PureWindowsPath(file)  # knows both kinds of slashes
    if not file or parts.root or parts.drive or ".." in parts.parts:
        raise BrokenSource(f"{source}: file name {file!r} climbs out of {images}; correct it or remove the entry")
    return {
        "image": f"{images}{os.sep}{file}",
        "image_id": file if image_id is None else image_id,
        "captions": captions,
    }
