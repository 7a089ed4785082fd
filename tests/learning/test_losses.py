"""Losses by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from captioning.learning import losses
from captioning.learning.losses import CrossEntropy, attention_coverage, cross_entropy
from captioning.text import WordTokenizer

PAD = WordTokenizer.pad_id


def test_cross_entropy_by_hand():
    """Two captions of two words; the last target is padding. Probabilities 1/2, 1/4, 1/4 in some order."""
    logits = torch.tensor([[[2.0, 1, 1], [1, 2, 1]], [[1, 1, 2], [1, 1, 2]]]).mul(math.log(2))
    targets = torch.tensor([[1, 1], [2, PAD]])
    assert cross_entropy(logits, targets, PAD).item() == pytest.approx((math.log(4) + 2 * math.log(2)) / 3)


def test_label_smoothing_by_hand():
    """The target has 1 - 0.3 and all three words share 0.3."""
    logits = torch.tensor([[[2.0, 1, 1], [1, 1, 1]]]).mul(math.log(2))
    one = 0.7 * math.log(4) + 0.1 * (math.log(2) + 2 * math.log(4))
    assert cross_entropy(logits, torch.tensor([[1, PAD]]), PAD, 0.3).item() == pytest.approx(one)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_padding_never_counts(smoothing):
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 4, 9), torch.tensor([[4, 5, 2], [6, 2, PAD]])
    loss = cross_entropy(logits[:, :3], targets, PAD, smoothing)
    longer = nn.functional.pad(targets, (0, 1), value=PAD)
    logits[1, 2:] = 1e4 * torch.randn(2, 9)  # nonsense where there is no word
    torch.testing.assert_close(cross_entropy(logits, longer, PAD, smoothing), loss)


def test_half_precision_logits_lose_nothing():
    logits = torch.randn(1, 1, 5000).bfloat16()
    loss = cross_entropy(logits, torch.tensor([[7]]), PAD)
    torch.testing.assert_close(loss, -logits.float().log_softmax(-1)[0, 0, 7])


def test_attention_coverage_by_hand():
    """Two words on two cells, a third step that is padding: the cells get 1.25 and 0.75 of attention."""
    weights = torch.tensor([[[0.5, 0.5], [0.75, 0.25], [0.0, 1.0]]])
    real = torch.tensor([[1.0, 1.0, 0.0]])
    assert attention_coverage(weights, real).item() == pytest.approx((0.25**2 + 0.25**2) / 2)
    assert attention_coverage(weights, torch.ones(1, 3)).item() == pytest.approx((0.25**2 + 0.75**2) / 2)


class Recorder(nn.Module):
    """A model that remembers the words it was given and knows nothing."""

    tokenizer = SimpleNamespace(pad_id=0, bos_id=1, eos_id=2, unk_id=3)

    def features(self, images):
        return images

    def decode(self, features, tokens):
        self.seen = tokens
        return torch.zeros(*tokens.shape, 8)

    def decode_with_attention(self, features, tokens):
        return self.decode(features, tokens), torch.full((*tokens.shape, 2), 0.5)


BATCH = {"images": torch.zeros(2, 3, 4), "tokens": torch.tensor([[1, 4, 5, 6, 2], [1, 7, 2, 0, 0]])}


def test_every_word_from_the_words_before_it():
    model = Recorder()
    loss, numbers = CrossEntropy(model)(BATCH)
    assert model.seen.tolist() == [[1, 4, 5, 6], [1, 7, 2, 0]]
    assert loss.item() == numbers["loss"].item() == pytest.approx(math.log(8))


def test_coverage_is_added_and_logged():
    """Half a word's attention on each of two cells a word: 4 words give 2 to each cell, 2 words give 1."""
    loss, numbers = CrossEntropy(Recorder(), coverage=0.5)(BATCH)
    assert numbers["coverage"].item() == pytest.approx((1 + 0) / 2)
    assert loss.item() == pytest.approx(math.log(8) + 0.5 * 0.5)
    assert not numbers["loss"].requires_grad


@pytest.mark.parametrize("coverage", [0.0, 0.5])
def test_the_least_expected_words_are_left_out_in_training_alone(coverage, monkeypatch):
    asked = []
    monkeypatch.setattr(losses, "cross_entropy", lambda *settings: asked.append(settings[-1]) or torch.zeros(()))
    loss = CrossEntropy(Recorder(), coverage=coverage, drop_worst=0.3)
    loss(BATCH)
    loss.eval()(BATCH)
    assert asked == [0.3, 0.0]


def test_dropped_words_become_unknown():
    torch.manual_seed(0)
    model, tokens = Recorder(), torch.randint(4, 8, (400, 52))
    tokens[:, 0], tokens[:200, -20:] = 1, 0
    tokens[:200, -21] = 2
    loss = CrossEntropy(model, drop_words=0.3)
    loss({"images": torch.zeros(400, 1, 1), "tokens": tokens})
    inputs = tokens[:, :-1]
    words = inputs > 3
    assert (model.seen[~words] == inputs[~words]).all()  # begin, end and padding stay
    changed = model.seen != inputs
    assert (model.seen[changed] == 3).all()
    assert changed.sum() / words.sum() == pytest.approx(0.3, abs=0.015)  # 4 standard errors of 16,100 words


def test_no_words_are_dropped_in_evaluation():
    model = Recorder()
    CrossEntropy(model, drop_words=0.9).eval()(BATCH)
    assert model.seen.tolist() == BATCH["tokens"][:, :-1].tolist()


def test_the_least_expected_words_can_be_left_out():
    logits, targets = torch.randn(2, 6, 5), torch.tensor([[1, 2, 3, 4, 0, 0], [1, 2, 3, 4, 1, 2]])
    each = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    each = each[targets.flatten() != 0]
    loss = cross_entropy(logits, targets, pad_id=0, drop_worst=0.3)
    torch.testing.assert_close(loss, each.sort().values[:7].mean())  # of 10 words the 7 likeliest
