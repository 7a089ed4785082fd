"""Captions for picture files in the formats of other programs: beside the pictures, or in a file or folder.

Both go on where they were stopped: the first by their undo file, the second by `OUT.captions.jsonl`, which has the
captions until all are made, and `OUT.captions.about.json`, which says what they are by.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path, PurePath
from typing import Any

from tqdm import tqdm

from captioning.data.config import Beside
from captioning.data.files import read_json, read_json_lines
from captioning.data.formats import beside
from captioning.data.formats.convert import check_splits, is_file, name_from, writable, write
from captioning.data.formats.known import captioned_in
from captioning.data.formats.sidecars import check_apart
from captioning.data.formats.tree import split_of
from captioning.data.readers import Row
from captioning.data.undo import changing, seen
from captioning.decoding.config import Decoding
from captioning.models.base import CaptionModel
from captioning.serving.inference import Engine, caption_files, captioned, find_pictures
from captioning.text import punctuated
from captioning.writing import claim, claim_file, differences, dumps, json_with, write_json


def chosen(names: Iterable[str], skip: Path | None) -> list[str]:
    """The picture files that are named, without those that have a caption in the folder or file `skip`.

    Raises what `find_pictures` and `captioned_in` raise.
    """
    files = find_pictures(names)
    if skip is None:
        return files
    known = captioned_in(skip, files)
    left = [file for file in files if os.path.realpath(file) not in known]
    count = len(files) - len(left)
    print(f"{skip}: {count} of {len(files)} pictures have a caption there and are left out", file=sys.stderr)
    return left


def would_change(files: list[str], to: str, options: Beside, undo_file: Path, about: dict[str, Any]) -> Iterator[str]:
    """What a dry run of `caption_beside` says, with ... for the captions; `about` has what is known of it.

    Raises what `caption_beside` raises.
    """
    files, broken = beside.readable(files)
    beside.check(files, to, options)
    yield from broken
    yield from beside.would([(Path(file), ["..."]) for file in files], to, options, seen(undo_file, about))


def caption_beside(
    model: CaptionModel,
    files: list[str],
    to: str,
    options: Beside,
    undo_file: Path,
    about: dict[str, Any],
    decoding: Decoding,
    batch_size: int = 32,
    workers: int = 0,
    engine: Engine = captioned,
) -> list[str]:
    """Put captions beside the pictures, as `options` say, each change through the undo file, which says what it is
    `about`.

    Pictures that the undo file has are done. Returns what is wrong with those that got no caption.
    """
    files, broken = beside.readable(files)
    beside.check(files, to, options)
    with changing(undo_file, about) as undo:
        done = undo.go_on()
        new = [file for file in files if os.path.abspath(file) not in done]
        todo = [file for file in new if beside.waits(Path(file), to, options)]
        if left := len(files) - len(todo):
            before = len(files) - len(new)
            print(f"{left} of {len(files)} pictures stay as they are, {before} of them done before", file=sys.stderr)
        with tqdm(total=len(todo), desc="pictures", leave=False, disable=None) as progress:
            for rows, problems in engine(model, todo, decoding, batch_size, workers) if todo else ():
                changes, unread = beside.all_changes(_said(rows), to, options)
                undo.change(changes)
                broken += unread + problems
                progress.update(len(rows) // decoding.captions + len(problems))
        print(undo.told())
    return broken


def _said(rows: list[dict]) -> Iterator[tuple[Path, list[str]]]:
    for file, said in groupby(rows, key=itemgetter("image")):
        yield Path(file), [punctuated(row["caption"]) for row in said]


def caption_into(
    model: CaptionModel,
    files: list[str],
    to: str,
    out: Path,
    about: dict[str, Any],
    decoding: Decoding,
    batch_size: int = 32,
    workers: int = 0,
    engine: Engine = captioned,
) -> list[str]:
    """Write captions as a new file, or a new folder with the pictures, in a format that others read.

    about: what the captions are by (model, style, decoding), so that none of others get among them.

    Returns what is wrong with the pictures that could not be read. Raises, before a picture is captioned, what
    `claim_file` and `claim` raise, and ValueError for pictures that the file could not name or hold apart, and for
    captions of another run that was stopped.
    """
    form, files = writable(to), list(dict.fromkeys(map(os.path.abspath, files)))
    if is_file(out, form):
        claim_file(out)
        home = out.parent
    else:
        claim(out, "caption")
        home = Path(os.path.commonpath([os.path.dirname(file) for file in files]))
    names = {file: name_from(home, file) for file in files}
    check_splits(map(_split, names.values()), out, form)
    if to == "kohya":
        check_apart(names.values(), "")
    made, note = (out.with_name(f"{out.name}.captions.{kind}") for kind in ("jsonl", "about.json"))
    _begin(made, note, about)
    broken = caption_files(model, files, made, decoding, batch_size, workers, engine)
    write(list(_rows(made, names)), out, form, "caption")
    made.unlink()
    note.unlink()
    print(f"{out}: {len(files) - len(broken)} pictures as {to}", file=sys.stderr)
    return broken


def _begin(made: Path, note: Path, about: dict[str, Any]) -> None:
    """Note what the captions in `made` are by. Raises ValueError where there are some of others."""
    claim_file(note, json_with(*about))
    begun, now = read_json(note, dict) if note.is_file() else None, json.loads(dumps(about))
    if made.is_file() and begun != now:
        raise ValueError(
            f"{made} has captions of another run ({differences(begun, now) if begun else 'not said which'}): "
            f"give --out another name, or move it away"
        )
    write_json(note, now)


def _rows(made: Path, names: dict[str, str]) -> Iterator[Row]:
    """What `convert.write` takes, of the file that `caption_files` wrote; pictures that are not named now are not."""
    for image, said in groupby(read_json_lines(made), key=itemgetter("image")):
        if name := names.get(image):
            row = {"image": image, "image_id": name, "file": name, "split": _split(name)}
            yield row | {"captions": [each["caption"] for each in said]}


def _split(name: str) -> str:
    return split_of(PurePath(name), "test")
