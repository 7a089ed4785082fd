"""All the metrics of a set of captions in one call, each with its interval.

P pictures, C statistics of each, K metrics; all scores are fractions, as coco-caption gives them, not percent.
"""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from captioning.metrics import bleu, bootstrap, rouge
from captioning.metrics.base import Captioned, Measured, Metric
from captioning.metrics.cider import CiderD
from captioning.metrics.ngrams import group, split_groups, split_words
from captioning.metrics.ptb import tokenize

if TYPE_CHECKING:
    import pandas as pd

CAPTION_METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D")
ATTRIBUTES = "attributes"

Mark = Callable[[str, str], Collection[bool]]  # (image_id, caption) -> right or wrong for each attribute


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one caption for each of P pictures."""

    ids: tuple[str, ...]  # P
    measured: tuple[Measured, ...]

    def __getitem__(self, name: str) -> float:
        return float(self.values[self.names.index(name)])

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """(K,) the metrics."""
        return tuple(chain.from_iterable(m.names for m in self.measured))

    @cached_property
    def statistics(self) -> np.ndarray:
        """(P, C); sums of these give the corpus scores."""
        return np.column_stack([m.statistics for m in self.measured])

    def from_sums(self, sums: np.ndarray) -> np.ndarray:
        """Scores (..., K) of summed statistics (..., C)."""
        ends = np.cumsum([m.statistics.shape[1] for m in self.measured])[:-1]
        parts = zip(self.measured, np.split(sums, ends, axis=-1), strict=True)
        return np.concatenate([m.from_sums(part) for m, part in parts], axis=-1)

    @cached_property
    def values(self) -> np.ndarray:
        """(K,) corpus scores."""
        return self.from_sums(self.statistics.sum(0))

    @cached_property
    def per_picture(self) -> np.ndarray:
        """(P, K) scores of each picture alone."""
        return self.from_sums(self.statistics)

    @cached_property
    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Low (K,) and high (K,) end of the 95 % bootstrap interval over pictures."""
        return bootstrap.intervals(self.statistics, self.from_sums)

    def p_against(self, other: "Scores") -> dict[str, float]:
        """p of the paired permutation test of each metric against another system on the same pictures."""
        if self.ids != other.ids or self.names != other.names:
            raise ValueError(
                f"not the same pictures and metrics: {len(self)} and {len(other)}, {self.names}, {other.names}"
            )
        p = bootstrap.paired_test(self.statistics, other.statistics, self.from_sums)
        return dict(zip(self.names, p.tolist(), strict=True))

    def table(self) -> "pd.DataFrame":
        """One row a metric: score, low, high, n."""
        import pandas as pd

        low, high = self.interval
        columns = {"score": self.values, "low": low, "high": high, "n": len(self)}
        return pd.DataFrame(columns, index=pd.Index(self.names, name="metric"))

    def json(self) -> dict:
        """{"n": ..., metric: {"score", "low", "high"}}, ready for `json.dump`."""
        rows = zip(self.names, self.values.tolist(), *(end.tolist() for end in self.interval), strict=True)
        return {"n": len(self)} | {name: {"score": s, "low": a, "high": b} for name, s, a, b in rows}


class Scorer:
    """References tokenized and counted once, to score several systems: `Scorer(references)(predictions)`.

    references: {image_id: captions}, at least one each. attributes: a function (image_id, caption) -> a boolean for
    each attribute that is judged; their share over all pictures is the metric "attributes". also: further metrics,
    such as `Meteor()`, which run beside the others. The warning that one picture has no CIDEr is given here.
    """

    def __init__(
        self,
        references: Mapping[str, Sequence[str]],
        *,
        attributes: Mark | None = None,
        also: Sequence[Metric] = (),
    ):
        check_references(references)
        self.ids, self.mark, self.also = tuple(references), attributes, also
        self.references = [list(references[i]) for i in self.ids]
        self.words = group(tokenize(list(chain.from_iterable(self.references))), like=self.references)
        self.cider = CiderD(split_groups(self.words))

    def __call__(self, predictions: Mapping[str, str]) -> Scores:
        """Score one caption for every picture. Raises ValueError or TypeError with counts and examples."""
        check_predictions(predictions, self.ids)
        captions = [predictions[i] for i in self.ids]
        captioned = Captioned(self.ids, captions, tokenize(captions), self.references, self.words)
        with ThreadPoolExecutor(max(1, len(self.also))) as pool:
            others = [pool.submit(metric, captioned) for metric in self.also]
            ours = [self.ngrams(captioned), *([self.truth(captioned)] if self.mark else [])]
            return Scores(self.ids, (*ours, *(other.result() for other in others)))

    def ngrams(self, captioned: Captioned) -> Measured:
        overlap = self.cider.references.overlap(split_words(captioned.words))
        counts = bleu.statistics(self.cider.references, overlap)
        rouge_l = rouge.score(captioned.words, captioned.reference_words)[1]
        cider_d, one = self.cider.from_overlap(overlap), np.ones(len(self.ids))
        return Measured(CAPTION_METRICS, np.column_stack([counts, rouge_l, cider_d, one]), ngram_scores)

    def truth(self, captioned: Captioned) -> Measured:
        marks = [self.mark(i, c) for i, c in zip(captioned.ids, captioned.captions, strict=True)]
        right_judged = np.array([(sum(m), len(m)) for m in marks], float)
        return Measured((ATTRIBUTES,), right_judged, lambda sums: sums[..., :1] / np.maximum(sums[..., 1:], 1))


