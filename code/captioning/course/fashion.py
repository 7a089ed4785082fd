"""Chapters 01 to 03, and what all chapters share: mini-fashion, the frozen encoder, the GRU and the transformer.

In the profile `photos` the same models learn from photographs, Flickr8k, in place of the drawings.
"""

from __future__ import annotations

import functools
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from datasets import DatasetDict, Features, Value

from captioning import paths
from captioning.data import minifashion, photo_claims, sources
from captioning.decoding.config import Decoding
from captioning.learning.config import Recipe, TrainConfig
from captioning.models.config import EncoderConfig, GRUConfig, TransformerConfig
from captioning.models.inference import precision

SIZES = {
    "smoke": {"train": 48, "val": 12, "test": 12},
    "mini": {"train": 3000, "val": 300, "test": 300},
}
# What the chapters see through, frozen: networks that learned on ImageNet, those of mini out of an installed package.
# smoke only proves that every cell runs: a tiny network with random weights.
ENCODERS = {
    "smoke": EncoderConfig("resnet10t", {"channels": [8, 16, 32, 64], "stem_width": 8}, weights=None),
    "mini": EncoderConfig("tf_efficientnet_lite0", weights="package", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    "photos": EncoderConfig(
        "tf_efficientnet_lite2", weights="package", image_size=256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    ),
    "full": EncoderConfig(),
}
# bf16 where the processor has instructions for it: what has matrices large enough learns as much there in less time
QUICK: Literal["no", "bf16"] = "bf16" if precision(ENCODERS["mini"]) == torch.bfloat16 else "no"
FASHION_DECODING = Decoding(max_length=100)  # greedy; the longest captions have 97 words


@functools.cache
def fashion_data(profile: str) -> DatasetDict:
    """Mini-fashion, drawn on first use (smoke, mini), Flickr8k (photos), or DeepFashion-MultiModal from
    dataset/deepfashion (full). All but the last know the attributes of a picture, as `fashion_claims` reads them."""
    if profile == "full":
        return sources.load("deepfashion", paths.DATASET / "deepfashion")
    if profile == "photos":
        return photographs(flickr8k_folder())
    return sources.load("minifashion", paths.DATASET / "minifashion", sizes=SIZES[profile])


def flickr8k_folder() -> Path:
    """dataset/flickr8k; where there is none, that of CAPTIONING_REAL_DATA."""
    folder, lent = paths.DATASET / "flickr8k", paths.real_data()
    return folder if folder.is_dir() or lent is None else lent / "flickr8k"


def photographs(folder: Path) -> DatasetDict:
    """Flickr8k with the attributes that people agree on. Where its test pictures are missing, val takes their place and
    the last of train that of val, so that nothing is chosen on what is scored."""
    data = sources.load("flickr8k", folder)
    if "test" not in data:
        kept = len(data["train"]) - len(data["val"]) // 2
        train, val = (data["train"].select(rows) for rows in (range(kept), range(kept, len(data["train"]))))
        data = DatasetDict(train=train, val=val, test=data["val"])
    features = data["train"].features | {"attributes": dict.fromkeys(photo_claims.VALUES, Value("string"))}
    return data.map(lambda row: {"attributes": photo_claims.truth(row["captions"])}, features=Features(features))


def fashion_claims(profile: str) -> ModuleType:
    """Who reads the attributes out of captions and says whether they are true: `read_attributes`, `mark`,
    `attribute_accuracy`."""
    return photo_claims if profile == "photos" else minifashion


def fashion_recipe(profile: str) -> Recipe:
    """One caption a picture; the epoch whose captions name most attributes of val is kept, where they are known. Of
    photographs five captions a picture, short ones, and CIDEr-D."""
    if profile == "photos":
        return Recipe(captions=5, max_length=20, min_count=5, smoothing=0.1)
    known = profile != "full"
    return Recipe(max_length=FASHION_DECODING.max_length, smoothing=0.0, choose="attributes" if known else "CIDEr-D")


def fashion_gru(profile: str) -> dict[str, Any]:
    """The CNN+GRU of chapter 1 as arguments of `train_captioner`, for all chapters that compare with it."""
    small = GRUConfig(picture=128, embedding=64, hidden=192, dropout=0.1)
    decoder, training = {
        "smoke": (small, TrainConfig(epochs=2, batch_size=16, lr=3e-3, log_every=1)),
        "mini": (small, TrainConfig(epochs=4, optimizer="muon", lr=8e-3)),  # 4 x 94 steps; 94 x 32 = 3,000 pictures
        "photos": (
            GRUConfig(picture=320, embedding=320, hidden=512, dropout=0.3),
            TrainConfig(epochs=4, batch_size=24, lr=1.2e-3, clip=1.0, average=0.995, mixed_precision="bf16"),
        ),
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
            # 5 x 188 steps; the decay holds 3,000 pictures back from being learned by heart
            TrainConfig(5, 16, optimizer="muon", lr=4e-3, weight_decay=0.5, clip=1.0, mixed_precision=QUICK),
        ),
        "photos": (  # code/configs/photos_transformer.yaml goes on for longer
            TransformerConfig(width=320, heads=5, encoder_layers=1, layers=2, dropout=0.3),
            TrainConfig(
                epochs=5,
                batch_size=24,
                lr=1.2e-3,
                weight_decay=0.05,
                clip=1.0,
                average=0.995,
                mixed_precision="bf16",
            ),
        ),
        "full": (TransformerConfig(), TrainConfig(epochs=15, batch_size=32, lr=3e-4, mixed_precision="bf16")),
    }[profile]
    chosen = {"recipe": fashion_recipe(profile), "decoding": FASHION_DECODING}
    return chosen | {"decoder": decoder, "training": training}
