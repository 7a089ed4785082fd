"""The parts of OFA: attention with positional biases, encoder and decoder layers.

Module names are the keys of the released checkpoints. Shapes: B pictures, S source rows (N cells, then P prompt
tokens), T caption tokens, K hypotheses, n captions of a picture, D width, H heads.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioning.models.ofa.config import IMAGE_BUCKETS, TOKEN_BUCKETS, OFAConfig

KeysValues = tuple[Tensor, Tensor]


def token_buckets(tokens: int, positions: int) -> Tensor:
    """(T, T) rows of the token table for the first tokens of all `positions`: distances below 128 are exact, those
    above logarithmic."""
    mid = TOKEN_BUCKETS // 2
    distance = torch.arange(tokens)[:, None] - torch.arange(tokens)
    size = torch.where(distance.abs() < mid, mid - 1, distance.abs())
    logarithmic = torch.ceil(torch.log(size / mid) / math.log((positions - 1) / mid) * (mid - 1)).int() + mid
    return torch.where(size <= mid, distance, logarithmic * distance.sign()) + TOKEN_BUCKETS - 1


def image_buckets(cells: Tensor) -> Tensor:
    """(N, N) rows of the picture table for cells (N,) numbered 1 + 42 * row + column."""
    rows, columns = (cells - 1) // IMAGE_BUCKETS, (cells - 1) % IMAGE_BUCKETS
    down = rows[:, None] - rows + IMAGE_BUCKETS - 1
    right = columns[:, None] - columns + IMAGE_BUCKETS - 1
    return down * (2 * IMAGE_BUCKETS - 1) + right


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

    def keys_values(self, x: Tensor) -> KeysValues:
        return self.split(self.k_proj(x)), self.split(self.v_proj(x))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """x (B, Q, D); keys and values (B, H, S, D / H); bias (B, H, Q, S), or what broadcasts to it: (B, Q, D)."""
        queries = self.split(self.q_proj(x))
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, scale=self.scale)
        return self.out_proj((mixed * self.c_attn[:, None, None]).transpose(-3, -2).flatten(-2))

    def weights(self, x: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
        """The weights (B, H, Q, S) that `forward` mixes with."""
        return (self.split(self.q_proj(x)) * self.scale @ keys.transpose(-1, -2) + bias).softmax(dim=-1)


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

    def listen(self, x: Tensor, bias: Tensor) -> Tensor:
        """Self-attention on x (B, T, D)."""
        normed = self.self_attn_layer_norm(x)
        mixed = self.self_attn(normed, *self.self_attn.keys_values(normed), bias)
        return x + self.dropout(self.self_attn_mid_layer_norm(mixed))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return self.feed_forward(self.listen(x, bias))

    def self_weights(self, x: Tensor, bias: Tensor) -> Tensor:
        """The weights (B, H, T, T) that `listen` mixes with."""
        normed = self.self_attn_layer_norm(x)
        return self.self_attn.weights(normed, self.self_attn.keys_values(normed)[0], bias)


class DecoderLayer(EncoderLayer):
    """Keys and values of what is looked at are made once a picture, and shared by all of its captions."""

    def __init__(self, config: OFAConfig):
        super().__init__(config)
        self.cross_attn = Attention(config.width, config.heads)
        self.cross_attn_layer_norm = nn.LayerNorm(config.width)
        self.cross_attn_mid_layer_norm = nn.LayerNorm(config.width)

    def look(self, x: Tensor, memory: KeysValues, bias: Tensor) -> Tensor:
        """Cross-attention and feed-forward on x (B, Q, D), be these the words of all captions or the newest ones."""
        mixed = self.cross_attn(self.cross_attn_layer_norm(x), *memory, bias)
        return self.feed_forward(x + self.dropout(self.cross_attn_mid_layer_norm(mixed)))

    def forward(self, x: Tensor, memory: KeysValues, own: Tensor, cross: Tensor) -> Tensor:
        """x (B*n, T, D): n captions of each of B pictures; biases `own` (H, T, T) and `cross` (.., H, n*T, S)."""
        return self.look(self.listen(x, own).reshape(len(memory[0]), -1, x.shape[-1]), memory, cross).view_as(x)

    def cross_weights(self, x: Tensor, memory: KeysValues, own: Tensor, cross: Tensor) -> Tensor:
        """The weights (B, H, n*T, S) that `forward` looks at the memory with."""
        heard = self.listen(x, own).reshape(len(memory[0]), -1, x.shape[-1])
        return self.cross_attn.weights(self.cross_attn_layer_norm(heard), memory[0], cross)

    def step(self, x: Tensor, past: KeysValues, memory: KeysValues, own: Tensor, cross: Tensor) -> Tensor:
        """x (B, K, D): the newest word of each hypothesis, written into the last slots of `past` and attended from.

        past (B, H, slots, D / H); biases `own` (B, H, K, slots) and `cross` (B, H, 1, S).
        """
        normed, slots = self.self_attn_layer_norm(x), own.shape[-1]
        for cache, new in zip(past, self.self_attn.keys_values(normed), strict=True):
            cache[:, :, slots - x.shape[1] : slots] = new
        mixed = self.self_attn(normed, past[0][:, :, :slots], past[1][:, :, :slots], own)
        return self.look(x + self.dropout(self.self_attn_mid_layer_norm(mixed)), memory, cross)
