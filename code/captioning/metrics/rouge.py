"""ROUGE-L as coco-caption computes it: Lin 2004, section 3, beta 1.2, best precision and recall of the references."""

from collections.abc import Sequence

import numpy as np

from captioning.metrics.ngrams import Sentence

BETA = 1.2


def score(candidates: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> tuple[float, np.ndarray]:
    """ROUGE-L of P tokenized candidates: the mean, and per picture (P,)."""
    scores = np.array([_rouge_l(c, r) for c, r in zip(candidates, references, strict=True)])
    return float(scores.mean()), scores


def _rouge_l(candidate: Sentence, references: Sequence[Sentence]) -> float:
    # coco-caption splits at single blanks, so a sentence without words is one empty word
    masks = position_masks(candidate or [""])
    common = [(lcs_length(masks, r or [""]), len(r) or 1) for r in references]
    precision = max(c for c, _ in common) / (len(candidate) or 1)
    recall = max(c / n for c, n in common)
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def position_masks(sentence: Sentence) -> dict:
    """word -> integer whose bit i is set where word i of the sentence is this word."""
    masks = {}
    for i, word in enumerate(sentence):
        masks[word] = masks.get(word, 0) | 1 << i
    return masks


def lcs_length(masks: dict, other: Sentence) -> int:
    """Length of the longest common subsequence, one row of the table at a time as bits of an integer (Hyyro 2004).

    A bit of `matched` is set where the row of the dynamic programme steps up, so their number is the length.
    """
    matched = 0
    for mask in filter(None, map(masks.get, other)):  # words that occur in both
        candidates = matched | mask
        matched = candidates & ~(candidates - (matched << 1 | 1))
    return matched.bit_count()
