"""Makes captioners: new ones, and saved ones from a folder or hub repository that `save_pretrained` or `push` wrote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from captioning.models.attention import AttentionCaptioner
from captioning.models.base import CaptionModel, borrowed
from captioning.models.config import (
    AttentionConfig,
    DecoderConfig,
    EncoderConfig,
    GRUConfig,
    PictureConfig,
    RegionConfig,
    SeeingConfig,
    TransformerConfig,
)
from captioning.models.folders import is_hub, saved_config, saved_folder
from captioning.models.gru import GRUCaptioner
from captioning.models.ofa import checkpoint
from captioning.models.ofa.captioner import OFACaptioner
from captioning.models.ofa.config import OFAConfig, ResNetConfig
from captioning.models.ofa.styles import QUESTIONS
from captioning.models.ofa.tokenizer import BPETokenizer
from captioning.models.transformer import TransformerCaptioner
from captioning.models.vlm import is_vlm
from captioning.text import WordTokenizer, warn_of_single_words

CAPTIONERS = {
    "gru": (GRUCaptioner, GRUConfig),
    "attention": (AttentionCaptioner, AttentionConfig),
    "transformer": (TransformerCaptioner, TransformerConfig),
    "ofa": (OFACaptioner, OFAConfig),
}


def new(decoder: DecoderConfig, encoder: PictureConfig, tokenizer: WordTokenizer, seed: int = 0) -> CaptionModel:
    """An untrained captioner of the kind that `decoder` configures; its random weights depend on `seed` alone."""
    if isinstance(decoder, SeeingConfig):
        from captioning.models import seeing  # transformers is slow to load

        return seeing.new(decoder, encoder, tokenizer, seed)
    torch.manual_seed(seed)
    model_class = next(model for model, config in CAPTIONERS.values() if isinstance(decoder, config))
    return model_class(decoder, encoder, tokenizer)


def load(name: str | Path) -> CaptionModel:
    """The captioner saved in a folder (`RUN/best`, or the run itself) or in the repository `name`, in eval mode.

    Folders and repositories are those of `folders.saved_folder`; BLIP's and OFA's may be as they were released.

    Raises FileNotFoundError naming the missing files, ValueError for a kind of model that is not known, RuntimeError
    listing weights that are missing or left over.
    """
    name = name if is_hub(name) else saved_folder(name)
    config = saved_config(name)  # of the hub only this, so far
    kind = config.get("kind", config.get("model_type"))  # ours, and Hugging Face's
    if kind not in (known := [*CAPTIONERS, "blip", "seeing"]):
        if is_vlm(name):
            raise ValueError(
                f"{name}: a {kind}, a vision-language model of transformers: caption, evaluate, demo, rebuild (writers "
                "of kind chat) and train vlm take it; here a captioner of this package is needed"
            )
        raise ValueError(
            f"{name}: config.json says kind {kind!r}, expected one of {', '.join(known)}, or a vision-language model "
            "that the installed transformers has (image-text-to-text)"
        )
    folder = saved_folder(name)
    if kind == "blip":  # in Hugging Face's layout, and imported only here: transformers is slow to load
        from captioning.models import blip

        return blip.load(folder)
    if kind == "ofa" and "kind" not in config:  # as it was released
        return checkpoint.load(folder)
    if (folder / "adapter_config.json").is_file():
        return with_adapters(folder, config["decoder"])
    if kind == "seeing":
        from captioning.models import seeing

        return seeing.load(folder, config, picture_config(config["encoder"]))
    model_class, config_class = CAPTIONERS[kind]
    decoder = config_class(**{k: tuple(v) if isinstance(v, list) else v for k, v in config["decoder"].items()})
    model = model_class(decoder, picture_config(config["encoder"]), tokenizer_class(decoder).load(folder))
    model.load_weights(folder)
    return model.eval()


def with_adapters(folder: Path, decoder: dict) -> OFACaptioner:
    """The OFA that the adapters in `folder` were trained on, with them in it and as it was asked then."""
    from captioning.models import lora  # peft is slow to load

    model = load(lora.base_folder(folder)).requires_grad_(False)
    model.ofa = lora.load(model.ofa, folder)
    return model.configure(
        styles=tuple(decoder["styles"]), style_by=decoder["style_by"], prompt=decoder["prompt"]
    ).eval()


def picture_config(settings: dict) -> PictureConfig:
    """The encoder of a saved model; there is nothing to fetch, but for eyes that are `borrowed`."""
    if "blocks" in settings:
        return ResNetConfig(**settings | {"blocks": tuple(settings["blocks"])})
    encoder = (RegionConfig if "detector" in settings else EncoderConfig)(**settings)
    return encoder if borrowed(encoder) else replace(encoder, weights=None)


def vocabulary(
    captions: Iterable[str],
    decoder: DecoderConfig,
    min_count: int,
    units: Literal["words", "characters"] = "words",
) -> WordTokenizer | BPETokenizer:
    """The tokenizer of an untrained captioner: `units` that are seen `min_count` times, OFA's pieces of words, or those
    of a language model.

    Raises ValueError for characters asked of the last two. Warns where most captions are one word.
    """
    captions = list(captions)
    if units != "words" and isinstance(decoder, OFAConfig | SeeingConfig):
        owner = "OFA" if isinstance(decoder, OFAConfig) else "a language model"
        raise ValueError(f"tokenizer {units!r}: {owner} has its own pieces of words; leave it at 'words'")
    if isinstance(decoder, SeeingConfig):
        from captioning.models.language import read_tokenizer

        return read_tokenizer(decoder.language, captions, min_count, decoder.cut, decoder.words)
    if isinstance(decoder, OFAConfig):
        return BPETokenizer.train([*captions, *QUESTIONS, *decoder.styles])
    if units == "words":
        warn_of_single_words(captions)
    return WordTokenizer.train(captions, min_count, units)


def tokenizer_class(decoder: DecoderConfig) -> type[WordTokenizer | BPETokenizer]:
    return BPETokenizer if isinstance(decoder, OFAConfig) else WordTokenizer
