"""Scores of a file of captions, with controls, intervals, paired tests and diversity beside them."""

import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from captioning.metrics import controls
from captioning.metrics.base import Metric
from captioning.metrics.diversity import diversity, self_cider
from captioning.metrics.score import Mark, Scorer, Scores, examples
from captioning.metrics.words import UNSPACED, apart

if TYPE_CHECKING:
    import pandas as pd

Captions = Mapping[str, str | Sequence[str]]  # {image_id: a caption, or several}
Language = Literal["en", "zh", "ja", "th"]
MODEL, OTHER = "predictions", "against"


@dataclass(frozen=True, eq=False)
class Report:
    """What `score` found."""

    scores: dict[str, Scores]  # "predictions", then "against" if it was given, then the controls
    diversity: dict[str, dict[str, float]]  # of "predictions" and "against"

    @cached_property
    def p(self) -> dict[str, float]:
        """p of each metric's difference between predictions and `against` (paired permutation test); or nothing."""
        return self.scores[MODEL].p_against(self.scores[OTHER]) if OTHER in self.scores else {}

    def json(self) -> dict:
        """All of it, ready for `json.dump`."""
        scores = {name: system.json() for name, system in self.scores.items()}
        return {"scores": scores, "p": self.p, "diversity": self.diversity}


