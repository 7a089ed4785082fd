"""The rules on what may be said next, by hand and against Hugging Face's logit processors."""

from collections import Counter

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from captioning.decoding import constraints
from captioning.decoding.constraints import NEVER
from captioning.text import WordTokenizer

B, K, V, END = 4, 3, 12, 2


def random_case(length: int = 9):
    """Scores, and tokens in which words repeat often; the same in every run."""
    torch.manual_seed(length)
    return torch.randn(B, K, V) * 2, torch.randint(0, V // 2, (B, K, length))


def banned(scores: torch.Tensor) -> set[tuple[int, ...]]:
    return {tuple(place) for place in (scores == NEVER).nonzero().tolist()}


def everywhere(*ids: int) -> set[tuple[int, ...]]:
    return {(b, k, i) for b in range(B) for k in range(K) for i in ids}


def test_forbidden_tokens_and_nothing_else():
    scores, tokens = random_case()
    assert banned(constraints.forbid(torch.tensor([3, 7]))(scores, tokens)) == everywhere(3, 7)


def test_no_end_before_the_least_length():
    scores, tokens = random_case(length=5)  # the begin token and four words
    assert banned(constraints.at_least(5, END)(scores.clone(), tokens)) == everywhere(END)
    assert not banned(constraints.at_least(4, END)(scores, tokens))


def test_only_the_end_at_the_last_place():
    scores, tokens = random_case(length=5)  # the begin token and four words: the next is number five
    found = constraints.end_at(5, END)(scores.clone(), tokens)
    assert banned(found) == everywhere(*(i for i in range(V) if i != END))
    assert torch.equal(found[..., END], scores[..., END])
    assert not banned(constraints.end_at(6, END)(scores, tokens))


def test_no_end_after_a_bad_ending():
    scores, tokens = random_case()
    tokens[..., -1] = torch.tensor([5, 6, 7])
    rule = constraints.no_bad_ending(torch.tensor([5, 7]), torch.tensor([END, 4]))
    assert banned(rule(scores, tokens)) == {(b, k, i) for b in range(B) for k in (0, 2) for i in (END, 4)}


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 30])
def test_repeated_ngrams_are_those_of_hugging_face(n, length):
    scores, tokens = random_case(length)
    expected = NoRepeatNGramLogitsProcessor(n)(tokens.flatten(0, 1), scores.flatten(0, 1).clone())
    found = constraints.no_repeat_ngram(n)(scores, tokens)
    assert torch.equal(found, expected.view_as(found))
    assert len(banned(found)) > 0 or length < 30


@pytest.mark.parametrize("penalty", [0.7, 1.5])
def test_repetition_penalty_is_that_of_hugging_face(penalty):
    scores, tokens = random_case()
    scores[0, 0, tokens[0, 0, 0]] = NEVER
    expected = RepetitionPenaltyLogitsProcessor(penalty)(tokens.flatten(0, 1), scores.flatten(0, 1).clone())
    assert_close(constraints.repetition_penalty(penalty)(scores, tokens), expected.view_as(scores))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_likely_tokens_are_those_of_hugging_face(temperature):
    scores, tokens = random_case()
    flat = scores.flatten(0, 1)
    for top_k in (1, 4, V, 2 * V):
        expected = TopKLogitsWarper(top_k)(None, flat).view_as(scores)
        assert torch.equal(constraints.likely_only(top_k, 1.0, temperature)(scores.clone(), tokens), expected)
    for top_p in (0.1, 0.6, 0.95):
        expected = TopPLogitsWarper(top_p)(None, flat / temperature).view_as(scores)
        found = constraints.likely_only(0, top_p, temperature)(scores.clone(), tokens)
        assert banned(found) == banned(expected) != set()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_k", [2, 5, 9])
@pytest.mark.parametrize("top_p", [0.5, 0.8, 0.95])
def test_the_likeliest_are_counted_before_their_probability_as_in_hugging_face(top_k, top_p, temperature):
    scores = 2 * torch.randn(20, K, V, generator=torch.Generator().manual_seed(top_k))
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature), TopKLogitsWarper(top_k)])
    warpers.append(TopPLogitsWarper(top_p))  # the order of `GenerationMixin.generate`
    expected = warpers(None, scores.flatten(0, 1)).view_as(scores)
    found = constraints.likely_only(top_k, top_p, temperature)(scores.clone(), None)
    assert banned(found) == banned(expected) != set()


