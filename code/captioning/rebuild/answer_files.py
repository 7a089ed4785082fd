"""The files of raw answers: a line of JSON a batch, with its ids, texts, errors ("" for none) and seconds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from captioning.writing import dumps, write


def read_batches(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of answers; half a line at its end, from a kill, is cut off."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return [json.loads(line) for line in whole.decode().splitlines()]


def answered_in(line: Mapping[str, Any]) -> set[str]:
    """The pictures of a line that ended in no error."""
    return {image_id for image_id, error in zip(line["ids"], line["errors"], strict=True) if not error}


def latest(lines: Iterable[Mapping[str, Any]]) -> dict[str, tuple[list[str], str]]:
    """{image_id: its answers and its error}; what was asked again after an error has its later answers."""
    found: dict[str, tuple[list[str], str]] = {}
    for line in lines:
        for image_id, texts, error in zip(line["ids"], line["texts"], line["errors"], strict=True):
            if not error or image_id not in found:
                found[image_id] = texts, error
    return found


def settle(path: Path, ids: Sequence[str]) -> None:
    """Put a file of answers into the order of the pictures; what was asked again stands where it was asked first."""
    lines = read_batches(path)
    place, found = {image_id: i for i, image_id in enumerate(ids)}, latest(lines)
    kept, seen = [], set()
    for line in lines:
        if not seen.issuperset(line["ids"]):
            texts, errors = zip(*(found[image_id] for image_id in line["ids"]), strict=True)
            kept.append(line | {"texts": list(texts), "errors": list(errors)})
            seen.update(line["ids"])
    kept.sort(key=lambda line: place[line["ids"][0]])
    if kept != lines:
        write(path, "".join(dumps(line) + "\n" for line in kept))
