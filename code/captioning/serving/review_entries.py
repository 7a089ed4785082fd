"""Where `captioning review` finds the caption of each picture, and what is to be there: a text file beside the picture,
or a line of a metadata.jsonl, which speaks for its folder and those in it, as ImageFolder has it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from captioning.data.config import Beside
from captioning.data.formats import beside
from captioning.data.formats.imagefolder import CAPTIONS, METADATA
from captioning.data.pictures import files_in, is_picture
from captioning.data.undo import content
from captioning.writing import dumps

BOM = "\ufeff"
TABLE = "metadata.jsonl"


@dataclass
class Entry:
    """A picture and its caption. What is stored is the text of a file, or one line of a table."""

    name: str  # the picture's path in the folder
    file: str  # that of the text file with its caption, or of the table
    stored: str | None  # what is in it, a line without what ends it; None where there is none
    caption: str  # as it is shown, edited or not
    line: int | None = None  # in the table, from 0
    log_probability: float | None = None  # a word, by the model that said it
    others: list[str] = field(default_factory=list)  # what else was said of the picture: samples, another model
    before: str = ""  # what Discard brings back: the caption when the page was opened, or as it was saved since

    @property
    def in_table(self) -> bool:
        return PurePath(self.file).name == TABLE

    @property
    def saved(self) -> str:
        """The caption that is stored; of a text file without a mark of its bytes' order, and the end of its line."""
        if self.in_table:
            return "" if self.stored is None else told(self.stored)[1]
        return (self.stored or "").removeprefix(BOM).rstrip("\r\n")

    @property
    def edited(self) -> bool:
        return self.caption != self.saved

    def to_store(self) -> str:
        """The file, or the line, with the caption as it is now; what stood around it stays."""
        if self.in_table:
            name = PurePath(self.name).relative_to(PurePath(self.file).parent).as_posix()
            entry = json.loads(self.stored) if self.stored else {"file_name": name, "caption": ""}
            key, _ = told(dumps(entry))
            said = [self.caption] if isinstance(entry.get(key), list) else self.caption
            return dumps(entry | {key: said}, ensure_ascii=False)
        stored = "\n" if self.stored is None else self.stored
        before = BOM if stored.startswith(BOM) else ""
        return before + self.caption + stored[len(before) + len(self.saved) :]


def updated(now: str | None, edited: Sequence[Entry]) -> str | None:
    """What is to be in a file that has `now` in it, with the edited captions; None where somebody else changed it."""
    if not edited[0].in_table:
        [entry] = edited
        # One that has the new caption already is of a Save that failed, as on a full disk.
        return entry.to_store() if now in (entry.stored, entry.to_store()) else None
    lines = (now or "").split("\n")
    there = lines_of(edited[0].file, lines)
    for entry in edited:
        number, new = there.get(entry.name) if entry.line is None else entry.line, entry.to_store()
        if number is None:
            end = len(lines) - (lines[-1] == "")
            lines.insert(end, new + "\r" * lines[end - 1].endswith("\r"))
        elif number < len(lines) and (found := lines[number].rstrip("\r")) in (entry.stored, new):
            lines[number] = new + lines[number][len(found) :]
        else:
            return None
    return "\n".join(lines)


def lines_of(table: str, lines: Sequence[str]) -> dict[str, int]:
    """{picture: the number of its line}, of the lines that can be read: somebody else may be at work on the table."""
    found = {}
    for number, line in enumerate(lines):
        with suppress(ValueError, TypeError, KeyError):
            found[(PurePath(table).parent / json.loads(line)["file_name"]).as_posix()] = number
    return found


def read_entries(folder: Path) -> list[Entry]:
    """The pictures of a folder, in any depth, each with where its caption is."""
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: no such folder; give one with pictures")
    files = files_in(folder)
    if others := [path for path in files if path.name in METADATA and path.name != TABLE]:
        raise ValueError(
            f"{folder}: {others[0]} has the captions of its pictures, expected {TABLE} or text files beside them "
            f"(a.txt of a.jpg); captioning data convert {folder} NEW --to metadata writes one"
        )
    pictures, problems = beside.readable([str(folder / path) for path in files if is_picture(path)])
    if not pictures:
        raise FileNotFoundError(f"{folder}: no picture there; give a folder with pictures, in any depth")
    for problem in problems:
        print(problem, file=sys.stderr)
    tables = [path for path in files if path.name == TABLE]
    spoken_for = {name: entry for path in tables for name, entry in read_table(folder, path).items()}
    names = [Path(picture).relative_to(folder).as_posix() for picture in pictures]
    alone = [name for name in names if not any(path.parent in PurePath(name).parents for path in tables)]
    beside.check([str(folder / name) for name in alone], "sidecars", Beside())
    texts = {name: read_text_file(folder, Path(name)) for name in alone}
    return [spoken_for.get(name) or texts.get(name) or Entry(name, table_of(name, tables), None, "") for name in names]


def table_of(name: str, tables: list[Path]) -> str:
    """The table that speaks for a picture without a line of its own: the nearest."""
    above = [path for path in tables if path.parent in PurePath(name).parents]
    return max(above, key=lambda path: len(path.parts)).as_posix()


def read_text_file(folder: Path, picture: Path) -> Entry:
    [file] = beside.places(folder / picture, "sidecars", Beside())
    entry = Entry(picture.as_posix(), file.relative_to(folder).as_posix(), content(file), "")
    entry.caption = entry.saved
    return entry


def read_table(folder: Path, path: Path) -> dict[str, Entry]:
    """{picture: its entry} of a metadata.jsonl. Raises ValueError for a line that is none of it, and for several
    captions of a picture, for a row of the page shows one."""
    found: dict[str, Entry] = {}
    for number, line in enumerate((content(folder / path) or "").split("\n")):
        if not line.strip():
            continue
        try:
            picture = (path.parent / json.loads(line)["file_name"]).as_posix()
            caption = told(line)[1]
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{folder / path}, line {number + 1}: expected an object with file_name and one caption, found "
                f"{line[:80]!r} ({type(error).__name__}: {error}); mend the line"
            ) from error
        if picture in found:
            raise ValueError(f"{folder / path}, line {number + 1}: {picture} again; a picture here has one caption")
        found[picture] = Entry(picture, path.as_posix(), line.rstrip("\r"), caption, number)
    return found


def told(line: str) -> tuple[str, str]:
    """The key of the caption in a line of a table, and the caption ("": there is none)."""
    entry = json.loads(line)
    keys = [key for key in CAPTIONS if key in entry]
    if len(keys) > 1:
        raise ValueError(f"{' and '.join(keys)}: one of them is the caption")
    said = entry[keys[0]] if keys else None
    if isinstance(said, list):
        if len(said) > 1:
            raise ValueError(f"{len(said)} captions, where a row of the page shows one")
        said = said[0] if said else None
    if not isinstance(said, str | None):
        raise TypeError(f"{keys[0]} is no text")
    return keys[0] if keys else "caption", said or ""
