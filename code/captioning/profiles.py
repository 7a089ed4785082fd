"""What the course runs on: smoke (tests, seconds), mini (a laptop, minutes), full (real data and weights, a GPU)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from datasets import DatasetDict

from captioning.data import sources
from captioning.decoding import Decoding
from captioning.experiment import Recipe
from captioning.models.encoder import EncoderConfig
from captioning.models.gru import GRUConfig
from captioning.paths import DATASET, OUTPUT
from captioning.pretraining import MINI_PRETRAINING, pretrained_encoder
from captioning.training import TrainConfig

SIZES = {
    "smoke": {"train": 48, "val": 12, "test": 12},
    "mini": {"train": 3000, "val": 300, "test": 300},
}

FASHION_DECODING = Decoding(max_length=90)  # greedy; the captions have 30 to 75 words


def fashion_data(profile: str) -> DatasetDict:
    """Mini-fashion, drawn on first use (smoke, mini), or DeepFashion-MultiModal from dataset/deepfashion (full)."""
    if profile == "full":
        return sources.load("deepfashion", DATASET / "deepfashion")
    return sources.load("minifashion", DATASET / "minifashion", sizes=SIZES[profile])


def fashion_encoder(profile: str) -> EncoderConfig:
    """The encoder that the chapters share, frozen.

    full: ResNet-101 trained on ImageNet. smoke and mini: a small network trained once on the attributes of
    mini-fashion (`pretraining.py`), because nothing can be downloaded there.
    """
    if profile == "full":
        return EncoderConfig()
    training = MINI_PRETRAINING if profile == "mini" else replace(MINI_PRETRAINING, epochs=1)
    return pretrained_encoder(fashion_data(profile), OUTPUT / f"mini_encoder_{profile}", training=training)


def fashion_gru(profile: str) -> dict[str, Any]:
    """The CNN+GRU of chapter 1 as arguments of `experiment.train_captioner`, for all chapters that compare with it."""
    decoder, training = {
        "smoke": (GRUConfig(picture=32, embedding=32, hidden=32, dropout=0.1), TrainConfig(epochs=1, lr=2e-3)),
        "mini": (GRUConfig(picture=256, embedding=128, hidden=256, dropout=0.2), TrainConfig(epochs=6, lr=2e-3)),
        "full": (GRUConfig(), TrainConfig(epochs=10)),
    }[profile]
    recipe = Recipe(max_length=90)
    return {"decoder": decoder, "recipe": recipe, "training": training, "decoding": FASHION_DECODING}
