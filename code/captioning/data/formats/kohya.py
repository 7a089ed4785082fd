"""The metadata file of kohya's scripts (sd-scripts, fine tuning).

    {"sub/a": {"caption": "a red dress", "tags": "dress, red"}}

A key is a picture's path, whole or from the folder, with or without its suffix. Where there are tags only they are the
caption; beside a caption they are the attribute `tags`. A caption of several lines is one each (enable_wildcard).
"""

from __future__ import annotations

from pathlib import Path, PurePath

from captioning.data.formats import sidecars
from captioning.data.formats.tree import Tree, split_of
from captioning.data.readers import Row, Rows, new_row
from captioning.writing import write_json


def find(tree: Tree) -> list[PurePath]:
    def known(content: object) -> bool:
        entries = content.values() if isinstance(content, dict) else [None]
        return all(isinstance(entry, dict) for entry in entries) and any(
            {"caption", "tags"} & e.keys() for e in entries
        )

    return tree.jsons(known)


def read(tree: Tree, files: list[PurePath], split: str) -> Rows:
    for path in files:
        whole = tree.folder / path
        for key, entry in tree.content(path).items():
            file = tree.place(key, whole)
            told = entry if isinstance(entry, dict) else {}
            caption, tags = told.get("caption"), told.get("tags")
            text = caption if caption else tags
            lines = text.split("\n") if isinstance(text, str) else [text]
            row = new_row(tree.folder, file, None if text is None else lines, whole)
            yield split_of(PurePath(file), split), row | ({"attributes": {"tags": tags}} if caption and tags else {})


def write(rows: list[Row], path: Path) -> None:
    """Keys are paths without suffix, as the scripts look for them; ValueError where two pictures would share one."""
    sidecars.check_apart([row["file"] for row in rows], "")
    found = {}
    for row in rows:
        said = {"caption": "\n".join(row["captions"])} if row["captions"] else {}
        tags = (row.get("attributes") or {}).get("tags")
        found[PurePath(row["file"]).with_suffix("").as_posix()] = said | ({"tags": tags} if tags else {})
    write_json(path, found)
