"""Decoding against Hugging Face's `generate`, exhaustive search and plain probability theory."""

from itertools import pairwise, product

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.testing import assert_close
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from captioning.decoding import Decoding, generate
from captioning.models.base import State
from captioning.text import WordTokenizer

KINDS = ("gru", "attention", "transformer")
STRATEGIES = {
    "greedy": Decoding(max_length=10),
    "beam": Decoding(beams=4, captions=3, max_length=10),
    "sample": Decoding(sample=True, captions=3, max_length=10, temperature=2.0, top_k=9),
    "constrained": Decoding(beams=3, captions=2, max_length=10, min_length=4, no_repeat_ngram=2, length_penalty=0.6),
}


SEEDS = {"gru": 1, "attention": 1, "transformer": 0}  # with these, captions end at every length


def sharp_model(make_model, kind: str, **options):
    """Random weights scaled up, so that choices differ, and an end token that comes at different lengths."""
    model = make_model(kind, **options)
    torch.manual_seed(SEEDS[kind])
    with torch.no_grad():
        if kind == "transformer":  # its output matrix is its embedding
            model.embedding.weight.normal_(std=0.6)
            model.position.weight.normal_(std=0.6)
            model.norm.weight.normal_()  # else each word predicts itself
            end = model.embedding.weight[model.tokenizer.eos_id]
            model.norm.bias.copy_(7 * end / end.dot(end))  # adds 7 to the end token's logit
            for layer in model.layers:
                layer.cross_attention.out.weight *= 6  # pictures matter
        else:
            model.embedding.weight.normal_()
            model.head.weight.normal_(std=2.5)
            model.head.bias.normal_()
            model.head.bias[model.tokenizer.eos_id] += 1
    return model


def random_features(model, pictures: int = 40, cells: int = 5) -> torch.Tensor:
    corners = torch.rand(pictures, cells, 2, 2).sort(dim=2).values.flatten(2)
    return torch.cat([2 * torch.randn(pictures, cells, model.encoder.channels - 4), corners], dim=-1)


class HuggingFace(PreTrainedModel, GenerationMixin):
    """One of our captioners as a Hugging Face encoder-decoder, without a cache: each step is a whole forward pass."""

    config_class = PreTrainedConfig

    def __init__(self, model):
        super().__init__(PreTrainedConfig(is_encoder_decoder=True))
        self.model, self.tokenizer = model, model.tokenizer

    def forward(self, input_ids=None, decoder_input_ids=None, encoder_outputs=None, **_):
        return Seq2SeqLMOutput(logits=self.model(encoder_outputs.last_hidden_state, decoder_input_ids))

    def captions(self, features: torch.Tensor, config: Decoding):
        """Ids (picture, caption, token) with the end token, and scores (None when greedy)."""
        found = self.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=features),
            decoder_start_token_id=self.tokenizer.bos_id,
            pad_token_id=self.tokenizer.pad_id,
            eos_token_id=self.tokenizer.eos_id,
            suppress_tokens=list(self.tokenizer.never),
            num_beams=config.beams,
            num_return_sequences=config.captions,
            max_new_tokens=config.max_length,
            min_new_tokens=config.min_length,
            length_penalty=config.length_penalty,
            no_repeat_ngram_size=config.no_repeat_ngram,
            do_sample=False,
            use_cache=False,
            return_dict_in_generate=True,
            output_scores=True,
        )
        rows = [cut(row, self.tokenizer) for row in found.sequences[:, 1:].tolist()]
        n = config.captions
        return [rows[i : i + n] for i in range(0, len(rows), n)], getattr(found, "sequences_scores", None)


def cut(row: list[int], tokenizer) -> list[int]:
    """Up to and with the end token, else without the padding."""
    if tokenizer.eos_id in row:
        return row[: row.index(tokenizer.eos_id) + 1]
    return [token for token in row if token != tokenizer.pad_id]


