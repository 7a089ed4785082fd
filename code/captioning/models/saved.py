"""A new captioner, or one from the folder or hub repository that `save_pretrained` or `push_to_hub` wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from captioning.models.attention import AttentionCaptioner, AttentionConfig
from captioning.models.base import CaptionModel, saved_folder
from captioning.models.encoder import EncoderConfig
from captioning.models.gru import GRUCaptioner, GRUConfig
from captioning.models.regions import RegionConfig
from captioning.models.transformer import TransformerCaptioner, TransformerConfig
from captioning.text import WordTokenizer

DecoderConfig = GRUConfig | AttentionConfig | TransformerConfig
PictureConfig = EncoderConfig | RegionConfig

CAPTIONERS = {
    "gru": (GRUCaptioner, GRUConfig),
    "attention": (AttentionCaptioner, AttentionConfig),
    "transformer": (TransformerCaptioner, TransformerConfig),
}


def new(decoder: DecoderConfig, encoder: PictureConfig, tokenizer: WordTokenizer, seed: int = 0) -> CaptionModel:
    """An untrained captioner of the kind that `decoder` configures; its random weights depend on `seed` alone."""
    torch.manual_seed(seed)
    model_class = next(model for model, config in CAPTIONERS.values() if isinstance(decoder, config))
    return model_class(decoder, encoder, tokenizer)


def load(name: str | Path) -> CaptionModel:
    """The captioner saved in a folder (`RUN/best`, or the run itself) or in the hub repository `name`, in eval mode.

    Raises FileNotFoundError naming the missing files, ValueError for a kind of model that is not known, RuntimeError
    (from torch) listing weights that are missing or left over.
    """
    folder = saved_folder(name)
    config = json.loads((folder / "config.json").read_text())
    kind = config.get("kind", config.get("model_type"))  # ours, and Hugging Face's
    if kind == "blip":  # in Hugging Face's layout, and imported only here: transformers is slow to load
        from captioning.models import blip

        return blip.load(folder)
    if kind not in CAPTIONERS:
        known = ", ".join([*CAPTIONERS, "blip"])
        raise ValueError(f"{folder}/config.json: kind {kind!r}, expected one of {known}")
    model_class, config_class = CAPTIONERS[kind]
    encoder = (RegionConfig if "detector" in config["encoder"] else EncoderConfig)(**config["encoder"])
    encoder = replace(encoder, weights=None)  # they are all in the folder: nothing to fetch
    model = model_class(config_class(**config["decoder"]), encoder, WordTokenizer.load(folder))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()
