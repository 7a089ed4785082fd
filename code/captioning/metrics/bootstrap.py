"""Intervals and paired tests over pictures, for any score that is a function of summed per-picture statistics.

P pictures, C statistics of each, K scores. BLEU is not a mean of sentence scores: it is resampled through its counts.
"""

from collections.abc import Iterator

import numpy as np

from captioning.metrics.base import FromSums

_CHUNK = 4_000_000  # pictures x samples held at once: 32 MB of weights


def intervals(
    statistics: np.ndarray, from_sums: FromSums, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap over pictures (Efron and Tibshirani 1993, chapter 13): low (K,) and high (K,).

    statistics: (P, C). The references, and CIDEr's document frequencies with them, are held fixed.
    """
    rng, pictures = np.random.default_rng(seed), len(statistics)
    sums = [_times(rng, pictures, n) @ statistics for n in _chunks(samples, pictures)]
    scores = from_sums(np.concatenate(sums))
    return tuple(np.quantile(scores, [(1 - level) / 2, (1 + level) / 2], axis=0))


def paired_test(
    ours: np.ndarray, theirs: np.ndarray, from_sums: FromSums, samples: int = 2000, seed: int = 0
) -> np.ndarray:
    """Two-sided p (K,) of the paired permutation test: the captions of each picture change systems by a fair coin.

    ours, theirs: (P, C) statistics of the same pictures in the same order. The smallest p is 1 / (samples + 1), but
    with few pictures about 2 / 2**P, since of all tosses no change and the change of all are as far: .06 of five.
    """
    rng, difference = np.random.default_rng(seed), ours - theirs
    a, b = ours.sum(0), theirs.sum(0)
    seen = np.abs(from_sums(a) - from_sums(b))
    as_far = np.zeros(len(seen))
    for n in _chunks(samples, len(ours)):
        moved = rng.integers(0, 2, (n, len(ours))).astype(float) @ difference
        # the tolerance counts equal differences as equal, whatever the order they were summed in
        as_far += (np.abs(from_sums(a - moved) - from_sums(b + moved)) >= seen - 1e-12).sum(0)
    return np.where(np.isnan(seen), np.nan, (1 + as_far) / (1 + samples))


def _times(rng: np.random.Generator, pictures: int, samples: int) -> np.ndarray:
    """(samples, P) how often each picture is drawn when P are drawn with replacement."""
    drawn = rng.integers(0, pictures, (samples, pictures)) + np.arange(samples)[:, None] * pictures
    return np.bincount(drawn.ravel(), minlength=samples * pictures).reshape(samples, pictures).astype(float)


def _chunks(samples: int, pictures: int) -> Iterator[int]:
    size = max(1, _CHUNK // pictures)
    for done in range(0, samples, size):
        yield min(size, samples - done)
