"""Captions in files beside their pictures: what will be in them, and the changes made through an undo file."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from captioning.data import archives
from captioning.data.config import Beside
from captioning.data.files import BrokenSource
from captioning.data.formats import sidecars, xmp
from captioning.data.formats.convert import losses, name_from, rows_of, writable
from captioning.data.pictures import UNREAD, suffixes
from captioning.data.readers import Row
from captioning.data.undo import UndoFile, changing, seen

if TYPE_CHECKING:
    from datasets import DatasetDict

KINDS = ("sidecars", "sidecar-lines", "xmp")
UNDO = "captions_undo.jsonl"  # in the folder of all that is named, where no other name is given


Said = Iterable[tuple[Path, list[str]]]  # a picture and its captions
Change = tuple[Path, Path, bytes]  # a picture, a file, and what is to be in it


class NotText(ValueError):
    """A file beside a picture to which nothing can be added. The message names it and says what to do."""


def places(picture: Path, to: str, options: Beside) -> list[Path]:
    """The files of a picture: those that are there, else the one that is to be written."""
    suffix = ".xmp" if to == "xmp" else ".txt"
    new = {"stem": picture.with_suffix(suffix), "file": picture.with_name(picture.name + suffix)}
    there = [path for path in (new.values() if to == "xmp" else sidecars.names(picture)) if path.is_file()]
    return (there if to == "xmp" else there[:1]) or [new[options.naming]]


def changes(picture: Path, captions: list[str], to: str, options: Beside) -> Iterator[Change]:
    """Each file that is to change. Raises NotText."""
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


def all_changes(said: Said, to: str, options: Beside) -> tuple[list[Change], list[str]]:
    """The `changes` of many pictures, and what is wrong with files to which nothing can be added."""
    made, unread = [], []
    for picture, captions in said:
        try:
            made += changes(picture, captions, to, options)
        except NotText as problem:
            unread.append(str(problem))
    return made, unread


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
    write it with, or it would not be written."""
    if to == "xmp":
        xmp.require()
        xmp.check_language(options.language)
    for picture in pictures:
        if (archive := archives.file_of(picture)) != picture:
            raise ValueError(
                f"{archive} is a shard: its pictures are no files, beside which a text could lie; give a new folder"
            )
    if pairs := _sharing(pictures, to, options):
        apart = not _sharing(pictures, to, replace(options, naming="file"))
        cure = "write captions with --naming file, so that each has its own, or " if apart else ""
        raise ValueError(f"{sidecars.told(pairs)}; {cure}rename one of each")


def _sharing(pictures: list[str], to: str, options: Beside) -> list[tuple[str, str, PurePath]]:
    return sidecars.sharing((picture, place) for picture in pictures for place in places(Path(picture), to, options))


def would(said: Said, to: str, options: Beside, undo: UndoFile) -> Iterator[str]:
    """What a dry run says of pictures, with an undo file that may have been begun (`undo.seen`)."""
    left, done = defaultdict(list), undo.done()
    for change in undo.left():
        left[str(change[0])].append(change)
    for picture, captions in said:
        name = os.path.abspath(picture)
        try:
            listed = left[name] or ([] if name in done else list(changes(picture, captions, to, options)))
        except NotText as problem:
            yield str(problem)
            continue
        for _, file, new in listed:
            place = picture.with_name(file.name)
            text = xmp.descriptions(new, place)[options.language] if to == "xmp" else new.decode()
            yield f"{place}: {'changed' if place.is_file() else 'new'}: {text}"
        if not listed:
            yield f"{places(picture, to, options)[0]}: left as it is{', done before' if name in done else ''}"


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


def put(rows: list[Row], source: Path, to: str, options: Beside) -> tuple[str, list[str]]:
    """Put the captions of rows, which `rows_in` has of `source`, beside their pictures; how to take them back, and what
    is wrong with files to which nothing can be added.

    Raises what `changing` raises.
    """
    with changing(*_undo_of(source, to, options)) as undo:
        done = undo.go_on()
        waiting = [(picture, said) for picture, said in _said(rows) if os.path.abspath(picture) not in done]
        made, unread = all_changes(waiting, to, options)
        undo.change(made)
    return undo.told(), unread


def would_put(rows: list[Row], source: Path, to: str, options: Beside) -> Iterator[str]:
    """What a dry run says of `put`."""
    return would(_said(rows), to, options, seen(*_undo_of(source, to, options)))


def _undo_of(source: Path, to: str, options: Beside) -> tuple[Path, dict[str, str]]:
    return undo_file([str(source)], None), {"to": to} | asdict(options)


def _said(rows: list[Row]) -> Said:
    return [(Path(row["image"]), row["captions"]) for row in rows if row["captions"]]
