"""Chapter 06: the imitation of VizWiz, the tiny BLIP, and how it is fine-tuned."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

from datasets import DatasetDict

from captioning import paths
from captioning.course.fashion import ENCODERS, QUICK, fashion_data, fashion_gru
from captioning.course.made import made
from captioning.data import sources
from captioning.decoding.config import Decoding
from captioning.learning.config import Recipe, TrainConfig
from captioning.models.config import BlipConfig, LoraConfig

# The captions of VizWiz are longer than those of COCO, for which BLIP's own lengths were chosen. Greedy, to be quick.
VIZWIZ_DECODING = Decoding(min_length=5, max_length=40)
VIZWIZ_SIZES = {
    "smoke": {"train": 40, "val": 12, "test": 6},
    "mini": {"train": 1500, "val": 500, "test": 100},
}


@functools.cache
def vizwiz_data(profile: str, precanned: bool = False) -> DatasetDict:
    """VizWiz-Captions from dataset/vizwiz (full), or its imitation, drawn on first use (smoke, mini).

    Its own test split has no references, so choices are made on a tenth of train (`val`), what is reported is measured
    once on its val (`test`), and its test is `submission`. precanned: with the captions of train that came from a
    button, to learn from.
    """
    if profile == "full":
        data = sources.load("vizwiz", paths.DATASET / "vizwiz", precanned=precanned)
    else:
        sizes = VIZWIZ_SIZES[profile]
        data = sources.load("minivizwiz", paths.DATASET / "minivizwiz", sizes=sizes, precanned=precanned)
    parts = data["train"].train_test_split(test_size=0.1, seed=0)
    return DatasetDict(train=parts["train"], val=parts["test"], test=data["val"], submission=data["test"])


def vizwiz_recipe(profile: str) -> Recipe:
    """Two of the five captions of a picture in one step (mini: one); small pictures are decoded where they are used."""
    return Recipe(
        captions=2 if profile == "full" else 1, max_length=40, smoothing=0.0, workers=2 if profile == "full" else 0
    )


def vizwiz_gru(profile: str, seed: int = 0) -> dict[str, Any]:
    """The CNN+GRU of chapter 1 on VizWiz, as arguments of `train_captioner`."""
    training = {
        "smoke": TrainConfig(epochs=1, batch_size=16, lr=3e-3, log_every=1, seed=seed),
        # 40 steps of 32 pictures an epoch, one of the 5 captions of each
        "mini": TrainConfig(epochs=14, optimizer="muon", lr=8e-3, seed=seed, mixed_precision=QUICK),
        "full": TrainConfig(epochs=10, batch_size=32, lr=5e-4, mixed_precision="bf16", seed=seed),
    }[profile]
    recipe = replace(vizwiz_recipe(profile), min_count=5 if profile == "full" else 1)
    return fashion_gru(profile) | {"training": training, "recipe": recipe, "decoding": VIZWIZ_DECODING}


def vizwiz_blip(profile: str) -> str:
    """What chapter 6 starts from: BLIP-base from the hub (full), or a tiny BLIP pretrained on plain mini-fashion."""
    if profile == "full":
        return "Salesforce/blip-image-captioning-base"
    from captioning.course.mini_blip import SPEAKING, pretrained_blip

    speaking = replace(SPEAKING, epochs=1, log_every=1) if profile == "smoke" else SPEAKING
    data, eyes, run = fashion_data(profile), ENCODERS[profile], paths.OUTPUT / profile / "blip"
    made(run, lambda: pretrained_blip(data, run, eyes, speaking), data, eyes, speaking)
    return str(run / "speaking" / "best")


def vizwiz_tuning(profile: str, adapted: bool = False, seed: int = 0) -> dict[str, Any]:
    """How chapter 6 fine-tunes BLIP, with all weights or with adapters, as arguments of `fine_tune`.

    The eyes of the tiny BLIP stay as they are even where all weights of its language move.
    """
    shared = TrainConfig(batch_size=16, weight_decay=0.02, warmup=0.1, clip=1.0, seed=seed)
    training, adapters = {
        "smoke": (replace(shared, epochs=1, lr=1e-3, log_every=1), LoraConfig(rank=2)),
        # 80 steps of 16 pictures an epoch, one of the 5 captions of each
        "mini": (
            replace(shared, epochs=2, lr=5e-3 if adapted else 1e-3, mixed_precision=QUICK),
            LoraConfig(rank=4, alpha=16, dropout=0.0, targets=("query", "value", "dense")),
        ),
        "full": (
            replace(shared, epochs=5, lr=2e-4 if adapted else 2e-5, weight_decay=0.05, mixed_precision="bf16"),
            LoraConfig(),
        ),
    }[profile]
    return {
        "start": BlipConfig(vizwiz_blip(profile), trained="all" if profile == "full" else "text"),
        "lora": adapters if adapted else None,
        "training": training,
        "recipe": vizwiz_recipe(profile),
        "decoding": VIZWIZ_DECODING,
    }
