"""Constraints on the next word: small rules that compose, the same for every strategy of `search.py`.

A rule takes scores (B, K, V), logits or log-probabilities that are its own to change in place, and the tokens so far
(B, K, T), begin token and given prefix included; it returns the scores. Most rules put minus infinity on what may not
follow. Sizes: B pictures, K hypotheses a picture, T tokens so far, V vocabulary, W words of a constraint.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

import torch
import torch.nn.functional as F
from torch import Tensor

NEVER = float("-inf")
Rule = Callable[[Tensor, Tensor], Tensor]


def forbid(ids: Tensor) -> Rule:
    """None of the tokens `ids` (W,)."""
    return lambda scores, tokens: scores.index_fill_(-1, ids, NEVER)


def forbid_first(ids: Tensor) -> Rule:
    """None of the tokens `ids` (W,) as the first of a caption."""
    return lambda scores, tokens: scores.index_fill_(-1, ids, NEVER) if tokens.shape[-1] == 1 else scores


def at_least(length: int, end: int) -> Rule:
    """No end before `length` tokens."""

    def rule(scores: Tensor, tokens: Tensor) -> Tensor:
        if tokens.shape[-1] - 1 < length:
            scores[..., end] = NEVER
        return scores

    return rule


def end_at(length: int, end: int) -> Rule:
    """Nothing but the end as token number `length`, with the probability that it has."""

    def rule(scores: Tensor, tokens: Tensor) -> Tensor:
        if tokens.shape[-1] < length:  # the begin token is one of them
            return scores
        said = scores[..., end].clone()
        scores.fill_(NEVER)[..., end] = said
        return scores

    return rule


def no_bad_ending(ids: Tensor, ends: Tensor) -> Rule:
    """None of the tokens `ends`, the end and what stands before it, right after one of `ids` (W,): captions that stop
    at "with a" (Guo et al. 2018)."""

    def rule(scores: Tensor, tokens: Tensor) -> Tensor:
        bad = torch.isin(tokens[..., -1], ids)
        scores[..., ends] = scores[..., ends].masked_fill(bad[..., None], NEVER)
        return scores

    return rule


def no_repeat_ngram(n: int) -> Rule:
    """No n-gram twice (Paulus et al. 2018, section 2.5)."""

    def rule(scores: Tensor, tokens: Tensor) -> Tensor:
        if tokens.shape[-1] < n:
            return scores
        grams = tokens.unfold(-1, n, 1)  # (B, K, T-n+1, n)
        tail = tokens[..., tokens.shape[-1] - n + 1 :]  # the last n-1 tokens
        repeated = (grams[..., :-1] == tail[..., None, :]).all(dim=-1)
        ceiling = torch.where(repeated, NEVER, -NEVER).to(scores.dtype)
        return scores.scatter_reduce_(-1, grams[..., -1], ceiling, "amin")

    return rule


def repetition_penalty(penalty: float) -> Rule:
    """Negative scores of tokens that were said times `penalty`, positive ones divided by it (Keskar et al. 2019).

    Section 4.1 there has the division only, on logits; the product for negative ones is Hugging Face's correction.
    """

    def rule(scores: Tensor, tokens: Tensor) -> Tensor:
        said = scores.gather(-1, tokens)
        return scores.scatter_(-1, tokens, torch.where(said < 0, said * penalty, said / penalty))

    return rule


def likely_only(top_k: int, top_p: float, temperature: float) -> Rule:
    """Only the `top_k` likeliest tokens, of them the smallest set with probability `top_p` (Holtzman et al. 2020).

    In this order, so that `top_p` is a share of what `top_k` left, as in Hugging Face's `generate`. top_k = 0 and
    top_p = 1 stand for all.
    """

    def rule(scores: Tensor, tokens: Tensor) -> Tensor:
        if 0 < top_k < scores.shape[-1]:
            scores.masked_fill_(scores < scores.topk(top_k).values[..., -1:], NEVER)
        if top_p < 1:
            ranked, order = (scores / temperature).softmax(dim=-1).sort(dim=-1, descending=True)
            outside = ranked.cumsum(dim=-1) - ranked >= top_p  # by the probability of all likelier tokens
            scores.masked_fill_(torch.zeros_like(outside).scatter_(-1, order, outside), NEVER)
        return scores

    return rule


def missing(tokens: Tensor, required: Tensor) -> Tensor:
    """Which of the words `required` (W, 2), see `word_ids`, each of tokens (B, K, T) does not have yet: (B, K, W)."""
    within, first = required.unbind(dim=1)
    return ~((tokens[..., None] == within).any(dim=-2) | (tokens[..., 1:2, None] == first).any(dim=-2))


def require(ids: Tensor, end: int, max_length: int) -> Rule:
    """No end before all words `ids` (W, 2) were said, and nothing but them once there is only just room for them."""
    within = ids[:, 0]

    def rule(scores: Tensor, tokens: Tensor) -> Tensor:
        lacking = missing(tokens, ids)
        left, room = lacking.sum(dim=-1), max_length - (tokens.shape[-1] - 1)  # room counts the end token
        scores[..., end].masked_fill_(left > 0, NEVER)
        if room > len(ids) + 1:
            return scores
        wanted = scores[..., within].masked_fill(~lacking, NEVER)
        only = torch.full_like(scores, NEVER).index_copy_(-1, within, wanted)
        return torch.where(((left > 0) & (left >= room - 1))[..., None], only, scores)

    return rule


def in_turns(scores: Tensor, tokens: Tensor, required: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Constrained beam search in the manner of Post and Vilar 2018 (dynamic beam allocation).

    Continuations lie in banks by how many of the words required (W, 2) they have. Candidates are the k best of each
    hypothesis and each word that it lacks. The best of every bank come first, then the second of every bank, ...;
    so no bank is crowded out, and a beam is used by others where a bank is short of candidates.
    """
    (_, n, v), lacking = scores.shape, missing(tokens, required)  # lacking (R, K, W)
    bank, within = len(required) - lacking.sum(dim=-1, keepdim=True), required[:, 0]  # (R, K, 1), (W,)
    progress = scores[..., within].masked_fill(~lacking, NEVER)
    others = scores.clone().index_copy_(-1, within, scores[..., within].masked_fill(lacking, NEVER))
    best, words = others.topk(min(k, v))
    starts = v * torch.arange(n, device=scores.device)[:, None]
    index = torch.cat([words + starts, (within + starts).expand_as(progress)], dim=-1).flatten(1)
    banks = torch.cat([bank.expand_as(best), (bank + 1).expand_as(progress)], dim=-1).flatten(1)
    best, order = torch.cat([best, progress], dim=-1).flatten(1).sort(dim=1, descending=True)
    index, banks = index.gather(1, order), banks.gather(1, order)
    rank = (F.one_hot(banks, len(required) + 2).cumsum(dim=1)).gather(2, banks[..., None]).squeeze(2)
    turn = ((len(required) + 2) * rank - banks).masked_fill(best == NEVER, torch.iinfo(torch.long).max)
    first_turns = turn.sort(dim=1, stable=True).indices[:, :k]
    return best.gather(1, first_turns), index.gather(1, first_turns)


