"""The mini profile's stand-in for ImageNet: a small encoder that has learned to name the attributes of mini-fashion.

Nothing can be downloaded there, so the encoder that all notebooks share is trained here, once, on the attributes of the
training pictures: for each attribute one attention pool over the cells and one linear layer. Only the encoder is kept.

Sizes: B pictures, N cells, C channels, A attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from datasets import Dataset, DatasetDict
from safetensors.torch import save_file
from torch import Tensor, nn

from captioning.data.batches import CaptionRows, fingerprint, picture_batches, training_batches
from captioning.data.config import Augmentation
from captioning.data.minifashion import ATTRIBUTES, SCENE
from captioning.learning.config import TrainConfig
from captioning.learning.loop import Record, train
from captioning.models.config import EncoderConfig
from captioning.models.encoder import Encoder
from captioning.text import WordTokenizer

NOT_SHOWN = -100  # the target of an attribute that this picture does not show

MINI_ENCODER = EncoderConfig(
    name="resnet10t",
    args={"channels": [32, 64, 128, 192], "stem_width": 16, "output_stride": 16},
    weights=None,
    trained_stages="all",
    image_size=128,  # 8 x 8 cells
)
# 188 steps of 16 pictures an epoch: 3,000 pictures
MINI_PRETRAINING = TrainConfig(
    epochs=5, batch_size=16, optimizer="muon", lr=3e-3, encoder_lr=3e-3, weight_decay=0.02, warmup=0.1
)


class AttributeNamer(nn.Module):
    """The attributes of pictures (B, 3, H, W): a list of A logits (B, values of the attribute)."""

    def __init__(self, encoder: nn.Module, attributes: Mapping[str, Sequence[str]]):
        super().__init__()
        self.encoder = encoder
        self.pools = nn.Linear(self.encoder.channels, len(attributes))
        self.heads = nn.ModuleList(nn.Linear(self.encoder.channels, len(values)) for values in attributes.values())

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.name(self.encoder(images))

    def name(self, features: Tensor) -> list[Tensor]:
        """`forward` from the encoder's features (B, N, C) on."""
        weights = self.pools(features).softmax(dim=1)  # (B, N, A): where each attribute looks
        pooled = weights.transpose(1, 2) @ features  # (B, A, C)
        return [head(pooled[:, i]) for i, head in enumerate(self.heads)]

    def save_pretrained(self, folder: Path) -> None:
        """Only the encoder, as a weight file that `EncoderConfig.weights` can name."""
        folder.mkdir(parents=True)
        weights = {name: tensor.contiguous() for name, tensor in self.encoder.backbone.state_dict().items()}
        save_file(weights, folder / "encoder.safetensors")


class AttributeLoss(nn.Module):
    """Cross-entropy summed over the attributes that a picture shows; `targets` (rows, A) are indices of values."""

    def __init__(self, model: AttributeNamer, targets: Tensor):
        super().__init__()
        self.model = model
        self.register_buffer("targets", targets)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        loss = naming_loss(self.model(batch["images"]), self.targets[batch["rows"]])
        return loss, {"loss": loss.detach()}


def naming_loss(logits: list[Tensor], targets: Tensor) -> Tensor:
    """Mean cross-entropy of the attributes that are shown; A logits (B, values), targets (B, A)."""
    losses = [
        F.cross_entropy(one, target, ignore_index=NOT_SHOWN, reduction="sum")
        for one, target in zip(logits, targets.T, strict=True)
    ]
    return torch.stack(losses).sum() / (targets != NOT_SHOWN).sum()


def attributes_of(rows: Dataset) -> dict[str, tuple[str, ...]]:
    """The attributes that the data set knows of its pictures, and their values."""
    known = ATTRIBUTES | SCENE
    return {name: known[name] for name in rows.features["attributes"]}


def attribute_targets(rows: Dataset) -> Tensor:
    """The index of each attribute's value, (rows, A); NOT_SHOWN where the picture does not show it."""
    known = attributes_of(rows)
    return torch.tensor(
        [
            [NOT_SHOWN if shown[name] is None else values.index(shown[name]) for name, values in known.items()]
            for shown in rows["attributes"]
        ]
    )


@torch.inference_mode()
def named_right(model: AttributeNamer, rows: Dataset) -> Record:
    """Share of the shown attributes that the model names correctly, all of them (`score`) and one by one."""
    model.eval()
    device, size = next(model.parameters()).device, model.encoder.config.image_size
    batches = picture_batches(list(rows["image"]), size, 50)
    chosen = torch.cat(
        [torch.stack([logits.argmax(-1) for logits in model(images.to(device))], -1).cpu() for images in batches]
    )
    targets = attribute_targets(rows)
    right, shown = (chosen == targets).sum(0), (targets != NOT_SHOWN).sum(0).clamp(min=1)
    each = dict(zip(attributes_of(rows), (right / shown).tolist(), strict=True))
    return {"score": float(right.sum() / shown.sum())} | each


def pretrained_encoder(
    data: DatasetDict, run: Path, config: EncoderConfig = MINI_ENCODER, training: TrainConfig = MINI_PRETRAINING
) -> EncoderConfig:
    """The configuration of a frozen encoder whose weights lie in `run`, trained there first if they do not yet.

    Training starts from the weights that `config` names. Kept are the weights of the last epoch: the score on val is
    logged, not used to choose.
    """
    torch.manual_seed(training.seed)
    model, size = AttributeNamer(Encoder(config), attributes_of(data["train"])), config.image_size
    no_words = WordTokenizer.train([])
    rows = CaptionRows(data["train"], no_words, size, seed=training.seed, augmentation=Augmentation(shift=4))
    batches = training_batches(rows, no_words.pad_id, training.batch_size, workers=0)
    objective = AttributeLoss(model, attribute_targets(data["train"]))
    validate = partial(named_right, rows=data["val"])
    about = {"encoder": asdict(replace(config, weights=None)), "data": fingerprint(data)}
    train(objective, batches, training, run, validate, about=about)
    return with_weights(config, run)


def with_weights(config: EncoderConfig, run: Path) -> EncoderConfig:
    """The frozen encoder whose weights `pretrained_encoder` left in `run`."""
    return replace(config, weights=str(run / "last" / "encoder.safetensors"), trained_stages=0)
