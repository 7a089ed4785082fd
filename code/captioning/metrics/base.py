"""The interface of all metrics: what one gets and gives back, so that every score has an interval and a paired test.

P pictures, C statistics of each, K scores. A score is a function of statistics summed over pictures: a mean is the sum
of the pictures' scores over their number, BLEU and METEOR are functions of summed counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

FromSums = Callable[[np.ndarray], np.ndarray]  # (..., C) -> (..., K)


@dataclass(frozen=True, eq=False)
class Captioned:
    """P pictures, each with the caption to be judged and its references, as they were given and as PTB tokens."""

    ids: tuple[str, ...]
    captions: list[str]
    words: list[list[str]]
    references: list[list[str]]  # at least one a picture
    reference_words: list[list[list[str]]]


@dataclass(frozen=True, eq=False)
class Measured:
    """K scores of P pictures."""

    names: tuple[str, ...]  # K
    statistics: np.ndarray  # (P, C)
    from_sums: FromSums

    @classmethod
    def mean(cls, name: str, scores: np.ndarray) -> "Measured":
        """A metric whose corpus score is the mean of the pictures' scores (P,)."""
        return cls((name,), np.column_stack([scores, np.ones(len(scores))]), lambda sums: sums[..., :1] / sums[..., 1:])


class Metric(Protocol):
    """A metric beyond those of `Scorer`, such as METEOR: an object that is set up once and then called."""

    def __call__(self, captioned: Captioned) -> Measured: ...


class Unavailable(RuntimeError):
    """What a metric needs (Java, weights, a package) is not there; the message is one line that says what to do."""
