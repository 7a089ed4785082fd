"""CNN + GRU: the whole picture as one vector, shown to a GRU at every word.

"Show and Tell" (Vinyals et al. 2015) with a GRU and the picture as an input of each step, as in the fashion course that
this one grew from. Sizes: B pictures, n captions a picture, K hypotheses, T tokens, N cells, C feature channels,
P picture vector, E embedding, D hidden width, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioning.models.base import CaptionModel, State
from captioning.models.config import EncoderConfig, GRUConfig, RegionConfig
from captioning.text import WordTokenizer


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

    def show(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The picture (B, P) and the hidden state (B, D) to begin with, from features (B, N, C)."""
        picture = self.picture(features.mean(dim=1))
        return picture, self.start(picture)

    def decode(self, features: Tensor, tokens: Tensor) -> Tensor:
        n = len(tokens) // len(features)
        picture, hidden = (x.repeat_interleave(n, dim=0) for x in self.show(features))  # (B*n, P), (B*n, D)
        return self.run(tokens, picture, hidden)[0]

    def init_state(self, features: Tensor) -> State:
        """The picture's share of the GRU's gates is the same at every word: most of a step's work, done once."""
        picture, hidden = self.show(features)
        weight = self.gru.weight_ih_l0[:, self.config.embedding :]
        return State({"gates": F.linear(picture, weight, self.gru.bias_ih_l0)}, {"hidden": hidden[:, None]})

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        weight = self.gru.weight_ih_l0[:, : self.config.embedding]
        heard = F.linear(self.embedding(tokens), weight) + state.picture["gates"][:, None]  # (B, K, 3D)
        hidden = gru_cell(heard, state.history["hidden"], self.gru.weight_hh_l0, self.gru.bias_hh_l0)
        return self.head(self.dropout(hidden)), State(state.picture, {"hidden": hidden})


def gru_cell(heard: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The next hidden state (B, K, D), as torch.nn.GRUCell has it, from the input's share of the gates (B, K, 3D)."""
    reset, update, new = heard.chunk(3, dim=-1)
    kept_reset, kept_update, kept_new = F.linear(hidden, weight, bias).chunk(3, dim=-1)
    new = torch.tanh(new + torch.sigmoid(reset + kept_reset) * kept_new)
    return new + torch.sigmoid(update + kept_update) * (hidden - new)
