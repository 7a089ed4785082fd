"""What training does to pictures. Configurations stand apart from what they configure, so that a command line that only
shows them loads nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Augmentation:
    """What training does to a picture; evaluation does nothing."""

    mirror: bool = False  # mirrored every other time
    shift: int = 0  # moved by up to this many pixels each way, edges repeated
