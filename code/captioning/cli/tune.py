"""`captioning train blip`."""

from __future__ import annotations

from pathlib import Path

from captioning import paths
from captioning.cli.common import finish, readable
from captioning.data import sources
from captioning.decoding import Decoding
from captioning.experiment import Recipe
from captioning.models.blip import BLIP_DECODING, BlipConfig
from captioning.models.lora import LoraConfig
from captioning.training import TrainConfig
from captioning.tuning import fine_tune


def train_blip(
    start: BlipConfig = BlipConfig(),
    lora: bool = False,
    adapters: LoraConfig = LoraConfig(),
    data: str = "vizwiz",
    folder: Path | None = None,
    run: Path | None = None,
    recipe: Recipe = Recipe(max_length=40, smoothing=0.0),
    training: TrainConfig = TrainConfig(epochs=5, batch_size=16, lr=5e-5, weight_decay=0.05, clip=1.0),
    decoding: Decoding = BLIP_DECODING,
    resume: bool = True,
) -> None:
    """BLIP from its pretrained weights: all of them, or with --lora only adapters.

    Args:
        start: the weights to start from, the prompt, and what is trained
        lora: train adapters and leave BLIP's own weights as they are
        adapters: their size and place
        data: minivizwiz, minifashion, deepfashion, flickr8k, flickr30k, coco, vizwiz or folder
        folder: where the data set lies; dataset/NAME by default
        run: folder of the run, output/blip_DATA or output/blip_lora_DATA by default
        recipe: how captions become training samples
        training: the training loop
        decoding: how captions are chosen on val
        resume: false deletes what the run folder holds
    """
    folder = folder or paths.DATASET / data
    run = run or paths.OUTPUT / f"blip{'_lora' * lora}_{data}"
    dataset = readable(sources.load(data, folder))
    log = fine_tune(dataset, run, start, adapters if lora else None, recipe, training, decoding, resume=resume)
    finish(run, log, recipe, decoding, data, folder)
