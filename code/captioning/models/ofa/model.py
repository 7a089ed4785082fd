"""OFA's encoder and decoder, and the incremental steps of its decoder.

Shapes: B pictures, K hypotheses, N cells, P prompt tokens, S = N + P, T caption tokens, D width, H heads, V vocabulary.
"""

from __future__ import annotations

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

PAD = 1


class Half(nn.Module):
    """What encoder and decoder both have: tokens, positions, relative tables."""

    def __init__(self, config: OFAConfig, embed_tokens: nn.Embedding, layers: int):
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
        rows = token_buckets(self.config.positions)[:tokens, :tokens].to(self.embed_positions.weight.device)
        return self.token_rel_pos_table_list[layer](rows).permute(2, 0, 1)

    def absolute_bias(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Untied position scores (H, T, S) of projected position embeddings (T, D) and (S, D) (Ke et al. 2021)."""
        heads = self.config.heads
        queries, keys = (x.unflatten(-1, (heads, -1)).transpose(-3, -2) for x in (queries, keys))
        return queries * (2 * self.config.width / heads) ** -0.5 @ keys.transpose(-1, -2)


class OFAEncoder(Half):
    def __init__(self, config: OFAConfig, embed_tokens: nn.Embedding, cells: int):
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

        Returns `memory` (B, S, D), `positions` (S, D), `padding` (B, S), and of each layer `hidden` and `attention`.
        """
        cells = self.numbers(*grid.shape[1:3])
        pictures = self.image_proj(grid.flatten(1, 2)) + self.type_embedding.weight[1]
        words = self.embed_tokens(prompt) + self.type_embedding.weight[0]
        x = torch.cat([self.patch_layernorm_embedding(pictures), self.layernorm_embedding(words)], dim=1)  # (B, S, D)
        padding = F.pad(prompt == PAD, (len(cells), 0))
        x = self.dropout(x) * ~padding[..., None]
        positions = torch.cat(
            [self.image_pos_ln(self.embed_image_positions(cells)), self.places(prompt.shape[1])]
        )  # (S, D)
        absolute = self.absolute_bias(self.pos_q_linear(positions), self.pos_k_linear(positions))
        near, hidden, attention = image_buckets(cells), [x], []
        for i, layer in enumerate(self.layers):
            bias = absolute.clone()  # no relative bias between picture and text
            bias[:, : len(cells), : len(cells)] += self.image_rel_pos_table_list[i](near).permute(2, 0, 1)
            bias[:, len(cells) :, len(cells) :] += self.token_bias(i, prompt.shape[1])
            x, weights = layer(x, hide(bias, padding))
            hidden.append(x)
            attention.append(weights)
        return {
            "memory": self.layer_norm(x),
            "positions": positions,
            "padding": padding,
            "hidden": hidden,
            "attention": attention,
        }


def hide(bias: Tensor, padding: Tensor) -> Tensor:
    """The bias (H, T, S) for each picture, (B, H, T, S), with nothing left for its padding (B, S)."""
    return bias.masked_fill(padding[:, None, None], float("-inf"))


class OFADecoder(Half):
    def __init__(self, config: OFAConfig, embed_tokens: nn.Embedding):
        super().__init__(config, embed_tokens, config.decoder_layers)
        width = config.width
        self.self_pos_q_linear, self.self_pos_k_linear = nn.Linear(width, width), nn.Linear(width, width)
        self.cross_pos_q_linear, self.cross_pos_k_linear = nn.Linear(width, width), nn.Linear(width, width)
        self.code_layernorm_embedding = nn.LayerNorm(width)  # for generated pictures; kept: it is in the checkpoints
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))

    def biases(self, layer: int, length: int, encoded_positions: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """Of one layer: causal self-attention (H, T, T), and cross-attention (B, H, T, S)."""
        places = self.places(length)
        own = self.absolute_bias(self.self_pos_q_linear(places), self.self_pos_k_linear(places))
        future = torch.ones(length, length, dtype=torch.bool, device=own.device).triu(1)
        own = (own + self.token_bias(layer, length)).masked_fill(future, float("-inf"))
        cross = self.absolute_bias(self.cross_pos_q_linear(places), self.cross_pos_k_linear(encoded_positions))
        return own, hide(cross, padding)

    def forward(self, tokens: Tensor, encoded: dict) -> tuple[Tensor, dict[str, list[Tensor]]]:
        """Logits (B, T, V) after each of tokens (B, T), and of each layer what is `hidden` (B, T, D) and the weights of
        its attention, `self` (B, H, T, T) and `cross` (B, H, T, S)."""
        x = self.dropout(self.layernorm_embedding(self.embed_tokens(tokens)))
        inside = {"hidden": [], "self": [], "cross": []}
        for i, layer in enumerate(self.layers):
            biases = self.biases(i, tokens.shape[1], encoded["positions"], encoded["padding"])
            x, _, (heard, looked) = layer(x, None, layer.cross_attn.keys_values(encoded["memory"]), biases)
            for name, tensor in zip(inside, (x, heard, looked), strict=True):
                inside[name].append(tensor)
        return F.linear(self.layer_norm(x), self.embed_tokens.weight), inside


class OFA(nn.Module):
    """Encoder and decoder over one token embedding, whose rows are also the output projection.

    `cells` are the channels of a cell of the picture.
    """

    def __init__(self, config: OFAConfig, vocabulary: int = VOCABULARY, cells: int = CELL_CHANNELS):
        super().__init__()
        self.config = config
        tokens = nn.Embedding(vocabulary, config.width, padding_idx=PAD)
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
        """Logits (B, T, V) after each of `tokens`, for cells (B, rows, columns, C) and prompts (B, P)."""
        return self.decoder(tokens, self.encoder(grid, prompt))[0]

    def init_state(self, encoded: dict) -> State:
        """The state before the begin token, with one hypothesis a picture (K = 1)."""
        memory, state = encoded["memory"], State()
        b, positions = len(memory), encoded["positions"]
        state.picture |= {"padding": encoded["padding"], "positions": positions.expand(b, *positions.shape)}
        for i, layer in enumerate(self.decoder.layers):
            keys, values = layer.cross_attn.keys_values(memory)
            state.picture |= {f"{i}.keys": keys, f"{i}.values": values}
            empty = keys.new_zeros(b, 1, self.config.heads, 0, keys.shape[-1])
            state.history |= {f"{i}.past_keys": empty, f"{i}.past_values": empty}
        return state

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, K, V) of the next token after `tokens` (B, K), and the new state."""
        b, k = tokens.shape
        length = state.history["0.past_keys"].shape[3] + 1
        history, picture = {}, state.picture
        x = self.decoder.layernorm_embedding(self.decoder.embed_tokens(tokens)).view(b * k, 1, -1)
        for i, layer in enumerate(self.decoder.layers):
            own, cross = self.decoder.biases(i, length, picture["positions"][0], picture["padding"])
            past = tuple(state.history[f"{i}.past_{name}"].flatten(0, 1) for name in ("keys", "values"))
            memory = tuple(picture[f"{i}.{name}"].repeat_interleave(k, 0) for name in ("keys", "values"))
            biases = own[:, -1:], cross[:, :, -1:].repeat_interleave(k, 0)
            x, (keys, values), _ = layer(x, past, memory, biases)
            history |= {f"{i}.past_keys": keys.unflatten(0, (b, k)), f"{i}.past_values": values.unflatten(0, (b, k))}
        logits = F.linear(self.decoder.layer_norm(x), self.decoder.embed_tokens.weight)
        return logits.view(b, k, -1), State(picture, history)
