"""Settings of how training alters pictures.

The settings of a room stand in its `config.py`, apart from what they set, so that `--help` can show them and loads
nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Augmentation:
    """What training does to a picture; evaluation does nothing."""

    mirror: bool = False  # mirrored every other time
    shift: int = 0  # moved by up to this many pixels each way, edges repeated
    # further views of a picture, each a part of it with at least four fifths of its width and of its height; they are
    # the same in every epoch, so that a frozen encoder's features of them are computed once
    crops: int = 0


@dataclass(frozen=True)
class Beside:
    """How a caption is put into the file beside its picture."""

    # of a picture that has a text there: skip it, put the caption in its place, or after or before it
    existing: Literal["skip", "overwrite", "append", "prepend"] = "skip"
    before: str = ""  # text before each caption, such as 'sks person, '
    after: str = ""  # text after each caption
    # between a text that is there and the caption; ', ' by default, a new line in sidecar-lines, a blank in XMP
    joint: str | None = None
    naming: Literal["stem", "file"] = "stem"  # of a new file: a.txt or a.jpg.txt, a.xmp or a.jpg.xmp
    language: str = "x-default"  # of the description in XMP, such as en-GB
