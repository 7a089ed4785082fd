"""Many runs compared on the same pictures: captions, size and speed, who is better than whom, who errs with whom.

Sizes: P pictures, F facts (an attribute of a picture that a caption is to get right), S systems.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from captioning.data import minifashion
from captioning.data.batches import picture_batches
from captioning.decoding.config import Decoding
from captioning.evaluation.runs import minutes_so_far
from captioning.evaluation.splits import Predictions, caption_rows, split_features
from captioning.metrics.score import Scores
from captioning.models import saved
from captioning.models.base import CaptionModel
from captioning.models.folders import saved_folder
from captioning.models.inference import device, for_inference
from captioning.paths import OUTPUT

KINDS = {  # what the attributes of mini-fashion are about
    "garments": ("gender", "garment", "lower", "outer"),
    "cut": ("sleeve", "neckline", "length"),
    "fabric": ("fabric", "lower_fabric", "outer_fabric"),
    "pattern": ("pattern", "lower_pattern", "outer_pattern"),
    "small things": ("hat", "glasses", "belt", "ring", "wrist", "neckwear", "socks"),
}
TIMED = 8  # pictures, one batch


@dataclass(frozen=True)
class Entrant:
    """A run that takes part, whether it is there or not."""

    name: str
    run: Path  # its folder, or that of a saved model
    made_by: str  # the command that leaves it there
    builds_on: tuple[Path, ...] = ()  # other runs that it needed, whose minutes are its price too
    decoding: Decoding | None = None  # by default that of its training

    @property
    def there(self) -> bool:
        try:
            return bool(saved_folder(self.run))
        except FileNotFoundError:
            return False


@dataclass(frozen=True)
class Entry:
    """What came of an entrant on P pictures."""

    said: Predictions
    parameters: int
    minutes: float  # of this training alone; nan where a run has kept no log
    in_all: float  # with those of all that it builds on


def missing(entrants: Iterable[Entrant]) -> pd.DataFrame:
    """The entrants whose run is not there, and the command that makes it."""
    rows = [(each.name, os.path.relpath(each.run, OUTPUT), each.made_by) for each in entrants if not each.there]
    return pd.DataFrame(rows, columns=["model", "run", "made by"]).set_index("model")


def enter(entrant: Entrant, rows: Dataset) -> Entry:
    """Caption the pictures of `rows` as the run's training chose its captions."""
    model = saved.load(entrant.run).to(device())
    decoding = entrant.decoding or trained_decoding(entrant.run)
    said = caption_rows(model, rows, decoding, split_features(model, rows))
    parameters = sum(weights.numel() for weights in model.parameters())
    own = minutes(entrant.run)
    in_all = own + sum(map(minutes, entrant.builds_on))
    return Entry(said, parameters, own, in_all)


def trained_decoding(run: Path) -> Decoding:
    """How captions were chosen on val. Raises KeyError for a run that did not note it."""
    return Decoding(**json.loads((run / "config.json").read_text())["decoding"])


def minutes(run: Path) -> float:
    """Minutes of training, validation included, by the run's log; of a stopped run those of all its parts."""
    log = next((folder / "log.jsonl" for folder in (run, run.parent) if (folder / "log.jsonl").is_file()), None)
    return minutes_so_far(log) if log else float("nan")


@torch.inference_mode()
def seconds_a_picture(entrants: Iterable[Entrant], rows: Dataset, turns: int = 12) -> pd.DataFrame:
    """Seconds from pixels to caption (turns, S), encoder and search; reading the files is left out.

    In each turn every run captions the same pictures, one after another, so that what disturbs the machine for a while
    disturbs all of them; the first turn warms up and is not counted. Twelve turns, because a difference that has the
    same sign in all of them is beyond chance (`quicker`) even among the 66 pairs of a dozen systems.
    """
    files, found = list(rows["image"][:TIMED]), []
    ready = {each.name: speaker(each, files) for each in entrants}
    for _ in range(turns + 1):
        found.append({name: seconds(*each) / len(files) for name, each in ready.items()})
    return pd.DataFrame(found[1:])


