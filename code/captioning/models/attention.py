"""Grid self-attention and a GRU that looks at one part of the picture at each word.

Self-attention over the cells (Vaswani et al. 2017), additive attention of the GRU on them (Bahdanau et al. 2015;
"Show, Attend and Tell", Xu et al. 2015) in the order of Luong et al. 2015, section 3.1: the GRU hears the word (and the
mean of the cells, as in Anderson et al. 2018, section 3.2), then it looks, then it speaks. So the GRU runs over a whole
caption at once, and looks with the last word known.

Sizes: B pictures, n captions a picture, K hypotheses, Q questions to a picture, T tokens, N cells, C feature channels,
D width, A attention width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioning.models.base import CaptionModel, State
from captioning.models.config import AttentionConfig, EncoderConfig, RegionConfig
from captioning.text import WordTokenizer


def box_positions(boxes: Tensor, width: int) -> Tensor:
    """Sines and cosines (B, N, width) of the centres of boxes (B, N, 4): half the channels for x, half for y.

    The 2-D form of Vaswani et al. 2017, section 3.5, on coordinates in parts of the picture, so that it serves any
    grid and any set of regions.
    """
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2  # (B, N, 2)
    frequencies = torch.exp(torch.linspace(0, math.log(32), width // 4, device=boxes.device)) * math.pi
    angles = (centres[..., None] * frequencies).flatten(-2)  # (B, N, width / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Words(NamedTuple):
    """Where the words of padded captions stand, so that layers which know no neighbours need not run on padding."""

    places: Tensor  # (P,) of the words among all R * T
    captions: int  # R
    length: int  # T

    @classmethod
    def of(cls, real: Tensor) -> Words:
        """Those of captions (R, T) that are `real`."""
        return cls(real.flatten().nonzero().squeeze(1), *real.shape)

    def packed(self, x: Tensor) -> Tensor:
        """(R, T, D), in whatever shape, to (P, D)."""
        return x.reshape(-1, x.shape[-1])[self.places]

    def padded(self, x: Tensor) -> Tensor:
        """(P, D) to (R, T, D), with zeros for padding."""
        empty = x.new_zeros(self.captions * self.length, x.shape[-1])
        return empty.index_copy(0, self.places, x).view(self.captions, self.length, -1)


@contextmanager
def trainable(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Queries, keys and values (..., D / heads) as scaled dot-product attention should have them.

    In 32 bits where it is trained on a CPU under autocast: there the backward pass of torch's fused kernel takes
    up to 16 times as long in bfloat16 (torch 2.15, findings/attention_backward_in_bfloat16.sh).
    """
    learns = any(x.requires_grad for x in tensors)
    slow = learns and tensors[0].is_cpu and torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", enabled=False) if slow else nullcontext():
        yield tuple(x.float() for x in tensors) if slow else tensors


class SelfAttention(nn.Module):
    """Multi-head self-attention (R, T, D) -> (R, T, D), batch first; with `words` (P, D) -> (P, D)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def split(self, x: Tensor, words: Words | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (R, heads, T, D / heads)."""
        qkv = words.padded(self.qkv(x)) if words else self.qkv(x)
        return qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, x: Tensor, causal: bool = False, words: Words | None = None) -> Tensor:
        with trainable(*self.split(x, words)) as parts:
            mixed = F.scaled_dot_product_attention(*parts, is_causal=causal)
        mixed = mixed.transpose(1, 2).flatten(2)  # (R, heads, T, D / heads) -> (R, T, D)
        return self.out(words.packed(mixed) if words else mixed)

    def weights(self, x: Tensor) -> Tensor:
        """The weights that a causal `forward` mixes with, averaged over the heads: (R, T, T)."""
        queries, keys, _ = self.split(x)
        scores = queries @ keys.transpose(-1, -2) / math.sqrt(keys.shape[-1])
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        return scores.masked_fill(future, -math.inf).softmax(dim=-1).mean(dim=1)


