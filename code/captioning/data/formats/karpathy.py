"""Karpathy and Fei-Fei, CVPR 2015: one JSON file with the splits and captions of a set.

{"images": [{"filename": "a.jpg", "split": "train", "cocoid": 7, "sentences": [{"raw": "A dog .", ...}]}]}
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath

from captioning.data.formats.tree import Tree
from captioning.data.readers import Row, Rows, karpathy_rows
from captioning.writing import write_json

WORD = re.compile(r"\w+")


def find(tree: Tree) -> list[PurePath]:
    return tree.jsons(lambda content: {"filename", "sentences"} <= first(content, "images").keys())


def first(content: object, key: str) -> dict:
    """The first record of a list in an object; an empty one where there is none."""
    held = content.get(key) if isinstance(content, dict) else None
    return held[0] if isinstance(held, list) and held and isinstance(held[0], dict) else {}


def read(tree: Tree, files: list[PurePath], split: str) -> Rows:
    """A row an entry; the id is `cocoid`, or the file's name."""
    for path in files:
        for its_split, row in karpathy_rows(tree.folder / path, tree.folder):
            yield its_split, tree.placed(row, path) | {"captions": row["captions"] or None}


def write(rows: list[Row], path: Path) -> None:
    """Sentences with their words in lower case, as the files of Karpathy have them; ids of digits as `cocoid`."""
    images, sentid = [], 0
    for number, row in enumerate(rows):
        sentences = []
        for caption in row["captions"]:
            sentences.append(
                {"tokens": WORD.findall(caption.lower()), "raw": caption, "imgid": number, "sentid": sentid}
            )
            sentid += 1
        entry = {"filename": row["file"], "imgid": number, "split": row["split"], "sentences": sentences}
        entry["sentids"] = [each["sentid"] for each in sentences]
        images.append(entry | ({"cocoid": int(row["image_id"])} if is_number(row["image_id"]) else {}))
    write_json(path, {"images": images, "dataset": path.stem})


def is_number(image_id: str) -> bool:
    return image_id.isdecimal() and str(int(image_id)) == image_id
