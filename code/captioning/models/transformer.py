"""Transformer captioner: self-attention over the grid, masked self-attention over the words, cross-attention between.

Vaswani et al. 2017 in the pre-norm form, the standard captioning decoder since Sharma et al. 2018 and Herdade et al.
2019. Sizes: B pictures, n captions a picture, K hypotheses, T tokens, P of them no padding, N cells, S cache slots,
D width, V vocabulary.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioning.models.attention import Grid, SelfAttention, Words, feed_forward, trainable
from captioning.models.base import CaptionModel, Internals, State
from captioning.models.config import EncoderConfig, RegionConfig, TransformerConfig
from captioning.text import WordTokenizer

FIRST_SLOTS = 64  # words that a new cache has room for, over all hypotheses of a picture


class CrossAttention(nn.Module):
    """Words look at the cells. Keys and values are made once a picture and shared by all of its captions."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (R, T, D) -> (R, heads, T, D / heads)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(B, heads, N, D / heads) each, for memory (B, N, D)."""
        keys, values = self.key_value(memory).chunk(2, dim=-1)
        return self.split(keys).contiguous(), self.split(values).contiguous()

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, words: Words | None = None) -> Tensor:
        """x (B, Q, D): Q queries of one picture, be they the words of its captions or its hypotheses' last words; or
        (P, D), the `words` of all captions, picture by picture."""
        queries = words.padded(self.query(x)).view(len(keys), -1, x.shape[-1]) if words else self.query(x)
        mixed = self.mixed(self.split(queries), keys, values).transpose(1, 2).flatten(2)
        return self.out(words.packed(mixed) if words else mixed)

    def mixed(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Values as queries (B, heads, Q, D / heads) weigh them, of that shape."""
        with trainable(queries, keys, values) as parts:
            return F.scaled_dot_product_attention(*parts)

    def weights(self, x: Tensor, keys: Tensor) -> Tensor:
        """The weights that `forward` mixes with, averaged over the heads: (B, Q, N)."""
        queries = self.split(self.query(x))
        return (queries @ keys.transpose(-1, -2) / math.sqrt(keys.shape[-1])).softmax(dim=-1).mean(dim=1)


class DecoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention = SelfAttention(width, heads)
        self.cross_attention = CrossAttention(width, heads)
        self.feed_forward = feed_forward(width)
        self.dropout = nn.Dropout(dropout)

    def listen(self, x: Tensor, words: Words | None = None) -> Tensor:
        """Self-attention on x (R, T, D), or (P, D): each word hears those before it."""
        return x + self.dropout(self.self_attention(self.norm1(x), True, words))

    def look(self, x: Tensor, keys: Tensor, values: Tensor, words: Words | None = None) -> Tensor:
        """Cross-attention and feed-forward on x (B, Q, D), or (P, D), after the layer's self-attention."""
        x = x + self.dropout(self.cross_attention(self.norm2(x), keys, values, words))
        return x + self.dropout(self.feed_forward(self.norm3(x)))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, words: Words) -> Tensor:
        """x (P, D): the words of n captions of each of B pictures; keys and values are (B, heads, N, D / heads)."""
        return self.look(self.listen(x, words), keys, values, words)

    def step(self, x: Tensor, past: dict[str, Tensor], visible: Tensor) -> Tensor:
        """x (B, K, D): the newest word of each hypothesis, written into this layer's cache and then attended from."""
        query, key, value = self.self_attention.split(self.norm1(x))  # (B, heads, K, D / heads)
        slots = visible.shape[-1]
        past["past_keys"][:, :, slots - x.shape[1] : slots] = key
        past["past_values"][:, :, slots - x.shape[1] : slots] = value
        mixed = F.scaled_dot_product_attention(
            query, past["past_keys"][:, :, :slots], past["past_values"][:, :, :slots], attn_mask=visible[:, None]
        )
        x = x + self.self_attention.out(mixed.transpose(1, 2).flatten(2))
        return self.look(x, past["keys"], past["values"])


