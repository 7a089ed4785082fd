"""The file that the VizWiz-Captions evaluation server takes: `[{"image_id": 23431, "caption": "..."}, ...]`.

The official evaluator scores the ids that it finds and says nothing of the others, so a file is checked here, against
the annotations, before it leaves the house.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from captioning.data.files import BrokenSource, field, read_json
from captioning.writing import claim_file, some, write_json


def wanted_ids(folder: Path, split: str = "test") -> list[int]:
    """The ids of all pictures of a split, from `annotations/SPLIT.json` of a data set in VizWiz's layout."""
    path = folder / f"annotations/{split}.json"
    if not path.is_file():
        raise BrokenSource(f"{path}: no such file; a submission is for a data set in VizWiz's layout")
    return [field(entry, "id", path, int) for entry in field(read_json(path, dict), "images", path, list)]


def require_pictures(found: Collection[str], ids: Collection[int], folder: Path, split: str) -> None:
    """Raises BrokenSource, before anything is captioned, where pictures of a split cannot be had."""
    if missing := {*map(str, ids)} - {*found}:
        raise BrokenSource(
            f"{folder}: {len(missing)} of {len(ids)} pictures of {split} are missing or left out (image_id "
            f"{some(missing)}), and the server wants a caption of each; nothing was captioned"
        )


def problems(entries: object, ids: Collection[int]) -> list[str]:
    """All that is wrong with the content of a submission for the pictures `ids`; nothing when it is complete."""
    if not isinstance(entries, list):
        return [f"a {type(entries).__name__}, expected a list of {{image_id, caption}}"]
    found, seen, wanted = [], Counter(), set(ids)
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict) or entry.keys() != {"image_id", "caption"}:
            found.append(f"entry {place}: {str(entry)[:60]}, expected image_id and caption and nothing else")
            continue
        number, caption = entry["image_id"], entry["caption"]
        if type(number) is not int:
            found.append(f"entry {place}: image_id {number!r}, expected a number without quotes")
            continue
        seen[number] += 1
        if number not in wanted:
            found.append(f"image_id {number}: no picture of this split")
        if not isinstance(caption, str) or not caption.strip():
            found.append(f"image_id {number}: caption {caption!r}, expected some words")
    found += [f"image_id {number}: {times} captions, expected 1" for number, times in seen.items() if times > 1]
    return found + [f"image_id {number}: no caption" for number in sorted(wanted - seen.keys())]


def check(path: Path, ids: Collection[int]) -> None:
    """Raises ValueError naming what is wrong with a submission file."""
    refuse(path, problems(read_json(path, (list, dict)), ids))


def refuse(path: Path, found: list[str]) -> None:
    if found:
        shown = "\n  ".join(found[:10] + ([f"and {len(found) - 10} more"] if len(found) > 10 else []))
        raise ValueError(f"{path}: {len(found)} problems\n  {shown}")


def write(predictions: Mapping[str, str], ids: Collection[int], path: Path, overwrite: bool = False) -> None:
    """Write the submission file of {image_id: caption}, whole or not at all.

    Raises FileExistsError for a file that is there and not to be overwritten, ValueError for an incomplete one.
    """
    claim(path, overwrite)
    entries = [{"image_id": int(number), "caption": caption} for number, caption in predictions.items()]
    refuse(path, problems(entries, ids))
    write_json(path, sorted(entries, key=lambda entry: entry["image_id"]), indent=None)


def claim(path: Path, overwrite: bool) -> None:
    """Make sure, before the work, that a submission may be written there. Raises what `claim_file` raises."""
    if path.is_file() and not overwrite:
        raise FileExistsError(f"{path} is there already: give another name, or say --overwrite")
    claim_file(path, own=lambda path: overwrite)
