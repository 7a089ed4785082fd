"""The parts of OFA: attention with positional biases, encoder and decoder layers.

Module names are the keys of the released checkpoints. Shapes: B pictures, S source rows (N cells, then P prompt
tokens), T caption tokens, D width, H heads.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioning.models.ofa.config import IMAGE_BUCKETS, IMAGE_DISTANCES, TOKEN_BUCKETS, OFAConfig


def token_buckets(positions: int) -> Tensor:
    """(positions, positions) rows of the token table: exact distances below 128, logarithmic ones above."""
    mid = TOKEN_BUCKETS // 2
    distance = torch.arange(positions)[:, None] - torch.arange(positions)
    size = torch.where(distance.abs() < mid, mid - 1, distance.abs())
    logarithmic = torch.ceil(torch.log(size / mid) / math.log((positions - 1) / mid) * (mid - 1)).int() + mid
    return torch.where(size <= mid, distance, logarithmic * distance.sign()) + TOKEN_BUCKETS - 1


def image_buckets(cells: Tensor) -> Tensor:
    """(N, N) rows of the picture table for cells (N,) numbered 1 + 42 * row + column."""
    rows, columns = (cells - 1) // IMAGE_BUCKETS, (cells - 1) % IMAGE_BUCKETS
    down = rows[:, None] - rows + IMAGE_BUCKETS - 1
    right = columns[:, None] - columns + IMAGE_BUCKETS - 1
    found = down * (2 * IMAGE_BUCKETS - 1) + right
    assert found.max() < IMAGE_DISTANCES
    return found


class Attention(nn.Module):
    """Attention with an additive bias and a learned scale for each head, `c_attn`."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.scale = (2 * width / heads) ** -0.5  # 2: content and position share the variance of a score
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self.c_attn = nn.Parameter(torch.ones(heads))

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)  # (..., H, T, D / H)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.split(self.k_proj(x)), self.split(self.v_proj(x))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, D); keys and values (B, H, S, D / H); bias to (B, H, T, S): the result, and the weights."""
        scores = self.split(self.q_proj(x)) * self.scale @ keys.transpose(-1, -2) + bias
        weights = scores.softmax(dim=-1)
        mixed = (weights @ values) * self.c_attn[:, None, None]
        return self.out_proj(mixed.transpose(-3, -2).flatten(-2)), weights


class FeedForward(nn.Module):
    """Mixed into the layers, whose checkpoints keep these names at the layer itself."""

    def add_feed_forward(self, config: OFAConfig) -> None:
        self.fc1 = nn.Linear(config.width, config.feed_forward)
        self.fc2 = nn.Linear(config.feed_forward, config.width)
        self.ffn_layer_norm = nn.LayerNorm(config.feed_forward)
        self.final_layer_norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def feed_forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.fc2(self.ffn_layer_norm(F.gelu(self.fc1(self.final_layer_norm(x))))))


class EncoderLayer(FeedForward):
    def __init__(self, config: OFAConfig):
        super().__init__()
        self.self_attn = Attention(config.width, config.heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.self_attn_mid_layer_norm = nn.LayerNorm(config.width)
        self.add_feed_forward(config)

    def forward(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        normed = self.self_attn_layer_norm(x)
        mixed, weights = self.self_attn(normed, *self.self_attn.keys_values(normed), bias)
        return self.feed_forward(x + self.dropout(self.self_attn_mid_layer_norm(mixed))), weights


class DecoderLayer(EncoderLayer):
    def __init__(self, config: OFAConfig):
        super().__init__(config)
        self.cross_attn = Attention(config.width, config.heads)
        self.cross_attn_layer_norm = nn.LayerNorm(config.width)
        self.cross_attn_mid_layer_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, past, memory, biases) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """x (B, T, D) after `past` keys and values (or None), looking at `memory` keys and values.

        Returns the result, all keys and values, and the weights of self- and of cross-attention.
        """
        normed = self.self_attn_layer_norm(x)
        keys, values = self.self_attn.keys_values(normed)
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        mixed, heard = self.self_attn(normed, keys, values, biases[0])
        x = x + self.dropout(self.self_attn_mid_layer_norm(mixed))
        mixed, looked = self.cross_attn(self.cross_attn_layer_norm(x), *memory, biases[1])
        x = x + self.dropout(self.cross_attn_mid_layer_norm(mixed))
        return self.feed_forward(x), (keys, values), (heard, looked)
