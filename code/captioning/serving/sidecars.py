"""Captions in text files beside their pictures (a.jpg, a.txt), changed so that every byte can be brought back.

FOLDER/.captioning_undo.json has, of each file that was changed, what was in it before the first change, and a digest
of what was written since: a file that somebody else changed after that is left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path, PurePath

from captioning.data.files import read_json
from captioning.writing import some, write, write_json

SUFFIXES = (".txt", ".caption")
UNDO = ".captioning_undo.json"


def sidecar(picture: PurePath, files: Collection[PurePath]) -> PurePath:
    """The file with the caption of a picture: that of `files` which is there, a.txt where there is none yet."""
    names = [path for suffix in SUFFIXES for path in (picture.with_suffix(suffix), PurePath(f"{picture}{suffix}"))]
    return next((path for path in names if path in files), names[0])


def content(file: Path) -> str | None:
    """What is in a file, None where there is none. Bytes that are not UTF-8 come back as they were."""
    return file.read_bytes().decode("utf-8", "surrogateescape") if file.exists() else None


def save(folder: Path, texts: Mapping[str, str]) -> None:
    """Write the files of a folder, whole or not at all; the undo file comes first."""
    known = read_undo(folder)
    for name, text in texts.items():
        entry = known.setdefault(name, {"was": content(folder / name), "became": []})
        entry["became"].append(digest(text))
    write_json(folder / UNDO, {"files": known})
    for name, text in texts.items():
        write(folder / name, text.encode("utf-8", "surrogateescape"))


def undo(folder: Path) -> list[str]:
    """Bring back what was in the files before the first `save`, and remove the undo file; the files' names.

    Raises FileNotFoundError where there is nothing to undo, and FileExistsError, before anything is changed, for files
    that somebody else has changed since.
    """
    if not (folder / UNDO).is_file():
        raise FileNotFoundError(f"{folder}: nothing to undo, for no caption was saved there (no {UNDO})")
    known = read_undo(folder)
    now = {name: content(folder / name) for name in known}
    others = [name for name, text in now.items() if text != known[name]["was"] and not ours(text, known[name])]
    if others:
        raise FileExistsError(
            f"{folder}: {some(others)} changed since the captions were saved; nothing was undone. "
            f"Move these files away, or take what they were from {folder / UNDO}"
        )
    for name, entry in known.items():
        if entry["was"] is None:
            (folder / name).unlink(missing_ok=True)
        else:
            write(folder / name, entry["was"].encode("utf-8", "surrogateescape"))
    (folder / UNDO).unlink()
    return list(known)


def ours(text: str | None, entry: Mapping) -> bool:
    return text is not None and digest(text) in entry["became"]


def read_undo(folder: Path) -> dict[str, dict]:
    return read_json(folder / UNDO, dict)["files"] if (folder / UNDO).exists() else {}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
