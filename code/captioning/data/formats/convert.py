"""A data set of one format written in another."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from tqdm import tqdm

from captioning.data import archives
from captioning.data.formats.karpathy import is_number
from captioning.data.formats.table import BARE, FORMATS, IDS, NUMBERS, PATHS, SEVERAL, WRITTEN, Format
from captioning.data.formats.tree import split_of
from captioning.data.pictures import is_picture
from captioning.data.readers import EXTRAS, Row
from captioning.writing import claim_file, new_folder

if TYPE_CHECKING:
    from datasets import DatasetDict


def convert(dataset: DatasetDict, source: Path, out: Path, to: str, link: bool = False) -> list[str]:
    """Write a data set, which was read from the folder `source`, in the format `to` (one of `WRITTEN`).

    `out` is a new folder, which gets the pictures, too (with `link` links to them); or a new file of captions with the
    suffix of the format's, which names the pictures as they lie in its folder.
    Returns sentences: what the format has no place for. Raises ValueError where it could not hold two pictures apart or
    a picture lies elsewhere, and what `claim` and `claim_file` raise.
    """
    form = writable(to)
    rows = rows_of(dataset, source, form)
    if not is_file(out, form):
        check_outside(source, rows, out)
    else:
        rows = [row | {"file": name_from(out.parent, row["image"])} for row in rows]
    write(rows, out, form, "data convert", link)
    return losses(rows, form)


def check_outside(source: Path, rows: list[Row], out: Path) -> None:
    """Raises ValueError for a folder to write that holds what is read: it would be replaced."""
    read = [source, *(Path(archives.file_of(row["image"])) for row in rows)]
    inside = [path for path in read if path.resolve().is_relative_to(out.resolve())]
    if inside:
        raise ValueError(f"{inside[0]} lies in {out}, which would be replaced: give another folder to write")


def write(rows: list[Row], out: Path, form: Format, by: str, link: bool = False) -> None:
    """Write rows, which have `split` and `file`, into a file or a folder of the command `captioning BY`."""
    splits = check_splits((row["split"] for row in rows), out, form)
    if is_file(out, form):
        claim_file(out)
        form.write(rows, out)
        return
    with new_folder(out, by) as made:
        if form.beside:
            _take_along(rows, made, link)
        for split in splits if "{split}" in form.file else [""]:
            some = [row for row in rows if split in ("", row["split"])]
            place = made / form.file.format(split=split)
            place.parent.mkdir(exist_ok=True)
            form.write(some, place)


def check_splits(told: Iterable[str], out: Path, form: Format) -> list[str]:
    """The splits, each once. Raises ValueError for several where `out` is a file that has one."""
    splits = list(dict.fromkeys(told))
    if is_file(out, form) and "{split}" in form.file and len(splits) > 1:
        raise ValueError(f"{out}: there are {', '.join(splits)}, and a file has one split; give a new folder")
    return splits


def is_file(out: Path, form: Format) -> bool:
    """Whether `out` is to be a file of captions, and not a folder with the pictures in it."""
    return bool(form.file) and out.suffix == PurePath(form.file).suffix


def writable(to: str) -> Format:
    if to not in WRITTEN:
        raise ValueError(f"--to {to}: expected one of {', '.join(WRITTEN)}")
    return FORMATS[to]


def rows_of(dataset: DatasetDict, source: Path, form: Format) -> list[Row]:
    """The rows with their `split`, and with `file`: where the picture goes, in the folder that is written.

    That is its path from `source`, below a folder of its split where the format tells splits by folders.
    """
    rows = [row | {"split": split} for split, table in dataset.items() for row in table]
    for row in rows:
        file = _name(row, source)
        row["file"] = (
            file
            if "splits" in form.carries or split_of(PurePath(file), "test") == row["split"]
            else f"{row['split']}/{file}"
        )
        attributes = {name: value for name, value in (row.get("attributes") or {}).items() if value is not None}
        row |= {"attributes": attributes or None}
    name, times = Counter(row["file"] for row in rows).most_common(1)[0]
    if times > 1 and "ids" not in form.carries:
        raise ValueError(
            f"{name} is there {times} times, and this format has one entry a picture; give webdataset or parquet"
        )
    return rows


def _name(row: Row, source: Path) -> str:
    """A picture's path from the folder of its data set; of one out of an archive its id, with its suffix."""
    image = Path(row["image"])
    if archives.file_of(image) == str(image) and image.is_relative_to(source.absolute()):
        return image.relative_to(source.absolute()).as_posix()
    name = PurePath(row["image_id"].replace(".tar/", "/"))
    parts = [part for part in name.parts if part not in ("..", name.anchor)]
    return "/".join(parts) if is_picture(name) else "/".join(parts) + image.suffix


def name_from(folder: Path, image: str) -> str:
    """Where a picture lies, as a path from the folder of the file that is to name it."""
    place = Path(os.path.relpath(image, folder))
    if ".." in place.parts or archives.file_of(image) != image:
        raise ValueError(f"{image} is no file below {folder}; give a new folder, which gets the pictures, too")
    return place.as_posix()


def losses(rows: list[Row], form: Format) -> list[str]:
    """What the format has no place for, in sentences."""
    kept = form.carries
    several = [row for row in rows if len(row["captions"]) > 1 and SEVERAL not in kept]
    bare = [row for row in rows if not row["captions"] and BARE not in kept]
    ids = [row for row in rows if not _id_is_kept(row, kept)]
    splits = [row for row in rows if "splits" not in kept and split_of(PurePath(row["file"]), "test") != row["split"]]
    found = [
        (splits, f"splits that their folders do not tell: {len(splits):,} pictures have one"),
        (several, f"captions in one: {len(several):,} pictures have more than one"),
        (bare, f"pictures without a caption are not named: {len(bare):,}"),
        (
            ids,
            f"ids become the paths of the pictures: {len(ids):,} are others, such as {ids[0]['image_id']!r}"
            if ids
            else "",
        ),
    ]
    extra = {name: sum(row.get(name) is not None and name not in kept for row in rows) for name in EXTRAS}
    return [said for some, said in found if some] + [
        f"no place for {k}, of which there are {n:,}" for k, n in extra.items() if n
    ]


def _id_is_kept(row: Row, kept: frozenset[str]) -> bool:
    number = NUMBERS in kept and is_number(row["image_id"])
    return IDS in kept or number or (PATHS in kept and row["image_id"] == row["file"])


def _take_along(rows: list[Row], folder: Path, link: bool) -> None:
    for row in tqdm({row["file"]: row for row in rows}.values(), desc="pictures", leave=False, disable=None):
        place = folder / row["file"]
        place.parent.mkdir(parents=True, exist_ok=True)
        if link and archives.file_of(row["image"]) == row["image"]:
            place.symlink_to(row["image"])
        else:
            place.write_bytes(archives.content(row["image"]))
