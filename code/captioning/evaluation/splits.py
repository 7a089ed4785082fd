"""Captions of a whole split of a data set, and their scores with the controls beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from tqdm import tqdm

from captioning.data import photo_claims
from captioning.data.batches import WHOLE, View, picture_batches
from captioning.data.features import cached_features
from captioning.data.minifashion import ATTRIBUTES, SCENE, mark_all
from captioning.decoding.config import Decoding
from captioning.metrics import controls
from captioning.metrics.base import Metric
from captioning.metrics.score import Mark, Scorer, Scores
from captioning.metrics.words import as_written
from captioning.models.base import CaptionModel
from captioning.models.inference import FEW, device, precision
from captioning.models.ofa.config import ResNetConfig
from captioning.paths import OUTPUT
from captioning.writing import write_json

Predictions = dict[str, str]  # {image_id: caption}


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
    """Right or wrong for each attribute of a drawing, or of a photograph (`photo_claims`), that a caption of it is to
    name; None where the rows have neither."""
    names = rows.features["attributes"].keys() if "attributes" in rows.column_names else {""}
    if names <= {*ATTRIBUTES, *SCENE}:
        mark = mark_all
    elif names <= photo_claims.VALUES.keys():
        mark = photo_claims.mark
    else:
        return None
    truth = dict(zip(rows["image_id"], rows["attributes"], strict=True))
    return lambda image_id, caption: mark(caption, truth[image_id]).values()


def scorer(rows: Dataset, also: Sequence[Metric] = (), words: Callable[[str], str] = as_written) -> Scorer:
    """A scorer of the split's references and, where it has those of mini-fashion, of its attributes.

    `words` (`metrics.words.for_scoring`) is done to the references; the captions that are scored must have had it too.
    """
    truth = {image_id: list(map(words, captions)) for image_id, captions in references(rows).items()}
    return Scorer(truth, attributes=marks(rows), also=also)


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


def score_systems(
    rows: Dataset,
    systems: dict[str, Predictions],
    also: Sequence[Metric] = (),
    words: Callable[[str], str] = as_written,
) -> dict[str, Scores]:
    """The scores of several systems (models and controls) on the pictures of a split; `also` as in `Scorer`, `words` as
    `metrics.words.for_scoring` has it."""
    score = scorer(rows, also, words)
    return {
        name: score({image_id: words(caption) for image_id, caption in predictions.items()})
        for name, predictions in systems.items()
    }


def score_domains(
    rows: Dataset, predictions: Predictions, also: Sequence[Metric] = (), words: Callable[[str], str] = as_written
) -> dict[str, Scores]:
    """{domain: scores of its pictures}, each counted by itself, where the rows tell domains as those of nocaps do."""
    told = [(known or {}).get("domain") for known in rows["attributes"]] if "attributes" in rows.column_names else []
    found = {}
    for domain in dict.fromkeys(filter(None, told)):
        some = rows.select([number for number, of in enumerate(told) if of == domain])
        found |= score_systems(some, {domain: {i: predictions[i] for i in some["image_id"]}}, also, words)
    return found


def write_predictions(predictions: Predictions, path: Path) -> None:
    """COCO results format: [{"image_id": ..., "caption": ...}], with ids as the annotations have them.

    They are numbers where all look like numbers, as COCO's and VizWiz's are: the official API finds no strings among
    those. (A data set keeps every id as a string.)
    """
    numbers = all(i.isascii() and i.isdigit() and str(int(i)) == i for i in predictions)
    entries = [{"image_id": int(i) if numbers else i, "caption": caption} for i, caption in predictions.items()]
    write_json(path, entries)


FEATURES = OUTPUT / "features"


def kept(model: CaptionModel) -> bool:
    """Whether features are computed once and read from disk: those of a frozen encoder, but OFA's own, which would be
    1.9 MB a picture."""
    return model.encoder.frozen and not isinstance(model.encoder.config, ResNetConfig)


def split_features(model: CaptionModel, rows: Dataset, workers: int = 0, view: View = WHOLE) -> np.ndarray | None:
    """Cached features (rows, N, C) of a split; None where features are not `kept`.

    The model is moved to this process's device, where the features that are missing are computed.
    """
    if not kept(model):
        return None
    model.to(device())
    pictures, few = list(rows["image"]), FEW if device().type == "cpu" else 32
    return cached_features(pictures, model.encoder, FEATURES, view, few, workers, precision(model.encoder.config))
