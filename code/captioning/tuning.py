"""A pretrained captioner to a fine-tuned run in one call: what chapter 06 and `captioning train blip` share."""

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
from captioning.models import blip
from captioning.models.base import saved_folder
from captioning.models.blip import BLIP_DECODING, BlipConfig
from captioning.models.lora import LoraConfig, trained_share
from captioning.training import Record, TrainConfig


def fine_tune(
    data: DatasetDict,
    run: Path,
    start: BlipConfig,
    lora: LoraConfig | None = None,
    recipe: Recipe = Recipe(),
    training: TrainConfig = TrainConfig(lr=5e-5),
    decoding: Decoding = BLIP_DECODING,
    watch: Callable[[list[Record]], None] = lambda log: None,
    resume: bool = True,
) -> list[Record]:
    """Go on from a pretrained BLIP with cross-entropy, with all its weights or with adapters (`lora`) only.

    The vocabulary is that of `start`; all rates are `training.lr`. The rest as in `train_captioner`. A run with
    adapters holds only these, and what they were trained on must stay where it is.
    """
    check_splits(data)
    torch.manual_seed(training.seed)
    model = blip.prepare(blip.load(saved_folder(start.weights), start.prompt), start, lora)
    print(f"{run}: trains {trained_share(model)}")
    about = {
        "start": weights_digest(model),
        "tuning": asdict(replace(start, weights="")),
        "lora": lora and asdict(lora),
    }
    return fit(CrossEntropy(model, recipe.smoothing), data, run, recipe, training, decoding, watch, resume, about)
