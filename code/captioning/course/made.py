"""Trains what chapters share once, and again only when its data or its recipe have changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from datasets import DatasetDict

from captioning.data.batches import fingerprint
from captioning.disk import alone
from captioning.evaluation.runs import OtherRun
from captioning.writing import remove, write

MADE_OF = "made_of.txt"


def made(run: Path, make: Callable[[], object], data: DatasetDict, *recipe: object) -> Path:
    """`run`, after `make` has trained it; not again where it did before, on the same data and by the same recipe.

    The training would find that out by itself, but has to prepare all pictures and captions first. A run of an earlier
    version of the pictures or of the recipe is replaced. A process that comes while another one is at it waits.
    """
    note, text = run / MADE_OF, "\n".join(map(described, (fingerprint(data), *recipe)))
    with alone(run, wait=True):
        if note.is_file() and note.read_text() != text:
            remove(run)
        if not note.is_file():
            try:
                make()
            except OtherRun:
                remove(run)
                make()
            write(note, text)
    return run


def described(part: object) -> str:
    """What `made` notes of a part of a recipe: of a file its digest, for another one may have come to have its name."""
    return hashlib.sha256(part.read_bytes()).hexdigest() if isinstance(part, Path) else str(part)