def ngram_scores(sums: np.ndarray) -> np.ndarray:
    """CAPTION_METRICS (..., 6) of summed statistics (..., 13): BLEU's 10, ROUGE-L, CIDEr-D, pictures."""
    return np.concatenate([bleu.from_statistics(sums[..., :10]), sums[..., 10:12] / sums[..., 12:]], axis=-1)


def check_references(references: Mapping[str, Sequence[str]]) -> None:
    """Raises ValueError or TypeError for no pictures, pictures without references, references that are not strings."""
    if not references:
        raise ValueError("no references: expected {image_id: [captions]} with at least one picture")
    total = f"of {len(references)} pictures"
    bad = [i for i, captions in references.items() if isinstance(captions, str)]
    refuse(TypeError, bad, f"{total} have one string as references; expected a list of strings")
    refuse(ValueError, [i for i, captions in references.items() if not captions], f"{total} have no references")
    bad = [i for i, captions in references.items() if not all(isinstance(c, str) for c in captions)]
    refuse(TypeError, bad, f"{total} have references that are not strings")
    every = list(chain.from_iterable(references.values()))
    if empty := [i for i, captions in references.items() if not all(map(str.strip, captions))]:
        count = sum(not caption.strip() for caption in every)
        warnings.warn(f"{count} of {len(every)} references are empty, {EMPTY.format(examples(empty))}", stacklevel=3)
    if len(single := [caption for caption in every if len(caption.split()) == 1]) > len(every) / 2:
        warnings.warn(
            f"{len(single)} of {len(every)} references are one word, {NO_BLANKS.format(single[0][:40])}", stacklevel=3
        )
    if len(references) == 1:
        warnings.warn(ONE_PICTURE, stacklevel=3)


EMPTY = "e.g. of {}: coco-caption counts them as descriptions of no words; remove them"
NO_BLANKS = (
    "e.g. {!r}: BLEU-2 to 4 and CIDEr-D compare words between blanks; where a language is written without them "
    "(Chinese, Japanese, Thai), score its characters: --language zh"
)
ONE_PICTURE = (
    "one picture only: CIDEr-D is 0 by construction, since every n-gram occurs in every document; "
    "score at least a few hundred pictures"
)


def check_predictions(predictions: Mapping[str, str], ids: Sequence[str]) -> None:
    """Raises ValueError (ids missing or extra) or TypeError (captions not strings); warns of empty captions."""
    missing, extra = [i for i in ids if i not in predictions], sorted(predictions.keys() - set(ids), key=str)
    refuse(
        ValueError, missing, f"of {len(ids)} pictures have no prediction; caption them, or leave out their references"
    )
    refuse(ValueError, extra, f"of {len(predictions)} predictions have no references; are they of another split?")
    bad = [i for i, caption in predictions.items() if not isinstance(caption, str)]
    refuse(TypeError, bad, f"of {len(predictions)} predictions are not strings")
    empty = [i for i, caption in predictions.items() if not caption.strip()]
    if empty:
        said = f"{len(empty)} of {len(ids)} captions are empty, e.g. {examples(empty)}"
        warnings.warn(f"{said}: scored 0 (ROUGE-L 1 where a reference is empty too)", stacklevel=3)


def refuse(error: type[Exception], ids: Sequence[str], what: str) -> None:
    if ids:
        raise error(f"{len(ids)} {what} (e.g. {examples(ids)})")


def examples(ids: Sequence[str]) -> str:
    return ", ".join(map(repr, ids[:3]))
