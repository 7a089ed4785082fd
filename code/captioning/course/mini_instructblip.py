"""A small InstructBLIP of the real `transformers` classes, trained on *street*: the mini profile's stand-in for 7B.

Nothing can be downloaded there. It looks through the frozen eyes of the course, whose features stand in the place of a
vision tower; a Q-Former and a Llama of two layers behind them begin with random weights. What it says goes through the
same code as the words of Vicuna, and its mistakes are real: it has seen few pictures, for a minute or two, and its
teachers were as untidy as those of larger models.

Shapes: B pairs, T tokens, N cells, C channels of the eyes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset, DatasetDict
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    BlipImageProcessor,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    PreTrainedTokenizerFast,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from captioning.course.street_lessons import UNTIDY, Pair, instruction_pairs
from captioning.data.batches import fingerprint, shuffled_batches
from captioning.data.minifashion import ATTRIBUTES
from captioning.data.scenes import SCENE, mark_scene
from captioning.learning.config import TrainConfig
from captioning.learning.loop import Record, train
from captioning.rebuild.backends import generation
from captioning.rebuild.prompts import PROMPTS, Prompt, Sampling
from captioning.text import WordTokenizer

SIZE = {
    # of the tower only the width is used, for what the eyes see is made as wide as this
    "vision_config": {"hidden_size": 96, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4,
                      "image_size": 32, "patch_size": 32, "initializer_range": 0.02},
    "qformer_config": {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
                       "cross_attention_frequency": 1, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "text_config": {"model_type": "llama", "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 2,
                    "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 256},
    "num_query_tokens": 12,
}  # fmt: skip
MINI_SEEING = TrainConfig(epochs=5, batch_size=32, optimizer="muon", lr=5e-3, weight_decay=0.02, warmup=0.1, clip=1.0)
MINI_SPEAKING = replace(MINI_SEEING, epochs=4)
# What the queries learn to see first, one each: all of the place, and of the clothes what is large.
SEEN = (*SCENE, "gender", "garment", "sleeve", "lower", "length")
LONGEST = 100  # tokens of an answer
IGNORED = -100  # the label of a token that does not count, and of an attribute that a picture does not show


Features = Mapping[str, np.ndarray]  # {picture file: what the frozen eyes see of it, (N, C) in half precision}


def new_processor(pairs: list[Pair], size: dict = SIZE) -> InstructBlipProcessor:
    """Two word-level tokenizers, as InstructBLIP has two, with the vocabulary of the pairs."""
    words = WordTokenizer.train(text for pair in pairs for text in (pair.prompt, pair.answer)).tokenizer
    special = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    language, queries = (PreTrainedTokenizerFast(tokenizer_object=words, **special) for _ in range(2))
    language.padding_side = "left"
    side = size["vision_config"]["image_size"]
    pictures = BlipImageProcessor(size={"height": side, "width": side}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return InstructBlipProcessor(pictures, language, queries, num_query_tokens=size["num_query_tokens"])


def new_config(processor: InstructBlipProcessor, size: dict = SIZE, **more: Any) -> InstructBlipConfig:
    """The layout of Salesforce/instructblip-vicuna-7b in these sizes."""
    tokenizer = processor.tokenizer
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    return InstructBlipConfig(
        vision_config=size["vision_config"],
        qformer_config=size["qformer_config"] | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id},
        text_config=size["text_config"] | {"vocab_size": len(tokenizer)} | ids,
        num_query_tokens=size["num_query_tokens"],
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        **more,
    )


class Grid(nn.Module):
    """Stands where the vision tower of an InstructBLIP is: features (B, N, C) of frozen eyes to vectors (B, N, width).

    The eyes' last four channels are the cells' boxes; here each cell has a vector for its place instead.
    """

    def __init__(self, cells: int, channels: int, width: int):
        super().__init__()
        self.norm, self.project = nn.LayerNorm(channels - 4), nn.Linear(channels - 4, width)
        self.place = nn.Parameter(torch.randn(cells, width) * 0.5)

    def forward(self, pixel_values: Tensor, **options: Any) -> BaseModelOutputWithPooling:
        seen = self.project(self.norm(pixel_values[..., :-4])) + self.place
        return BaseModelOutputWithPooling(last_hidden_state=seen)


class Miniature(InstructBlipForConditionalGeneration):
    """An InstructBLIP that is given features of frozen eyes in place of pixels.

    Its config says what shape they have, `grid` (N, C). `processor` stands with it, so that a run's folder holds both.
    """

    processor: InstructBlipProcessor

    def __init__(self, config: InstructBlipConfig):
        super().__init__(config)
        self.vision_model = Grid(*config.grid, config.vision_config.hidden_size)

    def save_pretrained(self, folder: str | Path, **options) -> None:
        super().save_pretrained(folder, **options)
        self.processor.save_pretrained(folder)


def new_model(processor: InstructBlipProcessor, grid: tuple[int, int], size: dict = SIZE, seed: int = 0) -> Miniature:
    """Random weights for features (B, *grid)."""
    torch.manual_seed(seed)
    model = Miniature(new_config(processor, size, grid=list(grid)))
    nn.init.normal_(model.query_tokens, std=0.02)  # zeros would all stay the same
    model.processor = processor
    return model


def one(features: Features, picture: str) -> Tensor:
    return torch.from_numpy(features[picture].astype(np.float32))


def stacked(features: Features, pictures: Sequence[str]) -> Tensor:
    """(B, N, C) float32."""
    return torch.stack([one(features, picture) for picture in pictures])


@torch.inference_mode()
def answers(model: Miniature, features: Tensor, prompt: str, sampling: Sampling) -> list[list[str]]:
    """`sampling.samples` answers to one prompt about each of the pictures of which `features` (B, N, C) are seen."""
    asked = model.processor(text=[prompt], images=None, return_tensors="pt").to(model.device)
    places = torch.full((1, model.config.num_query_tokens), model.config.image_token_index, device=model.device)
    ids = torch.cat([places, asked["input_ids"]], dim=1)
    inputs = {name: x.expand(len(features), -1) for name, x in (asked | {"input_ids": ids}).items()}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    said = model.generate(pixel_values=features, **inputs, **generation(sampling))[:, ids.shape[1] :]
    texts = model.processor.tokenizer.batch_decode(said, skip_special_tokens=True)
    return [[text.strip() for text in texts[i : i + sampling.samples]] for i in range(0, len(texts), sampling.samples)]


class MiniatureWriter:
    """A saved `Miniature` as a writer; `features` are what the eyes see of picture files, as in `stacked`."""

    def __init__(self, model: str, features: Features):
        self.name, self.features = model, features

    @cached_property
    def model(self) -> Miniature:
        model = Miniature.from_pretrained(self.name).eval()
        model.processor = InstructBlipProcessor.from_pretrained(self.name)
        return model

    def write(self, pictures: Sequence[str], prompt: Prompt, seed: int) -> list[list[str]]:
        torch.manual_seed(seed)
        return answers(self.model, stacked(self.features, pictures).to(self.model.device), prompt.text, prompt.sampling)

    def facts(self) -> dict[str, Any]:
        return {"kind": "instructblip", "model": Path(self.name).name, "precision": "float32"}


class PairRows(torch.utils.data.Dataset):
    """Pairs as tensors; `pictures` are the files of their rows."""

    def __init__(
        self, features: Features, pictures: Sequence[str], pairs: list[Pair], processor: InstructBlipProcessor
    ):
        self.features, self.pictures = features, list(pictures)
        self.pairs, self.tokenizer = pairs, processor.tokenizer
        self.image = [self.tokenizer.convert_tokens_to_ids("<image>")] * processor.num_query_tokens
        asked = {pair.prompt for pair in pairs}
        self.prompts = {text: self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in asked}
        self.answers = [self.tokenizer(pair.answer, add_special_tokens=False)["input_ids"] for pair in pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: tuple[int, int]) -> dict[str, Tensor]:
        pair, answer = self.pairs[index[1]], self.answers[index[1]][:LONGEST]
        prompt = self.prompts[pair.prompt]
        before = [*self.image, self.tokenizer.bos_token_id, *prompt]
        answer = [*answer, self.tokenizer.eos_token_id]
        return {
            "pixel_values": one(self.features, self.pictures[pair.row]),
            "qformer_input_ids": torch.tensor(prompt),
            "input_ids": torch.tensor(before + answer),
            "labels": torch.tensor([IGNORED] * len(before) + answer),
        }

    def collate(self, items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        def stack(name: str, value: int) -> Tensor:
            return pad_sequence([item[name] for item in items], batch_first=True, padding_value=value)

        pad = self.tokenizer.pad_token_id
        batch = {name: stack(name, pad) for name in ("qformer_input_ids", "input_ids")}
        ids, asked = batch["input_ids"], batch["qformer_input_ids"]
        masks = {"qformer_attention_mask": (asked != pad).long(), "attention_mask": (ids != pad).long()}
        pixels = torch.stack([item["pixel_values"] for item in items])
        return batch | masks | {"pixel_values": pixels, "labels": stack("labels", IGNORED)}


class Seer(nn.Module):
    """The part of the model that sees, for the first stage: each query token is to know one attribute.

    Called with features (B, N, C) it gives a list of logits (B, values), one for each attribute of `SEEN`.
    """

    def __init__(self, model: Miniature):
        super().__init__()
        self.whole = [model]  # in a list: its language model is no part of what is trained here
        self.vision_model, self.qformer, self.query_tokens = model.vision_model, model.qformer, model.query_tokens
        # computed with the queries, but its turn comes in the second stage; here so that it is on the same device
        self.language_projection = model.language_projection.requires_grad_(False)
        known, width = ATTRIBUTES | SCENE, model.config.qformer_config.hidden_size
        self.heads = nn.ModuleList(nn.Linear(width, len(known[name])) for name in SEEN)
        prompts = [prompt.text for prompt in PROMPTS.values()]
        asked = model.processor.qformer_tokenizer(prompts, padding=True, return_tensors="pt")
        self.register_buffer("asked", asked["input_ids"])
        self.register_buffer("asked_mask", asked["attention_mask"])

    def forward(self, features: Tensor) -> list[Tensor]:
        which = torch.arange(len(features), device=features.device) % len(self.asked)  # every prompt gets its turn
        [model] = self.whole
        found = model.get_image_features(features, self.asked[which], self.asked_mask[which]).qformer_outputs
        return [head(found.last_hidden_state[:, i]) for i, head in enumerate(self.heads)]

    def save_pretrained(self, folder: Path) -> None:
        self.whole[0].save_pretrained(folder)


class SeeingLoss(nn.Module):
    """Cross-entropy of the attributes; `targets` (rows, len(SEEN)) are indices of values."""

    def __init__(self, model: Seer, targets: Tensor):
        super().__init__()
        self.model = model
        self.register_buffer("targets", targets)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        targets = self.targets[batch["rows"]]  # (B, len(SEEN))
        each = zip(self.model(batch["pixel_values"]), targets.T, strict=True)
        losses = [F.cross_entropy(one, target, ignore_index=IGNORED, reduction="sum") for one, target in each]
        loss = torch.stack(losses).sum() / (targets != IGNORED).sum()
        return loss, {"loss": loss.detach()}


def seen_targets(rows: Dataset) -> Tensor:
    """The index of each value of `SEEN`, (rows, len(SEEN)); IGNORED where the picture does not show it."""
    known = ATTRIBUTES | SCENE
    return torch.tensor(
        [[IGNORED if shown[n] is None else known[n].index(shown[n]) for n in SEEN] for shown in rows["attributes"]]
    )


@torch.inference_mode()
def seen_right(model: Seer, targets: Tensor, features: Tensor) -> Record:
    logits = model(features.to(model.query_tokens.device))
    chosen = torch.stack([one.argmax(-1) for one in logits], dim=1).cpu()
    right, shown = (chosen == targets).sum(0), (targets != IGNORED).sum(0).clamp(min=1)
    return {"score": float(right.sum() / shown.sum())} | dict(zip(SEEN, (right / shown).tolist(), strict=True))


class AnswerLoss(nn.Module):
    """Cross-entropy of the answers, the model's own loss."""

    def __init__(self, model: Miniature):
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.model(**batch).loss
        return loss, {"loss": loss.detach()}


