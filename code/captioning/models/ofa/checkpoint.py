"""Released OFA checkpoints as captioners: the layouts of Hugging Face (`OFA-Sys/ofa-*`) and of ModelScope.

Both have `config.json`, `pytorch_model.bin` and the vocabulary of BART (`vocab.json`, `merges.txt`) or of a Chinese
BERT (`vocab.txt`), and the same names of weights. ModelScope's says in `configuration.json` how it is asked, and how
its captions are searched.
"""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from captioning.models.ofa.captioner import OFACaptioner
from captioning.models.ofa.config import OFAConfig, ResNetConfig
from captioning.models.ofa.tokenizer import BPETokenizer
from captioning.writing import aside

WEIGHTS, CONVERTED = "pytorch_model.bin", "model.safetensors"
COMPUTED = ("image_rp_bucket", "token_rp_bucket", "image_position_idx")  # integer buffers that the model works out
RESNET = "encoder.embed_images."
# one table, three names
TIED = ("decoder.embed_tokens.weight", "encoder.embed_tokens.weight", "decoder.output_projection.weight")
RESNETS = {"resnet50": (3, 4, 6), "resnet101": (3, 4, 23), "resnet152": (3, 8, 36)}
OURS = {  # what the names in config.json are here
    "d_model": "width",
    "encoder_ffn_dim": "feed_forward",
    "encoder_layers": "encoder_layers",
    "decoder_layers": "decoder_layers",
    "encoder_attention_heads": "heads",
    "max_position_embeddings": "positions",
}
ASSUMED = {  # what every captioning checkpoint has, and this OFA therefore does not offer otherwise
    "activation_function": "gelu",
    "add_type_embedding": True,
    "attn_scale_factor": 2.0,
    "code_layernorm_embedding": True,
    "decoder_normalize_before": True,
    "encoder_normalize_before": True,
    "entangle_position_embedding": False,
    "image_bucket_size": 42,
    "layernorm_embedding": True,
    "normformer": True,
    "patch_layernorm_embedding": True,
    "scale_embedding": False,
    "share_attn_bias": False,
    "share_decoder_input_output_embed": True,
    "token_bucket_size": 256,
    "use_ofasys": False,
}
SEARCH = {  # what the names in configuration.json are here; its max_len_b does not count the end token
    "beam_size": "beams",
    "min_len": "min_length",
    "max_len_b": "max_length",
    "no_repeat_ngram_size": "no_repeat_ngram",
    "len_penalty": "length_penalty",
}


def load(folder: Path) -> OFACaptioner:
    """The captioner of a released checkpoint, in evaluation mode; its weights are converted the first time.

    Raises ValueError for a configuration that this OFA is not built for, FileNotFoundError for files that are missing,
    RuntimeError (from torch) listing weights that are missing, left over or of another shape.
    """
    config, asked = json.loads((folder / "config.json").read_text()), {}
    if (folder / "configuration.json").is_file():
        asked = json.loads((folder / "configuration.json").read_text()).get("model", {})
    if unlike := differences(config, asked):
        raise ValueError(f"{folder}: not the configuration of an OFA for captions: {'; '.join(unlike)}")
    tokenizer = read_tokenizer(folder)
    if len(tokenizer) != config["vocab_size"]:
        raise ValueError(f"{folder}: {config['vocab_size']} tokens in config.json, {len(tokenizer)} in the vocabulary")
    ours = OFAConfig(**{name: config[theirs] for theirs, name in OURS.items()}, search=search(asked))
    ours = replace(ours, prompt=asked.get("prompt", ours.prompt))
    pictures = ResNetConfig(RESNETS[config["resnet_type"]], asked.get("patch_image_size", ResNetConfig.image_size))
    with torch.device("meta"):  # no random weights: they are all replaced
        model = OFACaptioner(ours, pictures, tokenizer)
    return load_weights(model, read_weights(folder))


def differences(config: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """What in config.json, and in the `model` of configuration.json, this OFA cannot be."""
    sides = {key: config.get(f"encoder_{key}") for key in ("ffn_dim", "attention_heads")}
    expected = ASSUMED | {f"decoder_{key}": value for key, value in sides.items()}
    expected |= {"imagenet_default_mean_and_std": False}
    found = config | asked
    unlike = [f"{key} is missing" for key in (*OURS, "resnet_type", "vocab_size") if key not in config]
    unlike += [
        f"{key}={found[key]!r}, expected {value!r}" for key, value in expected.items() if found.get(key, value) != value
    ]
    if found.get("resnet_type", "resnet50") not in RESNETS:
        unlike.append(f"resnet_type={found['resnet_type']!r}, expected one of {', '.join(RESNETS)}")
    return unlike


def search(asked: dict[str, Any]) -> dict[str, float]:
    """How captions are searched, in the words of `Decoding`."""
    found = {SEARCH[theirs]: value for theirs, value in asked.get("beam_search", {}).items() if theirs in SEARCH}
    return found | ({"max_length": found["max_length"] + 1} if "max_length" in found else {})


def read_tokenizer(folder: Path) -> BPETokenizer:
    if (folder / "vocab.txt").is_file():
        return BPETokenizer.from_bert(folder / "vocab.txt")
    if missing := [name for name in ("vocab.json", "merges.txt") if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder}: {' and '.join(missing)} missing (or vocab.txt, of a Chinese checkpoint)")
    return BPETokenizer.from_files(folder / "vocab.json", folder / "merges.txt")


def load_weights(model: OFACaptioner, weights: dict[str, Tensor]) -> OFACaptioner:
    """The model with these weights, in evaluation mode. RuntimeError (from torch) lists keys missing, left over or of
    another shape."""
    weights = distinct(weights)
    weights |= {name: weights[TIED[0]] for name in TIED[:2] if TIED[0] in weights}
    model.load_state_dict({our_name(name): tensor for name, tensor in weights.items()}, assign=True)
    return model.float().eval()


def our_name(name: str) -> str:
    """Where the weight called `name` in a released checkpoint lies in an OFACaptioner."""
    return f"encoder.resnet.{name.removeprefix(RESNET)}" if name.startswith(RESNET) else f"ofa.{name}"


def distinct(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights without what the model works out itself, and the table of tokens under one name only.

    Raises ValueError where tables differ that OFA ties.
    """
    tables = {name: weights[name] for name in TIED if name in weights}
    for name, table in tables.items():
        if not torch.equal(table, (first := next(iter(tables.values())))):
            raise ValueError(
                f"{name} differs from {next(iter(tables))} (means {table.mean():.4g}, {first.mean():.4g}); "
                "OFA ties the two"
            )
    kept = {name: t for name, t in weights.items() if name not in TIED and not name.endswith(COMPUTED)}
    return kept | dict(zip(TIED, list(tables.values())[:1], strict=False))


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a downloaded checkpoint.

    pytorch_model.bin is read with `weights_only=True` and kept beside it as model.safetensors (if one may write there),
    which is what is read from then on. A process that is killed leaves no half of that file.
    """
    original, converted = folder / WEIGHTS, folder / CONVERTED
    if not original.is_file() and not converted.is_file():
        raise FileNotFoundError(f"{folder}: expected {WEIGHTS} or {CONVERTED}; download the checkpoint there")
    if converted.is_file() and (not original.is_file() or converted.stat().st_mtime >= original.stat().st_mtime):
        return load_file(converted)
    try:
        weights = distinct(torch.load(original, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        raise ValueError(f"{original}: holds more than tensors, which could run code here: not read") from error
    if os.access(folder, os.W_OK):
        with aside(converted) as partial:
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, partial)
    return weights
