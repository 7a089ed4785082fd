"""Training objectives: modules that own the model they train and turn a batch into a loss.

`objective(batch)` returns a scalar to minimise and the numbers to log. Being modules, they are what distributed
training wraps, so an objective may use any part of the model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def cross_entropy(logits: Tensor, targets: Tensor, pad_id: int, smoothing: float = 0.0) -> Tensor:
    """Mean over the tokens that are not padding of -log p(target); logits (R, T, V), targets (R, T).

    Label smoothing as Szegedy et al. 2016, section 7: the target gets 1 - smoothing, all words share the rest.
    """
    return F.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=pad_id, label_smoothing=smoothing
    )


def attention_coverage(weights: Tensor, real: Tensor) -> Tensor:
    """Doubly stochastic attention (Xu et al. 2015, section 4.2.1): mean over cells of (1 - sum over words)^2.

    weights (R, T, N), real (R, T) is 1 where there is a word. Each cell is asked for one word's worth of attention.
    """
    return ((1 - (weights * real[..., None]).sum(dim=1)) ** 2).mean()


class CrossEntropy(nn.Module):
    """Teacher forcing: each word from the true words before it.

    `coverage` weighs the doubly stochastic term, for models that have `decode_with_attention`; `drop_words` replaces
    that share of the input words by `<unk>`, so that the model leans on the picture (Bowman et al. 2016, section 3.2).
    """

    def __init__(self, model: nn.Module, smoothing: float = 0.0, coverage: float = 0.0, drop_words: float = 0.0):
        super().__init__()
        if coverage and not hasattr(model, "decode_with_attention"):
            raise ValueError(f"coverage={coverage}: only the attention model has it, not {type(model).__name__}; use 0")
        self.model, self.smoothing, self.coverage, self.drop_words = model, smoothing, coverage, drop_words

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        tokenizer, inputs, targets = self.model.tokenizer, batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        if self.drop_words and self.training:
            dropped = (torch.rand_like(inputs, dtype=torch.float) < self.drop_words) & (inputs > tokenizer.eos_id)
            inputs = inputs.masked_fill(dropped, tokenizer.unk_id)
        features = self.model.features(batch["images"])
        if not self.coverage:
            logits = self.model.decode(features, inputs)
            loss = cross_entropy(logits, targets, tokenizer.pad_id, self.smoothing)
            return loss, {"loss": loss.detach()}
        logits, weights = self.model.decode_with_attention(features, inputs)
        loss = cross_entropy(logits, targets, tokenizer.pad_id, self.smoothing)
        spread = attention_coverage(weights, (targets != tokenizer.pad_id).float())
        return loss + self.coverage * spread, {"loss": loss.detach(), "coverage": spread.detach()}
