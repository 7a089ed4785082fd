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
