"""Every choice of a next token: greedy, sampling and beam search, batched over pictures, for any model with
`init_state` and `step` (models/base.py). Nothing here knows what a model looks like inside.

Sizes: B pictures, K hypotheses a picture, T tokens so far, V vocabulary. Log-probabilities are natural logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEVER = float("-inf")


@dataclass(frozen=True)
class Decoding:
    """How captions are chosen. The defaults are greedy decoding."""

    beams: int = 1  # hypotheses kept by beam search; 1 without `sample` is greedy
    sample: bool = False  # draw each token instead of taking the likeliest
    captions: int = 1  # captions a picture: the n best of the beams, or n samples
    max_length: int = 100  # tokens, the end token included
    min_length: int = 0  # tokens before the end token is allowed
    length_penalty: float = 1.0  # captions are ranked by log-probability / tokens ** length_penalty
    no_repeat_ngram: int = 0  # no n-gram of this size occurs twice (0: free)
    temperature: float = 1.0  # sampling: below 1 sharper, above 1 flatter
    top_k: int = 0  # sampling: only the k likeliest tokens (0: all)
    top_p: float = 1.0  # sampling: only the smallest set of tokens with this probability (Holtzman et al. 2020)
    seed: int = 0  # sampling: the same seed gives a picture the same samples, alone or in any batch

    def __post_init__(self):
        if self.sample and self.beams > 1:
            raise ValueError(f"sample=True with beams={self.beams}: choose one; n samples are captions=n")
        if not self.sample and self.captions > self.beams:
            raise ValueError(f"captions={self.captions} of beams={self.beams}: needs at least as many beams")
        if not 0 <= self.min_length < self.max_length:
            raise ValueError(f"min_length={self.min_length}, max_length={self.max_length}: need 0 <= min < max")
        if self.beams < 1 or self.captions < 1:
            raise ValueError(f"beams={self.beams}, captions={self.captions}: need at least 1 of each")
        if self.top_k < 0 or self.no_repeat_ngram < 0:
            raise ValueError(f"top_k={self.top_k}, no_repeat_ngram={self.no_repeat_ngram}: need 0 (off) or more")
        if self.temperature <= 0 or not 0 < self.top_p <= 1:
            raise ValueError(
                f"temperature={self.temperature}, top_p={self.top_p}: need temperature > 0, 0 < top_p <= 1"
            )


@dataclass(frozen=True)
class Found:
    """Tokens of each caption (end token included), best first, with log-probabilities and scores (B, captions)."""

    ids: list[list[list[int]]]
    log_probs: Tensor
    scores: Tensor


def generate(model, features: Tensor, config: Decoding) -> Found:
    """Captions for features (B, N, C) by the strategy that `config` describes."""
    if config.beams > 1:
        return beam_search(model, features, config)
    return left_to_right(model, features, config)


def constrain(log_probs: Tensor, tokens: Tensor, tokenizer, config: Decoding) -> Tensor:
    """Minus infinity for every token that may not follow `tokens` (B, K, T), in log_probs (B, K, V)."""
    log_probs = log_probs.clone()
    log_probs[..., list(tokenizer.never)] = NEVER
    if tokens.shape[-1] - 1 < config.min_length:
        log_probs[..., tokenizer.eos_id] = NEVER
    n = config.no_repeat_ngram
    if 0 < n <= tokens.shape[-1]:
        grams = tokens.unfold(-1, n, 1)  # (B, K, T-n+1, n)
        tail = tokens[..., tokens.shape[-1] - n + 1 :]  # the last n-1 tokens
        repeated = (grams[..., :-1] == tail[..., None, :]).all(dim=-1)
        banned = torch.zeros_like(log_probs).scatter_add_(-1, grams[..., -1], repeated.to(log_probs.dtype))
        log_probs = log_probs.masked_fill(banned > 0, NEVER)
    return log_probs


def next_log_probs(model, state, tokens: Tensor, config: Decoding):
    """Log-probabilities (B, K, V) of what follows `tokens` (B, K, T), constraints applied, and the new state."""
    logits, state = model.step(tokens[..., -1], state)
    return constrain(logits.float().log_softmax(dim=-1), tokens, model.tokenizer, config), state


def narrowed(log_probs: Tensor, config: Decoding) -> Tensor:
    """Probabilities to draw from: temperature, then the k likeliest, then the nucleus."""
    probs = (log_probs / config.temperature).softmax(dim=-1)
    ranked, order = probs.sort(dim=-1, descending=True)
    before = ranked.cumsum(dim=-1) - ranked  # probability of all likelier tokens
    rank = torch.arange(ranked.shape[-1], device=probs.device)
    outside = (before >= config.top_p) | (rank >= (config.top_k or ranked.shape[-1]))
    return torch.zeros_like(probs).scatter(-1, order, ranked.masked_fill(outside, 0.0))


def drawn(probs: Tensor, uniform: Tensor) -> Tensor:
    """A token (B, K) a hypothesis by inverting the cumulative distribution of probs (B, K, V).

    uniform (K,), 0 to 1, is the same for all pictures, so that a picture's samples do not depend on its batch.
    """
    cumulative = probs.double().cumsum(dim=-1)
    reached = cumulative <= uniform[:, None] * cumulative[..., -1:]
    return reached.sum(dim=-1).clamp(max=probs.shape[-1] - 1)


def left_to_right(model, features: Tensor, config: Decoding) -> Found:
    """Greedy decoding, or `config.captions` independent samples a picture."""
    b, k, tokenizer = len(features), config.captions, model.tokenizer
    generator = torch.Generator(features.device).manual_seed(config.seed)
    tokens = torch.full((b, k, 1), tokenizer.bos_id, device=features.device)
    total = torch.zeros(b, k, device=features.device)
    state = model.init_state(features).reorder(torch.zeros_like(tokens[..., 0]))
    for _ in range(config.max_length):
        log_probs, state = next_log_probs(model, state, tokens, config)
        if config.sample:
            chosen = drawn(narrowed(log_probs, config), torch.rand(k, generator=generator, device=features.device))
        else:
            chosen = log_probs.argmax(dim=-1)
        ended = (tokens == tokenizer.eos_id).any(dim=-1)
        total += log_probs.gather(-1, chosen[..., None]).squeeze(-1).masked_fill(ended, 0.0)
        tokens = torch.cat([tokens, chosen.masked_fill(ended, tokenizer.eos_id)[..., None]], dim=-1)
        if (tokens == tokenizer.eos_id).any(dim=-1).all():
            break
    ids = [[until_end(row, tokenizer.eos_id) for row in rows] for rows in tokens[..., 1:].tolist()]
    lengths = torch.tensor([[len(row) for row in rows] for rows in ids], device=features.device)
    scores = total / lengths**config.length_penalty
    order = scores.argsort(dim=-1, descending=True, stable=True)
    ids = [[rows[i] for i in best] for rows, best in zip(ids, order.tolist(), strict=True)]
    return Found(ids, total.gather(1, order), scores.gather(1, order))


def until_end(row: list[int], eos_id: int) -> list[int]:
    return row[: row.index(eos_id) + 1] if eos_id in row else row


def beam_search(model, features: Tensor, config: Decoding) -> Found:
    """Beam search: at each step the K best one-token continuations of K hypotheses survive (Graves 2012).

    A continuation that ends leaves the beam for the picture's list of finished captions; a picture is done when no
    hypothesis can still beat its K finished ones at the present length. The rules are those of Hugging Face's
    `generate(early_stopping=False)`, so that results can be compared caption by caption.
    """
    b, k, tokenizer = len(features), config.beams, model.tokenizer
    state = model.init_state(features)
    tokens = torch.full((b, 1, 1), tokenizer.bos_id, device=features.device)  # (B, K, T); one hypothesis to begin with
    total = torch.zeros(b, 1, device=features.device)  # (B, K) log-probability of each hypothesis
    finished = Finished(b, config, features.device)
    alive = torch.arange(b, device=features.device)  # which picture each row is
    for length in range(1, config.max_length + 1):
        log_probs, state = next_log_probs(model, state, tokens, config)
        vocabulary = log_probs.shape[-1]
        # Of the 2K best continuations at most K end, so at least K go on.
        best, index = (total[..., None] + log_probs).flatten(1).topk(min(2 * k, tokens.shape[1] * vocabulary))
        parents, words = index // vocabulary, index % vocabulary
        longer = torch.cat([tokens.gather(1, parents[..., None].expand(-1, -1, length)), words[..., None]], dim=-1)
        ends = (words == tokenizer.eos_id) | (length == config.max_length)
        finished.add(alive, longer[:, :k], best[:, :k].masked_fill(~ends[:, :k], NEVER))

        total, kept = best.masked_fill(ends, NEVER).topk(min(k, best.shape[1]))
        tokens = longer.gather(1, kept[..., None].expand(-1, -1, length + 1))
        state = state.reorder(parents.gather(1, kept))
        improvable = total[:, 0] / length**config.length_penalty > finished.worst(alive)
        if not improvable.any():
            break
        if not improvable.all():  # finished pictures leave the batch
            rows = improvable.nonzero().squeeze(1)
            alive, tokens, total, state = alive[rows], tokens[rows], total[rows], state.keep(rows)
    return finished.best(config.captions, tokenizer.eos_id)


class Finished:
    """The K best finished captions of each picture so far."""

    def __init__(self, pictures: int, config: Decoding, device: torch.device):
        self.penalty = config.length_penalty
        self.tokens = torch.zeros(pictures, config.beams, config.max_length, dtype=torch.long, device=device)
        self.lengths = torch.zeros(pictures, config.beams, dtype=torch.long, device=device)
        self.scores = torch.full((pictures, config.beams), NEVER, device=device)

    def add(self, pictures: Tensor, tokens: Tensor, log_probs: Tensor) -> None:
        """Merge candidates (R, K', 1+T) of these pictures (R,); those that go on have log-probability -inf."""
        length = tokens.shape[-1] - 1
        padded = torch.nn.functional.pad(tokens[..., 1:], (0, self.tokens.shape[-1] - length))
        lengths = torch.full_like(log_probs, length, dtype=torch.long)
        scores = torch.cat([self.scores[pictures], log_probs / length**self.penalty], dim=1)
        scores, best = scores.topk(self.scores.shape[1])
        self.scores[pictures] = scores
        self.lengths[pictures] = torch.cat([self.lengths[pictures], lengths], dim=1).gather(1, best)
        merged = torch.cat([self.tokens[pictures], padded], dim=1)
        self.tokens[pictures] = merged.gather(1, best[..., None].expand(-1, -1, merged.shape[-1]))

    def worst(self, pictures: Tensor) -> Tensor:
        """Score (R,) of the worst of the K; minus infinity while there are fewer than K."""
        return self.scores[pictures].amin(dim=1)

    def best(self, captions: int, eos_id: int) -> Found:
        rows = zip(self.tokens[:, :captions].tolist(), self.lengths[:, :captions].tolist(), strict=True)
        ids = [[row[:n] for row, n in zip(*picture, strict=True)] for picture in rows]
        scores, lengths = self.scores[:, :captions], self.lengths[:, :captions]
        log_probs = torch.where(lengths > 0, scores * lengths**self.penalty, NEVER)  # no words: fewer captions exist
        return Found(ids, log_probs, scores)
