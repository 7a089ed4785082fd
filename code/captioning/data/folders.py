"""A folder of one's own: pictures in any depth, and captions as Hugging Face's ImageFolder has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from captioning.data.files import BrokenSource, field, read_csv, read_json_lines
from captioning.data.pictures import files_in, is_picture
from captioning.data.readers import EXTRAS, Rows, extras, merged, new_row

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
CAPTIONS = ("captions", "caption", "text")
KNOWN = {"file_name", "split", *CAPTIONS, *EXTRAS}
SPLIT_FOLDERS = {  # what folders of a split are called, as `datasets` has it
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
BESIDE = (".txt", ".caption")  # of a file with the name of a picture: its caption, in other programs
ELSEWHERE = ("metadata", "captions")  # names of files that hold captions, in other programs
CURE = "not read; captions go into metadata.jsonl, as dataset/README.md shows"


def plain(folder: Path, split: str = "test") -> Rows:
    """A folder of pictures, in any depth; ids are the relative paths. Hidden files and folders are not looked at.

    Folders named as a split (`SPLIT_FOLDERS`) are splits; other pictures go to `split`. A `metadata.jsonl`, `.csv` or
    `.parquet` speaks for its folder and those in it, of which only the pictures that it names are taken. An entry has
    `file_name` (or one `..._file_name`), relative to that folder, `caption`, `text` or `captions`, and perhaps `split`,
    `style`, `attributes`, `provenance`; a picture may have several. Captions that are found and not read are said to
    be (`unread`).
    """
    files = files_in(folder)
    tables = [path for path in files if path.name in METADATA]
    spoken_for = {path.parent: path for path in tables}
    for path in tables:
        others = {spoken_for[parent] for parent in path.parents if parent in spoken_for} - {path}
        if others:
            raise BrokenSource(
                f"{folder}: {path} and {others.pop()} speak for the same pictures; keep one (or rename the other)"
            )
    yield from merged((row for path in tables for row in _described(folder, path, split)), folder)
    pictures = [path for path in files if is_picture(path) and (folder / path).is_file()]
    strays = _strays(set(files) - set(pictures))
    for path in pictures:
        if not spoken_for.keys() & set(path.parents):
            row = new_row(folder, path.as_posix(), None, folder)
            unread = next((strays[place] for place in (path.with_suffix(""), *path.parents) if place in strays), None)
            yield _split(path, split), row | ({"unread": f"{unread}: {CURE}"} if unread else {})


def _strays(files: set[PurePath]) -> dict[PurePath, PurePath]:
    """The files that may hold captions and are not read, by the picture (without suffix) or folder that they are of."""
    beside = {path.with_suffix(""): path for path in files if path.suffix in BESIDE}
    return beside | {
        path.parent: path for path in files if path.stem.lower() in ELSEWHERE and path.name not in METADATA
    }


def _described(folder: Path, table: PurePath, split: str) -> Rows:
    """The rows of a metadata file."""
    path = folder / table
    for entry in _entries(path):
        names = [key for key in entry if key.endswith("_file_name")] if isinstance(entry, dict) else []
        name = names[0] if len(names) == 1 and "file_name" not in entry else "file_name"
        file = field(entry, name, path, str)
        row = new_row(folder / table.parent, file, _captions(entry, path), path)
        row |= extras(entry, path) | {"image_id": (table.parent / file).as_posix()}
        if row["captions"] is None and (found := [key for key in entry if key not in {*KNOWN, name}]):
            row["unread"] = (
                f"{table} has {', '.join(map(repr, found))} and none of {', '.join(CAPTIONS)}; rename the key"
            )
        given = entry.get("split") and field(entry, "split", path, str)
        yield SPLIT_FOLDERS.get(given.lower(), given) if given else _split(table.parent / file, split), row


def _entries(path: Path) -> Iterator[Any]:
    if path.suffix == ".jsonl":
        yield from read_json_lines(path)
    elif path.suffix == ".csv":
        yield from read_csv(path, CAPTIONS)
    else:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            yield from parquet.read_table(path).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise BrokenSource(f"{path}: no Parquet file, or a damaged one ({error}); write it again") from error


def _captions(entry: dict[str, Any], path: Path) -> list[Any] | None:
    keys = [key for key in CAPTIONS if key in entry]
    if len(keys) > 1:
        raise BrokenSource(f"{path}: {' and '.join(keys)} in {str(entry)[:80]}; rename those that are no captions")
    found = entry[keys[0]] if keys else None
    if isinstance(found, str) and path.suffix == ".csv" and found.startswith("["):
        raise BrokenSource(f"{path}: {keys[0]} is {found!r:.60}, a list in one cell; write a row for each caption")
    return found if isinstance(found, list) or not keys else [found]


def _split(path: PurePath, default: str) -> str:
    return next((SPLIT_FOLDERS[part.lower()] for part in path.parts[:-1] if part.lower() in SPLIT_FOLDERS), default)
