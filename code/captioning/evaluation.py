"""Captions of a whole split, and their scores with the controls beside them."""

from __future__ import annotations

import csv
import datetime
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from tqdm import tqdm

from captioning.data.batches import picture_batches
from captioning.data.minifashion import ATTRIBUTES, SCENE, mark_all
from captioning.decoding import Decoding
from captioning.metrics import controls
from captioning.metrics.base import Metric
from captioning.metrics.score import Mark, Scorer, Scores
from captioning.models.base import CaptionModel
from captioning.paths import OUTPUT

Predictions = dict[str, str]  # {image_id: caption}

RESULTS = OUTPUT / "results.csv"
METRICS = ("BLEU-4", "ROUGE-L", "CIDEr-D", "METEOR", "attributes")
CONTROLS = ("constant caption", "random training caption", "shuffled pictures", "nearest neighbour")
STYLE_CONTROLS = ("shuffled styles", "plain captions", "constant caption a style", "nearest neighbour of the style")
OF_A_MODEL = ("shuffled pictures", "shuffled styles", "plain captions")  # the controls that depend on the model
COLUMNS = (
    *("date", "run", "model", "data", "split", "profile", "n", "decoding"),
    *(column for metric in METRICS for column in (metric, f"{metric} low", f"{metric} high")),
    *("minutes", "command"),
)


