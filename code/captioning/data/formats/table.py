"""All formats, and which of them a folder is in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePath
from typing import NamedTuple

from captioning.data.formats import (
    chat,
    chinese,
    coco,
    flickr,
    gallery,
    imagefolder,
    karpathy,
    kohya,
    parquet,
    records,
    sidecars,
    webdataset,
    xmp,
)
from captioning.data.formats.tree import Tree
from captioning.data.readers import EXTRAS, Row, Rows
from captioning.data.undo import is_undo_file

SEVERAL, BARE, IDS, PATHS, NUMBERS = "several captions", "pictures without captions", "ids", "paths", "numbers"
ALL = frozenset((SEVERAL, BARE, IDS, "splits", *EXTRAS))
BY_PATH = frozenset((SEVERAL, BARE, PATHS, "splits"))
OF_COCO = ("instances_", "person_keypoints_", "panoptic_", "stuff_", "image_info_")  # its files without captions
DEEP = "not read, for it lies more than one folder down; move it up"


class Format(NamedTuple):
    """What finds a format's files in a folder, reads them, and writes them: `write(rows, place)`.

    `file` is what is written, in the folder of the pictures, where `{split}` stands for one file a split; empty where
    `write` takes the folder. `carries` is what the format has a place for: of `ALL`, or in place of all ids those that
    are paths of the pictures, or numbers.
    """

    find: Callable[[Tree], list[PurePath]] | None = None
    read: Callable[[Tree, list[PurePath], str], Rows] | None = None
    write: Callable[[list[Row], Path], None] | None = None
    file: str = ""
    carries: frozenset[str] = frozenset()
    beside: bool = True  # whether the pictures are files of their own, beside what is written


# The order in which they are looked for: the first that is there is read, the others are named.
FORMATS = {
    "imagefolder": Format(imagefolder.find, imagefolder.read, imagefolder.write, "metadata.jsonl", BY_PATH | {*EXTRAS}),
    "karpathy": Format(karpathy.find, karpathy.read, karpathy.write, "dataset_captions.json", BY_PATH | {NUMBERS}),
    "coco-captions": Format(coco.find, coco.read, coco.write, "annotations/captions_{split}.json", ALL),
    "textcaps": Format(coco.find_textcaps, coco.read_textcaps),
    "kohya": Format(kohya.find, kohya.read, kohya.write, "meta_cap.json", frozenset((SEVERAL, BARE, PATHS))),
    "chat": Format(chat.find, chat.read, chat.write, "{split}.jsonl", frozenset((SEVERAL, PATHS, "splits"))),
    "coco-results": Format(
        coco.find_results,
        coco.read_results,
        coco.write_results,
        "captions_{split}_results.json",
        frozenset((SEVERAL, PATHS, NUMBERS, "splits")),
    ),
    "muge": Format(chinese.find_muge, chinese.read_muge),
    "flickr": Format(flickr.find, flickr.read),
    "tokens": Format(chinese.find_tokens, chinese.read_tokens),
    "records": Format(records.find, records.read),
    "webdataset": Format(webdataset.find, webdataset.read, webdataset.write, carries=ALL, beside=False),
    "parquet": Format(parquet.find, parquet.read, parquet.write, carries=ALL, beside=False),
    "sidecars": Format(sidecars.find, sidecars.read, sidecars.write, carries=frozenset((BARE, PATHS))),
    "xmp": Format(xmp.find, xmp.read, xmp.write, carries=frozenset((BARE, PATHS))),
    # those that only a person can tell from others
    "sidecar-lines": Format(
        sidecars.find,
        partial(sidecars.read, lines=True),
        partial(sidecars.write, joint="\n"),
        carries=frozenset((SEVERAL, BARE, PATHS)),
    ),
    "csv": Format(
        imagefolder.find,
        imagefolder.read,
        imagefolder.write_csv,
        "metadata.csv",
        frozenset((SEVERAL, PATHS, "splits", "style", "provenance")),
    ),
    "gallery": Format(write=gallery.write, file="index.html", carries=frozenset((SEVERAL, BARE, PATHS))),
}
READ = tuple(name for name, form in FORMATS.items() if form.read)
WRITTEN = tuple(name for name, form in FORMATS.items() if form.write)


def detect(tree: Tree) -> tuple[str, list[PurePath], dict[PurePath, str]]:
    """The format of a folder, its files, and why other files, which may have captions, are not read.

    A folder with pictures and nothing else is one of `sidecars` that are not there.
    """
    found = {name: files for name, each in FORMATS.items() if each.find and (files := each.find(tree))}
    name = next(iter(found), "sidecars")
    read = {*found.get(name, [])}
    if name == "imagefolder":  # which takes what lies beside pictures that no table speaks for
        spoken_for = {path.parent for path in read}
        read |= {path for path in found.get("sidecars", []) if not spoken_for & set(path.parents)}
    if name == "muge":
        read |= {chinese.pictures(tree, path) for path in read}
    why = f"{name} was found, too, and is read; --data names another format, or move these files away"
    others = {path: why for files in found.values() for path in files if path not in read}
    return name, found.get(name, []), _unknown(tree, read) | others | tree.damaged


def _of_one(path: PurePath, pictures: set[PurePath]) -> bool:
    """Whether a file is about one picture, as Google's a.jpg.json and a.jpg.supplemental-metadata.json."""
    return not pictures.isdisjoint((path.with_suffix(""), path.with_suffix("").with_suffix("")))


def _unknown(tree: Tree, read: set[PurePath]) -> dict[PurePath, str]:
    """Why files that may have captions and are in no format are not read: not what img2dataset and the hub note of a
    set, nor what COCO has besides captions, nor what is about one picture, nor undo files."""
    notes = {path for path in tree.named(".json") if path.stem.endswith(("_stats", "_infos"))}
    notes |= {path.with_name(path.name.replace("_stats.json", ".parquet")) for path in notes}
    pictures, jsons = set(tree.pictures), tree.named(".json")
    notes |= {path for path in jsons if path.name.startswith(OF_COCO) or _of_one(path, pictures)}
    notes |= {path for path in tree.named(".jsonl") if is_undo_file(tree.folder / path)}
    others = [path for path in tree.named(*sidecars.TABLES) if path not in read | notes]
    return {path: sidecars.CURE if tree.near(path) else DEEP for path in others}