class WordEmbedding(nn.Embedding):
    """Ids to vectors, and vectors to logits by the same matrix (Press and Wolf 2017)."""

    def logits(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


class TransformerCaptioner(CaptionModel):
    """The cache of a picture holds the words of all its hypotheses in slots; a mask (B, K, S) says which slots are a
    hypothesis's own past. Beam search reorders that mask and never copies a key or a value."""

    kind = "transformer"

    def __init__(self, config: TransformerConfig, encoder: EncoderConfig | RegionConfig, tokenizer: WordTokenizer):
        super().__init__(config, encoder, tokenizer)
        width, heads, dropout = config.width, config.heads, config.dropout
        self.grid = Grid(self.encoder.channels, width, heads, config.encoder_layers, dropout)
        self.max_length = config.max_length
        self.embedding = WordEmbedding(len(tokenizer), width, padding_idx=tokenizer.pad_id)
        self.position = nn.Embedding(config.max_length, width)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        for weight in (self.embedding.weight, self.position.weight):
            nn.init.normal_(weight, std=0.02)

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        return self.dropout(self.embedding(tokens) + self.position(positions))

    def head(self, x: Tensor) -> Tensor:
        return self.embedding.logits(self.norm(x))

    def decode(self, features: Tensor, tokens: Tensor) -> Tensor:
        words = Words.of(tokens != self.tokenizer.pad_id)
        return words.padded(self.speak(features, tokens, words))

    def decode_said(self, features: Tensor, tokens: Tensor, said: Tensor) -> Tensor:
        return self.speak(features, tokens, Words.of(said))

    def speak(self, features: Tensor, tokens: Tensor, words: Words) -> Tensor:
        """Logits (P, V) after each of `words`."""
        if tokens.shape[1] > self.max_length:
            raise ValueError(f"{tokens.shape[1]} tokens: this transformer has positions for {self.max_length}")
        memory = self.grid(features)
        x = self.embed(tokens.flatten()[words.places], words.places % tokens.shape[1])  # (P, D)
        for layer in self.layers:
            x = layer(x, *layer.cross_attention.keys_values(memory), words)
        return self.head(x)

    def decode_with_internals(self, features: Tensor, tokens: Tensor) -> Internals:
        memory, hidden, attention = self.grid(features), [], {"self": [], "cross": []}
        x = self.embed(tokens, torch.arange(tokens.shape[1], device=tokens.device))
        for layer in self.layers:
            keys, values = layer.cross_attention.keys_values(memory)
            attention["self"].append(layer.self_attention.weights(layer.norm1(x)))
            spoken = layer.listen(x).reshape(len(memory), -1, x.shape[-1])  # (B, n*T, D)
            looked = layer.cross_attention.weights(layer.norm2(spoken), keys)
            attention["cross"].append(looked.view(*tokens.shape, -1))
            x = layer.look(spoken, keys, values).view_as(x)
            hidden.append(x)
        return Internals(self.head(x), hidden, attention)

    def attention_maps(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Where each word looked in the picture as it is, (B*n, T, N), mean of layers and heads; row t chose the token
        after `tokens[:, t]`."""
        looked = self.decode_with_internals(self.first_view(images), tokens).attention["cross"]
        return torch.stack(looked).mean(dim=0)

    def init_state(self, features: Tensor) -> State:
        memory, state = self.grid(features), State()
        for i, layer in enumerate(self.layers):
            keys, values = layer.cross_attention.keys_values(memory)
            state.picture |= {f"{i}.keys": keys, f"{i}.values": values}
            empty = memory.new_zeros(*keys.shape[:2], FIRST_SLOTS, keys.shape[-1])
            state.picture |= {f"{i}.past_keys": empty, f"{i}.past_values": empty.clone()}
        # not len(memory), which would fix the number of pictures of an exported graph
        state.history["visible"] = torch.zeros(memory.shape[0], 1, 0, dtype=torch.bool, device=memory.device)
        return state

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One word further. The cache is written in place: a state may be stepped from once."""
        b, k = tokens.shape
        own = torch.eye(k, dtype=torch.bool, device=tokens.device).expand(b, k, k)
        visible = torch.cat([state.history["visible"], own], dim=-1)  # (B, K, S)
        picture = grown(state.picture, visible.shape[-1])
        x = self.embed(tokens, visible.sum(dim=-1) - 1)  # (B, K, D)
        for i, layer in enumerate(self.layers):
            past = {name: picture[f"{i}.{name}"] for name in ("keys", "values", "past_keys", "past_values")}
            x = layer.step(x, past, visible)
        return self.head(x), State(picture, {"visible": visible})


def grown(picture: dict[str, Tensor], slots: int) -> dict[str, Tensor]:
    """The same tensors, the caches (B, heads, S, D / heads) with room for `slots`; doubling keeps copies rare."""
    room = picture["0.past_keys"].shape[2]
    if room >= slots:
        return picture
    more = max(room, slots - room)
    return {name: F.pad(x, (0, 0, 0, more)) if "past" in name else x for name, x in picture.items()}
