"""Every data set format to one schema.

A source is a `datasets.DatasetDict` with splits among train, val and test and the columns

    image      str        absolute path of the picture, decoded later
    image_id   str        unique in its split
    captions   list[str]  one line each, none empty; no captions at all where a set ships no references
    style (str), attributes (dict of str), provenance (str)   only where the set has them

Layouts are detected from the files present, of a folder of one's own its format (`FORMATS`). Damage to the structure (a
file missing, JSON cut in half, a name that climbs out of the folder, an id twice) is a `BrokenSource`; one bad caption
or missing picture is left out and listed, and so are captions that lie there and are not read.
Pictures that are there but cannot be decoded are found by `check` and left out by `healthy`.
"""

from __future__ import annotations

import functools
import os
import random
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from captioning.data import archives, readers
from captioning.data.files import BrokenSource
from captioning.data.formats.table import FORMATS, READ, detect
from captioning.data.formats.tree import Tree
from captioning.data.pictures import problem
from captioning.data.readers import EXTRAS, SPLITS, Row
from captioning.data.workers import unheard

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset, DatasetDict, Features

READERS = {
    "deepfashion": readers.deepfashion,
    "flickr8k": functools.partial(readers.flickr, name="flickr8k"),
    "flickr30k": functools.partial(readers.flickr, name="flickr30k"),
    "coco": readers.coco,
    "vizwiz": readers.vizwiz,
    "personality": readers.personality,
}
FOLDERS = ("folder", "unsplit", *READ)  # one's own: of the format that it is found to be in, or is said to be
NAMES = ("minifashion", "minipersonality", "minivizwiz", *READERS, *FOLDERS)
FINDINGS = ("split", "image_id", "kind", "detail")  # the columns of a table of findings

Finding = tuple[str, str, str, str]


def load(name: str, folder: str | Path, **options: Any) -> DatasetDict:
    """Read the data set `name` (one of `NAMES`) that lies in `folder`; what is left out is listed in a warning.

    `options` go to the reader: `seed` and `share` of what is held out of train (deepfashion; Flickr sets without
    split lists), `split` (of those pictures of a folder of which none is told), `rejected` and `precanned` (vizwiz),
    or anything that `minifashion.build` or `minivizwiz.build` takes. Raises `BrokenSource`.
    """
    dataset, left_out = read(name, folder, **options)
    if len(left_out):
        firsts = left_out.groupby("kind", sort=False).first()
        counts = left_out["kind"].value_counts()
        shown = "; ".join(
            f"{counts[kind]} x {kind}, the first: {first.split} {first.image_id} ({first.detail})"
            for kind, first in zip(firsts.index, firsts.itertuples(), strict=True)
        )
        warnings.warn(f"{name} in {folder}: left out {shown}; all are in the table of sources.read", stacklevel=2)
    return dataset


def read(name: str, folder: str | Path, **options: Any) -> tuple[DatasetDict, pd.DataFrame]:
    """As `load`, but what was left out is returned as a table of findings (columns `FINDINGS`)."""
    folder = Path(folder).absolute()
    if name == "minipersonality":
        name, options = "minifashion", options | {"variant": "personality"}
    if name == "minifashion":
        from captioning.data import minifashion

        return minifashion.build(folder, **options), _findings([])
    if name == "minivizwiz":
        from captioning.data import minivizwiz

        kept = {key: options.pop(key) for key in ("rejected", "precanned") if key in options}
        name, folder, options = "vizwiz", minivizwiz.build(folder, **options), kept
    if name not in NAMES and not is_hub(name):
        raise BrokenSource(
            f"unknown data set {name!r}, expected one of {', '.join(NAMES)}, or OWNER/NAME of the Hugging Face hub"
        )
    if not folder.is_dir() and not (folder.is_file() and name in FOLDERS):
        get = f"captioning data {name} gets it from the hub; a folder of your own is --data folder --folder {name}"
        by_hand = f"dataset/README.md says how to get {name} and what goes where"
        raise BrokenSource(f"{folder}: no such folder; {get if is_hub(name) else by_hand}")
    if name in READERS:
        return _to_schema(READERS[name](folder, **options), folder)
    return _read_folder(name, folder, **options)


