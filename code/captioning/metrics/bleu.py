"""BLEU-1..4 as coco-caption computes it: Papineni et al. 2002, the closest reference's length, its tiny constants."""

from collections.abc import Sequence

import numpy as np

from captioning.metrics.ngrams import N, Overlap, References, Sentence, pairs_of, split_groups, split_words

TINY, SMALL = 1e-15, 1e-9  # coco-caption adds them to numerators and denominators


def score(candidates: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> tuple[np.ndarray, np.ndarray]:
    """BLEU-1..4 of P tokenized candidates: corpus (4,) and per picture (P, 4)."""
    references = References(split_groups(references))
    counts = statistics(references, references.overlap(split_words(candidates)))
    return from_statistics(counts.sum(0)), from_statistics(counts)


def statistics(references: References, overlap: Overlap) -> np.ndarray:
    """What BLEU of any set of pictures is a function of the sum of: (S, 10).

    Columns: correct 1..4-grams (clipped by the most any reference has), candidate 1..4-grams, candidate length, and the
    length of the reference closest in length (the shorter one of two).
    """
    rows, length = overlap.candidates, overlap.candidates.length
    most = np.zeros(len(rows.count), np.int64)
    np.maximum.at(most, overlap.row, references.count[overlap.reference_row])
    correct = np.bincount(rows.sentence * N + rows.order, np.minimum(rows.count, most), len(length) * N)
    guess = np.maximum(length[:, None] - np.arange(N), 0)
    candidate, reference, start = pairs_of(references, overlap)
    nearest = closest(references.length[reference], length[candidate], start)
    return np.column_stack([correct.reshape(-1, N), guess, length, nearest]).astype(float)


def closest(reference: np.ndarray, candidate: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The reference length nearest the candidate's, the shorter of two, in each group of pairs from `start` on."""
    return np.minimum.reduceat(np.abs(reference - candidate) << 32 | reference, start) & 0xFFFFFFFF


def from_statistics(counts: np.ndarray) -> np.ndarray:
    """BLEU-1..4 (..., 4) from summed statistics (..., 10)."""
    correct, guess = counts[..., :N], counts[..., N : 2 * N]
    length, closest = counts[..., 2 * N : 2 * N + 1], counts[..., 2 * N + 1 :]
    precision = np.cumprod((correct + TINY) / (guess + SMALL), -1) ** (1 / np.arange(1, N + 1))
    ratio = (length + TINY) / (closest + SMALL)
    return precision * np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1)), 1)
