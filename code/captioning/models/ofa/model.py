"""OFA's encoder and decoder, and the incremental steps of its decoder.

Shapes: B pictures, n captions a picture, K hypotheses, N cells, P prompt tokens, S = N + P, T caption tokens, D width,
H heads, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioning.models.base import State
from captioning.models.ofa.config import (
    CELL_CHANNELS,
    IMAGE_BUCKETS,
    IMAGE_DISTANCES,
    TOKEN_DISTANCES,
    VOCABULARY,
    OFAConfig,
)
from captioning.models.ofa.layers import DecoderLayer, EncoderLayer, image_buckets, token_buckets
from captioning.models.transformer import FIRST_SLOTS, WordEmbedding, grown

PAD = 1
FIRST_PLACES = 32  # words of a caption for which a new state has positional biases


class Half(nn.Module):
    """What encoder and decoder both have: tokens, positions, relative tables."""

    def __init__(self, config: OFAConfig, embed_tokens: WordEmbedding, layers: int):
        super().__init__()
        width, heads = config.width, config.heads
        self.config, self.embed_tokens = config, embed_tokens
        self.layernorm_embedding, self.layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.embed_positions = nn.Embedding(config.positions + 2, width)
        self.embed_image_positions = nn.Embedding(IMAGE_BUCKETS**2 + 1, width)
        self.pos_ln, self.image_pos_ln = nn.LayerNorm(width), nn.LayerNorm(width)
        self.token_rel_pos_table_list = nn.ModuleList(nn.Embedding(TOKEN_DISTANCES, heads) for _ in range(layers))
        self.image_rel_pos_table_list = nn.ModuleList(nn.Embedding(IMAGE_DISTANCES, heads) for _ in range(layers))

    def places(self, tokens: int) -> Tensor:
        """Position embeddings (T, D)."""
        if tokens > self.config.positions:
            raise ValueError(f"{tokens} tokens: this OFA has positions for {self.config.positions}")
        return self.pos_ln(self.embed_positions.weight[:tokens])

    def token_bias(self, layer: int, tokens: int) -> Tensor:
        """Relative bias (H, T, T)."""
        rows = token_buckets(tokens, self.config.positions).to(self.embed_positions.weight.device)
        return self.token_rel_pos_table_list[layer](rows).permute(2, 0, 1)

    def absolute_bias(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Untied position scores (H, T, S) of projected position embeddings (T, D) and (S, D) (Ke et al. 2021)."""
        heads = self.config.heads
        queries, keys = (x.unflatten(-1, (heads, -1)).transpose(-3, -2) for x in (queries, keys))
        return queries * (2 * self.config.width / heads) ** -0.5 @ keys.transpose(-1, -2)


class OFAEncoder(Half):
    def __init__(self, config: OFAConfig, embed_tokens: WordEmbedding, cells: int):
        super().__init__(config, embed_tokens, config.encoder_layers)
        width = config.width
        self.image_proj = nn.Linear(cells, width)
        self.type_embedding = nn.Embedding(2, width)
        self.patch_layernorm_embedding = nn.LayerNorm(width)
        self.pos_q_linear, self.pos_k_linear = nn.Linear(width, width), nn.Linear(width, width)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))

    def numbers(self, rows: int, columns: int) -> Tensor:
        """Numbers of the cells of a grid, (N,): 1 + 42 * row + column."""
        if max(rows, columns) > IMAGE_BUCKETS:
            raise ValueError(
                f"a grid of {rows} x {columns} cells; OFA has positions for {IMAGE_BUCKETS} a side (672 px)"
            )
        device = self.embed_positions.weight.device
        down, right = torch.arange(rows, device=device), torch.arange(columns, device=device)
        return (down[:, None] * IMAGE_BUCKETS + right + 1).flatten()

    def forward(self, grid: Tensor, prompt: Tensor) -> dict[str, Tensor | list[Tensor]]:
        """The cells of the pictures (B, rows, columns, C) and prompt ids (B, P) padded with 1.

        Returns `memory` (B, S, D), `positions` (S, D), `padding` (B, S), `cells` (N,), and `hidden`, (B, S, D) each:
        what the first layer is given, and what each layer makes of it.
        """
        cells = self.numbers(*grid.shape[1:3])
        pictures = self.image_proj(grid.flatten(1, 2)) + self.type_embedding.weight[1]
        words = self.embed_tokens(prompt) + self.type_embedding.weight[0]
        x = torch.cat([self.patch_layernorm_embedding(pictures), self.layernorm_embedding(words)], dim=1)  # (B, S, D)
        places = self.image_pos_ln(self.embed_image_positions(cells)), self.places(prompt.shape[1])
        encoded = {"positions": torch.cat(places), "padding": F.pad(prompt == PAD, (len(cells), 0)), "cells": cells}
        hidden = [self.dropout(x) * ~encoded["padding"][..., None]]
        for layer, bias in zip(self.layers, self.biases(encoded), strict=True):
            hidden.append(layer(hidden[-1], bias))
        return encoded | {"memory": self.layer_norm(hidden[-1]), "hidden": hidden}

    def biases(self, encoded: dict) -> Iterator[Tensor]:
        """What positions and padding add to the scores in each layer, (H, S, S) or, with padding, (B, H, S, S)."""
        positions, n = encoded["positions"], len(encoded["cells"])
        absolute = self.absolute_bias(self.pos_q_linear(positions), self.pos_k_linear(positions))
        near = image_buckets(encoded["cells"])
        padded = torch.compiler.is_exporting() or encoded["padding"].any()  # a graph is to serve both
        for i, table in enumerate(self.image_rel_pos_table_list):
            bias = absolute.clone()  # no relative bias between picture and text
            bias[:, :n, :n] += table(near).permute(2, 0, 1)
            bias[:, n:, n:] += self.token_bias(i, len(positions) - n)
            yield hide(bias, encoded["padding"]) if padded else bias  # B times as much memory

    def attention(self, encoded: dict) -> list[Tensor]:
        """The weights (B, H, S, S) with which each layer mixed what it was given; rows of padding are zero."""
        layers, nobody = zip(self.layers, encoded["hidden"][:-1], self.biases(encoded), strict=True), encoded["padding"]
        return [layer.self_weights(x, bias).masked_fill(nobody[:, None, :, None], 0.0) for layer, x, bias in layers]