def places_right(model: Miniature, rows: Dataset, features: Tensor) -> Record:
    """Share of the places' attributes that the likeliest answers to the newest background prompt have right."""
    text = PROMPTS["background-v3"].text
    said = answers(model, features.to(model.device), text, Sampling(sample=False, max_tokens=60))
    marks = [mark_scene(texts[0], truth) for texts, truth in zip(said, rows["attributes"], strict=True)]
    right = {name: np.mean([mark[name] for mark in marks if name in mark]) for name in marks[0]}
    return {"score": float(np.mean([hit for mark in marks for hit in mark.values()])), "scene": float(right["scene"])}


def train_miniature(
    lessons: DatasetDict,
    features: Features,
    run: Path,
    seeing: TrainConfig = MINI_SEEING,
    speaking: TrainConfig = MINI_SPEAKING,
    size: dict = SIZE,
) -> list[Record]:
    """The two stages of BLIP-2 (Li et al. 2023, section 3) in small: first to see, then, on top of it, to speak.

    Stage 1 trains the grid and the Q-Former to know attributes; stage 2 trains the language model and what leads to it
    on the instruction pairs, with the rest frozen. Returns the log of stage 2; the model is in `run/best`.
    """
    rows, some = lessons["train"], lessons["val"]
    pairs = instruction_pairs(rows, speaking.seed)
    processor = new_processor(pairs, size)
    unseen = stacked(features, some["image"])
    model = new_model(processor, unseen.shape[1:], size, speaking.seed)
    about = {"size": size, "lessons": fingerprint(lessons), "untidy": UNTIDY}

    seer, pictures = Seer(model), PictureRows(features, rows["image"])
    validate = partial(seen_right, targets=seen_targets(some), features=unseen)
    batches = shuffled_batches(pictures, [1] * len(rows), None, seeing.batch_size, 0, seeing.seed)
    train(SeeingLoss(seer, seen_targets(rows)), batches, seeing, run / "seeing", validate, about=about)
    eyes = load_file(run / "seeing" / "last" / "model.safetensors")
    model.load_state_dict({name: eyes[name] for name in model.state_dict()})
    for part in (model.vision_model, model.qformer):
        part.requires_grad_(False)
    model.query_tokens.requires_grad_(False)
    model.language_projection.requires_grad_(True)

    asked = PairRows(features, rows["image"], pairs, processor)
    lengths = [len(answer) for answer in asked.answers]
    batches = shuffled_batches(asked, lengths, asked.collate, speaking.batch_size, 0, speaking.seed)
    validate = partial(places_right, rows=some, features=unseen)
    about |= {"seeing": asdict(seeing)}
    return train(AnswerLoss(model), batches, speaking, run, validate, about=about)


class PictureRows(torch.utils.data.Dataset):
    """Items (epoch, row): what the eyes see of the picture, and its row."""

    def __init__(self, features: Features, pictures: Sequence[str]):
        self.features, self.pictures = features, list(pictures)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: tuple[int, int]) -> dict[str, Tensor]:
        return {"pixel_values": one(self.features, self.pictures[index[1]]), "rows": torch.tensor(index[1])}
