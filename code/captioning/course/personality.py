"""Chapter 07: the styled captions, and the OFA that learns them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from datasets import DatasetDict

from captioning import paths
from captioning.course.fashion import ENCODERS, SIZES
from captioning.data import sources
from captioning.data.styles import style_table
from captioning.decoding.config import Decoding
from captioning.learning.config import Recipe, RewardConfig, RLConfig, TrainConfig
from captioning.learning.experiment import reinforce_captioner, train_captioner
from captioning.learning.loop import Record
from captioning.models.config import PictureConfig
from captioning.models.ofa.config import BLOCKS, OFAConfig, OFAStart, ResNetConfig, Tasks
from captioning.models.ofa.config import SIZES as OFA_SIZES

STYLE_DECODING = Decoding(max_length=60)  # greedy


@functools.cache
def style_data(profile: str) -> DatasetDict:
    """Mini-fashion's variant *personality*, drawn on first use (smoke, mini), or Personality-Captions (full)."""
    if profile == "full":
        return sources.load("personality", paths.DATASET / "personality")
    return sources.load("minifashion", paths.DATASET / "minifashion", variant="personality", sizes=SIZES[profile])


def style_encoder(profile: str) -> PictureConfig:
    """What the OFA of chapter 7 sees through: its own ResNet (full), or the encoder that all chapters share."""
    return ResNetConfig(BLOCKS["base"]) if profile == "full" else ENCODERS[profile]


def style_ofa(profile: str, data: DatasetDict, style_by: Literal["words", "token"] = "words") -> dict[str, Any]:
    """The OFA of chapter 7, and how it is trained, as arguments of `train_captioner`."""
    styles = tuple(style_table(data).index)  # of all splits
    decoder, training = {
        "smoke": (
            OFAConfig(32, 64, 1, 1, 2, positions=128),
            TrainConfig(epochs=1, optimizer="muon", lr=2e-3, log_every=1),
        ),
        "mini": (
            OFAConfig(96, 384, 1, 1, 4, positions=128, dropout=0.0),
            TrainConfig(epochs=3, batch_size=16, optimizer="muon", lr=3e-3, clip=1.0),  # 3 x 188 steps
        ),
        "full": (
            OFA_SIZES["base"],
            TrainConfig(3, 8, 4, lr=7.5e-5, warmup=0.05, decay="linear", weight_decay=0.002, mixed_precision="bf16"),
        ),
    }[profile]
    recipe = Recipe(max_length=60, smoothing=0.1 if profile == "full" else 0.0, choose="CIDEr-D")
    decoder = replace(decoder, styles=styles, style_by=style_by)
    return {"decoder": decoder, "training": training, "recipe": recipe, "decoding": STYLE_DECODING}


def train_styled(
    profile: str,
    data: DatasetDict,
    run: Path,
    style_by: Literal["words", "token"] = "words",
    tasks: Tasks = Tasks(),
    watch: Callable[[list[Record]], None] = lambda log: None,
) -> list[Record]:
    """One of the models of chapter 7 in a new run: from nothing (smoke, mini), or from the released OFA-base (full)."""
    chosen = style_ofa(profile, data, style_by)
    chosen["recipe"] = replace(chosen["recipe"], tasks=tasks)
    if profile == "full":
        from captioning.learning.fine_tuning import fine_tune

        del chosen["decoder"]  # that of the released one
        return fine_tune(data, run, OFAStart(style_by=style_by), watch=watch, resume=False, **chosen)
    seen = style_encoder(profile)
    return train_captioner(data, run, encoder=seen, watch=watch, resume=False, **chosen)


def reinforce_styled(
    profile: str,
    data: DatasetDict,
    run: Path,
    start: Path,
    reward: RewardConfig,
    seed: int = 0,
    watch: Callable[[list[Record]], None] = lambda log: None,
) -> list[Record]:
    """The second stage of chapter 7, for a reward. The references of CIDEr-D are those of the same picture in the same
    style."""
    training, items = {
        "smoke": (TrainConfig(epochs=1, batch_size=8, lr=1e-4, log_every=1, seed=seed), 16),
        "mini": (TrainConfig(epochs=1, batch_size=16, lr=3e-4, clip=1.0, log_every=2, seed=seed), 640),
        "full": (TrainConfig(epochs=1, batch_size=8, accumulation=3, lr=1e-5, mixed_precision="bf16", seed=seed), None),
    }[profile]
    some = DatasetDict(data | {"train": data["train"].select(range(items or len(data["train"])))})
    chosen = style_ofa(profile, data)
    known = {"recipe": chosen["recipe"], "decoding": chosen["decoding"], "training": training}
    return reinforce_captioner(some, run, start, RLConfig(max_length=45), reward, watch=watch, resume=False, **known)
