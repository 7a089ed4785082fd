"""A new captioner, or one from the folder or hub repository that `save_pretrained` or `push_to_hub` wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file

from captioning.models.attention import AttentionCaptioner, AttentionConfig
from captioning.models.base import CaptionModel
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
    if config.get("kind") not in CAPTIONERS:
        raise ValueError(f"{folder}/config.json: kind {config.get('kind')!r}, expected one of {', '.join(CAPTIONERS)}")
    model_class, config_class = CAPTIONERS[config["kind"]]
    encoder = (RegionConfig if "detector" in config["encoder"] else EncoderConfig)(**config["encoder"])
    encoder = replace(encoder, weights=None)  # they are all in the folder: nothing to fetch
    model = model_class(config_class(**config["decoder"]), encoder, WordTokenizer.load(folder))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


def saved_folder(name: str | Path) -> Path:
    """The folder of a saved model: `name`, its `best`, or a download of the hub repository `name`."""
    folder = Path(name)
    if not folder.exists() and (folder.parent.exists() and len(folder.parts) > 1 or len(folder.parts) != 2):
        raise FileNotFoundError(f"{folder}: no such folder; give a run folder, or a hub repository OWNER/NAME")
    if not folder.exists():
        return Path(snapshot_download(str(name), allow_patterns=["*.json", "*.safetensors"]))
    if (folder / "best").is_dir():
        folder = folder / "best"
    missing = [file for file in ("config.json", "model.safetensors", "tokenizer.json") if not (folder / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} holds no saved model: {', '.join(missing)} missing. "
            "Give a run folder that training wrote, or a hub repository."
        )
    return folder
