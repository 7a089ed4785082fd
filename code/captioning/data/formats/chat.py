"""Chat turns about pictures, as scripts that fine-tune language models have them: a line of JSON a conversation.

    {"messages": [{"role": "user", "content": "<image>Describe it."}, {"role": "assistant", "content": "..."}],
     "images": ["a.jpg"]}

LLaVA's form (`conversations` with `from` and `value`, `image`) is read, too, and contents that are lists of parts. The
caption is what the assistant says last.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any

from captioning.data.files import BrokenSource, first_line, read_json_lines
from captioning.data.formats.tree import Tree, split_of, split_of_file
from captioning.data.readers import Row, Rows, merged, new_row
from captioning.writing import aside, dumps

ASKED = "<image>Describe this picture."
TURNS = {"messages": ("role", "content", "assistant"), "conversations": ("from", "value", "gpt")}


def find(tree: Tree) -> list[PurePath]:
    lines = [path for path in tree.named(".jsonl") if _is_chat(first_entry(tree.folder / path))]
    return lines + tree.jsons(lambda content: isinstance(content, list) and bool(content) and _is_chat(content[0]))


def first_entry(path: Path) -> Any:
    """The first entry of a .jsonl; None where its first line is no JSON."""
    try:
        return json.loads(first_line(path))
    except ValueError:
        return None


def _is_chat(entry: Any) -> bool:
    return isinstance(entry, dict) and bool(TURNS.keys() & entry.keys()) and bool({"images", "image"} & entry.keys())


def read(tree: Tree, files: list[PurePath], split: str) -> Rows:
    """A row a picture, with what is said of it in all of its conversations. A file's name may tell a split."""

    def entries() -> Rows:
        for path in files:
            whole = tree.folder / path
            for entry in read_json_lines(whole) if path.suffix == ".jsonl" else tree.content(path):
                name, caption = _picture(entry, whole), _said(entry, whole)
                file = tree.place(name, whole)
                yield split_of_file(path, split_of(PurePath(file), split)), new_row(tree.folder, file, [caption], whole)

    yield from merged(entries(), tree.folder)


def _picture(entry: Any, path: Path) -> str:
    """The one picture of a conversation."""
    found = entry.get("images", entry.get("image")) if isinstance(entry, dict) else None
    names = [
        each.get("path") if isinstance(each, dict) else each for each in (found if isinstance(found, list) else [found])
    ]
    if len(names) != 1 or not isinstance(names[0], str):
        raise BrokenSource(f"{path}: images {str(found)[:80]}, expected one path; leave other conversations out")
    return names[0]


def _said(entry: dict[str, Any], path: Path) -> str:
    turns = next(key for key in TURNS if key in entry) if TURNS.keys() & entry.keys() else "messages"
    role, content, speaker = TURNS[turns]
    said = [each.get(content) for each in entry.get(turns, []) if isinstance(each, dict) and each.get(role) == speaker]
    if not said:
        raise BrokenSource(f"{path}: no turn of {speaker!r} in {str(entry)[:80]}; restore the entry")
    parts = said[-1] if isinstance(said[-1], list) else [{"text": said[-1]}]
    return " ".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def write(rows: list[Row], path: Path) -> None:
    """A conversation a caption."""
    with aside(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            for caption in row["captions"]:
                turns = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": caption}]
                file.write(dumps({"messages": turns, "images": [row["file"]]}, ensure_ascii=False) + "\n")
