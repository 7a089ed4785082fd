"""COCO's annotations and its results, and the sets that came after in their form.

    {"images": [{"id": 7, "file_name": "a.jpg"}], "annotations": [{"image_id": 7, "caption": "A dog ."}]}
    [{"image_id": 7, "caption": "A dog ."}]

nocaps' annotations tell the domain of each picture, which becomes an attribute. TextCaps has a list of captions under
"data", with the picture in each. VizWiz' rejected and pre-canned captions are left out, as its evaluation does.
"""

from __future__ import annotations

from pathlib import Path, PurePath

from captioning.data.files import field
from captioning.data.formats.karpathy import first, is_number
from captioning.data.formats.records import PICTURE
from captioning.data.formats.tree import SPLIT_NAMES, Tree, split_of_file
from captioning.data.readers import EXTRAS, Row, Rows, coco_rows, merged, new_row
from captioning.writing import write_json

SKIPPED = ("is_rejected", "is_precanned")


def find(tree: Tree) -> list[PurePath]:
    """Files with COCO's list of images whose annotations, if there are any, are captions."""

    def known(content: object) -> bool:
        if not {"id", "file_name"} <= first(content, "images").keys():
            return False
        return not content.get("annotations") or "caption" in first(content, "annotations")

    return tree.jsons(known)


def read(tree: Tree, files: list[PurePath], split: str) -> Rows:
    """A row an image; the id is COCO's. A file's name tells its split: captions_train2014.json."""
    for path in files:
        told = {str(entry.get("image_id")) for entry in tree.content(path).get("annotations") or []}
        for row in coco_rows(tree.folder / path, tree.folder, SKIPPED):
            captions = row["captions"] if row["image_id"] in told else None  # [] where all were rejected
            yield split_of_file(path, split), tree.placed(row, path) | {"captions": captions}


def write(rows: list[Row], path: Path) -> None:
    """The annotations of a split; ids of digits are numbers, as in COCO."""
    ids = [_id(row) for row in rows]
    images = [
        {"id": i, "file_name": row["file"]} | {name: row[name] for name in EXTRAS if row.get(name) is not None}
        for i, row in zip(ids, rows, strict=True)
    ]
    said = [(i, text) for i, row in zip(ids, rows, strict=True) for text in row["captions"]]
    annotations = [{"id": number, "image_id": i, "caption": text} for number, (i, text) in enumerate(said, 1)]
    write_json(path, {"info": {}, "licenses": [], "images": images, "annotations": annotations})


def _id(row: Row) -> int | str:
    return int(row["image_id"]) if is_number(row["image_id"]) else row["image_id"]


def find_results(tree: Tree) -> list[PurePath]:
    """Lists of an id and a caption; those that name the picture besides are `records`."""

    def known(content: object) -> bool:
        keys = first({"": content}, "").keys()
        return {"image_id", "caption"} <= keys and not {*PICTURE} & keys

    return tree.jsons(known)


def read_results(tree: Tree, files: list[PurePath], split: str) -> Rows:
    """A row an id; its picture is the one of that path, or of that name without the suffix."""

    def entries() -> Rows:
        for path in files:
            for entry in tree.content(path):
                image_id = str(field(entry, "image_id", tree.folder / path, int | str))
                row = new_row(
                    tree.folder, tree.place(image_id, tree.folder / path), [entry.get("caption")], path, image_id
                )
                yield split_of_file(path, split), row

    yield from merged(entries(), tree.folder)


def write_results(rows: list[Row], path: Path) -> None:
    """What COCO's evaluation takes: ids that are numbers. Others become paths, by which pictures are found again."""
    ids = [_id(row) if is_number(row["image_id"]) else row["file"] for row in rows]
    said = [{"image_id": i, "caption": text} for i, row in zip(ids, rows, strict=True) for text in row["captions"]]
    write_json(path, said)


def find_textcaps(tree: Tree) -> list[PurePath]:
    return tree.jsons(lambda content: {"image_id", "image_path"} <= first(content, "data").keys())


def read_textcaps(tree: Tree, files: list[PurePath], split: str) -> Rows:
    """A row a picture, with the captions of all its entries; those of test have none.

    O. Sidorov et al., TextCaps: a Dataset for Image Captioning with Reading Comprehension, ECCV 2020.
    """

    def entries() -> Rows:
        for path in files:
            whole = tree.folder / path
            for entry in field(tree.content(path), "data", whole, list):
                image_id, file = field(entry, "image_id", whole, str), field(entry, "image_path", whole, str)
                captions = [entry["caption_str"]] if entry.get("caption_str") else None
                told = SPLIT_NAMES.get(str(entry.get("set_name")).lower(), split_of_file(path, split))
                picture = tree.place(
                    PurePath(file).name, whole
                )  # it says train/, and the pictures lie in train_images/
                yield told, new_row(tree.folder, picture, captions, path, image_id)

    yield from merged(entries(), tree.folder)
