"""A small InstructBLIP of the real `transformers` classes, trained on *street*: the mini profile's stand-in for 7B.

Nothing can be downloaded there. What this one says goes through the same code as the words of Vicuna, and its mistakes
are real: it has seen 3,000 pictures for a minute or two, and its teachers were as untidy as those of larger models.

Shapes: B pairs, T tokens, S pixels a side.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

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

from captioning.data.batches import fingerprint, shuffled_batches
from captioning.data.minifashion import ATTRIBUTES
from captioning.data.pictures import read_picture
from captioning.data.scenes import SCENE, mark_scene
from captioning.learning.config import TrainConfig
from captioning.learning.loop import Record, train
from captioning.models.vlm import Question, VisionLanguageModel
from captioning.rebuild.backends import generation
from captioning.rebuild.prompts import PROMPTS, Sampling
from captioning.text import WordTokenizer

SIZE = {
    "vision_config": {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4,
                      "image_size": 64, "patch_size": 8, "initializer_range": 0.02},
    "qformer_config": {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
                       "cross_attention_frequency": 1, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "text_config": {"model_type": "llama", "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 2,
                    "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 256},
    "num_query_tokens": 12,
}  # fmt: skip
MINI_SEEING = TrainConfig(epochs=5, batch_size=32, optimizer="muon", lr=5e-3, weight_decay=0.02, warmup=0.1, clip=1.0)
MINI_SPEAKING = TrainConfig(epochs=6, batch_size=32, lr=2e-3, warmup=0.05, clip=1.0)
UNTIDY = 0.3  # share of the answers about the place that go on about the clothes, as people's and models' answers do
# What the queries learn to see first, one each: all of the place, and of the clothes what is large.
SEEN = (*SCENE, "gender", "garment", "sleeve", "lower", "length")
LONGEST = 100  # tokens of an answer
IGNORED = -100  # the label of a token that does not count, and of an attribute that a picture does not show


@dataclass(frozen=True)
class Pair:
    """One picture (by its row), what is asked of it, and the answer."""

    row: int
    prompt: str
    answer: str


def instruction_pairs(rows: Dataset, seed: int = 0, untidy: float = UNTIDY) -> list[Pair]:
    """Pairs of *street*: the place of every picture, and of every other one the clothes, in a vague first sentence.

    Each is asked with one of the prompts. `untidy` of the answers about the place carry a sentence about the clothes.
    """
    asked = {topic: [p.text for p in PROMPTS.values() if p.topic == topic] for topic in ("clothes", "background")}
    pairs = []
    for row, (captions, background) in enumerate(zip(rows["captions"], rows["background"], strict=True)):
        rng = random.Random(f"pairs {seed} {row}")
        clothes = [f"{sentence} ." for sentence in captions[0].removesuffix(" .").split(" . ")]
        if rng.random() < untidy:
            extra = rng.choice(clothes)
            background = rng.choice((f"{background} {extra}", f"{extra} {background}"))
        pairs.append(Pair(row, rng.choice(asked["background"]), background))
        if row % 2:
            pairs.append(Pair(row, rng.choice(asked["clothes"]), clothes[0]))
    return pairs


def new_processor(pairs: list[Pair], size: dict = SIZE) -> InstructBlipProcessor:
    """Two word-level tokenizers, as InstructBLIP has two, with the vocabulary of the pairs."""
    words = WordTokenizer.train(text for pair in pairs for text in (pair.prompt, pair.answer)).tokenizer
    special = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    language, queries = (PreTrainedTokenizerFast(tokenizer_object=words, **special) for _ in range(2))
    language.padding_side = "left"
    side = size["vision_config"]["image_size"]
    pictures = BlipImageProcessor(size={"height": side, "width": side}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return InstructBlipProcessor(pictures, language, queries, num_query_tokens=size["num_query_tokens"])


class Miniature(InstructBlipForConditionalGeneration):
    """The model together with its processor, so that a run's folder holds both."""

    processor: InstructBlipProcessor

    def save_pretrained(self, folder: str | Path, **options) -> None:
        super().save_pretrained(folder, **options)
        self.processor.save_pretrained(folder)


def new_model(processor: InstructBlipProcessor, size: dict = SIZE, seed: int = 0) -> Miniature:
    """Random weights, in the layout of Salesforce/instructblip-vicuna-7b."""
    torch.manual_seed(seed)
    tokenizer = processor.tokenizer
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = InstructBlipConfig(
        vision_config=size["vision_config"],
        qformer_config=size["qformer_config"] | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id},
        text_config=size["text_config"] | {"vocab_size": len(tokenizer)} | ids,
        num_query_tokens=size["num_query_tokens"],
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = Miniature(config)
    nn.init.normal_(model.query_tokens, std=0.02)  # zeros would all stay the same
    model.processor = processor
    return model