Speaker = tuple[CaptionModel, Callable[[torch.Tensor], torch.Tensor], Decoding, list[torch.Tensor]]


def speaker(entrant: Entrant, files: list[str]) -> Speaker:
    """A run's model, its encoder as it is quickest, how it chooses its captions, and the pictures at its size."""
    model = saved.load(entrant.run).to(device())
    batches = list(picture_batches(files, model.encoder.config.image_size, batch_size=TIMED))
    return model, for_inference(model), entrant.decoding or trained_decoding(entrant.run), batches


def seconds(
    model: CaptionModel,
    encode: Callable[[torch.Tensor], torch.Tensor],
    decoding: Decoding,
    batches: list[torch.Tensor],
) -> float:
    """For all of the pictures."""
    start = time.perf_counter()
    for images in batches:
        model.generate(encode(images), decoding)
    return time.perf_counter() - start


def summary(entries: Mapping[str, Entry], seconds: pd.DataFrame) -> pd.DataFrame:
    """A row an entry: parameters, minutes of training, those of all that it builds on, and of `seconds_a_picture` the
    median with the quickest and the slowest turn, in milliseconds."""
    rows = {name: (e.parameters, e.minutes, e.in_all) for name, e in entries.items()}
    table = pd.DataFrame.from_dict(rows, "index", columns=["parameters", "minutes", "in all"])
    turns = 1000 * seconds
    return table.assign(**{"ms a picture": turns.median(), "quickest": turns.min(), "slowest": turns.max()})


Measure = tuple[pd.DataFrame, pd.DataFrame]  # (S, S): how far a row is ahead of a column, and Holm's p of each pair


def beaten_by(*measures: Measure) -> dict[str, list[str]]:
    """For each system those that surely beat it in every one of the measures: ahead, with a Holm's p below 0.05. Whom
    nobody beats is on the front."""
    names = list(measures[0][0])
    return {
        name: [
            rival
            for rival in names
            if all(ahead.loc[rival, name] > 0 and p.loc[rival, name] < 0.05 for ahead, p in measures)
        ]
        for name in names
    }


def holm(p: np.ndarray) -> np.ndarray:
    """Adjusted p (M,) of M tests, so that one chance finding among all is as rare as in a single test (Holm 1979)."""
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return adjusted[np.argsort(order)]


def pairwise(scores: Mapping[str, Scores], metric: str) -> Measure:
    """How far the system of a row is above that of a column, and Holm's p of the paired test of each pair."""
    names = list(scores)
    values = np.array([scores[name][metric] for name in names])
    above = pd.DataFrame(values[:, None] - values, names, names)
    return above, adjusted([scores[a].p_against(scores[b])[metric] for a, b in combinations(names, 2)], names)


def quicker(seconds: pd.DataFrame) -> Measure:
    """Which share of a column's time a row saves, in the geometric mean of the turns of `seconds_a_picture`, and Holm's
    p of the paired permutation test of each pair: the two are exchanged within the turns, in all 2**turns ways."""
    names, logs = list(seconds), np.log(seconds)
    tosses = np.array(list(product((1.0, -1.0), repeat=len(logs))))
    mean = logs.mean().to_numpy()
    saved = pd.DataFrame(1 - np.exp(mean[:, None] - mean), names, names)
    differences = [(logs[a] - logs[b]).to_numpy() for a, b in combinations(names, 2)]
    return saved, adjusted([(abs(tosses @ d) >= abs(d.sum()) - 1e-12).mean() for d in differences], names)


def adjusted(p: list[float], names: list[str]) -> pd.DataFrame:
    """Holm's p of all pairs of the names as a table (S, S), nan on the diagonal."""
    table = pd.DataFrame(np.nan, names, names)
    for (a, b), each in zip(combinations(names, 2), holm(np.array(p)), strict=True):
        table.loc[a, b] = table.loc[b, a] = each
    return table


