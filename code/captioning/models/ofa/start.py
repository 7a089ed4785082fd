"""A released or trained OFA as what fine-tuning starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from datasets import DatasetDict

from captioning.data.styles import style_table
from captioning.models import lora
from captioning.models.lora import LoraConfig
from captioning.models.ofa.captioner import OFACaptioner
from captioning.models.saved import load

OFA_LORA = LoraConfig(targets=("q_proj", "v_proj"))  # of all attentions, in encoder and decoder


@dataclass(frozen=True)
class OFAStart:
    """What is trained of OFA, and from where it starts."""

    weights: str = "OFA-Sys/ofa-base"  # a folder, a hub repository, or modelscope:OWNER/NAME
    told_by: Literal["words", "token"] = "words"  # how styles are told, if the data set has some: styles.py
    trained_resnet: bool = False

    def model(self, data: DatasetDict, adapters: LoraConfig | None) -> OFACaptioner:
        """The captioner to be trained, its weights loaded, with the styles of `data` if it does not have its own.

        One that has adapters goes on with these. Raises ValueError when it is to get others, or to train more.
        """
        model = load(self.weights)
        if self.trained_resnet and (adapters or lora.base(model.ofa) is not model.ofa):
            raise ValueError("trained_resnet=True with adapters, which leave everything else as it is: choose one")
        styled = "style" in data["train"].column_names
        if model.styles and not styled:
            raise ValueError(
                f"{self.weights} is told a style with each picture, and the data set has none: use another"
            )
        if styled and not model.styles:
            model.configure(styles=tuple(style_table(data).index), told_by=self.told_by)
        model.encoder.requires_grad_(self.trained_resnet)
        if adapters:
            lora.adapt(model, adapters, self.weights)
        return model
