"""Self-critical training: its gradient against the exact one of a toy whose captions can all be listed."""

import itertools
import multiprocessing
from functools import partial

import numpy as np
import pytest
import torch
from accelerate import Accelerator, debug_launcher
from torch import nn

from captioning.learning import losses
from captioning.learning.config import RLConfig
from captioning.learning.losses import CrossEntropy, RewardedReferences, SelfCritical
from captioning.models.base import CaptionModel, State
from captioning.text import WordTokenizer

TOKENIZER = WordTokenizer.train(["a b"])
PAD, BOS, EOS, UNK = range(4)
WORDS = (EOS, 4, 5)
LONGEST = 3


class Table(nn.Module):
    """A policy over 'a', 'b' and the end: a row of logits for each place and last token; pictures scale it."""

    def __init__(self):
        super().__init__()
        self.tokenizer = TOKENIZER
        torch.manual_seed(3)
        self.logits = nn.Parameter(torch.randn(LONGEST + 1, len(TOKENIZER), len(TOKENIZER)))

    def features(self, images):
        return images

    def decode(self, features, inputs):
        places = torch.arange(inputs.shape[1])
        each = features.repeat_interleave(len(inputs) // len(features), dim=0)
        return self.logits[places, inputs] * each[..., None]

    decode_said = CaptionModel.decode_said

    def init_state(self, features):
        return State({"scale": features}, {"place": torch.zeros(len(features), 1, dtype=torch.long)})

    def step(self, tokens, state):
        place = state.history["place"]
        logits = self.logits[place, tokens] * state.picture["scale"][..., None]
        return logits, State(state.picture, {"place": place + 1})


class Judge:
    """More b is better, an early end is not; pictures differ."""

    def __call__(self, samples, rows):
        return np.array([2.0 * list(ids).count(5) - (len(ids) == 1) + row % 3 for ids, row in zip(samples, rows)])  # noqa: B905

    def novel(self, samples):
        return 0.5


class Same(Judge):
    def __call__(self, samples, rows):
        return np.full(len(samples), 2.3)  # whose mean is another number, as computers add


def pictures(n, scale=1.0):
    keys = torch.arange(n) * 7919
    return {"images": torch.full((n, 1), scale), "rows": torch.zeros(n, dtype=torch.long), "keys": keys}


rl = partial(RLConfig, max_length=LONGEST)


def every_caption():
    """All captions of up to LONGEST tokens: those that end, and those cut off."""
    for length in range(1, LONGEST + 1):
        for start in itertools.product((4, 5), repeat=length - 1):
            yield [*start, EOS]
    yield from map(list, itertools.product((4, 5), repeat=LONGEST))


def log_probability(model, ids, temperature=1.0):
    inputs = torch.tensor([[BOS, *ids[:-1]]])
    logits = model.decode(torch.ones(1, 1), inputs)[0] / temperature
    logits = logits.masked_fill(~torch.isin(torch.arange(len(TOKENIZER)), torch.tensor(WORDS)), float("-inf"))
    return logits.log_softmax(-1)[range(len(ids)), ids].sum()


def exact_gradient(model, temperature=1.0):
    """Of minus the expected reward, by listing all captions."""
    captions = list(every_caption())
    probabilities = torch.stack([log_probability(model, ids, temperature) for ids in captions]).exp()
    assert probabilities.sum().item() == pytest.approx(1)
    rewards = torch.tensor(Judge()(captions, [0] * len(captions)))
    return torch.autograd.grad(-(probabilities * rewards).sum(), model.logits)[0]


def gradient(model, config, judge, batch):
    model.zero_grad()
    loss, numbers = SelfCritical(model, judge, config)(batch)
    loss.backward()
    return model.logits.grad.clone(), numbers


@pytest.mark.parametrize(
    "config",
    [rl(baseline="others", samples=4), rl(baseline="greedy", samples=1), rl(samples=4, temperature=0.5)],
    ids=str,
)
def test_the_gradient_is_that_of_the_expected_reward(config):
    model, pieces = Table(), []
    for part in range(20):
        batch = pictures(1500) | {"keys": torch.arange(1500) + 10_000 * part}
        pieces.append(gradient(model, config, Judge(), batch)[0])
    estimates = torch.stack(pieces)
    error = estimates.std(0) / len(pieces) ** 0.5
    exact = exact_gradient(model, config.temperature)
    assert exact.abs().max() > 0.2
    assert ((estimates.mean(0) - exact).abs() < 5 * error + 1e-6).all()
    assert error.max() < 0.02  # small enough to see a wrong sign or a missing word


@pytest.mark.parametrize("baseline", ["others", "greedy", "beams"])
def test_each_sample_is_judged_on_its_own_picture(baseline):
    """The judge likes some pictures better, so a row or a baseline of another picture would show."""
    batch = pictures(4) | {"rows": torch.arange(4), "images": torch.tensor([[0.5], [1.0], [1.5], [2.0]])}
    found, numbers = gradient(Table(), rl(baseline=baseline, samples=3), Judge(), batch)
    alone = [
        gradient(Table(), rl(baseline=baseline, samples=3), Judge(), {name: x[i : i + 1] for name, x in batch.items()})
        for i in range(4)
    ]
    torch.testing.assert_close(found, torch.stack([slope for slope, _ in alone]).mean(dim=0))
    for name in ("reward", "baseline"):
        torch.testing.assert_close(numbers[name], torch.stack([its[name] for _, its in alone]).mean())
    assert found.abs().max() > 0.01


@pytest.mark.parametrize("kind", ["transformer", "gru", "attention"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_captioners_gradient_is_that_of_a_plain_computation(make_model, monkeypatch, kind, temperature):
    """One sample after the other, without padding, in 64 bits."""
    monkeypatch.setattr(losses, "AT_ONCE", 200)  # several parts
    model = make_model(kind)
    objective = SelfCritical(model, Letters(), RLConfig(samples=4, max_length=20, temperature=temperature))
    torch.manual_seed(1)
    features, keys = torch.randn(3, 4, model.encoder.channels), torch.arange(3)
    objective({"images": features, "rows": keys, "keys": keys})[0].backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    samples, _ = objective.draw(features, keys)
    assert len({len(ids) for picture in samples for ids in picture}) > 1

    plain, terms = make_model(kind).double(), []
    never = torch.tensor(model.tokenizer.never)
    for picture, view in zip(samples, features.double(), strict=True):
        rewards = Letters()(picture, None)
        for i, ids in enumerate(picture):
            logits = plain.decode(view[None], torch.tensor([[BOS, *ids[:-1]]]))[0] / temperature
            log_probs = logits.index_fill(1, never, float("-inf")).log_softmax(-1)
            others = (rewards.sum() - rewards[i]) / 3
            terms.append(-(rewards[i] - others) * log_probs[range(len(ids)), ids].sum())
    (sum(terms) / len(terms)).backward()
    wanted = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys()
    size = sum(x.square().sum() for x in wanted.values()).sqrt()
    assert size > 0.1
    assert sum((found[name] - x).square().sum() for name, x in wanted.items()).sqrt() < 1e-5 * size


class Letters(Judge):
    """Likes low ids."""

    def __call__(self, samples, rows):
        return np.array([-np.mean(ids) / 10 for ids in samples])


def test_per_token_each_word_has_the_same_weight():
    model, captions = Table(), [[4, EOS], [5, 4, 5], [EOS]]
    objective = SelfCritical(model, Judge(), rl(samples=3, per="token"))
    objective.draw = lambda features, keys: ([captions], [])
    rewards = Judge()(captions, [0] * 3)
    advantages = [rewards[i] - (rewards.sum() - rewards[i]) / 2 for i in range(3)]
    parts = [-advantage * log_probability(model, ids) for advantage, ids in zip(advantages, captions, strict=True)]
    wanted = sum(parts) / 6  # words
    assert abs(wanted) > 0.1
    torch.testing.assert_close(objective(pictures(1))[0], wanted.float(), check_dtype=False)


def test_beams_are_no_samples():
    """The mean of the beams as baseline is a biased estimate: it is not the gradient of the expected reward."""
    model = Table()
    found, _ = gradient(model, rl(baseline="beams", samples=3), Judge(), pictures(8))
    assert (found - exact_gradient(model)).abs().max() > 0.05


def test_minimum_risk_with_all_captions_as_samples_is_the_expected_reward():
    """Every caption drawn once: then the samples are all there is, and the gradient is exact."""
    model, captions = Table(), list(every_caption())
    objective = SelfCritical(model, Judge(), rl(samples=len(captions), objective="minimum risk"))
    objective.draw = lambda features, keys: ([captions], [])
    loss, _ = objective(pictures(1))
    found = torch.autograd.grad(loss, model.logits)[0]
    torch.testing.assert_close(found, exact_gradient(model).to(found))


def test_minimum_risk_counts_a_caption_that_is_drawn_twice_once():
    model, found = Table(), []
    for captions in ([[4, EOS], [5, EOS]], [[4, EOS], [5, EOS], [4, EOS]]):
        objective = SelfCritical(model, Judge(), rl(samples=len(captions), objective="minimum risk"))
        objective.draw = lambda features, keys, captions=captions: ([captions], [])
        found.append(torch.autograd.grad(objective(pictures(1))[0], model.logits)[0])
    torch.testing.assert_close(found[0], found[1])
    assert found[0].abs().max() > 0.01


@pytest.mark.parametrize("baseline", ["others", "greedy", "beams"])
@pytest.mark.parametrize("per", ["sentence", "token"])
def test_no_advantage_no_gradient(baseline, per):
    found, numbers = gradient(Table(), rl(baseline=baseline, samples=3, per=per), Same(), pictures(6))
    assert torch.equal(found, torch.zeros_like(found))
    assert numbers["reward"].item() == numbers["baseline"].item() == pytest.approx(2.3) and numbers["novel"] == 0.5


def test_a_collapsed_policy_is_seen():
    model = Table()
    config = rl(samples=4)
    assert gradient(model, config, Judge(), pictures(40))[1]["same"] < 0.5
    with pytest.warns(UserWarning, match="collapsed: .* of the pictures have equal samples"):
        sure = gradient(model, config, Judge(), pictures(40, scale=100.0))[1]
    assert sure["same"] > 0.9 and sure["entropy"] < 0.05


def test_captions_that_never_end_are_seen():
    model = Table()
    with torch.no_grad():
        model.logits[:, :, EOS] = -50
    with pytest.warns(UserWarning, match="running away: 100% of the samples do not end in 3 tokens"):
        found = gradient(model, rl(samples=4), Judge(), pictures(40))[1]
    assert found["cut"] == 1 and found["length"] == LONGEST


def test_entropy_bonus_flattens_and_kl_pulls_back():
    model, before = Table(), Table()
    batch = pictures(200)
    config = rl(samples=2, entropy=1.0)
    flatter = gradient(model, config, Same(), batch)[0]
    entropy = SelfCritical(model, Same(), config)(batch)[1]["entropy"]
    with torch.no_grad():
        model.logits -= 3 * flatter
    assert SelfCritical(model, Same(), config)(batch)[1]["entropy"] > entropy
    config = rl(samples=2, kl=1.0)
    loss, numbers = SelfCritical(model, Same(), config, reference=before)(batch)
    assert numbers["kl"] > 0.001
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        model.logits -= model.logits.grad
    assert SelfCritical(model, Same(), config, reference=before)(batch)[1]["kl"] < numbers["kl"]
    assert not before.logits.requires_grad
    with pytest.raises(ValueError, match="kl=1.0: needs the model to hold on to"):
        SelfCritical(model, Same(), config)


def test_each_of_a_pictures_references_has_its_pictures_weight():
    model = Table()
    tokens = torch.tensor([[BOS, 4, 4, EOS], [BOS, 4, EOS, PAD], [BOS, 5, 5, EOS], [BOS, 5, EOS, PAD]])
    batch = pictures(2) | {"rows": torch.tensor([1, 0]), "tokens": tokens}
    loss, _ = RewardedReferences(model, Fixed(), max_length=LONGEST)(batch)
    better, worse = (
        sum(log_likelihood(model, ids) for ids in captions)
        for captions in ([[4, 4, EOS], [4, EOS]], [[5, 5, EOS], [5, EOS]])
    )
    torch.testing.assert_close(loss, (worse - better) / 4, check_dtype=False)


class Fixed(Judge):
    """Rewards by row."""

    def __call__(self, samples, rows):
        return np.array([0.0, 1.0])[rows]


def test_the_earlier_course_rewards_references_it_never_drew():
    """Of two pictures the one with the better beam caption pulls its reference up, the other pushes its own down."""
    model = Table()
    batch = pictures(2) | {"rows": torch.tensor([1, 0]), "tokens": torch.tensor([[BOS, 4, 4, EOS], [BOS, 5, 5, EOS]])}
    loss, numbers = RewardedReferences(model, Fixed(), max_length=LONGEST)(batch)
    loss.backward()
    step = -model.logits.grad
    assert step[0, BOS, 4] > 0 > step[0, BOS, 5] and step[2, 4, EOS] > 0 > step[2, 5, EOS]
    assert numbers["reward"] == 0.5
    wanted = (log_likelihood(model, [5, 5, EOS]) - log_likelihood(model, [4, 4, EOS])) / 2
    assert loss.item() == pytest.approx(wanted.item())  # z-scores 1 and -1: minus log-likelihoods a word


def log_likelihood(model, ids):
    """Mean over the words, of all tokens."""
    log_probs = model.decode(torch.ones(1, 1), torch.tensor([[BOS, *ids[:-1]]]))[0].log_softmax(-1)
    return log_probs[range(len(ids)), ids].mean()


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="needs at least 2 sample"):
        rl(samples=1)
    assert rl(samples=1, baseline="greedy").samples == 1


def a_part_each(folder):
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    part = [slice(0, 3), slice(3, 6)][accelerator.process_index]
    for per in ("sentence", "token"):
        objective = accelerator.prepare(SelfCritical(Table(), Judge(), rl(per=per)))
        loss, numbers = objective({name: x[part] for name, x in pictures(6).items()})
        accelerator.backward(loss)
        found = {"gradient": accelerator.unwrap_model(objective).model.logits.grad}
        found |= {name: accelerator.reduce(x, "mean") for name, x in numbers.items()}
        torch.save(found, folder / f"{per}{accelerator.process_index}.pt")


def launch(folder):
    debug_launcher(a_part_each, (folder,), num_processes=2)


def test_a_step_does_not_depend_on_how_the_batch_is_split(tmp_path):
    process = multiprocessing.get_context("forkserver").Process(target=launch, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0
    for per in ("sentence", "token"):
        whole, numbers = gradient(Table(), rl(per=per), Judge(), pictures(6))
        assert whole.abs().max() > 0.01
        for rank in range(2):
            found = torch.load(tmp_path / f"{per}{rank}.pt")
            torch.testing.assert_close(found.pop("gradient"), whole)
            torch.testing.assert_close(found, numbers, check_dtype=False)


def test_samples_longer_than_the_model_has_positions_are_refused(make_model):
    model = make_model("transformer", max_length=10)
    with pytest.raises(ValueError, match="max_length=20 of samples: this transformer|this model has positions for 10"):
        SelfCritical(model, Same(), RLConfig(max_length=20))


def test_cross_entropy_is_mixed_in_by_its_weight():
    batch = pictures(3) | {"tokens": torch.tensor([[BOS, 4, 5, EOS], [BOS, 4, EOS, PAD], [BOS, EOS, PAD, PAD]])}
    config = rl(samples=2, cross_entropy=0.7)
    mixed, numbers = gradient(Table(), config, Same(), batch)  # equal rewards: no advantage
    model = Table()
    loss, _ = CrossEntropy(model)(batch)
    loss.backward()
    torch.testing.assert_close(mixed, 0.7 * model.logits.grad)
    assert numbers["cross-entropy"] == loss


def test_dropout_is_for_drawing_and_scoring():
    modes = []

    class Watched(Table):
        def decode(self, features, inputs):
            modes.append(("decode", self.training))
            return super().decode(features, inputs)

        def step(self, tokens, state):
            modes.append(("step", self.training))
            return super().step(tokens, state)

    for dropout in (False, True):
        modes.clear()
        objective = SelfCritical(Watched(), Judge(), rl(samples=2, dropout=dropout)).train()
        objective(pictures(2))
        assert set(modes) == {("step", dropout), ("decode", dropout)} and not objective.model.training