def truths(rows: Dataset) -> list[dict[str, str | None]]:
    """The attributes of each picture where they are known, else what its first reference says of them."""
    if "attributes" in rows.column_names:
        return list(rows["attributes"])
    return [minifashion.read_attributes(captions[0]) for captions in rows["captions"]]


def facts(said: Mapping[str, Predictions], rows: Dataset) -> pd.DataFrame:
    """Right or wrong (F, S), indexed by picture and attribute: every attribute that a picture shows.

    What a caption says of things that the picture does not show is wrong too, but no fact: see `minifashion.mark`.
    """
    found = {}
    for image_id, truth in zip(rows["image_id"], truths(rows), strict=True):
        marks = {name: minifashion.mark(each[image_id], truth) for name, each in said.items()}
        shown = (attribute for attribute, value in truth.items() if value is not None and attribute in KIND_OF)
        found |= {(image_id, a): {name: mark[a] for name, mark in marks.items()} for a in shown}
    table = pd.DataFrame.from_dict(found, orient="index", columns=list(said))
    table.index = pd.MultiIndex.from_tuples(found, names=["picture", "attribute"])
    return table


KIND_OF = {attribute: kind for kind, attributes in KINDS.items() for attribute in attributes}


def by_kind(right: pd.DataFrame) -> pd.DataFrame:
    """Share of facts right (S, kinds) by what they are about."""
    kinds = right.index.get_level_values("attribute").map(KIND_OF)
    return right.groupby(kinds).mean().T[list(KINDS)]


@dataclass(frozen=True)
class Told:
    """The claims of a caption, (attribute, value), that are true and those that are not; and the facts of whose
    attribute it says nothing."""

    true: set[tuple[str, str]]
    invented: set[tuple[str, str]]
    unsaid: set[tuple[str, str]]


def told(caption: str, truth: Mapping[str, str | None], of: ModuleType = minifashion) -> Told:
    """By the `claims` and `facts` of this module (`photo_claims` for photographs)."""
    said, known = of.claims(caption), of.facts(truth)
    about = {attribute for attribute, _ in said}
    return Told(said & known, said - known, {fact for fact in known if fact[0] not in about})


def claims(said: Mapping[str, Predictions], rows: Dataset, of: ModuleType = minifashion) -> pd.DataFrame:
    """What each system says (`told`): claims, true ones and invented ones a caption, the share of the claims that is
    true, and the share of the facts that is said. Silence is no claim."""
    known = dict(zip(rows["image_id"], truths(rows), strict=True))
    facts, found = sum(len(of.facts(truth)) for truth in known.values()), {}
    for name, each in said.items():
        captions = [told(each[i], truth, of) for i, truth in known.items()]
        true, invented = (sum(len(getattr(c, kind)) for c in captions) for kind in ("true", "invented"))
        a_caption = (number / len(known) for number in (true + invented, true, invented))
        found[name] = (*a_caption, true / max(1, true + invented), true / max(1, facts))
    return pd.DataFrame.from_dict(found, "index", columns=["said", "true", "invented", "share true", "share of facts"])


def shared_errors(right: pd.DataFrame) -> pd.DataFrame:
    """The share of the errors of a row's system that the column's makes too (S, S)."""
    wrong = (~right).astype(float)
    return (wrong.T @ wrong).div(wrong.sum(), axis=0)


def error_pairs(right: pd.DataFrame) -> pd.DataFrame:
    """A row a pair: how many times as often as by chance both err on the same fact (the *lift*), the most that this can
    be (one over the larger error rate: then all errors of the better are the other's too), and how far the lift is on
    the way from 1, which is chance, to that."""
    wrong = (~right).astype(float)
    rates, found = wrong.mean(), {}
    for a, b in combinations(right, 2):
        lift, most = (wrong[a] * wrong[b]).mean() / (rates[a] * rates[b]), 1 / max(rates[a], rates[b])
        found[f"{a} / {b}"] = (lift, most, (lift - 1) / (most - 1))
    return pd.DataFrame.from_dict(found, "index", columns=["lift", "most", "of the way"])
