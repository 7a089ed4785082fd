"""Many runs compared on the same pictures: captions, size and speed, who is better than whom, who errs with whom.

Sizes: P pictures, F facts (an attribute of a picture that a caption is to get right), S systems.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
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
TIMED = 32  # pictures, in batches of 16


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
def seconds_a_picture(entrants: Iterable[Entrant], rows: Dataset, turns: int = 5) -> pd.DataFrame:
    """Seconds from pixels to caption (turns, S), encoder and search; reading the files is left out.

    In each turn every run captions the same pictures, one after another, so that what disturbs the machine for a while
    disturbs all of them; the first turn warms up and is not counted.
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
    batches = list(picture_batches(files, model.encoder.config.image_size, batch_size=TIMED // 2))
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


def front(table: pd.DataFrame, above: pd.DataFrame, p: pd.DataFrame) -> list[str]:
    """The rows of `summary` that no other surely beats in both: quicker in its slowest turn than this one in its
    quickest, and above it (`pairwise`) with a Holm's p below 0.05."""
    return [
        name
        for name, row in table.iterrows()
        if not any(
            other["slowest"] < row["quickest"] and above.loc[rival, name] > 0 and p.loc[rival, name] < 0.05
            for rival, other in table.iterrows()
        )
    ]


def holm(p: np.ndarray) -> np.ndarray:
    """Adjusted p (M,) of M tests, so that one chance finding among all is as rare as in a single test (Holm 1979)."""
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return adjusted[np.argsort(order)]


def pairwise(scores: Mapping[str, Scores], metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How far the system of a row is above that of a column (S, S), and Holm's p of the paired test of each pair."""
    names, pairs = list(scores), list(combinations(scores, 2))
    values = np.array([scores[name][metric] for name in names])
    above = pd.DataFrame(values[:, None] - values, names, names)
    p = pd.DataFrame(np.nan, names, names)
    adjusted = holm(np.array([scores[a].p_against(scores[b])[metric] for a, b in pairs]))
    for (a, b), each in zip(pairs, adjusted, strict=True):
        p.loc[a, b] = p.loc[b, a] = each
    return above, p


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


def claims(said: Mapping[str, Predictions], rows: Dataset, of: ModuleType = minifashion) -> pd.DataFrame:
    """What each system says, by the `claims` and `facts` of this module (`photo_claims` for photographs): claims, true
    ones and invented ones a caption, the share of the claims that is true, and the share of the facts that is said.
    Silence is no claim."""
    known = {i: of.facts(truth) for i, truth in zip(rows["image_id"], truths(rows), strict=True)}
    found = {}
    for name, each in said.items():
        told = {i: of.claims(each[i]) for i in known}
        count, true = sum(map(len, told.values())), sum(len(told[i] & known[i]) for i in known)
        shares = true / max(1, count), true / sum(map(len, known.values()))
        found[name] = (count / len(known), true / len(known), (count - true) / len(known), *shares)
    return pd.DataFrame.from_dict(found, "index", columns=["said", "true", "invented", "share true", "share of facts"])


def shared_errors(right: pd.DataFrame) -> pd.DataFrame:
    """How many times as often two systems err on the same fact as they would by chance (S, S): their lift,
    P(both wrong) / (P(one wrong) P(other wrong)). 1: their errors have nothing to do with each other."""
    wrong = (~right).astype(float)
    rate = wrong.mean()
    return (wrong.T @ wrong / len(wrong)).div(rate, axis=0).div(rate, axis=1)