def test_required_words_put_off_the_end_and_then_are_all_that_is_left():
    rule = constraints.require(torch.tensor([[5, 5], [7, 7]]), END, max_length=6)
    said = torch.tensor([[[1, 4, 7], [1, 5, 7], [1, 4, 4]]])  # lacks 5, nothing, both
    assert banned(rule(torch.zeros(1, 3, V), said)) == {(0, 0, END), (0, 2, END)}  # room for 4 more
    said = torch.tensor([[[1, 4, 4, 7, 4], [1, 5, 4, 7, 4]]])  # room for two more, one of them the end
    only = {(0, 0, i) for i in range(V) if i != 5}
    assert banned(rule(torch.zeros(1, 2, V), said)) == only


def in_turns_by_hand(scores, tokens, required, k):
    """(score, hypothesis, word) in the order of Post and Vilar's banks, for one picture."""
    pool = {}
    for h, row in enumerate(scores):
        lacking = set(required) - set(tokens[h])
        likely = sorted((w for w in range(len(row)) if w not in lacking), key=lambda w: -row[w])[:k]
        pool |= {(h, w): (row[w], len(required) - len(lacking) + (w in lacking)) for w in {*likely, *lacking}}
    order, turns = sorted(pool, key=lambda place: -pool[place][0]), Counter()
    ranked = []
    for place in order:
        score, bank = pool[place]
        ranked.append((turns[bank], -bank, score, *place))
        turns[bank] += 1
    return [(score, h, w) for _, _, score, h, w in sorted(ranked)[:k]]


def test_banks_take_turns():
    scores, tokens = random_case()
    tokens[0, 0, 4], tokens[1, 1, 3] = 5, 7  # some have said a word already
    best, index = constraints.in_turns(scores, tokens, torch.tensor([[5, 5], [7, 7]]), 6)
    for b in range(B):
        expected = in_turns_by_hand(scores[b].tolist(), tokens[b].tolist(), [5, 7], 6)
        assert list(zip(best[b].tolist(), (index[b] // V).tolist(), (index[b] % V).tolist(), strict=True)) == expected


class Pieces:
    """A tokenizer whose words are several tokens each: letters."""

    never, bos_id = (0,), 0

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text.strip()]


class BlankPieces:
    """A tokenizer that tells a word within a sentence by the blank before it."""

    never = (0,)

    def encode(self, text: str) -> list[int]:
        return {"dog": [2], " dog": [3], "cat": [5, 6], " cat": [4]}[text]


def test_a_word_at_the_beginning_of_a_caption_is_that_word():
    dog = torch.tensor([[3, 2]])
    begun = torch.tensor([[[1]]])
    assert banned(constraints.forbid_first(dog[:, 1])(torch.zeros(1, 1, V), begun)) == {(0, 0, 2)}
    said = torch.tensor([[[1, 2, 4], [1, 4, 3], [1, 4, 2]]])  # as the first word, within, a piece of another word
    assert banned(constraints.forbid_first(dog[:, 1])(torch.zeros(1, 3, V), said)) == set()
    assert constraints.missing(said, dog)[0, :, 0].tolist() == [False, False, True]
    assert banned(constraints.require(dog, END, max_length=9)(torch.zeros(1, 3, V), said)) == {(0, 2, END)}


def test_words_to_ids():
    tokenizer = WordTokenizer.train(["a red hat with a v-neck t-shirt"])
    hat, red, shirt = (tokenizer.encode(word)[0] for word in ("hat", "red", "t-shirt"))
    assert constraints.word_ids("hat  T-shirt hat red", tokenizer) == [(hat, hat), (shirt, shirt), (red, red)]
    assert constraints.word_ids("", tokenizer) == []
    pieces = BlankPieces()
    assert constraints.word_ids("dog cat", pieces) == [(3, 2), (4, 4)]  # "cat" without a blank is several pieces
    with pytest.raises(ValueError, match="word 'hats' is not in the vocabulary; nearest: hat"):
        constraints.word_ids("red hats", tokenizer)
    with pytest.raises(ValueError, match="word 'xyz' is not in the vocabulary$"):
        constraints.word_ids("xyz", tokenizer)
    with pytest.raises(ValueError, match="word 'hat' is 3 tokens of this tokenizer, expected 1"):
        constraints.word_ids("hat", Pieces())