@torch.no_grad()
def log_probs_by_forward(model, features: torch.Tensor, ids: list[list[list[int]]]) -> torch.Tensor:
    """Log-probability (B, n) of the captions, from one forward pass over all of them."""
    captions = [torch.tensor([model.tokenizer.bos_id, *caption]) for picture in ids for caption in picture]
    tokens = pad_sequence(captions, batch_first=True, padding_value=model.tokenizer.pad_id)
    chosen = model(features, tokens[:, :-1]).log_softmax(dim=-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    real = tokens[:, 1:] != model.tokenizer.pad_id
    return (chosen * real).sum(dim=-1).view(len(ids), -1)


SETTINGS = [
    Decoding(max_length=10),
    Decoding(max_length=10, no_repeat_ngram=2, min_length=3),
    Decoding(beams=3, length_penalty=0.0, max_length=10),
    Decoding(beams=3, captions=2, length_penalty=0.6, max_length=12),
    Decoding(beams=3, captions=3, max_length=8),
    Decoding(beams=3, length_penalty=2.0, max_length=12, no_repeat_ngram=3),
    Decoding(beams=3, captions=3, length_penalty=0.6, max_length=10, no_repeat_ngram=2, min_length=5),
    Decoding(beams=5, captions=5, length_penalty=0.0, max_length=10, no_repeat_ngram=2),
    Decoding(beams=5, length_penalty=0.6, max_length=10, min_length=4),
    Decoding(beams=5, captions=5, max_length=12),
    Decoding(beams=5, captions=4, length_penalty=2.0, max_length=10, no_repeat_ngram=2),
    Decoding(beams=5, captions=2, length_penalty=2.0, max_length=10, min_length=9, no_repeat_ngram=3),
]


@pytest.mark.parametrize("kind", KINDS)
def test_equals_hugging_face(make_model, kind):
    model = sharp_model(make_model, kind)
    theirs, lengths = HuggingFace(model), set()
    for config in SETTINGS:
        features = random_features(model)
        ours = model.generate(features, config)
        ids, scores = theirs.captions(features, config)
        assert ours.ids == ids, config
        if scores is not None:
            assert_close(ours.scores, scores.view_as(ours.scores), atol=1e-4, rtol=1e-4)
        lengths |= {len(caption) for captions in ids for caption in captions}
    assert len(lengths) >= 8  # captions ended early, late and in between


def every_caption(tokenizer, length: int):
    """All captions of at most `length` tokens: words, then the end token unless the length ran out."""
    words = range(4, len(tokenizer))
    for n in range(length):
        yield from ([*start, tokenizer.eos_id] for start in product(words, repeat=n))
    yield from (list(caption) for caption in product(words, repeat=length))


@pytest.mark.parametrize("kind", KINDS)
def test_a_beam_as_wide_as_the_tree_is_exhaustive_search(make_model, kind):
    model = sharp_model(make_model, kind, tokenizer=WordTokenizer.train(["a b c"]))
    captions = list(every_caption(model.tokenizer, length=4))
    assert len(captions) == 1 + 3 + 9 + 27 + 81
    features = random_features(model, pictures=2)
    lengths = torch.tensor([len(caption) for caption in captions])
    log_probs = log_probs_by_forward(model, features, [captions] * 2)
    for penalty in (0.0, 1.0):
        found = model.generate(features, Decoding(beams=121, captions=121, max_length=4, length_penalty=penalty))
        scores, order = (log_probs / lengths**penalty).sort(dim=-1, descending=True)
        assert_close(found.scores, scores, atol=1e-4, rtol=1e-4)
        for ids, best in zip(found.ids, order.tolist(), strict=True):
            assert sorted(ids) == sorted(captions)
            assert ids[:10] == [captions[i] for i in best[:10]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_caption_is_the_same_alone_and_in_a_batch(make_model, kind, strategy):
    model, config = sharp_model(make_model, kind), STRATEGIES[strategy]
    features = random_features(model, pictures=32)
    batch = model.generate(features, config)
    for i in range(0, 32, 3):
        alone = model.generate(features[i : i + 1], config)
        assert alone.ids[0] == batch.ids[i]
        assert_close(alone.log_probs[0], batch.log_probs[i], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_log_probs_are_those_of_forward(make_model, kind, strategy):
    model = sharp_model(make_model, kind)
    features = random_features(model, pictures=4)
    config = STRATEGIES[strategy]
    found = model.generate(features, config)
    assert_close(found.log_probs, log_probs_by_forward(model, features, found.ids), atol=1e-4, rtol=1e-4)
    lengths = torch.tensor([[len(ids) for ids in captions] for captions in found.ids])
    assert_close(found.scores, found.log_probs / lengths**config.length_penalty)
    assert found.texts == [[model.tokenizer.decode(ids) for ids in captions] for captions in found.ids]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_special_tokens_are_never_produced(make_model, monkeypatch, strategy):
    model = sharp_model(make_model, "transformer")
    step = model.step

    def adoring(tokens, state):
        logits, state = step(tokens, state)
        logits[..., list(model.tokenizer.never)] += 50
        return logits, state

    monkeypatch.setattr(model, "step", adoring)
    config = STRATEGIES[strategy]
    for captions in model.generate(random_features(model), config).ids:
        for ids in captions:
            assert not set(ids) & set(model.tokenizer.never)
            assert model.tokenizer.eos_id not in ids[:-1]


@pytest.mark.parametrize("kind", KINDS)
def test_n_best_captions_are_sorted_and_distinct(make_model, kind):
    model = sharp_model(make_model, kind)
    found = model.generate(random_features(model), Decoding(beams=5, captions=5, max_length=10))
    assert (found.scores.diff(dim=-1) <= 0).all()
    assert all(len({tuple(ids) for ids in captions}) == 5 for captions in found.ids)
    assert found.best == [texts[0] for texts in found.texts]


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"beams": 4, "captions": 4}, {"sample": True, "captions": 4}])
def test_no_ngram_is_repeated(make_model, n, options):
    model = sharp_model(make_model, "transformer")
    features = random_features(model)

    def repeats(no_repeat_ngram: int) -> int:
        config = Decoding(max_length=12, min_length=11, no_repeat_ngram=no_repeat_ngram, **options)
        captions = [ids for captions in model.generate(features, config).ids for ids in captions]
        grams = [[tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)] for ids in captions]
        return sum(len(g) - len(set(g)) for g in grams)

    assert repeats(n) == 0
    assert repeats(0) > 0  # else the model never repeats and the test shows nothing


