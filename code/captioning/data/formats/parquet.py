"""Parquet with the pictures in it, as the Hugging Face hub has data sets: a column of pictures, a column of text.

    train-00000-of-00001.parquet: image {bytes, path}, captions [text, ...]

The pictures are written out once, into output/pictures: a column cannot be read in any order without reading it whole.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from captioning import paths
from captioning.data import archives
from captioning.data.files import BrokenSource
from captioning.data.formats.imagefolder import CAPTIONS
from captioning.data.formats.tree import SPLIT_NAMES, Tree, split_named, split_of_file
from captioning.data.readers import EXTRAS, Row, Rows, fitting, merged
from captioning.writing import new_folder

PICTURES = paths.OUTPUT / "pictures"
GROUP = 100  # rows that are read at a time, as the hub has them


def find(tree: Tree) -> list[PurePath]:
    """Parquet files with a column of pictures; others, such as img2dataset's tables of addresses, are not looked at."""
    some = [path for path in tree.named(".parquet") if path.name != "metadata.parquet"]
    return [path for path in some if _columns(tree.folder / path)[0]]


def _columns(path: Path) -> tuple[str | None, list[str]]:
    """The column of pictures, which are bytes or have them, and the columns of text or lists of text."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        schema = parquet.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise BrokenSource(f"{path}: no Parquet file, or a damaged one ({error}); get it again") from error
    is_text = lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind)  # noqa: E731
    is_bytes = lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind)  # noqa: E731
    pictures = [
        each.name
        for each in schema
        if is_bytes(each.type) or pa.types.is_struct(each.type) and "bytes" in [f.name for f in each.type]
    ]
    texts = [each.name for each in schema if is_text(getattr(each.type, "value_type", each.type))]
    return next(iter(pictures), None), texts


def read(tree: Tree, files: list[PurePath], split: str) -> Rows:
    """A row a picture; the id is `image_id`, or else FILE/NUMBER. `split`, or the file's name, tells the split."""
    pictures: dict[tuple[str, str], str] = {}

    def entries() -> Rows:
        for told, row in _entries(tree, files, split):
            first = pictures.setdefault((told, row["image_id"]), row["image"])
            if first != row["image"] and not filecmp.cmp(first, row["image"], shallow=False):
                raise BrokenSource(
                    f"{tree.folder}: image_id {row['image_id']!r} is there twice in {told}, of two pictures; write "
                    "another of one"
                )
            yield told, row

    yield from merged(entries(), tree.folder)


def _entries(tree: Tree, files: list[PurePath], split: str) -> Rows:
    """A row an entry."""
    noted = _mixed(tree, files, split)
    for path in files:
        whole, said_once = tree.folder / path, False
        picture, texts = _columns(whole)
        texts = [name for name in texts if name not in ("image_id", "split", *EXTRAS)]
        caption = next((name for name in CAPTIONS if name in texts), texts[0] if len(texts) == 1 else None)
        if caption is None and len(texts) > 1:
            raise BrokenSource(f"{whole}: no column {', '.join(CAPTIONS)} among {', '.join(texts)}; rename one")
        folder = _unpacked(whole, picture)
        names = sorted(os.listdir(folder))
        for name, entry in zip(
            (each for each in names if not each.startswith(".")), _rows(whole, picture), strict=True
        ):
            said = entry.get(caption)
            told = entry["split"] if isinstance(entry.get("split"), str) else split_of_file(path, split)
            own = entry.get("image_id")
            own = str(own) if isinstance(own, str | int) else f"{path.with_suffix('')}/{name}"
            row = {"image": f"{folder}{os.sep}{name}", "image_id": own}
            row["captions"] = (said or None) if isinstance(said, list) else None if caption is None else [said]
            others = [key for key, value in entry.items() if isinstance(value, list | dict) and key not in EXTRAS]
            if caption is None and others and not said_once:
                row["unread"] = f"{path} has {', '.join(others)} and no texts or lists of them; write those as captions"
                said_once = True
            yield split_named(told), row | fitting(entry, whole) | noted
            noted = {}  # once is enough


def _mixed(tree: Tree, files: list[PurePath], split: str) -> Row:
    """What is to be noted where folders have the same split, as those of configurations of the hub (en/, fr/)."""
    homes = defaultdict(dict)
    for path in files:
        home = PurePath(*(part for part in path.parts[:-1] if part.lower() not in SPLIT_NAMES))
        homes[split_of_file(path, split)][home.as_posix()] = None
    for told, found in homes.items():
        if len(found) > 1:
            where = f"read one alone with --folder {tree.folder / next(iter(found))}"
            return {"noted": ("folders in one split", f"{', '.join(found)} are all in {told}; {where}")}
    return {}


def _rows(path: Path, without: str) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        columns = [name for name in file.schema_arrow.names if name != without]
        for batch in file.iter_batches(GROUP, columns=columns):
            yield from batch.to_pylist()


def _unpacked(path: Path, column: str) -> Path:
    """The folder with the pictures of a file, one a row, in its order."""
    from pyarrow import parquet

    stat = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {column}".encode()).hexdigest()[:16]
    folder = PICTURES / f"{path.stem}-{key}"
    if not folder.is_dir():
        with new_folder(folder) as made, parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(GROUP, columns=[column]):
                for (value,) in (entry.values() for entry in batch.to_pylist()):
                    data = value.get("bytes") if isinstance(value, dict) else value
                    (made / f"{number:08d}{_suffix(data)}").write_bytes(data or b"")
                    number += 1
    return folder


def _suffix(data: bytes | None) -> str:
    """By what the bytes begin with; .jpg of all that is not known."""
    known = {b"\x89PNG": ".png", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp", b"II*\0": ".tif", b"MM\0*": ".tif"}
    return next((suffix for begin, suffix in known.items() if (data or b"").startswith(begin)), ".jpg")


def write(rows: list[Row], folder: Path) -> None:
    """{split}-00000-of-00001.parquet, with the types that the hub knows, so that its viewer shows the pictures."""
    import pyarrow as pa
    from datasets import Features, Image, List, Value
    from pyarrow import parquet

    text = Value("string")
    kinds: dict[str, Any] = {"image": Image(), "image_id": text, "captions": List(text)}
    kinds |= {name: text for name in EXTRAS if name != "attributes" and any(row.get(name) is not None for row in rows)}
    if names := sorted({name for row in rows for name in row.get("attributes") or {}}):
        kinds["attributes"] = dict.fromkeys(names, text)
    schema = Features(kinds).arrow_schema
    for split in dict.fromkeys(row["split"] for row in rows):
        some = [row for row in rows if row["split"] == split]
        with parquet.ParquetWriter(folder / f"{split}-00000-of-00001.parquet", schema) as file:
            for start in range(0, len(some), GROUP):
                entries = [
                    {name: row.get(name) for name in kinds} | _picture(row) for row in some[start : start + GROUP]
                ]
                file.write_table(pa.Table.from_pylist(entries, schema))


def _picture(row: Row) -> dict[str, Any]:
    return {"image": {"bytes": archives.content(row["image"]), "path": PurePath(row["file"]).name}}
