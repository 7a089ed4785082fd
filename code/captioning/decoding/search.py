"""Greedy decoding, sampling and beam search (also diverse, sampled and constrained), batched over pictures.

This is the only place where a next token is chosen, for any model with `init_state` and `step` (models/base.py).
Nothing here knows what a model looks like inside; what may not be said is in constraints.py.

Sizes: B pictures, G groups, R = B*G searches, K hypotheses a search, T tokens so far, V vocabulary, W words of a
constraint. Log-probabilities are natural logarithms.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from captioning.decoding import constraints
from captioning.decoding.config import Decoding
from captioning.decoding.constraints import NEVER, Rule

Choice = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Found:
    """Tokens of each caption (end token included), best first, with log-probabilities and scores (B, captions).

    Where the constraints leave fewer captions than asked for, the last ones have no tokens and minus infinity.
    """

    ids: list[list[list[int]]]
    log_probs: Tensor
    scores: Tensor


def generate(model, features: Tensor, config: Decoding, keys: Tensor | None = None) -> Found:
    """Captions for features (B, N, C) by the strategy that `config` describes.

    Where captions are drawn, pictures with the same one of `keys` (B,) hear the same noise; without keys all do.
    Raises ValueError for words of `config` that the model's tokenizer does not know.
    """
    keys = torch.zeros(len(features), dtype=torch.long, device=features.device) if keys is None else keys
    noise = Noise(config, keys)
    if config.beams > 1:
        return beam_search(model, features, config, noise)
    return left_to_right(model, features, config, noise)


def word_ids(words: str, tokenizer, device: torch.device) -> Tensor:
    """`constraints.word_ids` as a tensor (W, 2)."""
    return torch.tensor(constraints.word_ids(words, tokenizer), dtype=torch.long, device=device).view(-1, 2)


def all_rules(config: Decoding, tokenizer, device: torch.device) -> Rule:
    """The constraints that `config` has, one after the other."""

    end, forbidden = tokenizer.eos_id, word_ids(config.forbidden, tokenizer, device)
    rules = [constraints.forbid(torch.cat([torch.tensor(tokenizer.never, device=device), forbidden[:, 0]]))]
    if config.forbidden:
        rules.append(constraints.forbid_first(forbidden[:, 1]))
    if config.repetition_penalty != 1:
        rules.append(constraints.repetition_penalty(config.repetition_penalty))
    if config.min_length:
        rules.append(constraints.at_least(config.min_length, end))
    if config.no_repeat_ngram:
        rules.append(constraints.no_repeat_ngram(config.no_repeat_ngram))
    if config.forced_end:
        rules.append(constraints.end_at(config.max_length, end))
    if config.bad_endings:
        stop = [i for i in tokenizer.encode(".") if i not in tokenizer.never]  # a sentence may end before its full stop
        bad = word_ids(config.bad_endings, tokenizer, device)[:, 0]
        rules.append(constraints.no_bad_ending(bad, torch.tensor([end, *stop], device=device)))
    if config.required:
        rules.append(constraints.require(word_ids(config.required, tokenizer, device), end, config.max_length))
    if config.sample:
        rules.append(constraints.likely_only(config.top_k, config.top_p, config.temperature))

    def apply(scores: Tensor, tokens: Tensor) -> Tensor:
        for rule in rules:
            scores = rule(scores, tokens)
        return scores

    return apply


def begin(model, features: Tensor, config: Decoding):
    """The state before the first free token, and the tokens (B, 1, T) given so far: begin token and prefix."""
    tokenizer = model.tokenizer
    constraints.check_known(re.findall(r"\s*\S+", config.prefix), tokenizer)
    given = [tokenizer.bos_id, *tokenizer.encode(config.prefix)]
    room = config.max_length - (len(given) - 1)
    if room <= len(config.required.split()):
        raise ValueError(f"prefix {config.prefix!r} leaves room for {room} of max_length={config.max_length} tokens")
    tokens = torch.tensor(given, device=features.device).expand(len(features), 1, -1)
    state = model.init_state(features)
    for t in range(len(given) - 1):
        _, state = model.step(tokens[..., t], state)
    return state, tokens


def take(x: Tensor, index: Tensor) -> Tensor:
    """Row by row the entries of x (R, K, ...) at index (R, K')."""
    return x[torch.arange(len(x), device=x.device)[:, None], index]


def may_leave(going: Tensor, step: int) -> bool:
    """Whether to let pictures, or a picture's samples, leave the batch that are not `going` (B,) any more.

    It copies what the model remembers of the others, so an eighth of them should be done. A GPU would have to
    be waited for to know, so it is asked at every eighth step only. Neither changes a caption.
    """
    if going.is_cuda and step % 8:
        return False
    return going.sum().item() <= 7 / 8 * len(going)


class Noise:
    """Gumbel noise: a score plus it is greatest at a token drawn from the softmax of the scores, and the K greatest are
    draws without replacement (Kool et al. 2019).

    It is computed from the seed, the picture's key (B,) and the number of tokens so far, by the mixing function of
    SplitMix64 (Steele et al. 2014): a picture's captions depend on nothing else, least of all on its batch.
    """

    def __init__(self, config: Decoding, keys: Tensor):
        self.keys, self.temperature = mixed(mixed(keys) + config.seed), config.temperature

    def __call__(self, scores: Tensor, rows: Tensor, which: Tensor, length: int) -> Tensor:
        """Scores (R, K, V) of the hypotheses `which` (R, K) or (K,) of the pictures rows (R,), as sharp as the
        temperature says, with noise."""
        words = torch.arange(scores.shape[-1], device=scores.device)
        place = which[..., None] * scores.shape[-1] + words  # ([R,] K, V)
        bits = mixed(mixed(self.keys[rows] + length)[:, None, None] + place)
        uniform = bits.bitwise_and_(2**53 - 1).double().add_(0.5).div_(2**53)
        return scores / self.temperature - uniform.log_().neg_().log_().to(scores.dtype)


def mixed(x: Tensor) -> Tensor:
    """64 bits (int64) to 64 bits that look random, each to another; products wrap around."""
    x = x * -0x61C8864680B583EB
    x = (x >> 30).bitwise_and_(2**34 - 1).bitwise_xor_(x).mul_(-0x40A7B892E31B1A47)  # & makes the shift bring in zeros
    x = (x >> 27).bitwise_and_(2**37 - 1).bitwise_xor_(x).mul_(-0x6B2FB644ECCEEE15)
    return (x >> 31).bitwise_and_(2**33 - 1).bitwise_xor_(x)


def left_to_right(model, features: Tensor, config: Decoding, noise: Noise) -> Found:
    """Greedy decoding, or `config.captions` independent samples a picture."""
    b, k, end, device = len(features), config.captions, model.tokenizer.eos_id, features.device
    rules = all_rules(config, model.tokenizer, device)
    state, given = begin(model, features, config)
    state = state.reorder(torch.zeros(b, k, dtype=torch.long, device=device))
    written = torch.full((b, k, 1 + config.max_length), end, device=device)
    written[..., : given.shape[-1]] = given
    total, rows = torch.zeros(b, k, device=device), torch.arange(b, device=device)
    which = torch.arange(k, device=device).expand(b, k)  # the samples of a picture that still are at work
    going = torch.ones(b, k, dtype=torch.bool, device=device)
    for t in range(given.shape[-1], 1 + config.max_length):
        tokens = written[rows[:, None], which, :t]
        logits, state = model.step(tokens[..., -1], state)
        scores = rules(logits.to(torch.float32, copy=True), tokens)
        words = (noise(scores, rows, which, t) if config.sample else scores).argmax(dim=-1)  # (B, K)
        log_probs = logits.float().log_softmax(dim=-1).gather(-1, words[..., None]).squeeze(-1)
        total[rows[:, None], which] += log_probs.masked_fill(~going, 0.0)
        written[rows[:, None], which, t] = words.masked_fill(~going, end)
        going = going & (words != end)
        if may_leave(going.any(dim=1), t):
            kept = going.any(dim=1).nonzero().squeeze(1)
            if not len(kept):
                break
            rows, which, going, state = rows[kept], which[kept], going[kept], state.keep(kept)
        needed = torch.arange(going.shape[1], device=device) < going.sum(dim=1).amax()  # places of a picture
        if may_leave(needed, t):
            order = first(going, int(needed.sum()))
            which, going, state = which.gather(1, order), going.gather(1, order), state.reorder(order)
    ids = [[until_end(row, end) for row in picture] for picture in written[..., 1:].tolist()]
    lengths = torch.tensor([[len(row) for row in picture] for picture in ids], device=device) - (given.shape[-1] - 1)
    scores, order = (total / lengths**config.length_penalty).sort(dim=-1, descending=True, stable=True)
    ids = [[picture[i] for i in best] for picture, best in zip(ids, order.tolist(), strict=True)]
    return Found(ids, total.gather(1, order), scores)


def until_end(row: list[int], end: int) -> list[int]:
    return row[: row.index(end) + 1] if end in row else row


def beam_search(model, features: Tensor, config: Decoding, noise: Noise) -> Found:
    """Beam search: at each step the K best one-token continuations of K hypotheses survive (Graves 2012).

    A continuation that ends leaves the beam for the list of finished captions; a search is done when no hypothesis
    can still beat its K finished ones at the present length. The rules are those of Hugging Face's
    `generate(early_stopping=False)`, so that results can be compared caption by caption. What "best" means is the
    `choice`; diverse beam search is G searches a picture.
    """
    b, device, end = len(features), features.device, model.tokenizer.eos_id
    g, k = config.groups, config.beams // config.groups
    rules, choose = all_rules(config, model.tokenizer, device), choice(config, model.tokenizer, noise, device)
    state, given = begin(model, features, config)
    state = state.reorder(torch.zeros(b, g, dtype=torch.long, device=device))
    tokens = given.repeat_interleave(g, dim=0)  # (R, K, T); one hypothesis to begin with
    total = own = torch.zeros(b * g, 1, device=device)  # (R, K) score, and the model's own log-probability
    finished, rows = Finished(b * g, k, config, device), torch.arange(b * g, device=device)  # which search a row is
    room = config.max_length + 1 - given.shape[-1]
    for length in range(1, room + 1):
        (r, n, _), groups = tokens.shape, torch.arange(g, device=device)[:, None]
        logits, state = model.step(tokens[..., -1].view(r // g, g * n), state)
        log_probs = logits.float().log_softmax(dim=-1).view(r, n, -1)  # (R, K, V)
        scores = rules(log_probs.clone(), tokens).add_(total[..., None])

        # Of the 2K best continuations at most K end, so at least K go on.
        best, index = choose(scores, tokens, rows)  # (R, 2K)
        parents, words = index // scores.shape[-1], index % scores.shape[-1]
        longer = torch.cat([take(tokens, parents), words[..., None]], dim=-1)
        own = take(own, parents) + log_probs.flatten(1).gather(1, index)
        ends = (words == end) | (length == room)
        finished.add(rows, longer[:, :k], best[:, :k].masked_fill(~ends[:, :k], NEVER), own[:, :k], length)

        # The first K that go on are the next hypotheses, and the model remembers what their parents said.
        kept = first(~ends, k)
        total, own, tokens = best.masked_fill(ends, NEVER).gather(1, kept), own.gather(1, kept), take(longer, kept)
        state = state.reorder((parents.gather(1, kept).view(r // g, g, -1) + n * groups).flatten(1))

        # A search that is done goes on as nothing, until its picture leaves the batch.
        going = total.amax(dim=1) / length**config.length_penalty > finished.to_beat(rows)
        total = total.masked_fill(~going[:, None], NEVER)
        if may_leave(pictures := going.view(-1, g).any(dim=1), length):
            if not pictures.any():
                break
            state = state.keep(pictures.nonzero().squeeze(1))
            rows, tokens, total, own = (x[pictures.repeat_interleave(g)] for x in (rows, tokens, total, own))
    return finished.best(config)


def first(wanted: Tensor, k: int) -> Tensor:
    """Indices (R, k) of the first k of wanted (R, M) that are true, then of those that are not."""
    return (~wanted).byte().sort(dim=1, stable=True).indices[:, :k]


def choice(config: Decoding, tokenizer, noise: Noise, device: torch.device) -> Choice:
    """What picks continuations: from scores (R, K, V) and tokens (R, K, T) of the searches `rows` (R,) those that are
    best, (R, 2K), best first, and where they stand in (R, K*V)."""
    k, end = config.beams // config.groups, tokenizer.eos_id
    required = word_ids(config.required, tokenizer, device)
    if config.required:
        return lambda scores, tokens, rows: constraints.in_turns(scores, tokens, required, 2 * k)
    if config.groups > 1:
        return lambda scores, tokens, rows: diverse(scores, config, end)
    if config.sample:
        return lambda scores, tokens, rows: drawn(
            scores, noise(scores, rows, torch.arange(scores.shape[1], device=device), tokens.shape[-1]), 2 * k
        )
    return lambda scores, tokens, rows: top(scores.flatten(1), 2 * k)


def top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of scores (R, M) and their places, or all M where they are fewer."""
    return scores.topk(min(k, scores.shape[1]))


def drawn(scores: Tensor, noisy: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Beam sampling: k continuations drawn without replacement, best first."""
    _, index = top(noisy.flatten(1), k)
    best, order = scores.flatten(1).gather(1, index).sort(dim=1, descending=True)
    return best, index.gather(1, order)


def diverse(scores: Tensor, config: Decoding, end: int) -> tuple[Tensor, Tensor]:
    """Diverse beam search with Hamming diversity (Vijayakumar et al. 2018): groups choose one after the other.

    What earlier groups of the picture go on with at this step costs `config.diversity` for each time.
    """
    (_, n, v), k = scores.shape, config.beams // config.groups
    scores, chosen = scores.view(-1, config.groups, n, v), []
    said = scores.new_zeros(len(scores), 1, v)
    for group in scores.unbind(dim=1):
        best, index = top((group - config.diversity * said).flatten(1), 2 * k)
        words = index % v
        kept = first(words != end, k)
        alive = (best.gather(1, kept) > NEVER).to(said.dtype)  # a search that is done says nothing
        said[:, 0].scatter_add_(1, words.gather(1, kept), alive)
        chosen.append((best, index))
    best, index = (torch.stack(parts, dim=1).flatten(0, 1) for parts in zip(*chosen, strict=True))
    return best, index


class Finished:
    """The K best finished captions of each search so far."""

    def __init__(self, searches: int, k: int, config: Decoding, device: torch.device):
        self.penalty, self.early_stopping = config.length_penalty, config.early_stopping
        self.tokens = torch.zeros(searches, k, 0, dtype=torch.long, device=device)  # grows with the captions
        self.lengths = torch.zeros(searches, k, dtype=torch.long, device=device)
        self.scores = torch.full((searches, k), NEVER, device=device)
        self.log_probs = self.scores.clone()

    def add(self, rows: Tensor, tokens: Tensor, scores: Tensor, log_probs: Tensor, length: int) -> None:
        """Merge candidates (R', K', 1 + T) of the searches `rows` (R',); those that go on have the score -inf."""
        self.tokens = torch.nn.functional.pad(self.tokens, (0, tokens.shape[-1] - 1 - self.tokens.shape[-1]))
        lengths = torch.full_like(scores, tokens.shape[-1] - 1, dtype=torch.long).masked_fill(scores == NEVER, 0)
        new = tokens[..., 1:], lengths, scores / length**self.penalty, log_probs.masked_fill(scores == NEVER, NEVER)
        old = self.tokens, self.lengths, self.scores, self.log_probs
        merged = [torch.cat([x[rows], y], dim=1) for x, y in zip(old, new, strict=True)]
        best = merged[2].topk(self.scores.shape[1]).indices
        for x, y in zip(old, merged, strict=True):
            x[rows] = take(y, best)

    def to_beat(self, rows: Tensor) -> Tensor:
        """Score (R',) that makes a hypothesis worth going on with: that of the worst of the K, or with early stopping
        infinity; minus infinity while there are fewer than K."""
        worst = self.scores[rows].amin(dim=1)
        return worst.masked_fill(worst > NEVER, -NEVER) if self.early_stopping else worst

    def best(self, config: Decoding) -> Found:
        """The best of all searches of a picture."""
        tokens, lengths, scores, log_probs = (
            x.view(-1, config.beams, *x.shape[2:]) for x in (self.tokens, self.lengths, self.scores, self.log_probs)
        )
        scores, order = scores.topk(config.captions)
        rows = zip(take(tokens, order).tolist(), take(lengths, order).tolist(), strict=True)
        ids = [[row[:n] for row, n in zip(*picture, strict=True)] for picture in rows]
        return Found(ids, log_probs.gather(1, order), scores)
