"""`captioning train blip` and `train ofa`."""

from __future__ import annotations

from pathlib import Path

from captioning import paths
from captioning.cli.common import finish, readable
from captioning.decoding.config import Decoding
from captioning.learning.config import Recipe, TrainConfig
from captioning.models.config import BLIP_DECODING, OFA_LORA, BlipConfig, LoraConfig
from captioning.models.ofa.config import OFA_DECODING, OFAStart


def tune(
    start: BlipConfig | OFAStart,
    adapters: LoraConfig,
    recipe: Recipe,
    training: TrainConfig,
    decoding: Decoding,
    data: str,
    lora: bool,
    folder: Path | None = None,
    run: Path | None = None,
    resume: bool = True,
) -> None:
    """Go on from pretrained weights, with all of them, or with --lora only adapters.

    Args:
        start: the weights to start from, how they are asked, and what is trained
        adapters: their size and place
        recipe: how captions become training samples
        training: the training loop
        decoding: how captions are chosen on val
        data: minivizwiz, minifashion, deepfashion, flickr8k, flickr30k, coco, vizwiz, personality or folder
        lora: train adapters and leave the model's own weights as they are
        folder: where the data set lies; dataset/NAME by default
        run: folder of the run, output/KIND_DATA or output/KIND_lora_DATA by default
        resume: false deletes what the run folder holds
    """
    from captioning.data import sources
    from captioning.learning.fine_tuning import fine_tune

    folder, kind = folder or paths.DATASET / data, "blip" if isinstance(start, BlipConfig) else "ofa"
    run = run or paths.OUTPUT / f"{kind}{'_lora' * lora}_{data}"
    dataset = readable(sources.load(data, folder))
    log = fine_tune(dataset, run, start, adapters if lora else None, recipe, training, decoding, resume=resume)
    finish(run, log, recipe, decoding, data, folder)


def train_blip(
    start: BlipConfig = BlipConfig(),
    adapters: LoraConfig = LoraConfig(),
    recipe: Recipe = Recipe(max_length=40, smoothing=0.0),
    training: TrainConfig = TrainConfig(epochs=5, batch_size=16, lr=5e-5, weight_decay=0.05, clip=1.0),
    decoding: Decoding = BLIP_DECODING,
    data: str = "vizwiz",
    lora: bool = False,
    **options,
) -> None:
    """BLIP from its pretrained weights: all of them, or with --lora only adapters."""
    tune(start, adapters, recipe, training, decoding, data, lora, **options)


def train_ofa(
    start: OFAStart = OFAStart(),
    adapters: LoraConfig = OFA_LORA,
    recipe: Recipe = Recipe(max_length=40, smoothing=0.1),
    training: TrainConfig = TrainConfig(epochs=3, batch_size=8, lr=5e-5, warmup=0.01, weight_decay=0.001, clip=1.0),
    decoding: Decoding = OFA_DECODING,
    data: str = "personality",
    lora: bool = False,
    **options,
) -> None:
    """OFA from its pretrained weights: all of them, or with --lora only adapters; in the styles of the data set."""
    tune(start, adapters, recipe, training, decoding, data, lora, **options)
