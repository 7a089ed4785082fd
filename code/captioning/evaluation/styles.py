"""Evaluation of styled captions: is the style recognised, what does it change, and what does it cost in truth?

An item is a picture and a style (`image_id` is unique); nothing is keyed by the picture's file.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset, DatasetDict

from captioning.data.personalities import NEUTRAL
from captioning.decoding.config import Decoding
from captioning.disk import alone
from captioning.evaluation.results import claim_table, read_results, write_table
from captioning.evaluation.splits import (
    Predictions,
    caption_rows,
    control_predictions,
    mean_features,
    references,
    score_systems,
    scorer,
    split_features,
)
from captioning.metrics import controls
from captioning.metrics.base import Metric
from captioning.metrics.score import Scores
from captioning.metrics.style import StyleClassifier, StyleRecognised
from captioning.metrics.words import for_scoring
from captioning.models.base import CaptionModel
from captioning.models.vlm import VisionLanguageModel

if TYPE_CHECKING:
    import pandas as pd


def asked(rows: Dataset) -> dict[str, str]:
    """{image_id: the style that is asked for}."""
    return dict(zip(rows["image_id"], rows["style"], strict=True))


def style_classifier(train: Dataset) -> StyleClassifier:
    """A classifier of styles that has read the training captions."""
    pairs = [(text, row["style"]) for row in train.select_columns(["captions", "style"]) for text in row["captions"]]
    return StyleClassifier(*zip(*pairs, strict=True))


def caption_in(
    model: CaptionModel,
    rows: Dataset,
    styles: Sequence[str],
    decoding: Decoding,
    features: np.ndarray | None = None,
) -> dict[str, Predictions]:
    """{style: {image_id: caption}}: every picture in each of `styles`, whatever style its row has."""
    plain = rows.remove_columns("style")
    wanted = {style: plain.add_column("style", [style] * len(rows)) for style in styles}
    return {style: caption_rows(model, table, decoding, features) for style, table in wanted.items()}


def ask_wrongly(
    model: CaptionModel, rows: Dataset, decoding: Decoding, features: np.ndarray | None = None, seed: int = 0
) -> Predictions:
    """Every picture in another style than its row's, drawn from those of the rows: the control "shuffled styles"."""
    styles, rng = sorted(set(rows["style"])), np.random.default_rng(seed)
    others = [str(rng.choice([name for name in styles if name != style])) for style in rows["style"]]
    return caption_rows(model, rows.remove_columns("style").add_column("style", others), decoding, features)


def style_controls(
    train: Dataset,
    rows: Dataset,
    train_features: np.ndarray | None = None,
    features: np.ndarray | None = None,
) -> dict[str, Predictions]:
    """Controls that know the style and not the picture (one caption a style), or copy a picture of the same style.

    A style of which train has no caption gets that of all of train. Features (rows, N, C) as in
    `splits.control_predictions`.
    """
    found: dict[str, Predictions] = {"constant caption a style": {}}
    seen = train_features is not None and features is not None
    if seen:
        found["nearest neighbour of the style"] = {}
        there, here = mean_features(train_features), mean_features(features)
    train_styles, row_styles = np.array(train["style"]), np.array(rows["style"])
    truth, ids = references(train), np.array(rows["image_id"])
    train_ids = np.array(train["image_id"])
    for style in sorted(set(row_styles)):
        known = np.flatnonzero(train_styles == style)
        known = known if len(known) else np.arange(len(train_ids))
        own, wanted = {i: truth[i] for i in train_ids[known]}, np.flatnonzero(row_styles == style)
        found["constant caption a style"] |= controls.constant_caption(own, ids[wanted].tolist())
        if seen:
            nearest = controls.nearest_neighbours(own, there[known], ids[wanted].tolist(), here[wanted])
            found["nearest neighbour of the style"] |= nearest
    return {name: {i: captions[i] for i in rows["image_id"]} for name, captions in found.items()}


@dataclass(frozen=True)
class StyleScores:
    """Scores of a model and of its controls on the items of a split, and what of them depends on the style."""

    scores: dict[str, Scores]  # with the metric "style": how often the asked style is recognised
    predictions: dict[str, Predictions]
    classifier: StyleClassifier
    ceiling: float  # how often it is recognised in the captions that people wrote for the same items
    asked: dict[str, str]

    def by_style(self, system: str) -> pd.DataFrame:
        """The scores of a system, a row a style."""
        return scores_by(self.scores[system], self.asked)

    def confusion(self, system: str) -> pd.DataFrame:
        """Which style is recognised (columns) in a system's captions where one was asked for (rows)."""
        return self.classifier.confusion(self.predictions[system], self.asked)

    def json(self) -> dict[str, Any]:
        """Ready for `json.dump`: {system: {style: {metric: score}}}, confusion and the classifier's own accuracy."""
        by_style = {system: self.by_style(system).to_dict("index") for system in self.scores}
        confusion = {system: self.confusion(system).to_dict("index") for system in self.scores}
        return {"recognised in human captions": self.ceiling, "by style": by_style, "confusion": confusion}