def caption_rows(
    model: CaptionModel,
    rows: Dataset,
    decoding: Decoding,
    features: np.ndarray | None = None,
    batch_size: int = 100,
    workers: int = 0,
) -> Predictions:
    """{image_id: best caption} of every picture; cached `features` (rows, N, C) spare the encoder.

    A model that has styles is asked for that of each row, where the rows have a column `style`.
    """
    device, captions = next(model.parameters()).device, []
    if features is None:
        batches = picture_batches(list(rows["image"]), model.encoder.config.image_size, batch_size, workers)
    else:
        batches = feature_batches(features, batch_size)
    asked = list(rows["style"]) if model.styles and "style" in rows.column_names else None
    for batch in tqdm(batches, desc="captions", total=-(-len(rows) // batch_size), leave=False, disable=None):
        styles = asked and asked[len(captions) : len(captions) + len(batch)]
        captions += model.generate(batch.to(device), decoding, styles).best
    return dict(zip(rows["image_id"], captions, strict=True))


def feature_batches(features: np.ndarray, batch_size: int) -> Iterator[torch.Tensor]:
    """Batches (B, N, C) of cached features, in order."""
    for start in range(0, len(features), batch_size):
        yield torch.from_numpy(np.array(features[start : start + batch_size]))


def references(rows: Dataset) -> dict[str, list[str]]:
    """{image_id: reference captions}."""
    return dict(zip(rows["image_id"], rows["captions"], strict=True))


def marks(rows: Dataset) -> Mark | None:
    """Right or wrong for each attribute of mini-fashion that a caption of a picture is to name; None without them."""
    if "attributes" not in rows.column_names or not rows.features["attributes"].keys() <= {*ATTRIBUTES, *SCENE}:
        return None
    truth = dict(zip(rows["image_id"], rows["attributes"], strict=True))
    return lambda image_id, caption: mark_all(caption, truth[image_id]).values()


def scorer(rows: Dataset, also: Sequence[Metric] = ()) -> Scorer:
    """A scorer of the split's references and, where it has those of mini-fashion, of its attributes."""
    return Scorer(references(rows), attributes=marks(rows), also=also)


def control_predictions(
    train: Dataset,
    predictions: Predictions,
    train_features: np.ndarray | None = None,
    features: np.ndarray | None = None,
) -> dict[str, Predictions]:
    """What every table of scores carries: captions that need no look at the picture, and the nearest neighbour's.

    The neighbour is there when cached features (rows, N, C) of train and of the captioned pictures are given; their
    mean over the cells, without the four box channels, is what is compared.
    """
    seen = train_features is not None and features is not None
    pooled = (mean_features(train_features), mean_features(features)) if seen else None
    return controls.all_controls(predictions, references(train), pooled)


def mean_features(features: np.ndarray, chunk: int = 500) -> np.ndarray:
    """(rows, N, C) to (rows, C - 4), a few rows at a time, so that a memory-mapped array stays on disk."""
    parts = [features[i : i + chunk, :, :-4].astype(np.float32).mean(axis=1) for i in range(0, len(features), chunk)]
    return np.concatenate(parts)


def score_systems(rows: Dataset, systems: dict[str, Predictions], also: Sequence[Metric] = ()) -> dict[str, Scores]:
    """The scores of several systems (models and controls) on the pictures of a split; `also` as in `Scorer`."""
    score = scorer(rows, also)
    return {name: score(predictions) for name, predictions in systems.items()}


def write_predictions(predictions: Predictions, path: Path) -> None:
    """COCO results format: [{"image_id": ..., "caption": ...}]."""
    entries = [{"image_id": image_id, "caption": caption} for image_id, caption in predictions.items()]
    path.write_text(json.dumps(entries, indent=1))


def record(scores: dict[str, Scores], path: Path = RESULTS, **facts: object) -> None:
    """Put a row a system into the table of results, in place of earlier rows of the same run, data, split and decoding.

    `facts` are the columns that the scores do not give: run, data, split, profile, decoding, minutes, command.
    """
    new = [row(name, system, facts) for name, system in scores.items()]
    same = ("run", "data", "split", "profile", "decoding")
    kept = [old for old in read_results(path) if any(old[key] != new[0][key] for key in same)]
    aside = path.with_suffix(".partial")
    with aside.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept + new)
    aside.replace(path)


def read_results(path: Path) -> list[dict[str, str]]:
    """The rows of a table of results; none where there is no file yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def results_markdown(data: str, path: Path = RESULTS) -> str:
    """The results on one data set as the Markdown that the README shows: models, controls, and how each was made.

    A control that is the same for several models is there once. Raises ValueError when nothing is recorded.
    """
    recorded = read_results(path)
    rows = [row for row in recorded if row["data"] == data]
    if not rows:
        found = ", ".join(sorted({row["data"] for row in recorded})) or "nothing"
        raise ValueError(f"{path}: no row on {data!r}, found {found}; `captioning evaluate RUN --record` writes some")
    metrics = [metric for metric in METRICS if any(row[metric] for row in rows)]
    lines = ["| | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    models = [row for row in rows if row["model"] not in CONTROLS + STYLE_CONTROLS]
    whose = {(row["run"], row["decoding"]): row["model"] for row in models}
    controls = [row for row in rows if row["model"] in CONTROLS + STYLE_CONTROLS]
    for row in controls:
        if row["model"] in OF_A_MODEL:
            row["model"] += f" ({whose[row['run'], row['decoding']]})"
    lines += dict.fromkeys(markdown_row(row, metrics) for row in models + controls)
    made = "- {model}: {n} pictures of {split}, {decoding}, trained in {minutes} minutes by `{command}`"
    rounded = ({**row, "minutes": f"{float(row['minutes']):.1f}"} for row in models)
    return "\n".join([*lines, "", *(made.format(**row) for row in rounded)])


def markdown_row(row: dict[str, str], metrics: list[str]) -> str:
    cells = [
        f"{float(row[m]):.3f} [{float(row[m + ' low']):.3f}, {float(row[m + ' high']):.3f}]" if row[m] else ""
        for m in metrics
    ]
    return f"| {row['model']} | " + " | ".join(cells) + " |"


def row(model: str, scores: Scores, facts: dict[str, object]) -> dict[str, str]:
    numbers = {}
    for metric, values in scores.table().iterrows():
        if metric in METRICS:
            numbers |= {metric: values.score, f"{metric} low": values.low, f"{metric} high": values.high}
    texts = {name: f"{value:.6f}" for name, value in numbers.items()}
    today = datetime.date.today().isoformat()
    named = {name: str(value) for name, value in facts.items()}
    return dict.fromkeys(COLUMNS, "") | {"date": today, "model": model, "n": str(len(scores))} | named | texts
