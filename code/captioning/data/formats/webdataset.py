"""WebDataset: tar shards as img2dataset writes them, a picture, its text and its facts beside each other.

    00000.tar: 000000000.jpg 000000000.txt 000000000.json 000000001.jpg ...

A sample's files have one name but for the last suffix, so that keys with dots are whole (webdataset itself ends a key
at the first dot and would make a.b.jpg and a.c.jpg one sample); what is written has none. The .txt is the caption;
where the .json has a list `captions`, that is all of them. A split is told by the name of the shard or its folder.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import defaultdict
from pathlib import Path, PurePath
from typing import Any

from captioning.data import archives
from captioning.data.archives import Member
from captioning.data.files import BrokenSource
from captioning.data.formats.tree import Tree, split_of_file
from captioning.data.pictures import is_picture
from captioning.data.readers import EXTRAS, Row, Rows, extras
from captioning.writing import dumps

SHARD = 10_000  # samples, as img2dataset has it


def find(tree: Tree) -> list[PurePath]:
    return [path for path in tree.files if path.suffix == ".tar"]


def read(tree: Tree, shards: list[PurePath], split: str) -> Rows:
    """A row a sample with a picture or a text; the id is SHARD/NAME, or `image_id` of its .json."""
    for shard in shards:
        archive, samples = tree.folder / shard, defaultdict(list)
        for member in archives.members(archive):
            files = samples[member.name.rpartition(".")[0]]
            if member.name in [each.name for each in files]:
                raise BrokenSource(
                    f"{archive}: {member.name} is there twice; write the shard again, each with its own key"
                )
            files.append(member)
        for files in samples.values():
            picture = next((each for each in files if is_picture(PurePath(each.name))), None)
            if picture or any(each.name.endswith(".txt") for each in files):
                yield _row(archive, shard, picture, files, split)


def _row(archive: Path, shard: PurePath, picture: Member | None, files: list[Member], split: str) -> tuple[str, Row]:
    told = {PurePath(each.name).suffix: each for each in files}
    facts, split = _facts(archive, told), split_of_file(shard, split)
    image = archives.within(archive, picture) if picture else str(archive / files[0].name)  # which is then missing
    row = {"image": image, "image_id": f"{shard.as_posix()}/{(picture or files[0]).name}"}
    if isinstance(facts.get("captions"), list):
        own = facts.get("image_id")
        row["image_id"] = row["image_id"] if own is None else str(own)
        return split, row | {"captions": facts["captions"] or None} | extras(facts, archive)
    text = _text(archive, told[".txt"]) if ".txt" in told else facts.get("caption")
    return split, row | {"captions": None if text is None else [text]}


def _facts(archive: Path, told: dict[str, Member]) -> dict[str, Any]:
    if ".json" not in told:
        return {}
    try:
        facts = json.loads(_text(archive, told[".json"]))
    except ValueError as error:
        raise BrokenSource(f"{archive}: {told['.json'].name} is damaged ({error}); write the shard again") from error
    return facts if isinstance(facts, dict) else {}


def _text(archive: Path, member: Member) -> str:
    return archives.content(archives.within(archive, member)).decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def write(rows: list[Row], folder: Path) -> None:
    """Shards of `SHARD` samples, {split}-00000.tar, with keys as img2dataset numbers them."""
    for split in dict.fromkeys(row["split"] for row in rows):
        some = [row for row in rows if row["split"] == split]
        for number, start in enumerate(range(0, len(some), SHARD)):
            with tarfile.open(folder / f"{split}-{number:05d}.tar", "w") as tar:
                for place, row in enumerate(some[start : start + SHARD]):
                    _add(tar, f"{number:05d}{place:04d}", row)


def _add(tar: tarfile.TarFile, key: str, row: Row) -> None:
    facts = {name: row[name] for name in ("image_id", "captions", *EXTRAS) if row.get(name) is not None}
    files = {PurePath(row["image"]).suffix: archives.content(row["image"])}
    files |= {".txt": row["captions"][0].encode()} if row["captions"] else {}
    for suffix, data in (files | {".json": dumps(facts, ensure_ascii=False).encode()}).items():
        entry = tarfile.TarInfo(key + suffix.lower())
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