@pytest.mark.parametrize("options", [{}, {"beams": 4, "captions": 4}, {"sample": True, "captions": 4}])
def test_lengths_are_kept(make_model, options):
    model = sharp_model(make_model, "transformer")
    for least, most in ((0, 1), (0, 5), (4, 5), (6, 10)):
        found = model.generate(random_features(model), Decoding(min_length=least, max_length=most, **options))
        for captions in found.ids:
            for ids in captions:
                assert len(ids) <= most
                assert len(ids) - 1 >= least
                assert len(ids) == most or ids[-1] == model.tokenizer.eos_id


class OneStep:
    """The same logits at every step; only the tokenizer's ids and one picture."""

    def __init__(self, logits: torch.Tensor):
        self.logits, self.tokenizer = logits, WordTokenizer.train(["a b c d e f"])

    def init_state(self, features):
        return State()

    def step(self, tokens, state):
        return self.logits.expand(*tokens.shape, -1), state


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.5}, {"temperature": 1.7}, {"top_k": 3}, {"top_p": 0.6}, {"top_k": 4, "top_p": 0.7}],
)
def test_samples_follow_the_model(options):
    torch.manual_seed(1)
    model, draws = OneStep(torch.randn(10) * 1.5), 20_000
    found = generate(model, torch.zeros(1, 1, 1), Decoding(sample=True, captions=draws, max_length=1, **options))
    counts = torch.bincount(torch.tensor(found.ids).flatten(), minlength=10)

    free = [i for i in range(10) if i not in model.tokenizer.never]
    weights = {i: (model.logits[i] / options.get("temperature", 1)).exp().item() for i in free}
    ranked = sorted(free, key=weights.get, reverse=True)[: options.get("top_k", len(free))]
    total, mass, kept = sum(weights.values()), 0.0, []
    for i in ranked:  # the smallest set of tokens that has the probability top_p
        kept.append(i)
        mass += weights[i] / total
        if mass >= options.get("top_p", 1.0):
            break
    expected = torch.zeros(10)
    for i in kept:
        expected[i] = weights[i] / sum(weights[j] for j in kept)
    assert_close(counts / draws, expected, rtol=0, atol=4 * (0.25 / draws) ** 0.5)  # four standard deviations
    assert counts[expected == 0].sum() == 0
    assert 3 <= len(kept) <= 7


@pytest.mark.parametrize("kind", KINDS)
def test_the_likeliest_token_only_is_greedy(make_model, kind):
    model = sharp_model(make_model, kind)
    features = random_features(model)
    greedy = model.generate(features, Decoding(max_length=10))
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}):
        samples = model.generate(features, Decoding(sample=True, captions=2, max_length=10, **narrow))
        assert samples.ids == [[ids, ids] for (ids,) in greedy.ids]


def test_a_seed_repeats_its_samples(make_model):
    model = sharp_model(make_model, "transformer")
    features = random_features(model)
    first, again, other = (
        model.generate(features, Decoding(sample=True, captions=3, max_length=10, seed=seed)).ids for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    assert any(a != b for captions in first for a, b in pairwise(captions))  # samples of one picture differ


def test_generate_leaves_the_mode_alone_and_has_no_dropout(make_model):
    model = sharp_model(make_model, "gru", dropout=0.9).train()
    features = random_features(model)
    assert model.generate(features).ids == model.generate(features).ids
    assert model.training
    assert not model.eval().generate(features).log_probs.requires_grad
    assert not model.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": True, "beams": 2}, "beams=2: choose one"),
        ({"captions": 3}, "captions=3 of beams=1"),
        ({"captions": 3, "beams": 2}, "captions=3 of beams=2"),
        ({"max_length": 0}, "max_length=0"),
        ({"min_length": 100}, "min_length=100, max_length=100"),
        ({"min_length": -1}, "min_length=-1"),
        ({"beams": 0}, "beams=0"),
        ({"captions": 0}, "captions=0"),
        ({"sample": True, "temperature": 0.0}, r"temperature=0\.0"),
        ({"sample": True, "top_p": 0.0}, r"top_p=0\.0"),
        ({"sample": True, "top_p": 1.5}, r"top_p=1\.5"),
        ({"sample": True, "top_k": -1}, "top_k=-1"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram=-1"),
    ],
)
def test_a_decoding_that_cannot_work_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Decoding(**options)
