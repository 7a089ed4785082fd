"""Chapter 08: a large OFA as the teacher, and its student."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from captioning.course.fashion import ENCODERS, FASHION_DECODING, fashion_recipe
from captioning.learning.config import TrainConfig
from captioning.learning.experiment import train_captioner
from captioning.learning.loop import Record
from captioning.models.base import CaptionModel
from captioning.models.ofa.config import OFAConfig, OFAStart


def train_teacher(
    profile: str, data: DatasetDict, run: Path, watch: Callable[[list[Record]], None] = lambda log: None
) -> list[Record]:
    """The large OFA of chapter 8 in a new run: from nothing (smoke, mini), or from the released OFA-large (full)."""
    chosen = {"recipe": fashion_recipe(profile), "decoding": FASHION_DECODING, "watch": watch, "resume": False}
    if profile == "full":
        from captioning.learning.fine_tuning import fine_tune

        training = TrainConfig(epochs=5, batch_size=8, lr=3e-5, warmup=0.05, decay="linear", mixed_precision="bf16")
        return fine_tune(data, run, OFAStart("OFA-Sys/ofa-large"), training=training, **chosen)
    decoder, training = {
        "smoke": (
            OFAConfig(64, 64, 1, 2, 4, positions=128, dropout=0.0),
            TrainConfig(epochs=1, batch_size=16, lr=2e-3, log_every=1),
        ),
        "mini": (
            OFAConfig(128, 512, 1, 2, 4, positions=128, dropout=0.0),
            TrainConfig(epochs=1, batch_size=16, optimizer="muon", lr=5e-3, clip=1.0),  # 188 steps
        ),
    }[profile]
    return train_captioner(data, run, encoder=ENCODERS[profile], decoder=decoder, training=training, **chosen)


def ofa_student(profile: str, data: DatasetDict, teacher: CaptionModel) -> CaptionModel:
    """The small OFA of chapter 8 before it is taught: untrained, behind the teacher's encoder (smoke, mini), or the
    released OFA-tiny (full)."""
    if profile == "full":
        from captioning.models.ofa.start import start  # peft is slow to load

        return start(OFAStart("OFA-Sys/ofa-tiny"), data, None)
    from captioning.learning.student import new_student

    width, hidden, heads = (16, 32, 2) if profile == "smoke" else (64, 128, 4)
    return new_student(teacher, OFAConfig(width, hidden, 1, 1, heads, positions=128, dropout=0.0))


def student_training(profile: str) -> dict[str, Any]:
    """How the students of chapter 8 are trained, as arguments of `distill_captioner`."""
    training = {
        "smoke": TrainConfig(epochs=1, batch_size=16, lr=3e-3, log_every=1),
        "mini": TrainConfig(epochs=3, batch_size=16, optimizer="muon", lr=5e-3, clip=1.0),  # 3 x 63 steps
        "full": TrainConfig(epochs=5, batch_size=8, lr=5e-5, mixed_precision="bf16"),
    }[profile]
    return {"recipe": fashion_recipe(profile), "decoding": FASHION_DECODING, "training": training}