def hide(bias: Tensor, padding: Tensor) -> Tensor:
    """The bias (H, T, S) for each picture, (B, H, T, S), with nothing left for its padding (B, S)."""
    return bias.masked_fill(padding[:, None, None], float("-inf"))


class OFADecoder(Half):
    def __init__(self, config: OFAConfig, embed_tokens: WordEmbedding):
        super().__init__(config, embed_tokens, config.decoder_layers)
        width = config.width
        self.self_pos_q_linear, self.self_pos_k_linear = nn.Linear(width, width), nn.Linear(width, width)
        self.cross_pos_q_linear, self.cross_pos_k_linear = nn.Linear(width, width), nn.Linear(width, width)
        self.code_layernorm_embedding = nn.LayerNorm(width)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        pictures = self.code_layernorm_embedding, self.embed_image_positions, self.image_pos_ln
        for unused in (*pictures, self.image_rel_pos_table_list):  # by captions; they are in the checkpoints
            unused.requires_grad_(False)

    def biases(self, length: int, encoded_positions: Tensor) -> dict[str, Tensor]:
        """What positions add to the scores of `length` tokens: `own` (layers, H, T, T), causal, and `cross` (H, T, S).

        Nothing in it depends on a picture or a caption.
        """
        places = self.places(length)
        own = self.absolute_bias(self.self_pos_q_linear(places), self.self_pos_k_linear(places))
        relative = torch.stack([self.token_bias(i, length) for i in range(len(self.layers))])
        future = torch.ones(length, length, dtype=torch.bool, device=own.device).triu(1)
        cross = self.absolute_bias(self.cross_pos_q_linear(places), self.cross_pos_k_linear(encoded_positions))
        return {"own": (own + relative).masked_fill(future, float("-inf")), "cross": cross}

    def begin(self, tokens: Tensor, encoded: dict) -> tuple[Tensor, Tensor, Tensor]:
        """For tokens (B*n, T), n captions a picture: embedded, and the biases (layers, H, T, T) and (.., H, n*T, S)."""
        biases = self.biases(tokens.shape[1], encoded["positions"])
        cross = biases["cross"].repeat(1, len(tokens) // len(encoded["memory"]), 1)
        x = self.dropout(self.layernorm_embedding(self.embed_tokens(tokens)))
        return x, biases["own"], hide(cross, encoded["padding"])

    def forward(self, tokens: Tensor, encoded: dict) -> Tensor:
        """Logits (B*n, T, V) after each of tokens (B*n, T), n captions of each picture."""
        x, own, cross = self.begin(tokens, encoded)
        for layer, bias in zip(self.layers, own, strict=True):
            x = layer(x, layer.cross_attn.keys_values(encoded["memory"]), bias, cross)
        return self.logits(x)

    def internals(self, tokens: Tensor, encoded: dict) -> dict[str, list[Tensor]]:
        """What is `hidden` (B*n, T, D) after each layer, and the weights of its attention: `self` (B*n, H, T, T), and
        `cross` (B*n, H, T, S) on the picture and the prompt."""
        (x, own, cross), found = self.begin(tokens, encoded), {"hidden": [], "self": [], "cross": []}
        for layer, bias in zip(self.layers, own, strict=True):
            memory = layer.cross_attn.keys_values(encoded["memory"])
            weights = layer.cross_weights(x, memory, bias, cross)  # (B, H, n*T, S)
            found["cross"].append(weights.unflatten(2, (-1, tokens.shape[1])).transpose(1, 2).flatten(0, 1))
            found["self"].append(layer.self_weights(x, bias))
            x = layer(x, memory, bias, cross)
            found["hidden"].append(x)
        return found

    def logits(self, x: Tensor) -> Tensor:
        return self.embed_tokens.logits(self.layer_norm(x))


class OFA(nn.Module):
    """Encoder and decoder over one token embedding, whose rows are also the output projection.

    `cells` are the channels of a cell of the picture.
    """

    def __init__(self, config: OFAConfig, vocabulary: int = VOCABULARY, cells: int = CELL_CHANNELS):
        super().__init__()
        self.config = config
        tokens = WordEmbedding(vocabulary, config.width, padding_idx=PAD)
        self.encoder, self.decoder = OFAEncoder(config, tokens, cells), OFADecoder(config, tokens)

    def initialise(self) -> None:
        """Random weights as for OFA's pretraining: relative biases start at 0 (fairseq's transformer)."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.0 if "rel_pos_table" in name else self.config.width**-0.5)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, grid: Tensor, prompt: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B*n, T, V) after each of `tokens`, for cells (B, rows, columns, C) and prompts (B, P)."""
        return self.decoder(tokens, self.encoder(grid, prompt))

    def init_state(self, encoded: dict) -> State:
        """The state before the begin token, with one hypothesis a picture (K = 1)."""
        memory, state = encoded["memory"], State(shared={"positions": encoded["positions"]})
        state.picture["padding"] = encoded["padding"]
        for i, layer in enumerate(self.decoder.layers):
            keys, values = (x.contiguous() for x in layer.cross_attn.keys_values(memory))
            empty = keys.new_zeros(*keys.shape[:2], FIRST_SLOTS, keys.shape[-1])  # (B, H, slots, D / H)
            state.picture |= {f"{i}.keys": keys, f"{i}.values": values}
            state.picture |= {f"{i}.past_keys": empty, f"{i}.past_values": empty.clone()}
        state.history["visible"] = torch.zeros(len(memory), 1, 0, dtype=torch.bool, device=memory.device)
        state.shared["places"] = torch.zeros(0, dtype=torch.long)  # of the word in each slot
        state.shared |= self.decoder.biases(min(FIRST_PLACES, self.config.positions), encoded["positions"])
        return state

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, K, V) of the next token after `tokens` (B, K), and the new state.

        The cache is transformer.py's, and written in place: a state may be stepped from once.
        """
        (b, k), shared = tokens.shape, state.shared
        place = int(shared["places"][-1]) + 1 if len(shared["places"]) else 0
        shared = shared | {"places": F.pad(shared["places"], (0, k), value=place)}
        if place == shared["cross"].shape[1]:  # the first place that has no biases yet
            more = max(place + 1, min(2 * place, self.config.positions))
            shared |= self.decoder.biases(more, shared["positions"])
        itself = torch.eye(k, dtype=torch.bool, device=tokens.device).expand(b, k, k)
        visible = torch.cat([state.history["visible"], itself], dim=-1)  # (B, K, slots)
        picture = grown(state.picture, visible.shape[-1])
        own = shared["own"][:, :, place, shared["places"]].unsqueeze(2)  # (layers, H, 1, slots)
        cross = hide(shared["cross"][:, place : place + 1], picture["padding"])  # (B, H, 1, S)
        x = self.decoder.layernorm_embedding(self.decoder.embed_tokens(tokens))  # (B, K, D)
        for i, layer in enumerate(self.decoder.layers):
            past, memory = ((picture[f"{i}.{of}keys"], picture[f"{i}.{of}values"]) for of in ("past_", ""))
            bias = own[i].masked_fill(~visible[:, None], float("-inf"))  # (B, H, K, slots)
            x = layer.step(x, past, memory, bias, cross)
        return self.decoder.logits(x), State(picture, {"visible": visible}, shared)
