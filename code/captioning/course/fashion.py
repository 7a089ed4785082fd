"""Chapters 01 to 03, and what all chapters share: mini-fashion, the frozen encoder, the GRU and the transformer."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from captioning import paths
from captioning.course.made import made
from captioning.course.mini_encoder import MINI_ENCODER, MINI_PRETRAINING, pretrained_encoder, with_weights
from captioning.data import sources
from captioning.decoding.config import Decoding
from captioning.learning.config import Recipe, TrainConfig
from captioning.models.config import EncoderConfig, GRUConfig, TransformerConfig

SIZES = {
    "smoke": {"train": 48, "val": 12, "test": 12},
    "mini": {"train": 3000, "val": 300, "test": 300},
}
FASHION_DECODING = Decoding(max_length=100)  # greedy; the longest captions have 97 words


@functools.cache
def fashion_data(profile: str) -> DatasetDict:
    """Mini-fashion, drawn on first use (smoke, mini), or DeepFashion-MultiModal from dataset/deepfashion (full)."""
    if profile == "full":
        return sources.load("deepfashion", paths.DATASET / "deepfashion")
    return sources.load("minifashion", paths.DATASET / "minifashion", sizes=SIZES[profile])


@functools.cache
def fashion_encoder(profile: str) -> EncoderConfig:
    """The encoder that the chapters share, frozen.

    full: ResNet-101 trained on ImageNet. smoke and mini: a small network trained once on the attributes of
    mini-fashion (`mini_encoder.py`), because nothing can be downloaded there.
    """
    if profile == "full":
        return EncoderConfig()
    training = MINI_PRETRAINING if profile == "mini" else replace(MINI_PRETRAINING, epochs=1)
    return drawn_encoder(fashion_data(profile), paths.OUTPUT / profile / "encoder", MINI_ENCODER, training)


def drawn_encoder(data: DatasetDict, run: Path, config: EncoderConfig, training: TrainConfig) -> EncoderConfig:
    """The frozen encoder that `pretrained_encoder` trains on drawn pictures, once."""
    train_it = functools.partial(pretrained_encoder, data, run, config, training)
    return with_weights(config, made(run, train_it, data, config, training))


def fashion_recipe(profile: str) -> Recipe:
    """One caption a picture; the epoch whose captions name most attributes of val is kept, where they are known."""
    known = profile != "full"
    return Recipe(max_length=FASHION_DECODING.max_length, smoothing=0.0, choose="attributes" if known else "CIDEr-D")


def fashion_gru(profile: str) -> dict[str, Any]:
    """The CNN+GRU of chapter 1 as arguments of `train_captioner`, for all chapters that compare with it."""
    small = GRUConfig(picture=128, embedding=64, hidden=192, dropout=0.1)
    decoder, training = {
        "smoke": (small, TrainConfig(epochs=2, batch_size=16, lr=3e-3, log_every=1)),
        "mini": (small, TrainConfig(epochs=4, optimizer="muon", lr=8e-3)),  # 4 x 94 steps; 94 x 32 = 3,000 pictures
        "full": (GRUConfig(), TrainConfig(epochs=10, batch_size=32, lr=5e-4, mixed_precision="bf16")),
    }[profile]
    chosen = {"recipe": fashion_recipe(profile), "decoding": FASHION_DECODING}
    return chosen | {"decoder": decoder, "training": training}


def fashion_transformer(profile: str) -> dict[str, Any]:
    """The transformer of chapter 2, in the same form, for all chapters that go on from it."""
    decoder, training = {
        "smoke": (
            TransformerConfig(width=32, heads=4, encoder_layers=1, layers=1),
            TrainConfig(epochs=1, batch_size=16, lr=2e-3, log_every=1),
        ),
        "mini": (
            TransformerConfig(width=128, heads=4, encoder_layers=1, layers=2, dropout=0.0),
            TrainConfig(epochs=2, batch_size=16, optimizer="muon", lr=4e-3, clip=1.0),  # 2 x 188 steps
        ),
        "full": (TransformerConfig(), TrainConfig(epochs=15, batch_size=32, lr=3e-4, mixed_precision="bf16")),
    }[profile]
    chosen = {"recipe": fashion_recipe(profile), "decoding": FASHION_DECODING}
    return chosen | {"decoder": decoder, "training": training}
