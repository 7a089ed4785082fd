"""Captions in files beside their pictures: what will be in them, and the changes made through an undo file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.data import archives
from captioning.data.config import Beside
from captioning.data.files import BrokenSource
from captioning.data.formats import sidecars, xmp
from captioning.data.formats.convert import losses, name_from, rows_of, writable
from captioning.data.pictures import UNREAD, suffixes
from captioning.data.readers import Row
from captioning.data.undo import changing

if TYPE_CHECKING:
    from datasets import DatasetDict

KINDS = ("sidecars", "sidecar-lines", "xmp")
UNDO = "captions_undo.jsonl"  # in the folder of all that is named, where no other name is given


class NotText(ValueError):
    """A file beside a picture to which nothing can be added. The message names it and says what to do."""


def places(picture: Path, to: str, options: Beside) -> list[Path]:
    """The files of a picture: those that are there, else the one that is to be written."""
    suffix = ".xmp" if to == "xmp" else ".txt"
    new = {"stem": picture.with_suffix(suffix), "file": picture.with_name(picture.name + suffix)}
    there = [path for path in (new.values() if to == "xmp" else sidecars.names(picture)) if path.is_file()]
    return (there if to == "xmp" else there[:1]) or [new[options.naming]]


def changes(picture: Path, captions: list[str], to: str, options: Beside) -> Iterator[tuple[Path, Path, bytes]]:
    """(picture, file, what is to be in it) for each file that is to change. Raises NotText."""
    for place in places(picture, to, options):
        old = place.read_bytes() if place.is_file() else None
        between = "\n" if to == "sidecar-lines" else " "  # as `sidecars.write` and `xmp.write` have it
        text = between.join(f"{options.before}{caption}{options.after}" for caption in captions)
        try:
            new = xmp.merged(old, text, options, place) if to == "xmp" else _merged(old, text, to, options, place)
        except BrokenSource as error:
            raise NotText(str(error)) from error
        if new is not None and new != old:
            yield picture, place, new


def _merged(old: bytes | None, text: str, to: str, options: Beside, place: Path) -> bytes | None:
    """What is to be in a sidecar; None: it is left as it is."""
    try:
        known = (old or b"").decode()
    except UnicodeDecodeError as error:
        if options.existing not in ("append", "prepend"):
            return text.encode() if options.existing == "overwrite" else None
        raise BrokenSource(f"{place}: byte {error.start} is not UTF-8, left as it is; save it as UTF-8") from error
    joint = options.joint if options.joint is not None else "\n" if to == "sidecar-lines" else ", "
    new = sidecars.combined(known, text, options.existing, joint)
    return None if new is None else new.encode()


def waits(picture: Path, to: str, options: Beside) -> bool:
    """Whether a picture is to get a caption: not one that has a text and is to be skipped."""
    try:
        return any(True for _ in changes(picture, ["?"], to, options))
    except NotText:
        return True  # so that it is named


def readable(files: list[str]) -> tuple[list[str], list[str]]:
    """The files that are pictures by their names, and what is wrong with the others, which get no captions."""
    pictures = [file for file in files if Path(file).suffix.lower() in suffixes()]
    known, cure = {*pictures}, "give it the suffix of a picture, if it is one"
    return pictures, [
        f"{file}: left out by its suffix; {UNREAD.get(Path(file).suffix.lower(), cure)}"
        for file in files
        if file not in known
    ]


def check(pictures: list[str], to: str, options: Beside) -> None:
    """Raises ValueError where two pictures would share a file, for one in an archive, and where there is nothing to
    write it with."""
    if to == "xmp":
        xmp.require()
    seen: dict[Path, str] = {}
    for picture in pictures:
        if (archive := archives.file_of(picture)) != picture:
            raise ValueError(
                f"{archive} is a shard: its pictures are no files, beside which a text could lie; give a new folder"
            )
        for place in places(Path(picture), to, options):
            if (other := seen.setdefault(place, picture)) != picture:
                raise ValueError(f"{other} and {picture} would share {place.name}; rename one of them")


def would(picture: Path, captions: list[str], to: str, options: Beside) -> Iterator[str]:
    """What a dry run says of a picture."""
    listed = list(changes(picture, captions, to, options))
    for _, place, new in listed:
        text = xmp.descriptions(new, place)[options.language] if to == "xmp" else new.decode()
        yield f"{place}: {'changed' if place.is_file() else 'new'}: {text}"
    if not listed:
        yield f"{places(picture, to, options)[0]}: left as it is"


def undo_file(names: Iterable[str], out: Path | None) -> Path:
    """`out`, or a name in the folder that holds all that a command was given: folders, files and patterns.

    It does not depend on what is in them, so that the same command finds its file again.
    """
    paths = [Path(os.path.abspath(name)) for name in names]
    folders = [next(place for place in (path, *path.parents) if place.is_dir()) for path in paths]
    return out or Path(os.path.commonpath(folders)) / UNDO


def rows_in(dataset: DatasetDict, source: Path, to: str, options: Beside) -> tuple[list[Row], list[str]]:
    """The rows of a data set, which was read from the folder `source`, whose captions can lie beside their pictures;
    and in sentences what has no place there.

    Raises ValueError for a picture that is there twice, and what `check` raises.
    """
    form = writable(to)
    rows = rows_of(dataset, source, form)
    pictures, left_out = readable([row["image"] for row in rows])
    check(pictures, to, options)
    known = {*pictures}
    kept = [row | {"file": name_from(source, row["image"])} for row in rows if row["image"] in known]
    return kept, losses(kept, form) + left_out


def put(rows: list[Row], source: Path, to: str, options: Beside) -> str:
    """Put the captions of rows, which `rows_in` has of `source`, beside their pictures; how to take them back.

    Raises what `changing` raises.
    """
    with changing(undo_file([str(source)], None), {"to": to} | asdict(options)) as undo:
        done = undo.go_on()
        waiting = [row for row in rows if row["captions"] and os.path.abspath(row["image"]) not in done]
        undo.change([each for row in waiting for each in changes(Path(row["image"]), row["captions"], to, options)])
    return undo.told()
