"""Loads a released or trained OFA for fine-tuning, with the styles of the data set and with adapters if asked."""

from __future__ import annotations

from datasets import DatasetDict

from captioning.data.styles import style_table
from captioning.models import lora
from captioning.models.config import LoraConfig
from captioning.models.ofa.captioner import OFACaptioner
from captioning.models.ofa.config import OFAStart
from captioning.models.saved import load


def start(config: OFAStart, data: DatasetDict, adapters: LoraConfig | None) -> OFACaptioner:
    """The captioner to be trained, its weights loaded, with the styles of `data` if it does not have its own.

    One that has adapters goes on with these. Raises ValueError when it is to get others, to train more, or to be told
    styles in another way.
    """
    model = load(config.weights)
    if config.trained_resnet and (adapters or lora.base(model.ofa) is not model.ofa):
        raise ValueError("trained_resnet=True with adapters, which leave everything else as it is: choose one")
    if model.styles and config.style_by not in (model.config.style_by, OFAStart.style_by):
        raise ValueError(
            f"style_by={config.style_by!r}: {config.weights} was trained with {model.config.style_by!r} and keeps it; "
            "leave it out"
        )
    styled = "style" in data["train"].column_names
    if model.styles and not styled:
        raise ValueError(f"{config.weights} wants a style with each picture, and the data set has none: use another")
    if styled and not model.styles:
        model.configure(styles=tuple(style_table(data).index), style_by=config.style_by)
    model.encoder.requires_grad_(config.trained_resnet)
    if adapters:
        lora.adapt(model, adapters, config.weights)
    return model
