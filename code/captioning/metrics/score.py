"""All the metrics of a set of captions in one call, each with its interval."""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from captioning.metrics import bleu, bootstrap, rouge
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
    """Scores of n captions. K metrics; all are fractions, as coco-caption gives them, not percent."""

    names: tuple[str, ...]  # K
    ids: tuple[str, ...]  # n
    per_picture: np.ndarray  # (n, K)
    statistics: np.ndarray  # (n, C) sums of these give the corpus scores: see `from_sums`

    def __getitem__(self, name: str) -> float:
        return float(self.values[self.names.index(name)])

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def values(self) -> np.ndarray:
        """(K,) corpus scores."""
        return from_sums(self.statistics.sum(0))

    @cached_property
    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Low (K,) and high (K,) end of the 95 % bootstrap interval over pictures."""
        return bootstrap.intervals(self.statistics, from_sums)

    def p_against(self, other: "Scores") -> dict[str, float]:
        """p of the paired permutation test of each metric against another system on the same pictures."""
        if self.ids != other.ids or self.names != other.names:
            raise ValueError(
                f"not the same pictures and metrics: {len(self)} and {len(other)}, {self.names}, {other.names}"
            )
        p = bootstrap.paired_test(self.statistics, other.statistics, from_sums)
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


def from_sums(sums: np.ndarray) -> np.ndarray:
    """Corpus scores (..., K) of summed statistics (..., C): BLEU's 10, ROUGE-L, CIDEr-D, pictures[, right, judged]."""
    means = sums[..., 10:12] / sums[..., 12:13]
    attributes = sums[..., 13:14] / np.maximum(sums[..., 14:], 1)
    return np.concatenate([bleu.from_statistics(sums[..., :10]), means, attributes], -1)


class Scorer:
    """References tokenized and counted once, to score several systems: `Scorer(references)(predictions)`.

    references: {image_id: captions}, at least one each. attributes: a function (image_id, caption) -> a boolean for
    each attribute that is judged; their share over all pictures is the metric "attributes".
    """

    def __init__(self, references: Mapping[str, Sequence[str]], *, attributes: Mark | None = None):
        check_references(references)
        self.ids, self.mark = tuple(references), attributes
        groups = [references[i] for i in self.ids]
        self.references = group(tokenize(list(chain.from_iterable(groups))), like=groups)
        self.cider = CiderD(split_groups(self.references))

    def __call__(self, predictions: Mapping[str, str]) -> Scores:
        """Score one caption for every picture. Raises ValueError or TypeError with counts and examples."""
        check_predictions(predictions, self.ids)
        captions = [predictions[i] for i in self.ids]
        words = tokenize(captions)
        overlap = self.cider.references.overlap(split_words(words))
        counts = bleu.statistics(self.cider.references, overlap)
        rouge_l, cider_d = rouge.score(words, self.references)[1], self.cider.from_overlap(overlap)
        columns = [counts, rouge_l, cider_d, np.ones(len(captions))]
        names = CAPTION_METRICS
        if self.mark:
            marks = [self.mark(i, c) for i, c in zip(self.ids, captions, strict=True)]
            columns.append([(sum(m), len(m)) for m in marks])
            names += (ATTRIBUTES,)
        statistics = np.column_stack(columns).astype(float)
        return Scores(names, self.ids, from_sums(statistics), statistics)


def score(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    attributes: Mark | None = None,
) -> Scores:
    """BLEU-1..4, ROUGE-L, CIDEr-D and attribute accuracy of one caption per picture; arguments as in `Scorer`."""
    return Scorer(references, attributes=attributes)(predictions)


def score_table(
    systems: Mapping[str, Mapping[str, str]],
    references: Mapping[str, Sequence[str]],
    *,
    attributes: Mark | None = None,
) -> "pd.DataFrame":
    """Several systems (and controls) on the same pictures: a row each, columns (metric, score|low|high)."""
    import pandas as pd

    scorer = Scorer(references, attributes=attributes)
    tables = {name: scorer(predictions).table().drop(columns="n") for name, predictions in systems.items()}
    return pd.DataFrame({name: table.stack() for name, table in tables.items()}).T.rename_axis(index="system")


def check_references(references: Mapping[str, Sequence[str]]) -> None:
    """Raises ValueError or TypeError for no pictures, pictures without references, references that are not strings."""
    if not references:
        raise ValueError("no references: expected {image_id: [captions]} with at least one picture")
    total = f"of {len(references)} pictures"
    bad = [i for i, captions in references.items() if isinstance(captions, str)]
    _refuse(TypeError, bad, f"{total} have one string as references; expected a list of strings")
    _refuse(ValueError, [i for i, captions in references.items() if not captions], f"{total} have no references")
    bad = [i for i, captions in references.items() if not all(isinstance(c, str) for c in captions)]
    _refuse(TypeError, bad, f"{total} have references that are not strings")
    if len(references) == 1:
        warnings.warn(
            "one picture only: CIDEr-D is 0 by construction, since every n-gram occurs in every document; "
            "score at least a few hundred pictures",
            stacklevel=3,
        )


def check_predictions(predictions: Mapping[str, str], ids: Sequence[str]) -> None:
    """Raises ValueError (ids missing or extra) or TypeError (captions not strings); warns of empty captions."""
    missing, extra = [i for i in ids if i not in predictions], sorted(predictions.keys() - set(ids), key=str)
    _refuse(
        ValueError, missing, f"of {len(ids)} pictures have no prediction; caption them, or leave out their references"
    )
    _refuse(ValueError, extra, f"of {len(predictions)} predictions have no references; are they of another split?")
    bad = [i for i, caption in predictions.items() if not isinstance(caption, str)]
    _refuse(TypeError, bad, f"of {len(predictions)} predictions are not strings")
    empty = [i for i, caption in predictions.items() if not caption.strip()]
    if empty:
        warnings.warn(f"{len(empty)} of {len(ids)} captions are empty, e.g. {_examples(empty)}: scored 0", stacklevel=3)


def _refuse(error: type[Exception], ids: Sequence[str], what: str) -> None:
    if ids:
        raise error(f"{len(ids)} {what} (e.g. {_examples(ids)})")


def _examples(ids: Sequence[str]) -> str:
    return ", ".join(map(repr, ids[:3]))