class PairRows(torch.utils.data.Dataset):
    """Pairs as tensors; all pictures of `rows` are read once, (rows, 3, S, S) float."""

    def __init__(self, rows: Dataset, pairs: list[Pair], processor: InstructBlipProcessor):
        self.pairs, self.tokenizer = pairs, processor.tokenizer
        self.pixels = pixel_values(list(rows["image"]), processor)
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
            "pixel_values": self.pixels[pair.row],
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


def pixel_values(images: list[str], processor: InstructBlipProcessor, chunk: int = 500) -> Tensor:
    """(images, 3, S, S) as the processor makes them."""
    parts = (images[start : start + chunk] for start in range(0, len(images), chunk))
    read = ([read_picture(image) for image in part] for part in parts)
    return torch.cat([processor.image_processor(part, return_tensors="pt")["pixel_values"] for part in read])


class Seer(nn.Module):
    """The part of the model that sees, for the first stage: each query token is to know one attribute.

    Called with pixels (B, 3, S, S) it gives a list of logits (B, values), one for each attribute of `SEEN`.
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

    def forward(self, pixels: Tensor) -> list[Tensor]:
        which = torch.arange(len(pixels), device=pixels.device) % len(self.asked)  # every prompt gets its turn
        [model] = self.whole
        found = model.get_image_features(pixels, self.asked[which], self.asked_mask[which]).qformer_outputs
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
def seen_right(model: Seer, targets: Tensor, pixels: Tensor) -> Record:
    logits = model(pixels.to(model.query_tokens.device))
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


def places_right(model: Miniature, rows: Dataset) -> Record:
    """Share of the places' attributes that the likeliest answers to the newest background prompt have right."""
    text, likeliest = PROMPTS["background-v2"].text, Sampling(sample=False, max_tokens=60)
    questions = [Question(read_picture(image), text) for image in rows["image"]]
    said = VisionLanguageModel(model, model.processor, text).answer(questions, **generation(likeliest))
    marks = [mark_scene(answer, truth) for answer, truth in zip(said, rows["attributes"], strict=True)]
    right = {name: np.mean([mark[name] for mark in marks if name in mark]) for name in marks[0]}
    return {"score": float(np.mean([hit for mark in marks for hit in mark.values()])), "scene": float(right["scene"])}


def train_miniature(
    data: DatasetDict,
    run: Path,
    seeing: TrainConfig = MINI_SEEING,
    speaking: TrainConfig = MINI_SPEAKING,
    size: dict = SIZE,
    shown: int = 100,
) -> list[Record]:
    """The two stages of BLIP-2 (Li et al. 2023, section 3) in small: first to see, then, on top of it, to speak.

    Stage 1 trains vision tower and Q-Former to know attributes; stage 2 trains the language model and what leads to it
    on the instruction pairs, with the rest frozen. Returns the log of stage 2; the model is in `run/best`, in the
    layout of the large one.
    """
    pairs = instruction_pairs(data["train"], speaking.seed)
    processor = new_processor(pairs, size)
    model, rows = new_model(processor, size, speaking.seed), PairRows(data["train"], pairs, processor)
    some = data["val"].select(range(min(shown, len(data["val"]))))
    pixels = pixel_values(list(some["image"]), processor)
    about = {"size": size, "data": fingerprint(data), "untidy": UNTIDY}

    seer = Seer(model)
    alike = [1] * len(rows.pixels)
    pictures = shuffled_batches(PictureRows(rows.pixels), alike, None, seeing.batch_size, 0, seeing.seed)
    validate = partial(seen_right, targets=seen_targets(some), pixels=pixels)
    objective = SeeingLoss(seer, seen_targets(data["train"]))
    train(objective, pictures, seeing, run / "seeing", validate, about=about)
    eyes = load_file(run / "seeing" / "last" / "model.safetensors")
    model.load_state_dict({name: eyes[name] for name in model.state_dict()})
    for part in (model.vision_model, model.qformer):
        part.requires_grad_(False)
    model.query_tokens.requires_grad_(False)
    model.language_projection.requires_grad_(True)

    lengths = [len(answer) for answer in rows.answers]
    batches = shuffled_batches(rows, lengths, rows.collate, speaking.batch_size, 0, speaking.seed)
    validate = partial(places_right, rows=some)
    about |= {"seeing": asdict(seeing)}
    return train(AnswerLoss(model), batches, speaking, run, validate, about=about)


class PictureRows(torch.utils.data.Dataset):
    """Items (epoch, row): the picture and its row."""

    def __init__(self, pixels: Tensor):
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: tuple[int, int]) -> dict[str, Tensor]:
        return {"pixel_values": self.pixels[index[1]], "rows": torch.tensor(index[1])}