def is_hub(name: str) -> bool:
    """Whether it is OWNER/NAME, a data set of the hub, which `captioning data` puts into dataset/OWNER/NAME."""
    return len(parts := name.split("/")) == 2 and all(parts)


def _read_folder(name: str, folder: Path, split: str = "test") -> tuple[DatasetDict, pd.DataFrame]:
    """A folder in one of the `FORMATS`: in the one named, or (folder, unsplit, a set of the hub) in the one it has. In
    place of the folder a file of captions may be named that lies in it.

    Pictures that no split is told of are of `split`; of "unsplit" they are `divided`.
    """
    tree = Tree.of(folder)
    found, files, others = (name, FORMATS[name].find(tree), {}) if name in FORMATS else detect(tree)
    if not files and name in FORMATS:
        raise BrokenSource(f"{folder}: no file of the format {name}; docs/formats.md shows what each looks like")
    rows = FORMATS[found].read(tree, files, split)
    unread = [("", path.as_posix(), "captions not read", why) for path, why in sorted(others.items())]
    return _to_schema(_divided(rows, folder) if name == "unsplit" else rows, folder, unread)


def _divided(rows: Iterable[tuple[str, Row]], folder: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a set without splits, a tenth in val and a tenth in test.

    Each picture has its lot from its id: a picture that comes or goes moves hardly any other.
    """
    listed = list(rows)
    if len(splits := sorted({split for split, _ in listed})) > 1:
        raise BrokenSource(f"{folder}: has the splits {', '.join(splits)}; read it with --data folder")
    if len(listed) < len(SPLITS):
        raise BrokenSource(
            f"{folder}: {len(listed)} pictures, too few for train, val and test; read it with --data folder"
        )
    listed.sort(key=lambda item: random.Random(f"split {item[1]['image_id']}").random())
    held_out = max(1, round(len(listed) / 10))
    for place, (_, row) in enumerate(listed):
        yield "test" if place < held_out else "val" if place < 2 * held_out else "train", row


def check(dataset: DatasetDict, workers: int | None = None) -> pd.DataFrame:
    """Decode every picture and look at every caption of a data set; one row (columns `FINDINGS`) per finding.

    Kinds: "broken picture" (missing and unreadable ones), "empty caption", "duplicate id". An empty table means that
    nothing can fail in an epoch. `workers` processes decode (default: one per core; 0: this process).
    """
    found: list[Finding] = []
    for split, table in dataset.items():
        ids = table["image_id"][:]
        found += [(split, i, "duplicate id", f"{n} times") for i, n in Counter(ids).items() if n > 1]
        for image_id, captions in zip(ids, table["captions"][:], strict=True):
            empty = [k for k, caption in enumerate(captions) if not caption or not caption.strip()]
            found += [(split, image_id, "empty caption", f"caption {k} of {len(captions)}") for k in empty]
    places = [(split, image_id) for split, table in dataset.items() for image_id in table["image_id"][:]]
    pictures = [path for table in dataset.values() for path in table["image"][:]]
    troubles = tqdm(_problems(pictures, workers), desc="pictures", total=len(pictures), leave=False, disable=None)
    for (split, image_id), trouble in zip(places, troubles, strict=True):
        if trouble:
            found.append((split, image_id, "broken picture", trouble))
    return _findings(found)


def healthy(dataset: DatasetDict, findings: pd.DataFrame) -> DatasetDict:
    """The data set without the rows (split and image_id) that `findings` names."""
    from datasets import DatasetDict

    bad = set(zip(findings["split"], findings["image_id"], strict=True))
    keep = {
        split: [row for row, image_id in enumerate(table["image_id"][:]) if (split, image_id) not in bad]
        for split, table in dataset.items()
    }
    return DatasetDict({split: table.select(keep[split]) for split, table in dataset.items() if keep[split]})


def _problems(pictures: list[str], workers: int | None) -> Iterator[str | None]:
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers == 0:
        yield from map(problem, pictures)
        return
    # "spawn": a fork would copy the locks of torch's threads, possibly held.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        with unheard():
            found = pool.map(problem, pictures, chunksize=32)
        yield from found


def _to_schema(
    rows: Iterable[tuple[str, Row]], folder: Path, unread: list[Finding] | None = None
) -> tuple[DatasetDict, pd.DataFrame]:
    from datasets import DatasetDict

    tables: dict[str, list[Row]] = {split: [] for split in SPLITS}
    seen: set[tuple[str, str]] = set()
    left_out: list[Finding] = [*(unread or ())]
    listing = functools.cache(_listing)
    for split, row in rows:
        key = (split, row["image_id"])
        if split not in SPLITS:
            raise BrokenSource(
                f"{folder}: {key[1]!r} has split {split!r}, expected one of {', '.join(SPLITS)}; correct the entry"
            )
        if key in seen:
            raise BrokenSource(f"{folder}: id {key[1]!r} is there twice in {split}; keep one of the two entries")
        seen.add(key)
        captions, troubles = _clean(row["captions"])
        directory, file = os.path.split(row["image"])
        there = file in listing(directory) or archives.file_of(row["image"]) != row["image"]
        named = _is_text(row["image"]) and _is_text(row["image_id"])
        if not there:
            troubles.append(("missing picture", f"no file {row['image']}"))
        if not named:
            troubles.append(("bad name", f"{row['image']!r} is not UTF-8; rename the file"))
        if "unread" in row:
            troubles.append(("captions not read", row["unread"]))
        if "noted" in row:
            troubles.append(row["noted"])
        left_out += [(split, _shown(row["image_id"]), kind, _shown(detail)) for kind, detail in troubles]
        if there and named and (captions or row["captions"] is None):
            tables[split].append(row | {"captions": captions})
    if not any(tables.values()):
        first = f", the first: {left_out[0][-1]}" if left_out else ""
        raise BrokenSource(f"{folder}: no usable picture, {len(left_out)} left out{first}; see dataset/README.md")
    features = _features(row for rows in tables.values() for row in rows)
    dataset = {split: _table(rows, features) for split, rows in tables.items() if rows}
    return DatasetDict(dataset), _findings(left_out)


def _listing(directory: str) -> frozenset[str]:
    """The names in a directory: one listing instead of a look at each of 100,000 files."""
    return frozenset(os.listdir(directory)) if os.path.isdir(directory) else frozenset()


def _is_text(text: str) -> bool:
    """Whether there are only whole characters in it: no half of a pair (a lone surrogate), which no file can hold."""
    return text.encode("utf-8", "ignore").decode() == text


def _shown(text: str) -> str:
    """As it can be printed."""
    return text.encode("utf-8", "backslashreplace").decode()


def _clean(captions: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """The usable captions, each on one line, and (kind, detail) of what is wrong with the others."""
    if captions is None:
        return [], []
    if not isinstance(captions, list) or not captions:
        return [], [("no caption", f"expected a list of captions, found {captions!r:.60}")]
    # split() also removes the line separators (U+2028, form feed, ...) that shift captions in other tools' files.
    lines = [" ".join(text.split()) if isinstance(text, str) and _is_text(text) else "" for text in captions]
    bad = [("bad caption", f"caption {k} is {captions[k]!r:.60}") for k, line in enumerate(lines) if not line]
    return [line for line in lines if line], bad


def _features(rows: Iterable[Row]) -> Features:
    """The columns of a set, the same in all its splits."""
    from datasets import Features, List, Value

    text = Value("string")
    features: dict[str, Any] = {"image": text, "image_id": text, "captions": List(text)}
    attributes: dict[str, Any] = {}
    for row in rows:
        features |= {extra: text for extra in EXTRAS if extra in row and extra != "attributes"}
        attributes |= dict.fromkeys(row.get("attributes") or {}, text)
    return Features(features | ({"attributes": attributes} if attributes else {}))


def _table(rows: list[Row], features: Features) -> Dataset:
    from datasets import Dataset

    attributes = dict.fromkeys(features["attributes"]) if "attributes" in features else {}
    filled = (row | {"attributes": attributes | (row.get("attributes") or {})} for row in rows)
    return Dataset.from_list([{key: row.get(key) for key in features} for row in filled], features=features)


def _findings(rows: list[Finding]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(FINDINGS))
