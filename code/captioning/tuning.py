"""A pretrained captioner to a fine-tuned run in one call, for chapter 06, `captioning train blip` and `train ofa`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from datasets import DatasetDict

from captioning.data.features import weights_digest
from captioning.decoding import Decoding
from captioning.experiment import Recipe, check_splits, fit
from captioning.losses import CrossEntropy
from captioning.models.blip import BlipConfig
from captioning.models.lora import LoraConfig, trained_share
from captioning.models.ofa.start import OFAStart
from captioning.training import Record, TrainConfig


def fine_tune(
    data: DatasetDict,
    run: Path,
    start: BlipConfig | OFAStart,
    lora: LoraConfig | None = None,
    recipe: Recipe = Recipe(),
    training: TrainConfig = TrainConfig(lr=5e-5),
    decoding: Decoding | None = None,
    watch: Callable[[list[Record]], None] = lambda log: None,
    resume: bool = True,
) -> list[Record]:
    """Go on from a pretrained captioner with cross-entropy, with all its weights or with adapters (`lora`) only.

    The vocabulary is that of `start`; all rates are `training.lr`, but for a ResNet of OFA's (`training.encoder_lr`).
    Captions are chosen as is usual for it, unless `decoding` says otherwise. The rest as in `train_captioner`. A run
    with adapters holds only these, and what they were trained on must stay where it is.
    """
    check_splits(data)
    torch.manual_seed(training.seed)
    model = start.model(data, lora)
    print(f"{run}: trains {trained_share(model)}")
    about = {
        "start": weights_digest(model),
        "tuning": asdict(replace(start, weights="")),
        "lora": lora and asdict(lora),
    }
    objective = CrossEntropy(model, recipe.smoothing, drop_worst=recipe.drop_worst)
    return fit(objective, data, run, recipe, training, decoding or model.usual, watch, resume, about)
