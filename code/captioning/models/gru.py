"""CNN + GRU: the whole picture as one vector, shown to a GRU at every word.

"Show and Tell" (Vinyals et al. 2015) with a GRU and the picture as an input of each step, as in the fashion course that
this one grew from. Sizes: B pictures, n captions a picture, K hypotheses, T tokens, N cells, C feature channels,
P picture vector, E embedding, D hidden width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captioning.models.base import CaptionModel, State
from captioning.models.encoder import EncoderConfig
from captioning.models.regions import RegionConfig
from captioning.text import WordTokenizer


@dataclass(frozen=True)
class GRUConfig:
    picture: int = 2048
    embedding: int = 512
    hidden: int = 512
    dropout: float = 0.5


class GRUCaptioner(CaptionModel):
    kind = "gru"

    def __init__(self, config: GRUConfig, encoder: EncoderConfig | RegionConfig, tokenizer: WordTokenizer):
        super().__init__(config, encoder, tokenizer)
        self.picture = nn.Linear(self.encoder.channels, config.picture)
        self.start = nn.Linear(config.picture, config.hidden)
        self.embedding = nn.Embedding(len(tokenizer), config.embedding, padding_idx=tokenizer.pad_id)
        self.gru = nn.GRU(config.embedding + config.picture, config.hidden, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, len(tokenizer))
        for weight in (self.embedding.weight, self.head.weight):
            nn.init.uniform_(weight, -0.1, 0.1)

    def run(self, tokens: Tensor, picture: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (R, T, V) and last hidden state (R, D) for tokens (R, T), picture (R, P), hidden (R, D)."""
        words = self.embedding(tokens)  # (R, T, E)
        pictures = picture[:, None].expand(-1, tokens.shape[1], -1)  # (R, T, P)
        outputs, last = self.gru(torch.cat([words, pictures], dim=-1), hidden[None].contiguous())
        return self.head(self.dropout(outputs)), last[0]

    def decode(self, features: Tensor, tokens: Tensor) -> Tensor:
        state = self.init_state(features)
        n = len(tokens) // len(features)
        picture = state.picture["picture"].repeat_interleave(n, dim=0)  # (B, P) -> (B*n, P)
        hidden = state.history["hidden"][:, 0].repeat_interleave(n, dim=0)  # (B*n, D)
        return self.run(tokens, picture, hidden)[0]

    def init_state(self, features: Tensor) -> State:
        picture = self.picture(features.mean(dim=1))  # (B, N, C) -> (B, P)
        return State({"picture": picture}, {"hidden": self.start(picture)[:, None]})

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        b, k = tokens.shape
        picture = state.picture["picture"].repeat_interleave(k, dim=0)
        logits, hidden = self.run(tokens.reshape(b * k, 1), picture, state.history["hidden"].flatten(0, 1))
        return logits.view(b, k, -1), State(state.picture, {"hidden": hidden.view(b, k, -1)})
