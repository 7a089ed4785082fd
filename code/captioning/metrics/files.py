"""Captions from the files that captioning uses, and the metrics that this machine can compute of them."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from captioning.data.files import BrokenSource, first_line, read_json, read_json_lines, read_text, unique
from captioning.data.formats.coco import SKIPPED
from captioning.data.formats.known import captions_of, of_split
from captioning.data.formats.tree import split_named
from captioning.metrics.base import Metric, Unavailable
from captioning.metrics.clipscore import ClipScore, pictures_by_id
from captioning.metrics.meteor import Meteor
from captioning.metrics.semantic import ENCODER, Semantic
from captioning.metrics.spice import Spice
from captioning.metrics.tuples import Tuples
from captioning.writing import HALF

ID_KEYS, CAPTION_KEYS = ("image_id", "image"), ("caption",)
HOLDERS = ("annotations", "results", "data")  # where an object has its records: COCO, `captioning caption`, TextCaps
EXPECTED = (
    "expected records of an id and a caption (a .csv, a .jsonl, a list, or a list under annotations, results or data; "
    "--id_key and --caption_key name other keys), {id: caption or [captions]}, or a file of docs/formats.md"
)


class OtherForm(BrokenSource):
    """A file that is no list of an id and a caption: one of a whole data set, perhaps."""


def read_captions(
    path: Path, id_key: str | None = None, caption_key: str | None = None, default: str = "test"
) -> dict[str, list]:
    """{image_id: what stands for its captions, in the order of the file}; ids become strings.

    The files: records of an id and a caption (or a list of captions) in a JSON list, in an object under "annotations"
    (COCO), "results" (answered requests) or "data" (TextCaps), in lines of JSON (.jsonl) or in a .csv with a header; or
    an object {id: caption, [captions] or record}. A record's keys are image_id (or image) and caption, or those given.

    So are a folder of captions in any format, and, where no keys are given, files of whole data sets (Karpathy's,
    kohya's, chats, ...). Where splits are told, the captions are those of the split `default`, or of the only one.

    Raises BrokenSource (a ValueError) for another file or a damaged one.
    """
    ids, captions = (id_key,) if id_key else ID_KEYS, (caption_key,) if caption_key else CAPTION_KEYS
    if (id_key or caption_key) and path.is_file():
        return _read(path, ids, captions, None, default)
    return _found(path, ids, captions, None, default)


def read_references(
    path: Path,
    id_key: str | None = None,
    caption_key: str | None = None,
    split: str | None = None,
    default: str = "test",
) -> dict[str, list[str]]:
    """As `read_captions`, for a file that must have captions only, at least one of each picture.

    Its keys may also be the usual ones where others are given. Where splits are told, `split` must be there.
    """
    ids, captions = (id_key or ID_KEYS[0], *ID_KEYS), (caption_key or CAPTION_KEYS[0], *CAPTION_KEYS)
    found = _found(path, tuple(dict.fromkeys(ids)), tuple(dict.fromkeys(captions)), split, default)
    for image_id, texts in found.items():
        wrong = [text for text in texts if not isinstance(text, str)]
        if wrong or not texts:
            said = f"the caption {wrong[0]!r}" if wrong else "no caption"
            raise BrokenSource(f"{path}: {image_id!r} has {said}, expected strings; restore or remove the entry")
    return found


def read_scored(
    predictions: Path,
    references: Path,
    against: Path | None = None,
    train: Path | None = None,
    id_key: str | None = None,
    caption_key: str | None = None,
    split: str | None = None,
) -> dict[str, dict[str, list] | None]:
    """The files of `report.score`, under the names of its arguments. References and training captions may have other
    keys than the two that are given. Where splits are told, `split` is that of all but the training captions."""
    truth = read_references(references, id_key, caption_key, split)
    known = train and read_references(train, id_key, caption_key, default="train")
    found = {"references": truth, "train": known, "against": None}
    for name, path in (("predictions", predictions), ("against", against)):
        if path:
            found[name] = under_reference_ids(
                read_captions(path, id_key, caption_key, split or "test"), truth, references
            )
    return found


def under_reference_ids(predictions: Mapping[str, list], references: Mapping[str, list], path: Path) -> dict[str, list]:
    """Predictions under the ids of the references that lie in `path`.

    A prediction that is named by the path of a picture goes to the reference whose id, or whose file name in COCO's
    list of images, is that path or the longest end of it: photos/a/1.jpg to a/1.jpg. Others keep their ids.
    Raises BrokenSource where two go to one.
    """
    if predictions.keys() <= references.keys():
        return dict(predictions)
    known = _file_names(path) | {i: i for i in references}
    found, origin = {}, {}
    for name, texts in predictions.items():
        parts = name.replace("\\", "/").split("/")
        image_id = next((known[end] for k in range(len(parts)) if (end := "/".join(parts[k:])) in known), name)
        if image_id in found:
            raise BrokenSource(
                f"predictions {origin[image_id]!r} and {name!r} both end in what {path} calls {image_id!r}; "
                "give references with paths as ids, or score one folder"
            )
        found[image_id], origin[image_id] = texts, name
    return found


def _found(
    path: Path, ids: tuple[str, ...], captions: tuple[str, ...], split: str | None, default: str
) -> dict[str, list]:
    """Of a list of ids and captions, or else of a folder or a file in a format of data sets."""
    try:
        return _read(path, ids, captions, split, default)
    except OtherForm:
        if found := captions_of(path, split, default):
            return found
        raise


def _read(
    path: Path, ids: tuple[str, ...], captions: tuple[str, ...], split: str | None, default: str
) -> dict[str, list]:
    if path.is_dir():
        raise OtherForm(
            f"{path}: not one caption in this folder; captioning data --show {path} says what is seen in it"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {EXPECTED}")
    entries: list[tuple[str, tuple[str, list]]] = []
    for number, entry in enumerate(_entries(path)):
        where, record = f"{path}, entry {number}", entry
        if isinstance(entry, tuple):
            image_id, record = entry
            said = _value(record, captions, f"{path}, {image_id!r}") if isinstance(record, dict) else record
        else:
            image_id, said = _value(entry, ids, where), _value(entry, captions, where)
        texts = said if isinstance(said, list) else [said]
        _check(image_id, texts, where)
        told = record.get("split") if isinstance(record, dict) else None
        entries.append((split_named(told) if isinstance(told, str) else "", (str(image_id), texts)))
    if any(told for told, _ in entries):
        if silent := [image_id for told, (image_id, _) in entries if not told]:
            raise BrokenSource(f"{path}: a split in some entries and none in that of {silent[0]!r}; write one in each")
        kept = of_split(path, entries, split, default)
    else:
        kept = [each for _, each in entries]
    found: dict[str, list] = {}
    for image_id, texts in kept:
        found.setdefault(image_id, []).extend(texts)
    if not found:
        raise BrokenSource(f"{path}: not one caption in it; {EXPECTED}")
    return found


def _entries(path: Path) -> Iterator[Any]:
    """Records, or pairs of an id and what stands for its captions."""
    if path.suffix == ".jsonl":
        yield from read_json_lines(path)
    elif path.suffix == ".csv":
        yield from _rows(path)
    elif not _is_json(path):
        raise OtherForm(f"{path}: no JSON; {EXPECTED}")
    else:
        content = read_json(path, (list, dict), object_pairs_hook=lambda pairs: unique(path, pairs))
        holder = next((key for key in HOLDERS if _holds_records(content, key)), None)
        entries = content if isinstance(content, list) else content[holder] if holder else content.items()
        if holder == "annotations":  # what VizWiz' evaluation leaves out
            _ids_of_names(path, content)
            entries = [each for each in entries if not (isinstance(each, dict) and any(map(each.get, SKIPPED)))]
        yield from entries


def _is_json(path: Path) -> bool:
    return (
        path.suffix == ".json"
        or path.suffix not in (".jsonl", ".csv")
        and first_line(path).lstrip().startswith(("[", "{"))
    )


def _holds_records(content: Any, key: str) -> bool:
    held = content.get(key) if isinstance(content, dict) else None
    return isinstance(held, list) and not any(isinstance(entry, str) for entry in held)


def _rows(path: Path) -> Iterator[dict]:
    lines = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        if len(lines.fieldnames or ()) == 1:
            raise OtherForm(f"{path}: the header has one column, {lines.fieldnames[0]!r:.60}; {EXPECTED}")
        for row in lines:
            if None in row:
                raise BrokenSource(
                    f"{path}, line {lines.line_num}: {len(row[None])} cells more than the header has columns; "
                    "put captions with commas between quotation marks"
                )
            yield row
    except csv.Error as error:
        raise BrokenSource(f"{path}, line {lines.line_num}: {error}; restore the line") from error


def _value(entry: Any, keys: tuple[str, ...], where: str) -> Any:
    """What the record has under the first of the keys that it has."""
    key = next((key for key in keys if isinstance(entry, dict) and key in entry), None)
    if key is None:
        raise OtherForm(f"{where}: no {' or '.join(map(repr, keys))} in {str(entry)[:80]}; {EXPECTED}")
    return entry[key]


def _check(image_id: Any, texts: list, where: str) -> None:
    if not isinstance(image_id, str | int) or isinstance(image_id, bool):
        raise BrokenSource(f"{where}: id {image_id!r}, expected a whole number or a string; restore the entry")
    if nested := [text for text in texts if isinstance(text, list | dict)]:
        raise OtherForm(f"{where}: {image_id!r} has {str(nested[0])[:80]} as a caption; {EXPECTED}")
    for text in (image_id, *texts):
        if isinstance(text, str) and (half := HALF.search(text)):
            raise BrokenSource(
                f"{where}: {text[:80]!r} has half a character (surrogate \\u{ord(half[0]):x}) at {half.start()}; "
                "write the whole one, or remove it"
            )


def _file_names(path: Path) -> dict[str, str]:
    """{file name: id} of COCO's list of images, where the file has one."""
    return _ids_of_names(path, read_json(path, (list, dict))) if path.is_file() and _is_json(path) else {}


def _ids_of_names(path: Path, content: Any) -> dict[str, str]:
    """The same of what a file holds. Raises BrokenSource where two names have one id."""
    images = content.get("images") if isinstance(content, dict) else None
    entries = [entry for entry in images if isinstance(entry, dict)] if isinstance(images, list) else []
    found = {str(entry["file_name"]): str(entry["id"]) for entry in entries if {"file_name", "id"} <= entry.keys()}
    names: dict[str, str] = {}
    for name, image_id in found.items():
        if (first := names.setdefault(image_id, name)) != name:
            raise BrokenSource(f"{path}: {first!r} and {name!r} have one id, {image_id!r}; give each an id of its own")
    return found


def metrics_at_hand(
    spice: Path | None = None, clip: Path | None = None, names: str = "", encoder: str = ENCODER
) -> tuple[list[Metric], list[str]]:
    """METEOR, and what is asked for: SPICE with its folder of jars, CLIPScore with a folder of pictures named by id,
    and by names with commas between `Semantic` with its encoder and `Tuples`.

    What cannot be had is not there, and a line says why. Raises ValueError for another name.
    """
    wanted: list[Callable[[], Metric]] = [Meteor]
    if spice:
        wanted.append(lambda: Spice(spice))
    if clip:
        wanted.append(lambda: ClipScore(pictures_by_id(clip)))
    named = {"semantic": lambda: Semantic(encoder), "tuples": Tuples}
    for name in filter(None, names.split(",")):
        if name not in named:
            raise ValueError(
                f"no metric {name!r} to be asked for; there are {' and '.join(named)}, with a comma between"
            )
        wanted.append(named[name])
    found, absent = [], []
    for make in wanted:
        try:
            found.append(make())
        except Unavailable as why:
            absent.append(str(why))
    return found, absent
