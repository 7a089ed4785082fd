"""Visual tokens learn words before a language model is asked: a stage of its own, on the one training loop.

A picture is a bag of the content words of its captions. A word is drawn by drawing one of the visual tokens and letting
it say a word, so the tokens of a picture can share its words among them, as the topics of a document do (Hofmann 1999,
probabilistic latent semantic analysis). Sizes: B pictures, P visual tokens, W content words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from captioning.data.batches import CaptionRows, fingerprint, picture_batches, training_batches
from captioning.data.features import weights_digest
from captioning.evaluation.splits import feature_batches, split_features
from captioning.learning.config import Recipe, TrainConfig
from captioning.learning.loop import Record, train
from captioning.learning.losses import Objective
from captioning.models.base import WEIGHTS
from captioning.models.inference import device
from captioning.models.pieces import said_words
from captioning.models.seeing import Projector, SeeingCaptioner

BATCH = 64  # pictures


class Spoken(nn.Module):
    """Of a projector what says words, as the loop trains and saves it."""

    def __init__(self, projector: Projector):
        super().__init__()
        self.parts = nn.ModuleList([projector.norm, projector.hidden, projector.word])
        self.projector = [projector]  # in a list, so that the rest of it is neither trained nor saved

    def forward(self, features: Tensor) -> Tensor:
        """Log-probabilities (B, W) that a word drawn from a picture is this one."""
        said = self.projector[0].train(self.training).say(features)  # (B, P, W)
        return said.logsumexp(dim=1) - math.log(said.shape[1])

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        save_model(self, str(folder / WEIGHTS))


class ContentWords(nn.Module):
    """The mean of -log p over the words in the bags of a batch, nats a word; `bags` (pictures, W) counts them."""

    def __init__(self, spoken: Spoken, encoder: nn.Module, bags: Tensor):
        super().__init__()
        self.model, self.bags, self.encoder = spoken, bags, [encoder]

    def forward(self, batch: dict[str, Tensor]) -> Objective:
        images = batch["images"]
        with torch.no_grad():
            features = self.encoder[0](images) if images.dim() == 4 else images.float()
        bags = self.bags[batch["rows"].cpu()].to(features)
        loss = -(bags * self.model(features)).sum() / bags.sum().clamp(min=1)
        return loss, {"loss": loss.detach()}


def learn_words(
    model: SeeingCaptioner,
    data: DatasetDict,
    run: Path,
    recipe: Recipe,
    training: TrainConfig,
    features: tuple[np.ndarray, ...],
    resume: bool,
) -> list[Record]:
    """Train the projector (in place) of a new captioner to say words; the epoch that is best on val is kept.

    `run` is the folder of a run of its own; `features` are the cached ones of train, one array for each view, or none
    where pictures are encoded in every batch. Of `training` only the seed, the precision and the tracker count.
    """
    config, size = model.config, model.encoder.config.image_size
    bags = {split: bags_of(data[split], model.tokenizer.content) for split in ("train", "val")}
    val_features = split_features(model, data["val"], recipe.workers)

    @torch.inference_mode()
    def validate(spoken: Spoken) -> Record:
        if val_features is None:
            pictures = picture_batches(list(data["val"]["image"]), size, BATCH, recipe.workers)
            batches = (model.features(images.to(device())) for images in pictures)
        else:
            batches = (batch.float().to(device()) for batch in feature_batches(val_features, BATCH))
        said = torch.cat([spoken(batch).cpu() for batch in batches])
        return {"score": (bags["val"] * said).sum().item() / bags["val"].sum().clamp(min=1).item()}

    spoken = Spoken(model.projector)
    objective = ContentWords(spoken, model.encoder, bags["train"])
    settings = {"seed": training.seed, "augmentation": recipe.augmentation, "features": features}
    rows = CaptionRows(data["train"], model.tokenizer, size, max_length=recipe.max_length, **settings)
    batches = training_batches(rows, model.tokenizer.pad_id, BATCH, 0 if features else recipe.workers)
    same = {"seed": training.seed, "mixed_precision": training.mixed_precision, "tracker": training.tracker}
    stage = TrainConfig(epochs=config.words_epochs, batch_size=BATCH, lr=1e-3, clip=1.0, **same)
    about = {"kind": "content words", "data": fingerprint(data), "encoder weights": weights_digest(model.encoder)}
    about |= {"augmentation": asdict(recipe.augmentation), "projector": weights_digest(model.projector)}
    model.encoder.to(device()).eval()
    log = train(objective, batches, stage, run, validate, resume=resume, about=about)
    load_model(spoken, run / "best" / WEIGHTS)
    return log


def bags_of(rows: Dataset, content: Sequence[str]) -> Tensor:
    """How often the captions of each picture say each content word, (pictures, W)."""
    places = {word: i for i, word in enumerate(content)}
    bags = torch.zeros(len(rows), len(content))
    for bag, captions in zip(bags, rows["captions"], strict=True):
        for word in (word for caption in captions for word in said_words(caption)):
            if word in places:
                bag[places[word]] += 1
    return bags