def check_known(words: list[str], tokenizer) -> None:
    """Raises ValueError for a word that the tokenizer does not know, with the nearest that it does.

    A word has the blank before it, for pieces of words, which know some words only at the beginning of a caption.
    """
    for word in words:
        if set(tokenizer.encode(word)) & set(tokenizer.never):
            word = word.strip()
            vocabulary = [tokenizer.decode([i]).strip() for i in range(len(tokenizer))]
            nearest = get_close_matches(word, vocabulary, cutoff=0.5)
            hint = f"; nearest: {', '.join(nearest)}" if nearest else ""
            raise ValueError(f"word {word!r} is not in the vocabulary{hint}")


def word_ids(words: str, tokenizer) -> list[tuple[int, int]]:
    """The ids of each of some words with blanks between them, once: within a sentence, and as the first of it.

    Tokenizers of word pieces may tell a word within a sentence by the blank before it; where it begins a sentence it
    is then another piece, or several, for which its id within stands. Raises ValueError for a word that is unknown, or
    several tokens within a sentence.
    """
    check_known([f" {word}" for word in words.split()], tokenizer)
    encoded = {word: tokenizer.encode(f" {word}") for word in words.split()}
    for word, ids in encoded.items():
        if len(ids) != 1:
            raise ValueError(f"word {word!r} is {len(ids)} tokens of this tokenizer, expected 1")
    first = {ids[0]: tokenizer.encode(word) for word, ids in encoded.items()}
    return [(i, ids[0] if len(ids) == 1 and ids[0] not in tokenizer.never else i) for i, ids in first.items()]