def feed_forward(width: int) -> nn.Sequential:
    """Two linear layers, four times as wide in between."""
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class GridLayer(nn.Module):
    """One pre-norm self-attention layer over the cells, with residuals; dropout where a branch joins the stream."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.feed_forward = feed_forward(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.feed_forward(self.norm2(x)))


class Grid(nn.Module):
    """Features (B, N, C) to memory (B, N, D): norm, projection, positions, self-attention layers, norm."""

    def __init__(self, channels: int, width: int, heads: int, layers: int, dropout: float):
        super().__init__()
        self.scale = nn.LayerNorm(channels)  # encoders differ in the size of their features; positions are about 1
        self.project = nn.Linear(channels, width)
        self.layers = nn.ModuleList(GridLayer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        x = self.project(self.scale(features))
        x = self.dropout(x + box_positions(features[..., -4:], x.shape[-1]))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class AdditiveAttention(nn.Module):
    """Bahdanau attention: score = v . tanh(W memory + U query)."""

    def __init__(self, width: int, attention: int):
        super().__init__()
        self.key = nn.Linear(width, attention)
        self.query = nn.Linear(width, attention, bias=False)
        self.score = nn.Linear(attention, 1, bias=False)

    def forward(self, query: Tensor, keys: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Context (R, K, D) and weights (R, K, N) for query (R, K, D), keys (R, N, A) and memory (R, N, D)."""
        scores = self.score(torch.tanh(keys[:, None] + self.query(query)[:, :, None])).squeeze(-1)  # (R, K, N)
        weights = scores.softmax(dim=-1)
        return weights @ memory, weights


class AttentionCaptioner(CaptionModel):
    kind = "attention"

    def __init__(self, config: AttentionConfig, encoder: EncoderConfig | RegionConfig, tokenizer: WordTokenizer):
        super().__init__(config, encoder, tokenizer)
        width = config.width
        self.grid = Grid(self.encoder.channels, width, config.heads, config.encoder_layers, dropout=0.1)
        self.start = nn.Linear(width, width)
        self.attention = AdditiveAttention(width, config.attention)
        self.embedding = nn.Embedding(len(tokenizer), width, padding_idx=tokenizer.pad_id)
        self.gru = nn.GRU(2 * width, width, batch_first=True)
        self.join = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, len(tokenizer))
        for weight in (self.embedding.weight, self.head.weight):
            nn.init.uniform_(weight, -0.1, 0.1)

    def hear(self, tokens: Tensor, mean: Tensor, hidden: Tensor) -> Tensor:
        """Memories (R, T, D) after each of tokens (R, T); the mean of the cells (R, D) is heard with every word."""
        words = self.embedding(tokens)
        return self.gru(torch.cat([words, mean[:, None].expand_as(words)], dim=-1), hidden[None].contiguous())[0]

    def speak(self, hidden: Tensor, keys: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, Q, V) and weights (B, Q, N) for Q memories of one picture, (B, Q, D): look first, then speak."""
        context, weights = self.attention(hidden, keys, memory)
        joined = torch.tanh(self.join(torch.cat([hidden, context], dim=-1)))
        return self.head(self.dropout(joined)), weights

    def decode_with_attention(self, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B*n, T, V) and where each word looked, (B*n, T, N); the n captions of a picture share its keys."""
        state, b = self.init_state(features), len(features)
        n, t = len(tokens) // b, tokens.shape[1]
        keys, memory, mean = state.picture.values()
        start = state.history["hidden"][:, 0]
        hidden = self.hear(tokens, mean.repeat_interleave(n, dim=0), start.repeat_interleave(n, dim=0))  # (B*n, T, D)
        logits, weights = self.speak(hidden.reshape(b, n * t, -1), keys, memory)  # n*T questions to each picture
        return logits.view(b * n, t, -1), weights.view(b * n, t, -1)

    def decode(self, features: Tensor, tokens: Tensor) -> Tensor:
        return self.decode_with_attention(features, tokens)[0]

    def attention_maps(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Where each word looked in the picture as it is, (B*n, T, N): row t is the glance that chose the token after
        `tokens[:, t]`."""
        return self.decode_with_attention(self.first_view(images), tokens)[1]

    def init_state(self, features: Tensor) -> State:
        memory = self.grid(features)
        mean = memory.mean(dim=1)
        picture = {"keys": self.attention.key(memory), "memory": memory, "mean": mean}
        return State(picture, {"hidden": torch.tanh(self.start(mean))[:, None]})

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        b, k = tokens.shape
        keys, memory, mean = state.picture.values()
        mean = mean[:, None].expand(-1, k, -1).flatten(0, 1)
        hidden = self.hear(tokens.reshape(b * k, 1), mean, state.history["hidden"].flatten(0, 1)).view(b, k, -1)
        return self.speak(hidden, keys, memory)[0], State(state.picture, {"hidden": hidden})
