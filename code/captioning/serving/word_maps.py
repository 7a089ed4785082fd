"""Word maps: a caption word by word, with the probability of each and the places that the model looked at for it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np
import torch
from torch import Tensor

from captioning.decoding.config import Decoding
from captioning.metrics.words import WORD, spaced
from captioning.models.base import CaptionModel


@dataclass(frozen=True)
class WordMap:
    """One caption of one picture. T words, the end among them if it was said; N cells or regions."""

    caption: str
    words: list[str]  # the end is ""
    probabilities: list[float]  # of each word, given those before it
    log_probability: float
    attention: np.ndarray | None  # (T, N); None for a model that does not say where it looks
    boxes: np.ndarray  # (N, 4): x0, y0, x1, y1 in parts of the picture


@torch.inference_mode()
def word_maps(model: CaptionModel, features: Tensor, decoding: Decoding, style: str | None = None) -> list[WordMap]:
    """The captions of one picture's features (1, N, C), best first; `style` is one of the model's.

    The question that asks for a style is P rows more, with empty boxes: what a word looked at may lie there.
    """
    if style is not None:
        features = model.asked(features, model.prompts([model.prompt(style)]))
    found = model.generate(features, decoding)
    said = zip(found.ids[0], found.texts[0], found.log_probs[0].tolist(), strict=True)
    return [word_map(model, features, ids, caption, score) for ids, caption, score in said if ids]


def word_map(model: CaptionModel, features: Tensor, ids: list[int], caption: str, score: float) -> WordMap:
    """The probabilities come from the ordinary `forward`: there is no second path through a model."""
    words = by_word(model.tokenizer.decode, ids)
    tokens = torch.tensor([[model.tokenizer.bos_id, *ids[:-1]]], device=features.device)
    chosen = torch.tensor(ids, device=features.device)
    probabilities = model(features, tokens)[0].float().softmax(dim=-1)[torch.arange(len(ids)), chosen]
    maps = model.attention_maps(features, tokens)[0].float() if hasattr(model, "attention_maps") else None
    return WordMap(
        caption,
        [text for text, _ in words],
        [math.prod(probabilities[places].tolist()) for _, places in words],
        score,
        None if maps is None else np.stack([maps[places].mean(dim=0).cpu().numpy() for _, places in words]),
        model.first_view(features)[0, :, -4:].float().cpu().numpy(),
    )


def by_word(decode: Callable[[Sequence[int]], str], ids: Sequence[int]) -> list[tuple[str, slice]]:
    """The words and marks of a caption, each with where the ids lie that it is made of; the end is the word ""."""
    so_far = [units(decode(ids[: end + 1])) for end in range(len(ids))]
    ends = not units(decode(ids[-1:]))
    counts = [max(1, len(said)) for said in so_far[: len(ids) - ends]]
    counts = [*accumulate(reversed(counts), min)][::-1]  # a later piece may make one word of several: t - shirt
    words, start, first = [], 0, 0
    for count, group in groupby(counts):
        end = start + len([*group])
        words.append(("".join(so_far[-1][first:count]), slice(start, end)))
        start, first = end, count
    return words + [("", slice(start, len(ids)))] * ends


def units(text: str) -> list[str]:
    """The words and marks of a text."""
    return re.findall(rf"{WORD}|\S", spaced(text))


def heat(weights: np.ndarray, boxes: np.ndarray, side: int = 32) -> np.ndarray:
    """Attention (N,) on boxes (N, 4) as a map (side, side), 0 to 1: the weight of a box spread over its area."""
    heat = np.zeros((side, side), dtype=np.float32)
    for weight, (left, top, right, bottom) in zip(weights, np.rint(boxes * side).astype(int), strict=True):
        heat[top:bottom, left:right] += weight / max(1, (bottom - top) * (right - left))
    return heat / max(heat.max(), 1e-12)