def score_styles(
    name: str,
    model: CaptionModel,
    train: Dataset,
    rows: Dataset,
    decoding: Decoding,
    train_features: np.ndarray | None = None,
    features: np.ndarray | None = None,
    also: Sequence[Metric] = (),
) -> StyleScores:
    """A model that has styles, called `name` in the tables, on a split whose rows have some, with all controls.

    Where the model knows a neutral style, its plain captions of the same pictures are among them: what truth a style
    costs is the difference of their "attributes".
    """
    predictions = caption_rows(model, rows, decoding, features)
    systems = {name: predictions, "shuffled styles": ask_wrongly(model, rows, decoding, features)}
    if NEUTRAL in model.styles:
        systems["plain captions"] = caption_in(model, rows, [NEUTRAL], decoding, features)[NEUTRAL]
    systems |= style_controls(train, rows, train_features, features)
    systems |= control_predictions(train, predictions, train_features, features)
    classifier, wanted = style_classifier(train), asked(rows)
    human = [(text, row["style"]) for row in rows for text in row["captions"]]
    recognised = classifier.recognise(text for text, _ in human)
    ceiling = float(np.mean([style == found for (_, style), found in zip(human, recognised, strict=True)]))
    score = scorer(rows, [*also, StyleRecognised(classifier, wanted)])
    scores = {system: score(captions) for system, captions in systems.items()}
    return StyleScores(scores, systems, classifier, ceiling, wanted)


def score_split(
    model: CaptionModel | VisionLanguageModel,
    name: str,
    dataset: DatasetDict,
    split: str,
    decoding: Decoding,
    also: Sequence[Metric] = (),
) -> tuple[Predictions, dict[str, Scores], StyleScores | None]:
    """The captions of a split, the scores of the model and of its controls, and what of them depends on a style.

    Without a split `train`, which a vision-language model does not need, the only control is the shuffled pictures.
    """
    train, rows = dataset.get("train"), dataset[split]
    seen = None if train is None else split_features(model, train), split_features(model, rows)
    if model.styles and "style" in rows.column_names:
        styled = score_styles(name, model, train, rows, decoding, *seen, also)
        return styled.predictions[name], styled.scores, styled
    predictions = caption_rows(model, rows, decoding, seen[1])
    systems = {name: predictions} | control_predictions(train, predictions, *seen)
    return predictions, score_systems(rows, systems, also, for_scoring(model.tokenizer)), None


def scores_by(scores: Scores, groups: Mapping[str, str]) -> pd.DataFrame:
    """Corpus scores of parts of the items: a row a group ({image_id: group}), a column a metric, and n.

    The document frequencies of CIDEr-D stay those of all items.
    """
    import pandas as pd

    belongs = np.array([groups[i] for i in scores.ids])
    table = {}
    for group in sorted(set(belongs)):
        inside = belongs == group
        values = scores.from_sums(scores.statistics[inside].sum(0))
        table[group] = dict(zip(scores.names, values.tolist(), strict=True)) | {"n": int(inside.sum())}
    return pd.DataFrame.from_dict(table, orient="index")


# ---- a row an evaluation, with everything that led to it -----------------------------------------------------------


def hyperparameters(run: Path, decoding: Decoding) -> dict[str, Any]:
    """What a run was trained with (its config.json and experiment.json), and how its captions are chosen, flat."""
    files = [run / "config.json", run / "experiment.json"]
    found = {}
    for file in files:
        found |= flat(json.loads(file.read_text())) if file.is_file() else {}
    kept = {name: value for name, value in found.items() if not name.startswith("decoding.")}
    return kept | flat({"decoding": asdict(decoding)})


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} to {"a.b": 1}."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def log_csv(path: Path, **row: Any) -> None:
    """Add a row, and the date, to a table of evaluations, whose columns grow with what the rows have; atomically."""
    claim_log(path)
    with alone(path, wait=True):
        rows = read_results(path)
        rows.append({"date": datetime.datetime.now().isoformat(timespec="seconds"), **row})
        write_table(path, rows)


def claim_log(path: Path) -> None:
    """Make sure that `log_csv` may write to the file, before anything is computed for it; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    claim_table(path, ("date", "run"))
