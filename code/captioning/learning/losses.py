"""Training objectives: modules that own the model they train and turn a batch into a loss.

`objective(batch)` returns a scalar to minimise and the numbers to log. Being modules, they are what distributed
training wraps, so an objective may use any part of the model. The means of cross-entropy and of self-critical training
are over the words or sentences of all processes, so a step is the same however the batch is split.

Sizes: B pictures, n captions or samples a picture, R = B*n captions, T tokens, P of them no padding, N cells, V
vocabulary.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Protocol

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from captioning.decoding import search
from captioning.decoding.config import Decoding
from captioning.decoding.search import NEVER
from captioning.learning.config import RLConfig
from captioning.learning.products import QuickLinear

Objective = tuple[Tensor, dict[str, Tensor]]
AT_ONCE = 2**18  # logits, 1 MiB


def mean_over_processes(values: Tensor, weights: Tensor) -> Tensor:
    """sum(values * weights) / sum(weights) with the sums over all processes, for gradients that DDP averages."""
    total = weights.sum()
    if dist.is_initialized():
        total = total / dist.get_world_size()
        dist.all_reduce(total)
    return (values * weights).sum() / total.clamp(min=1e-9)


def cross_entropy(
    logits: Tensor, targets: Tensor, pad_id: int, smoothing: float = 0.0, drop_worst: float = 0.0
) -> Tensor:
    """Mean over the tokens that are not padding of -log p(target); logits (R, T, V), targets (R, T).

    Label smoothing as Szegedy et al. 2016, section 7: the target gets 1 - smoothing, all words share the rest. The
    share `drop_worst` of this process's tokens, those that are least expected, does not count: where captions are
    noisy, they are mostly mistakes (OFA's own training code).
    """
    losses = F.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), reduction="none", label_smoothing=smoothing
    )
    real = targets.flatten() != pad_id
    if drop_worst:
        real = real & (losses <= losses.detach()[real].quantile(1 - drop_worst))
    return mean_over_processes(losses, real.float())


def attention_coverage(weights: Tensor, real: Tensor) -> Tensor:
    """Doubly stochastic attention (Xu et al. 2015, section 4.2.1): mean over cells of (1 - sum over words)^2.

    weights (R, T, N), real (R, T) is 1 where there is a word. Each cell is asked for one word's worth of attention.
    """
    return ((1 - (weights * real[..., None]).sum(dim=1)) ** 2).mean()


def seen(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """The features of a batch, with its prompts in them where it has some."""
    features = model.features(batch["images"])
    return model.asked(features, batch["prompts"]) if "prompts" in batch else features


def in_parts(measure: Callable[..., Tensor], logits: Tensor, others: Tensor) -> Tensor:
    """`measure(logits, others)` of tensors (P, ...), so many rows at a time that what it has in hand stays in the
    caches."""
    rows = max(1, AT_ONCE // logits.shape[1])
    return torch.cat(list(map(measure, logits.split(rows), others.split(rows))))


class CrossEntropy(nn.Module):
    """Teacher forcing: each word from the true words before it.

    `coverage` weighs the doubly stochastic term, for models that have `decode_with_attention`; `drop_words` replaces
    that share of the input words by `<unk>`, so that the model leans on the picture (Bowman et al. 2016, section 3.2);
    `drop_worst` as in `cross_entropy`, in training alone.
    """

    def __init__(
        self,
        model: nn.Module,
        smoothing: float = 0.0,
        coverage: float = 0.0,
        drop_words: float = 0.0,
        drop_worst: float = 0.0,
    ):
        super().__init__()
        if coverage and not hasattr(model, "decode_with_attention"):
            raise ValueError(f"coverage={coverage}: only the attention model has it, not {type(model).__name__}; use 0")
        self.model, self.smoothing, self.coverage = model, smoothing, coverage
        self.drop_words, self.drop_worst = drop_words, drop_worst

    def forward(self, batch: dict[str, Tensor]) -> Objective:
        tokenizer, inputs, targets = self.model.tokenizer, batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        if self.drop_words and self.training:
            special = torch.tensor([tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id], device=inputs.device)
            dropped = (torch.rand_like(inputs, dtype=torch.float) < self.drop_words) & ~torch.isin(inputs, special)
            inputs = inputs.masked_fill(dropped, tokenizer.unk_id)
        features, drop = seen(self.model, batch), self.drop_worst if self.training else 0.0
        if not self.coverage:
            logits = self.model.decode(features, inputs)
            loss = cross_entropy(logits, targets, tokenizer.pad_id, self.smoothing, drop)
            return loss, {"loss": loss.detach()}
        logits, weights = self.model.decode_with_attention(features, inputs)
        loss = cross_entropy(logits, targets, tokenizer.pad_id, self.smoothing, drop)
        spread = attention_coverage(weights, (targets != tokenizer.pad_id).float())
        return loss + self.coverage * spread, {"loss": loss.detach(), "coverage": spread.detach()}


class Judge(Protocol):
    """What rewards samples: `rewards.SampleReward`."""

    def __call__(self, samples: Sequence[Sequence[int]], rows: np.ndarray) -> np.ndarray: ...

    def novel(self, samples: Sequence[Sequence[int]]) -> float: ...


class SelfCritical(nn.Module):
    """REINFORCE with a baseline on whole captions (Williams 1992; Rennie et al. 2017, section 3), or minimum risk.

    Samples are drawn by `decoding` without gradient and scored again by the model's `decode`; the gradient of
    -(reward - baseline) * log p(sample) then is an unbiased estimate of that of -E[reward] (with the baselines greedy
    and others, per sentence; the other choices trade that for something else). Dropout is off unless the configuration
    says otherwise, so that the model that draws is the model that is trained. `reward(samples, rows)` judges token ids
    (the end token included where a sample ended) of the training pictures `rows`; it runs beside the second pass.
    `reference` is the model that `kl` holds on to.
    """

    def __init__(self, model: nn.Module, reward: Judge, config: RLConfig, reference: nn.Module | None = None):
        super().__init__()
        if config.kl and reference is None:
            raise ValueError(f"kl={config.kl}: needs the model to hold on to as `reference`")
        positions = getattr(model, "max_length", None)
        if positions is not None and config.max_length > positions:
            raise ValueError(f"max_length={config.max_length} of samples: this model has positions for {positions}")
        self.model, self.reward, self.config = model, reward, config
        # in a list, so that it is neither trained nor saved with the policy
        self.reference = [] if reference is None else [reference.eval().requires_grad_(False)]
        self.pool = ThreadPoolExecutor(1)

    def train(self, mode: bool = True) -> SelfCritical:
        return super().train(False)

    def forward(self, batch: dict[str, Tensor]) -> Objective:
        # layers that are computed again in the backward pass must be those of the forward pass, which is over then
        again = any(getattr(module, "gradient_checkpointing", False) for module in self.model.modules())
        with nullcontext() if again else QuickLinear():
            return self.rewarded(batch)

    def rewarded(self, batch: dict[str, Tensor]) -> Objective:
        features = seen(self.model, batch)
        self.model.train(self.config.dropout)
        samples, greedy = self.draw(features.detach(), batch["keys"])
        judged = self.pool.submit(self.judge, samples, greedy, batch["rows"])
        inputs, targets = self.tokens(samples)
        said = targets != self.model.tokenizer.pad_id  # (R, T), of which P are words
        real = said.float()
        logits = self.logits(self.model, features, inputs, said)
        self.model.eval()
        chosen, entropy = in_parts(self.of_words, logits, targets[said]).unbind(1)
        chosen = torch.zeros_like(real).masked_scatter(said, chosen)  # (R, T), 0 where there is no word
        *found, novel = judged.result()
        rewards, baseline = (torch.from_numpy(x).to(chosen) for x in found)  # (B, n) each
        advantage = (rewards - baseline).flatten()
        if self.config.objective == "minimum risk":
            again = [[ids in picture[:i] for i, ids in enumerate(picture)] for picture in samples]
            total = chosen.sum(dim=1).view_as(rewards)
            likely = total.masked_fill(torch.tensor(again, device=total.device), NEVER).softmax(dim=1)
            loss = mean_over_processes(-(likely * rewards).sum(dim=1), torch.ones_like(rewards[:, 0]))
        elif self.config.per == "sentence":
            loss = mean_over_processes(-advantage * chosen.sum(dim=1), torch.ones_like(advantage))
        else:
            loss = mean_over_processes(-advantage[:, None] * chosen, real)
        entropy = mean_over_processes(entropy, torch.ones_like(entropy))
        numbers = {"loss": loss, "reward": rewards.mean(), "baseline": baseline.mean(), "entropy": entropy}
        numbers |= {"length": real.sum(dim=1).mean(), "novel": torch.tensor(novel)} | self.health(samples)
        loss = loss - self.config.entropy * entropy
        if self.config.kl:
            with torch.no_grad():
                before = self.logits(self.reference[0], seen(self.reference[0], batch), inputs, said)
            apart = in_parts(self.apart, logits, before)
            numbers["kl"] = mean_over_processes(apart, torch.ones_like(apart))
            loss = loss + self.config.kl * numbers["kl"]
        if self.config.cross_entropy:
            numbers["cross-entropy"] = CrossEntropy(self.model)(batch)[0]
            loss = loss + self.config.cross_entropy * numbers["cross-entropy"]
        return loss, {name: number.detach() for name, number in numbers.items()}

    @torch.no_grad()
    def draw(self, features: Tensor, keys: Tensor) -> tuple[list, list]:
        """The samples of each picture, and its greedy caption where that is the baseline (else nothing)."""
        config = self.config
        if config.baseline == "beams":
            how = Decoding(beams=config.samples, captions=config.samples, max_length=config.max_length)
        else:
            how = Decoding(
                sample=True, captions=config.samples, max_length=config.max_length, temperature=config.temperature
            )
        samples = search.generate(self.model, features, how, keys).ids
        if config.baseline != "greedy":
            return samples, []
        return samples, search.generate(self.model, features, Decoding(max_length=config.max_length)).ids

    def judge(self, samples: list, greedy: list, rows: Tensor) -> tuple[np.ndarray, np.ndarray, float]:
        """Rewards and baselines, (B, n) each, and the share of novel samples."""
        rows, n = rows.cpu().numpy(), self.config.samples
        flat = [ids for picture in samples + greedy for ids in picture]
        found = self.reward(flat, np.concatenate([rows.repeat(n), rows[: len(greedy)]])).astype(np.float32)
        rewards, of_greedy = found[: len(rows) * n].reshape(-1, n), found[len(rows) * n :, None]
        if self.config.baseline == "greedy":
            baseline = of_greedy
        elif self.config.baseline == "others":
            baseline = (rewards.sum(axis=1, keepdims=True) - rewards) / (n - 1)
        else:
            baseline = rewards.mean(axis=1, keepdims=True)
        if self.config.baseline != "greedy":  # where all rewards are equal nothing is learned, not even rounding
            baseline = np.where(np.ptp(rewards, axis=1, keepdims=True) > 0, baseline, rewards)
        return rewards, np.broadcast_to(baseline, rewards.shape).copy(), self.reward.novel(flat[: len(rows) * n])

    def tokens(self, samples: list) -> tuple[Tensor, Tensor]:
        """Inputs `<bos> w1 ..` and targets `w1 .. <eos>` (R, T), padded, of the samples."""
        tokenizer, device = self.model.tokenizer, next(self.model.parameters()).device
        rows = [torch.tensor([tokenizer.bos_id, *ids], device=device) for picture in samples for ids in picture]
        tokens = pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_id)
        return tokens[:, :-1], tokens[:, 1:]

    def logits(self, model: nn.Module, features: Tensor, inputs: Tensor, said: Tensor) -> Tensor:
        """Logits (P, V) of the words that are `said` (R, T), without the tokens that can never be drawn."""
        logits = model.decode_said(features, inputs, said).float()
        logits.detach()[:, list(model.tokenizer.never)] = NEVER  # a constant: their gradient is 0 as it is
        return logits

    def log_probs(self, logits: Tensor) -> Tensor:
        """Of the distribution that `decoding` draws from, (P, V)."""
        return (logits if self.config.temperature == 1 else logits / self.config.temperature).log_softmax(dim=-1)

    def of_words(self, logits: Tensor, words: Tensor) -> Tensor:
        """The log-probabilities of words (P,), and the entropies of what they are drawn from: (P, 2)."""
        log_probs = self.log_probs(logits)
        with torch.set_grad_enabled(bool(self.config.entropy)):
            entropy = -torch.linalg.vecdot(log_probs.exp(), log_probs.clamp(min=-1e4))
        return torch.stack([log_probs.gather(-1, words[:, None]).squeeze(-1), entropy], dim=1)

    def apart(self, logits: Tensor, before: Tensor) -> Tensor:
        """KL(policy || the model before), (P,)."""
        log_probs = self.log_probs(logits)
        return (log_probs.exp() * (log_probs - self.log_probs(before)).nan_to_num()).sum(dim=-1)

    def health(self, samples: list[list[list[int]]]) -> dict[str, Tensor]:
        """Share of pictures all of whose samples are `same`, and of samples that are `cut` before their end.

        Warns of a policy that has collapsed (without differences nothing is learned) or whose captions do not end.
        """
        eos_id, longest = self.model.tokenizer.eos_id, self.config.max_length
        same = sum(len({tuple(ids) for ids in picture}) == 1 for picture in samples) / len(samples)
        cut = sum(ids[-1] != eos_id for picture in samples for ids in picture) / (len(samples) * len(samples[0]))
        if same > 0.9 and self.config.samples > 1:
            warnings.warn(f"collapsed: {same:.0%} of the pictures have equal samples; lower the rate", stacklevel=2)
        if cut > 0.9:
            warnings.warn(f"running away: {cut:.0%} of the samples do not end in {longest} tokens", stacklevel=2)
        return {"same": torch.tensor(same), "cut": torch.tensor(cut)}


class RewardedReferences(nn.Module):
    """The "RL loss" of an earlier fashion course, kept to be compared with: not policy gradient.

    A beam caption is rewarded, the rewards are made z-scores over the batch, and each weighs the log-probability of
    the picture's *true* captions. Nothing that is rewarded is ever drawn, so nothing is explored; and where the beam
    caption was worse than the batch's average, the weight is negative and the references are un-learned. (The course
    also paired rewards with the captions of other pictures, since its batches were sorted by length; here the pairs
    are right.) `scale` weighs the loss, as the course's "scale factor" did.
    """

    def __init__(self, model: nn.Module, reward: Judge, max_length: int, beams: int = 3, scale: float = 1.0):
        super().__init__()
        self.model, self.reward, self.scale = model, reward, scale
        self.decoding = Decoding(beams=beams, max_length=max_length)

    def train(self, mode: bool = True) -> RewardedReferences:
        return super().train(False)

    def forward(self, batch: dict[str, Tensor]) -> Objective:
        features, rows = seen(self.model, batch), batch["rows"].cpu().numpy()
        with torch.no_grad():
            beams = search.generate(self.model, features, self.decoding).ids
        rewards = torch.from_numpy(self.reward([ids for [ids] in beams], rows)).to(features)  # (B,)
        z = (rewards - rewards.mean()) / rewards.std(unbiased=False).clamp(min=1e-6)
        inputs, targets = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        logits = self.model.decode(features, inputs).float()
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
        real = (targets != self.model.tokenizer.pad_id).float()
        each = (losses * real).sum(dim=1) / real.sum(dim=1)  # (B*n,)
        loss = self.scale * (z.repeat_interleave(len(each) // len(z)) * each).mean()
        return loss, {"loss": loss.detach(), "reward": rewards.mean()}
