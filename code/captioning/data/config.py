"""Settings of how training alters pictures.

The settings of a room stand in its `config.py`, apart from what they set, so that `--help` can show them and loads
nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Augmentation:
    """What training does to a picture; evaluation does nothing."""

    mirror: bool = False  # mirrored every other time
    shift: int = 0  # moved by up to this many pixels each way, edges repeated
    # further views of a picture, each a part of it with at least four fifths of its width and of its height; they are
    # the same in every epoch, so that a frozen encoder's features of them are computed once
    crops: int = 0
