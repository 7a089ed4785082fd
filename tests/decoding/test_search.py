"""Decoding against Hugging Face's `generate`, exhaustive search, plain Python and plain probability theory."""

from collections import Counter
from itertools import combinations, pairwise, product

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.testing import assert_close
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from captioning.course import mini_blip
from captioning.decoding import search
from captioning.decoding.config import Decoding
from captioning.decoding.search import Noise, drawn, generate
from captioning.models.base import State
from captioning.models.config import EncoderConfig
from captioning.serving.quantized import Int8Linear, decoder_bytes, faster
from captioning.text import WordTokenizer
from conftest import TINY_DECODERS

KINDS = tuple(TINY_DECODERS)
STRATEGIES = {
    "greedy": Decoding(max_length=10),
    "beam": Decoding(beams=4, captions=3, max_length=10),
    "sample": Decoding(sample=True, captions=3, max_length=10, temperature=2.0, top_k=9),
    "constrained": Decoding(beams=3, captions=2, max_length=10, min_length=4, no_repeat_ngram=2, length_penalty=0.6),
    "greedy rules": Decoding(max_length=10, prefix="b a", forbidden="e f", bad_endings="g h", repetition_penalty=1.3),
    "diverse beam": Decoding(beams=6, groups=3, captions=6, max_length=10, diversity=0.8, prefix="c"),
    "beam sample": Decoding(beams=4, sample=True, captions=4, max_length=10, temperature=1.5, top_p=0.9),
    "required": Decoding(beams=5, captions=2, max_length=10, required="d k", prefix="a", repetition_penalty=1.2),
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
        prefix = [self.tokenizer.bos_id, *self.tokenizer.encode(config.prefix)]
        found = self.generate(
            decoder_input_ids=torch.tensor(prefix).expand(len(features), -1),
            encoder_outputs=BaseModelOutput(last_hidden_state=features),
            decoder_start_token_id=self.tokenizer.bos_id,
            pad_token_id=self.tokenizer.pad_id,
            eos_token_id=self.tokenizer.eos_id,
            suppress_tokens=list(self.tokenizer.never),
            num_beams=config.beams,
            num_return_sequences=config.captions,
            max_new_tokens=config.max_length + 1 - len(prefix),
            min_new_tokens=max(0, config.min_length + 1 - len(prefix)),
            repetition_penalty=config.repetition_penalty,
            length_penalty=config.length_penalty,
            no_repeat_ngram_size=config.no_repeat_ngram,
            early_stopping=config.early_stopping,
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
def log_probs_by_forward(model, features: torch.Tensor, ids: list[list[list[int]]], given: int = 0) -> torch.Tensor:
    """Log-probability (B, n) of the captions from token `given` on, from one forward pass over all of them."""
    captions = [torch.tensor([model.tokenizer.bos_id, *caption]) for picture in ids for caption in picture]
    tokens = pad_sequence(captions, batch_first=True, padding_value=model.tokenizer.pad_id)
    chosen = model(features, tokens[:, :-1]).log_softmax(dim=-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    real = tokens[:, 1:] != model.tokenizer.pad_id
    return (chosen * real)[:, given:].sum(dim=-1).view(len(ids), -1)


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
    Decoding(max_length=10, repetition_penalty=1.4),
    Decoding(beams=10, captions=10, max_length=10, length_penalty=0.6),
    Decoding(beams=10, captions=3, max_length=8, no_repeat_ngram=2, repetition_penalty=1.3),
    Decoding(beams=3, captions=3, max_length=10, repetition_penalty=1.7, prefix="c a", min_length=5),
    Decoding(max_length=10, prefix="b a c", no_repeat_ngram=2),
    Decoding(beams=3, captions=3, length_penalty=2.0, max_length=12, early_stopping=True),
    Decoding(beams=5, captions=2, length_penalty=2.0, max_length=12, early_stopping=True, no_repeat_ngram=2),
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
    found, given = model.generate(features, config), len(config.prefix.split())
    assert_close(found.log_probs, log_probs_by_forward(model, features, found.ids, given), atol=1e-4, rtol=1e-4)
    if config.repetition_penalty == 1 and config.groups == 1 or config.beams == 1:  # else scores have penalties too
        lengths = torch.tensor([[len(ids) - given for ids in captions] for captions in found.ids])
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
    [{}, {"temperature": 0.5}, {"temperature": 1.7}, {"top_k": 3}, {"top_p": 0.6}, {"top_k": 4, "top_p": 0.8}],
)
def test_samples_follow_the_model(options):
    torch.manual_seed(1)
    model, draws = OneStep(torch.randn(10) * 1.5), 20_000
    found = generate(model, torch.zeros(1, 1, 1), Decoding(sample=True, captions=draws, max_length=1, **options))
    counts = torch.bincount(torch.tensor(found.ids).flatten(), minlength=10)

    free = [i for i in range(10) if i not in model.tokenizer.never]
    weights = {i: (model.logits[i] / options.get("temperature", 1)).exp().item() for i in free}
    ranked = sorted(free, key=weights.get, reverse=True)[: options.get("top_k", len(free))]
    total, mass, kept = sum(map(weights.get, ranked)), 0.0, []
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


@pytest.mark.parametrize("kind", KINDS)
def test_samples_that_ended_leave_and_change_no_other(make_model, kind, monkeypatch):
    model, widths = sharp_model(make_model, kind), []
    features = random_features(model)[:2]
    config = Decoding(sample=True, captions=12, max_length=40, temperature=5)
    step = model.step
    monkeypatch.setattr(model, "step", lambda tokens, state: widths.append(tokens.shape[1]) or step(tokens, state))
    found = generate(model, features, config)
    assert widths[0] == 12 and widths[-1] < 12 and widths == sorted(widths, reverse=True)
    monkeypatch.setattr(search, "may_leave", lambda going, step: False)
    expected = generate(model, features, config)
    assert found.ids == expected.ids
    assert_close(found.log_probs, expected.log_probs)


def diverse_by_hand(next_log_probs, config: Decoding, end: int):
    """Diverse beam search of one picture with lists: (score, words) of all groups, best first."""
    k = config.beams // config.groups
    beams, finished = [[(0.0, ())] for _ in range(config.groups)], [[] for _ in range(config.groups)]
    for length in range(1, config.max_length + 1):
        said = Counter()
        for group, (beam, done) in enumerate(zip(beams, finished, strict=True)):
            grown = [
                (score + log_prob - config.diversity * said[word], (*words, word))
                for score, words in beam
                for word, log_prob in next_log_probs(words).items()
            ]
            ranked = sorted(grown, reverse=True)[: 2 * k]
            ends = [words[-1] == end or length == config.max_length for _, words in ranked]
            done += [(s / length**config.length_penalty, w) for (s, w), e in zip(ranked[:k], ends, strict=False) if e]
            done.sort(reverse=True)
            del done[k:]
            said.update([words[-1] for _, words in ranked if words[-1] != end][:k])
            beam = [one for one, e in zip(ranked, ends, strict=True) if not e][:k]
            hopeless = len(done) == k and beam and beam[0][0] / length**config.length_penalty <= done[-1][0]
            beams[group] = [] if hopeless else beam
    return sorted((one for done in finished for one in done), reverse=True)


@pytest.mark.parametrize("kind", KINDS)
def test_diverse_beams_are_those_found_by_hand(make_model, kind):
    model = sharp_model(make_model, kind)
    features, bos = random_features(model, pictures=3), model.tokenizer.bos_id
    words = [i for i in range(len(model.tokenizer)) if i not in model.tokenizer.never]

    @torch.no_grad()
    def next_log_probs(picture: int, said: tuple[int, ...]) -> dict[int, float]:
        logits = model(features[picture : picture + 1], torch.tensor([[bos, *said]]))[0, -1]
        return dict(zip(words, logits.log_softmax(dim=-1)[words].tolist(), strict=True))

    for config in (
        Decoding(beams=6, groups=3, captions=6, max_length=6, diversity=1.5, length_penalty=0.6),
        Decoding(beams=4, groups=4, captions=3, max_length=6, diversity=0.3),
    ):
        found = model.generate(features, config)
        for p in range(3):
            by_hand = diverse_by_hand(lambda said, p=p: next_log_probs(p, said), config, model.tokenizer.eos_id)
            assert found.ids[p] == [list(said) for _, said in by_hand[: config.captions]]
            assert_close(
                found.scores[p].tolist(), [score for score, _ in by_hand[: config.captions]], atol=1e-4, rtol=0
            )


def test_groups_without_diversity_are_the_same_search(make_model):
    model = sharp_model(make_model, "transformer")
    features = random_features(model)
    plain = model.generate(features, Decoding(beams=2, captions=2, max_length=10))
    for diversity, same in ((0.0, True), (2.0, False)):
        config = Decoding(beams=6, groups=3, captions=6, max_length=10, diversity=diversity)
        found = model.generate(features, config)
        expected = [[ids for ids in captions for _ in range(3)] for captions in plain.ids]
        assert (found.ids == expected) == same
        assert all(ids in captions for captions, (ids, _) in zip(found.ids, plain.ids, strict=True))  # the first group


def test_beams_are_drawn_without_replacement():
    torch.manual_seed(1)
    scores, draws = torch.randn(1, 2, 3).log_softmax(dim=-1), 4000  # two hypotheses, three words
    noise, scores = Noise(Decoding(temperature=0.7), torch.arange(draws)), scores.expand(draws, 2, 3)
    best, index = drawn(scores, noise(scores, torch.arange(draws), torch.arange(2), length=1), 2)
    assert (best[:, 0] >= best[:, 1]).all()
    pairs = Counter(tuple(sorted(pair)) for pair in index.tolist())
    p = (scores[0].flatten() / 0.7).softmax(dim=0).tolist()
    expected = {(i, j): p[i] * p[j] * (1 / (1 - p[i]) + 1 / (1 - p[j])) for i, j in combinations(range(6), 2)}
    assert sum(expected.values()) == pytest.approx(1)
    for pair, probability in expected.items():
        assert pairs[pair] / draws == pytest.approx(probability, abs=4 * (0.25 / draws) ** 0.5)


def test_noise_is_uniform_and_every_number_is_new():
    """Mixing is one to one, so numbers differ; shares of the parts of 0 to 1 and correlations are those of chance."""
    keys = torch.arange(2000) << 32
    noise = Noise(Decoding(seed=3), keys)(
        torch.zeros(2000, 2, 5), torch.arange(2000), torch.arange(2), length=7
    ).double()
    uniform = (-(-noise).exp()).exp().flatten(1)  # Gumbel's distribution function
    assert uniform.unique().numel() > 0.99 * uniform.numel()
    shares = torch.histc(uniform, bins=10, min=0, max=1) / uniform.numel()
    assert (shares - 0.1).abs().max() < 0.01
    assert (torch.corrcoef(uniform.T) - torch.eye(10)).abs().max() < 0.1
    pairs = torch.stack([uniform[1:, 0], uniform[:-1, 0]])
    assert torch.corrcoef(pairs)[0, 1].abs() < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_keys_give_each_picture_draws_of_its_own(make_model, kind):
    model = sharp_model(make_model, kind)
    features = random_features(model, pictures=1).expand(6, -1, -1)
    config, keys = Decoding(sample=True, captions=3, max_length=10, temperature=2.0), torch.tensor([4, 9, 4, 1, 2, 9])
    with torch.inference_mode():
        found = generate(model, features, config, keys)
        alone = generate(model, features[:2], config, keys[3:5])
        without = generate(model, features, config)
    assert found.ids[0] == found.ids[2] and found.ids[1] == found.ids[5]
    assert len({str(ids) for ids in found.ids}) == 4
    assert alone.ids == found.ids[3:5]
    assert all(ids == without.ids[0] for ids in without.ids)


@pytest.mark.parametrize("kind", KINDS)
def test_cold_beam_sampling_is_beam_search(make_model, kind):
    model = sharp_model(make_model, kind)
    features = random_features(model)
    plain = model.generate(features, Decoding(beams=3, captions=3, max_length=10))
    cold = Decoding(beams=3, captions=3, max_length=10, sample=True, temperature=1e-4)
    assert model.generate(features, cold).ids == plain.ids
    warm = [model.generate(features, Decoding(beams=3, max_length=10, sample=True, seed=seed)).ids for seed in (0, 1)]
    assert warm[0] != warm[1]


@pytest.mark.parametrize("kind", KINDS)
def test_required_words_are_said(make_model, kind):
    model = sharp_model(make_model, kind)
    features = random_features(model)
    for required, length in (("q", 10), ("x b m", 10), ("z y x w", 5)):
        wanted = set(model.tokenizer.encode(required))
        config = Decoding(beams=6, captions=3, max_length=length, required=required)
        captions = [ids for picture in model.generate(features, config).ids for ids in picture]
        assert all(wanted <= set(ids) for ids in captions)
        free = model.generate(features, Decoding(beams=6, captions=3, max_length=length))
        assert not all(wanted <= set(ids) for picture in free.ids for ids in picture)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wide_constrained_search_finds_the_best_caption_with_the_words(make_model, kind):
    model = sharp_model(make_model, kind, tokenizer=WordTokenizer.train(["a b c"]))
    a, b, _ = model.tokenizer.encode("a b c")
    # What ends has both words by then; what runs out of room as well, since room for the end is kept free.
    captions = [ids for ids in every_caption(model.tokenizer, length=4) if {a, b} <= set(ids[:3])]
    assert len(captions) == 2 + 12 + 36
    features = random_features(model, pictures=4)
    log_probs, order = log_probs_by_forward(model, features, [captions] * 4).sort(dim=-1, descending=True)
    config = Decoding(beams=60, captions=50, max_length=4, length_penalty=0.0, required="b a")
    found = model.generate(features, config)
    assert_close(found.log_probs, log_probs, atol=1e-4, rtol=1e-4)
    assert [picture[0] for picture in found.ids] == [captions[best[0]] for best in order.tolist()]


@pytest.mark.parametrize("options", [{}, {"beams": 4, "captions": 4}, {"sample": True, "captions": 4}])
def test_words_that_are_given_forbidden_or_bad_endings(make_model, options):
    model = sharp_model(make_model, "transformer")
    features, words, end = random_features(model), model.tokenizer.encode, model.tokenizer.eos_id

    def captions(**rules) -> list[list[int]]:
        config = Decoding(max_length=8, **rules, **options)
        return [ids for picture in model.generate(features, config).ids for ids in picture]

    def last_words(captions: list[list[int]]) -> Counter:
        return Counter(ids[-2] for ids in captions if len(ids) > 1 and ids[-1] == end)

    free = captions()
    endings = {i for i, _ in last_words(free).most_common(2)}
    common = {i for i, _ in Counter(i for ids in free for i in ids if i != end).most_common(3)}
    assert len(endings) == 2 and len(common) == 3
    assert not set(last_words(captions(bad_endings=model.tokenizer.decode(endings)))) & endings
    assert not {i for ids in captions(forbidden=model.tokenizer.decode(common)) for i in ids} & common
    assert all(ids[:3] == words("h a t") and 4 <= len(ids) <= 8 for ids in captions(prefix="h a t"))


def test_words_that_cannot_be_given(make_model):
    model = make_model("gru")
    features = random_features(model)
    for options in (
        {"prefix": "a hat"},
        {"forbidden": "hat"},
        {"bad_endings": "a hat"},
        {"required": "hat", "beams": 2},
    ):
        with pytest.raises(ValueError, match="word 'hat' is not in the vocabulary"):
            model.generate(features, Decoding(**options))
    with pytest.raises(ValueError, match="prefix 'a b c' leaves room for 0 of max_length=3"):
        model.generate(features, Decoding(prefix="a b c", max_length=3))


@pytest.mark.parametrize("options", [{}, {"beams": 4, "captions": 4}, {"sample": True, "captions": 4}])
def test_a_forced_end_is_the_last_token_and_counts(make_model, options):
    model = sharp_model(make_model, "transformer")
    model.norm.bias.data.zero_()  # it hardly wants to end
    features = random_features(model)
    free = model.generate(features, Decoding(max_length=5, **options))
    assert any(ids[-1] != model.tokenizer.eos_id for captions in free.ids for ids in captions)
    found = model.generate(features, Decoding(max_length=5, forced_end=True, **options))
    assert all(ids[-1] == model.tokenizer.eos_id for captions in found.ids for ids in captions)
    assert_close(found.log_probs, log_probs_by_forward(model, features, found.ids), atol=1e-4, rtol=1e-4)


def test_captions_that_do_not_exist_are_empty():
    model = OneStep(torch.zeros(10))  # six words and the end
    found = generate(model, torch.zeros(2, 1, 1), Decoding(beams=9, captions=9, max_length=1))
    assert [len(ids) for ids in found.ids[1]] == [1] * 7 + [0] * 2
    assert (found.log_probs[:, 7:] == -torch.inf).all()
    assert_close(found.log_probs[:, :7], torch.full((2, 7), 0.1).log())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_when_pictures_leave_changes_nothing(make_model, monkeypatch, strategy):
    model, config = sharp_model(make_model, "transformer"), STRATEGIES[strategy]
    features, left = random_features(model), []
    usual = model.generate(features, config)
    for policy in (
        lambda going, step: not going.any(),  # all at once
        lambda going, step: not going.all(),  # each at once
        lambda going, step: step % 4 == 0 and not going.all(),  # as on a GPU
    ):
        monkeypatch.setattr(search, "may_leave", policy)
        left.append(model.generate(features, config))
    assert all(found.ids == usual.ids for found in left)
    for found in left:
        assert_close(found.log_probs, usual.log_probs, atol=1e-4, rtol=1e-4)


def test_one_hypothesis_a_step_is_the_work_of_greedy_decoding(make_model, monkeypatch):
    model, rows = sharp_model(make_model, "transformer"), []
    step = model.step
    monkeypatch.setattr(model, "step", lambda tokens, state: rows.append(len(tokens)) or step(tokens, state))
    lengths = [len(ids) for (ids,) in model.generate(random_features(model), Decoding(max_length=12)).ids]
    assert rows[0] == 40 and rows[-1] < 40  # pictures that are done have left
    assert sum(rows) < 40 * max(lengths)
    assert sum(lengths) <= sum(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_weights_give_the_same_captions(make_model, kind):
    model = sharp_model(make_model, kind)
    features, before = random_features(model), {n: x.clone() for n, x in model.state_dict().items()}
    for config in (Decoding(max_length=10), Decoding(beams=4, captions=4, max_length=10)):
        plain, packed = model.generate(features, config), faster(model, "packed").generate(features, config)
        assert packed.ids == plain.ids
        assert_close(packed.scores, plain.scores, atol=1e-4, rtol=1e-4)
    assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [*KINDS, "blip"])
def test_a_faster_copy_leaves_the_model_and_the_encoder_as_they_are(make_model, kind):
    eyes = EncoderConfig("test_vit", weights=None, image_size=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    model = mini_blip.untrained(["a dog runs"], eyes) if kind == "blip" else make_model(kind)
    model.train().requires_grad_(True)
    before = [(type(module), module.training) for module in model.modules()]
    quick = faster(model, "int8")
    assert [(type(module), module.training) for module in model.modules()] == before
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert not any(isinstance(module, Int8Linear) for module in quick.encoder.modules())
    assert sum(isinstance(module, Int8Linear) for module in quick.modules()) > 1


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_int8_is_near(make_model, kind):
    model = sharp_model(make_model, kind)
    features, quick = random_features(model), faster(model, "int8")
    logits, near = (m.step(torch.ones(40, 1, dtype=torch.long), m.init_state(features))[0] for m in (model, quick))
    assert 0 < (logits - near).norm() / logits.norm() < 0.03
    alone = quick.generate(features[:1], Decoding(beams=3, max_length=10))
    assert alone.ids[0] == quick.generate(features, Decoding(beams=3, max_length=10)).ids[0]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_bf16_is_nearer(make_model, kind):
    model = sharp_model(make_model, kind)
    features, tokens = random_features(model), torch.ones(40, 1, dtype=torch.long)
    exact, half = (m.step(tokens, m.init_state(features))[0] for m in (model, faster(model, "bf16")))
    assert half.dtype == torch.float32 and 0 < (exact - half).norm() / exact.norm() < 0.01


def test_the_bytes_of_a_decoder(make_model):
    model = make_model("transformer")
    weights = [p for name, p in model.named_parameters() if not name.startswith("encoder.")]
    assert decoder_bytes(model) == 4 * sum(p.numel() for p in weights)
    linear = [m for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "encoder" not in name]
    saved = sum(m.weight.numel() for m in linear)
    half = decoder_bytes(faster(model, "bf16"))
    assert (
        decoder_bytes(model) - half
        == 2 * saved + 2 * sum(m.bias.numel() for m in linear) - 2 * model.embedding.weight.numel()
    )


@torch.no_grad()
def test_an_int8_layer_rounds_rows_by_themselves():
    layer, x = torch.nn.Linear(64, 24), torch.randn(5, 7, 64) * torch.logspace(-3, 3, 7)[:, None]
    quick = Int8Linear(layer.weight, layer.bias)
    scale, row_scale = layer.weight.abs().amax(dim=1, keepdim=True) / 127, x.abs().amax(dim=-1, keepdim=True) / 127
    exact = ((x / row_scale).round() * row_scale).double() @ ((layer.weight / scale).round() * scale).double().T
    assert_close(quick(x), (exact + layer.bias).float(), rtol=1e-4, atol=1e-4)
    assert torch.equal(quick(x)[2:3], quick(x[2:3]))


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
        ({"sample": True, "beams": 2, "captions": 3}, "captions=3 of beams=2"),
        ({"sample": True, "beams": 4, "groups": 2}, "sample=True with groups"),
        ({"sample": True, "beams": 4, "required": "hat"}, "sample=True with groups or required"),
        ({"beams": 4, "groups": 2, "required": "hat"}, "groups=2 with required='hat': choose one"),
        ({"forced_end": True, "bad_endings": "a"}, "forced_end=True with bad_endings='a'"),
        ({"beams": 4, "groups": 3}, "groups=3 of beams=4"),
        ({"beams": 4, "groups": 0}, "groups=0 of beams=4"),
        ({"beams": 4, "groups": 2, "diversity": -0.1}, r"diversity=-0\.1"),
        ({"required": "hat"}, "required='hat' with beams=1, max_length=100: 1 words need at least 2"),
        ({"beams": 4, "required": "a red hat", "max_length": 3}, "3 words need at least 4"),
        ({"beams": 4, "required": "a red hat", "forbidden": "hat red"}, "both required and forbidden: hat, red"),
        ({"repetition_penalty": 0.0}, r"repetition_penalty=0\.0"),
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
