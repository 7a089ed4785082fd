"""Fine-tunes a pretrained captioner in one call, for chapter 06, `captioning train blip`, `train ofa`, `train vlm`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from datasets import DatasetDict

from captioning.data.features import weights_digest
from captioning.decoding.config import Decoding
from captioning.learning.config import Recipe, TrainConfig
from captioning.learning.experiment import check_splits, fit
from captioning.learning.loop import Record
from captioning.learning.losses import CrossEntropy
from captioning.learning.vlm_tuning import tune_vlm
from captioning.models import blip
from captioning.models.config import BlipConfig, LoraConfig, VLMConfig
from captioning.models.lora import trained_share
from captioning.models.ofa.config import OFAStart
from captioning.models.ofa.start import start as start_ofa


def fine_tune(
    data: DatasetDict,
    run: Path,
    start: BlipConfig | OFAStart | VLMConfig,
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
    with adapters holds only these, and what they were trained on must stay where it is. Raises ValueError for a recipe
    that cannot be followed here.
    """
    if isinstance(start, VLMConfig):
        return tune_vlm(data, run, start, lora, recipe, training, decoding or Decoding(), watch, resume)
    check_splits(data)
    recipe.require_default("a pretrained model, which keeps its vocabulary", "min_count")
    torch.manual_seed(training.seed)
    model = blip.start(start, lora) if isinstance(start, BlipConfig) else start_ofa(start, data, lora)
    print(f"{run}: trains {trained_share(model)}")
    kept = {"prompt": model.prompt} if isinstance(start, BlipConfig) else {"style_by": model.config.style_by}
    about = {
        "start": weights_digest(model),
        "tuning": asdict(replace(start, weights="", **kept)),
        "lora": lora and asdict(lora),
    }
    objective = CrossEntropy(model, recipe.smoothing, recipe.coverage, recipe.drop_words, recipe.drop_worst)
    return fit(objective, data, run, recipe, training, decoding or model.usual, watch, resume, about)
