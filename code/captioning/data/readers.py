"""One reader for each data set format: a folder in, pairs of (split, row) out, everything as it was found.

`captioning.data.sources` turns the rows into the one schema and leaves out the bad ones. A reader raises
`BrokenSource` where the structure is damaged: a file is missing or cut off, or a name climbs out of the folder.
"""

from __future__ import annotations

import csv
import functools
import io
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

from captioning.data.files import BrokenSource, existing, field, missing, read_json, read_json_lines, read_text, unique

SPLITS = ("train", "val", "test")
EXTRAS = ("style", "attributes", "provenance")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
KARPATHY_SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
FLICKR_LISTS = {"train": "trainImages", "val": "devImages", "test": "testImages"}
FLICKR_IMAGES = ("Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k-images", "flickr30k_images", "Images", "images")

Row = dict[str, Any]  # image, image_id, captions (None: the set ships none), and the EXTRAS that the set has
Rows = Iterator[tuple[str, Row]]  # (split, row)


def flickr(folder: Path, name: str, seed: int = 0, share: float = 0.125) -> Rows:
    """Flickr8k and Flickr30k (`name`): token file, or `captions.txt` (CSV), or Karpathy's `dataset_<name>.json`.

    The official split lists count first (a list may be missing: then so is that split), Karpathy's splits second;
    where there are neither, `share` of the pictures are held out for val and as many for test.
    """
    karpathy = existing(folder, f"dataset_{name}.json")
    captions_file = existing(folder, "Flickr8k.token.txt", "results_20130124.token", "captions.txt")
    images = existing(folder, *FLICKR_IMAGES) or folder
    lists = {split: folder / f"Flickr_8k.{part}.txt" for split, part in FLICKR_LISTS.items()}
    splits = {split: read_text(path).split() for split, path in lists.items() if path.is_file()}
    if karpathy and not (captions_file and splits):
        yield from _karpathy(karpathy, images)
        return
    if not captions_file:
        names = ("Flickr8k.token.txt", "results_20130124.token", "captions.txt", f"dataset_{name}.json")
        raise missing(folder, *names)
    captions = _csv_captions(captions_file) if captions_file.name == "captions.txt" else _tokens(captions_file)
    for split, files in (splits or _draw_splits(list(captions), seed, share)).items():
        for file in files:
            yield split, _row(images, file, captions.get(file, []), captions_file)


def coco(folder: Path) -> Rows:
    """COCO: Karpathy's `dataset_coco.json` (restval goes to train) if it is there, else the official annotations.

    The official annotations have no test captions: they give train and val only.
    """
    karpathy = existing(folder, "dataset_coco.json", "annotations/dataset_coco.json")
    if karpathy:
        yield from _karpathy(karpathy, existing(folder, "images") or folder)
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
        for row in _coco_rows(path, images):
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
            yield moved.get(persons[file], split), _row(folder / "images", file, [caption], path)


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
        for row in _coco_rows(path, images, skipped):
            yield split, row


def personality(folder: Path) -> Rows:
    """Personality-Captions: one picture and style a row; the id is `hash/Style`, since styles may share a picture."""
    root = existing(folder, "personality_captions") or folder
    images = existing(folder, "yfcc_images", "images") or folder
    for split in SPLITS:
        path = root / f"{split}.json"
        if not path.is_file():
            raise missing(root, path.name)
        for entry in read_json(path, list):
            style, name = field(entry, "personality", path, str), field(entry, "image_hash", path, str)
            captions = [entry.get("comment"), *(entry.get("additional_comments") or [])]
            yield split, _row(images, f"{name}.jpg", captions, path, f"{name}/{style}") | {"style": style}


def plain(folder: Path, split: str = "test") -> Rows:
    """A folder of pictures, in any depth; ids are the relative paths.

    Folders `train`, `val` and `test` are splits; other pictures go to `split`. An optional `metadata.jsonl` has one
    object a line with `file_name`, `caption` or `captions`, and perhaps `split`, `style`, `attributes`,
    `provenance`; then only the pictures that it names are taken.
    """
    metadata = folder / "metadata.jsonl"
    pictures = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in PICTURES)
    unnamed = ({"file_name": path.relative_to(folder).as_posix()} for path in pictures)
    for entry in read_json_lines(metadata) if metadata.is_file() else unnamed:
        file = field(entry, "file_name", metadata, str)
        captions = entry.get("captions", [entry["caption"]] if "caption" in entry else None)
        top = file.split("/")[0]
        row = _row(folder, file, captions, metadata) | {key: entry[key] for key in EXTRAS if key in entry}
        yield entry.get("split", top if top in SPLITS else split), row


# --- their parts ---


def _karpathy(path: Path, images: Path) -> Rows:
    """Karpathy and Fei-Fei, 2015: one file with the splits and captions of a set; ids as in the official files."""
    for entry in field(read_json(path, dict), "images", path, list):
        split, file = field(entry, "split", path), field(entry, "filename", path, str)
        captions = [field(sentence, "raw", path) for sentence in field(entry, "sentences", path, list)]
        located = f"{entry['filepath']}/{file}" if "filepath" in entry else file
        row = _row(images, located, captions, path, str(entry.get("cocoid", file)))
        yield KARPATHY_SPLITS.get(split, split), row


def _coco_rows(path: Path, images: Path, skipped: tuple[str, ...] = ()) -> Iterator[Row]:
    """The COCO annotation format; `skipped` are VizWiz's marks of captions that are not to be used."""
    data = read_json(path, dict)
    annotations = data.get("annotations")  # not there in a test file
    captions: dict[int, list[Any]] = {}
    for entry in annotations or []:
        kept = captions.setdefault(field(entry, "image_id", path, int), [])
        if not any(entry.get(mark) for mark in skipped):
            kept.append(entry.get("caption"))
    for entry in field(data, "images", path, list):
        number, file = field(entry, "id", path, int), field(entry, "file_name", path, str)
        row = _row(images, file, captions.get(number, []) if annotations else None, path, str(number))
        yield row | {key: entry[key] for key in EXTRAS if key in entry}


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


def _csv_captions(path: Path) -> dict[str, list[str]]:
    """CSV with a header; the first column is the file, the last the caption."""
    captions: dict[str, list[str]] = {}
    lines = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = next(lines, [])
        if not header or Path(header[0]).suffix:
            raise BrokenSource(f"{path}: the first line is {header}, expected a header like `image,caption`")
        for row in filter(None, lines):
            captions.setdefault(row[0], []).append(row[-1] if len(row) > 1 else "")
    except csv.Error as error:
        raise BrokenSource(f"{path}, line {lines.line_num}: {error}; download the file again") from error
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


def _row(images: Path, file: str, captions: Any, source: Path, image_id: str | None = None) -> Row:
    """One row, with the file's name as its id if none is given; refuses a name that would leave `images`."""
    parts = PureWindowsPath(file)  # knows both kinds of slashes
    if not file or parts.root or parts.drive or ".." in parts.parts:
        raise BrokenSource(f"{source}: file name {file!r} climbs out of {images}; correct it or remove the entry")
    return {
        "image": f"{images}{os.sep}{file}",
        "image_id": file if image_id is None else image_id,
        "captions": captions,
    }