def score(
    predictions: Captions,
    references: Mapping[str, Sequence[str]],
    *,
    against: Captions | None = None,
    train: Mapping[str, Sequence[str]] | None = None,
    features: tuple[np.ndarray, np.ndarray] | None = None,
    attributes: Mark | None = None,
    also: Sequence[Metric] = (),
    language: Language = "en",
) -> Report:
    """Judge captions by all metrics, beside the controls.

    predictions: {image_id: caption}, or several captions, of which the first is scored and all are judged for
    diversity. references: {image_id: captions}. against: another system's predictions. train: the training captions,
    for controls and novelty; without them the constant caption is chosen from the references, which flatters it.
    features: of the training pictures (T, D) in the order of `train` and of the predicted ones (P, D) in that of
    `references`, for the nearest neighbour. attributes, also: as in `Scorer`. language: "en" for all that write blanks
    between words; of Chinese, Japanese and Thai the characters are scored as words (`words.apart`).

    What does not fit (ids without references or predictions, what is no caption) is left out with a UserWarning that
    counts and names it. Raises ValueError when nothing is left, TypeError for references that are not strings.
    """
    if language in UNSPACED:
        predictions, references = spaced(predictions), spaced(references)
        against, train = against and spaced(against), train and spaced(train)
    systems = {MODEL: predictions} | ({OTHER: against} if against is not None else {})
    kept = {}
    for name, captions in systems.items():
        kept[name] = captioned(captions, references, name)
        if not kept[name]:
            raise ValueError(f"nothing to score: {why_nothing_fits(name, captions, references)}")
    ids = [i for i in references if all(i in captions for captions in kept.values())]
    if not ids:
        shown = " and of ".join(examples(list(captions)) for captions in kept.values())
        raise ValueError(f"nothing to compare: predictions and against are of other pictures, of {shown}")
    if features is not None:
        rows = {i: row for row, i in enumerate(references)}
        features = features[0], features[1][[rows[i] for i in ids]]
    first = {name: {i: captions[i][0] for i in ids} for name, captions in kept.items()}
    scorer = Scorer({i: references[i] for i in ids}, attributes=attributes, also=also)
    blind = controls.all_controls(first[MODEL], train, features)
    if train is None:
        blind["constant caption (of the references)"] = controls.constant_caption(references, ids)
    scores = {name: scorer(captions) for name, captions in first.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is empty has been said of the captions themselves
        scores |= {name: scorer(captions) for name, captions in blind.items()}
    varied = {name: variety([captions[i] for i in ids], scorer, train) for name, captions in kept.items()}
    return Report(scores, varied)


def by_group(
    groups: Mapping[str, str],
    predictions: Captions,
    references: Mapping[str, Sequence[str]],
    also: Sequence[Metric] = (),
    language: Language = "en",
) -> dict[str, Scores]:
    """{group: scores of the predictions of its pictures}, as nocaps scores its domains; groups: {image_id: group}.

    A group without predictions has none. What does not fit has been said of the whole.
    """
    found = {}
    for group in dict.fromkeys(groups.values()):
        some = {i: texts for i, texts in references.items() if groups.get(i) == group and i in predictions}
        if some:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[group] = score({i: predictions[i] for i in some}, some, also=also, language=language).scores[
                    MODEL
                ]
    return found


def spaced(captions: Captions) -> dict[str, Any]:
    """The captions with blanks around each character of a language that writes none."""

    def each(said: Any) -> Any:
        return apart(said) if isinstance(said, str) else list(map(each, said)) if isinstance(said, Sequence) else said

    return {image_id: each(said) for image_id, said in captions.items()}


def captioned(captions: Captions, references: Mapping[str, Sequence[str]], system: str) -> dict[str, list[str]]:
    """The captions of each picture that has references, as lists; what is left out is warned of."""
    lists = {i: [c] if isinstance(c, str) or not isinstance(c, Sequence) else list(c) for i, c in captions.items()}
    wrong = [i for i, texts in lists.items() if not texts or not all(isinstance(text, str) for text in texts)]
    several = [i for i, texts in lists.items() if len(texts) > 1]
    missing, extra = [i for i in references if i not in lists], [i for i in lists if i not in references]
    what = f"such as {captions[wrong[0]]!r:.60}" if wrong else ""
    warn(wrong, f"of {len(lists)} {system} hold something that is no caption, {what}: left out")
    warn(several, f"of {len(lists)} pictures have several captions in {system}: the first is scored")
    warn(
        missing,
        f"of {len(references)} pictures have no caption in {system}: left out, the scores are of the others only",
    )
    warn(extra, f"of {len(lists)} {system} have no references: left out; are they of another split?")
    left_out = set(wrong)
    return {i: texts for i, texts in lists.items() if i in references and i not in left_out}


# Under which the ids of two files may be the same after all.
CHANGES = {
    "in composed letters and without blanks around": lambda i: unicodedata.normalize("NFC", i).strip(),
    "without folders": lambda i: PurePath(i).name,
    "without folders and suffixes": lambda i: PurePath(i).stem,
    "by their last number": lambda i: (re.findall(r"\d+", PurePath(i).stem) or [i])[-1].lstrip("0"),
}


def why_nothing_fits(system: str, captions: Captions, references: Mapping[str, Any]) -> str:
    """What differs between the ids of captions and of references; or what stands there in place of a caption."""
    if there := [i for i in references if i in captions]:
        said = f"{there[0]!r} has {captions[there[0]]!r:.80}, expected a string"
        return f"{len(there)} of {system} have references, but none holds a caption: {said}"
    found, wanted = list(captions), list(references)
    shown = f"{system} are of {examples(found) or 'nothing'}, references of {examples(wanted) or 'nothing'}"
    for what, change in CHANGES.items():
        changed = {change(i): i for i in wanted}
        if same := [(i, changed[change(i)]) for i in found if change(i) in changed]:
            shown += f"; {what} {len(same)} are the same: {ascii(same[0][0])} and {ascii(same[0][1])}"
            break
    return (
        f"{shown}; give both files the same ids, or the references a list of images with id and file_name, as in COCO"
    )


def warn(ids: Sequence[str], what: str) -> None:
    if ids:
        warnings.warn(f"{len(ids)} {what} (e.g. {examples(ids)})", stacklevel=4)


def variety(groups: list[list[str]], scorer: Scorer, train: Mapping[str, Sequence[str]] | None) -> dict[str, float]:
    """Diversity over the pictures' first captions and, where every picture has several, within the pictures."""
    known = None if train is None else [c for captions in train.values() for c in captions]
    found = diversity([captions[0] for captions in groups], known)
    if all(len(captions) > 1 for captions in groups):
        found["self-CIDEr"] = float(self_cider(groups, scorer.references).mean())
    return found


def score_table(scores: Mapping[str, Scores]) -> "pd.DataFrame":
    """A row a system; each metric as "score [low, high]" with its 95 % interval, for reading."""
    import pandas as pd

    rows = {
        name: {metric: f"{row.score:.3f} [{row.low:.3f}, {row.high:.3f}]" for metric, row in s.table().iterrows()}
        for name, s in scores.items()
    }
    return pd.DataFrame(rows).T.drop(columns=["BLEU-2", "BLEU-3"])
