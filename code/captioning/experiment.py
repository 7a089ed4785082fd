"""A captioner from a data set to a run folder in one call: what the notebooks and `captioning train` share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from datasets import Dataset, DatasetDict

from captioning.data.batches import Augmentation, CaptionRows, fingerprint, training_batches
from captioning.data.features import cached_features, weights_digest
from captioning.decoding import Decoding
from captioning.evaluation import caption_rows, marks, references, scorer
from captioning.losses import CrossEntropy, RLConfig, SelfCritical
from captioning.models.base import CaptionModel
from captioning.models.ofa.config import ResNetConfig
from captioning.models.ofa.tasks import StyledRows, Tasks
from captioning.models.saved import DecoderConfig, PictureConfig, load, new, vocabulary
from captioning.paths import OUTPUT
from captioning.rewards import RewardConfig, SampleReward
from captioning.training import Record, TrainConfig, device, train

FEATURES = OUTPUT / "features"


@dataclass(frozen=True)
class Recipe:
    """How captions become training samples, and what is minimised."""

    captions: int = 1  # captions of a picture in one step; its features are encoded once for all of them
    max_length: int = 100  # tokens of a caption, the end included; the tail of longer ones is not trained on
    min_count: int = 1  # rarer words become <unk>
    smoothing: float = 0.1  # label smoothing
    coverage: float = 0.0  # weight of the doubly stochastic attention term (attention model only)
    drop_words: float = 0.0  # share of input words hidden from the decoder
    drop_worst: float = 0.0  # share of a batch's words, those that are least expected, that are not learned from
    tasks: Tasks = field(default_factory=Tasks)  # what a model that is asked is asked for, besides captions
    augmentation: Augmentation = field(default_factory=Augmentation)
    workers: int = 2  # processes that decode pictures; cached features are read in this one
    choose: Literal["CIDEr-D", "BLEU-4", "ROUGE-L", "attributes"] = "CIDEr-D"  # the epoch that is best in this on val


def train_captioner(
    data: DatasetDict,
    run: Path,
    decoder: DecoderConfig,
    encoder: PictureConfig,
    recipe: Recipe = Recipe(),
    training: TrainConfig = TrainConfig(),
    decoding: Decoding = Decoding(),
    watch: Callable[[list[Record]], None] = lambda log: None,
    resume: bool = True,
) -> list[Record]:
    """Train on `train` with cross-entropy, keep the weights of the epoch that is best on `val`; the log of `train`.

    A frozen encoder's features are computed once and read from disk. The model is in `run`, for `saved.load`.
    """
    check_splits(data)
    captions = (caption for captions in data["train"]["captions"] for caption in captions)
    model = new(decoder, encoder, vocabulary(captions, decoder, recipe.min_count), training.seed)
    objective = CrossEntropy(model, recipe.smoothing, recipe.coverage, recipe.drop_words, recipe.drop_worst)
    # The place of a weight file does not change what is learned.
    about = {"decoder": asdict(decoder), "encoder": asdict(replace(encoder, weights=None))}
    return fit(objective, data, run, recipe, training, decoding, watch, resume, about)


def reinforce_captioner(
    data: DatasetDict,
    run: Path,
    start: Path,
    rl: RLConfig,
    reward: RewardConfig = RewardConfig(),
    recipe: Recipe = Recipe(),
    training: TrainConfig = TrainConfig(),
    decoding: Decoding = Decoding(),
    watch: Callable[[list[Record]], None] = lambda log: None,
    resume: bool = True,
) -> list[Record]:
    """Go on from the captioner saved in `start` with self-critical training; the rest as in `train_captioner`.

    The rewards' references and document frequencies are the training captions. Of `recipe` only what concerns the
    samples is used: there is no smoothing, and the vocabulary is that of `start`.
    """
    check_splits(data)
    model = load(start)
    judge = SampleReward(references(data["train"]), model.tokenizer, reward, marks(data["train"]))
    objective = SelfCritical(model, judge, rl, load(start).to(device()) if rl.kl else None)
    about = {"start": weights_digest(model), "rl": asdict(rl), "reward": asdict(reward)}
    return fit(objective, data, run, recipe, training, decoding, watch, resume, about)


def check_splits(data: DatasetDict) -> None:
    missing = [split for split in ("train", "val") if split not in data]
    if missing:
        raise ValueError(
            f"the data set has the splits {', '.join(data)}, not {' and '.join(missing)}: training needs both"
        )


def fit(
    objective: CrossEntropy | SelfCritical,
    data: DatasetDict,
    run: Path,
    recipe: Recipe,
    training: TrainConfig,
    decoding: Decoding,
    watch: Callable[[list[Record]], None],
    resume: bool,
    about: dict,
    cached: bool = True,
) -> list[Record]:
    """What all trainings of a captioner have in common: batches, features, validation, and what identifies the run.

    `cached`: a frozen encoder's features are trained on as they were computed once; else it encodes every batch.
    """
    model = objective.model
    about |= {"kind": model.kind, "data": fingerprint(data), "encoder weights": weights_digest(model.encoder)}
    about |= {"decoding": asdict(decoding), "recipe": asdict(replace(recipe, workers=0))}  # workers: of no consequence
    settings = {"captions": recipe.captions, "max_length": recipe.max_length, "augmentation": recipe.augmentation}
    settings |= {"seed": training.seed, "features": training_features(model, data["train"], recipe) if cached else ()}
    if model.styles:
        rows = StyledRows(data["train"], model, recipe.tasks, **settings)
    else:
        rows = CaptionRows(data["train"], model.tokenizer, model.encoder.config.image_size, **settings)
    score, val_features = scorer(data["val"]), split_features(model, data["val"], recipe.workers)

    def validate(model: CaptionModel) -> Record:
        scores = score(caption_rows(model, data["val"], decoding, val_features, workers=recipe.workers))
        return {"score": scores[recipe.choose]} | dict(zip(scores.names, scores.values.tolist(), strict=True))

    workers = 0 if rows.features else recipe.workers
    batches = training_batches(rows, model.tokenizer.pad_id, training.batch_size, workers)
    return train(objective, batches, training, run, validate, watch, resume, about)


def kept(model: CaptionModel) -> bool:
    """Whether features are computed once and read from disk: those of a frozen encoder, but OFA's own, which would be
    1.9 MB a picture."""
    return model.encoder.frozen and not isinstance(model.encoder.config, ResNetConfig)


def split_features(model: CaptionModel, rows: Dataset, workers: int = 0, mirrored: bool = False) -> np.ndarray | None:
    """Cached features (rows, N, C) of a split; None where features are not `kept`.

    The model is moved to this process's device, where the features that are missing are computed.
    """
    if not kept(model):
        return None
    model.to(device())
    return cached_features(list(rows["image"]), model.encoder, FEATURES, mirrored, workers=workers)


def training_features(model: CaptionModel, rows: Dataset, recipe: Recipe) -> tuple[np.ndarray, ...]:
    """One array a view of the pictures, mirrored ones when training mirrors; none when the encoder is trained."""
    if not kept(model):
        return ()
    views = (False, True) if recipe.augmentation.mirror else (False,)
    return tuple(split_features(model, rows, recipe.workers, mirrored) for mirrored in views)


def describe_run(run: Path, **facts) -> None:
    """Write facts (data set, folder, decoding, command ...) to `run/experiment.json`, for evaluation."""
    (run / "experiment.json").write_text(json.dumps(facts, indent=2, default=str))


def read_run(run: Path, data: str | None = None, folder: Path | None = None) -> dict:
    """What `describe_run` wrote; for a run of `train_captioner`, which does not know their names, with data and folder.

    Raises FileNotFoundError when `run` is no finished run.
    """
    path = run / "experiment.json"
    if data and (run / "log.jsonl").is_file():
        decoding = json.loads((run / "config.json").read_text())["decoding"]
        minutes = minutes_so_far(run / "log.jsonl")
        return {"data": data, "folder": folder, "decoding": decoding, "minutes": minutes}
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the folder of a run that `captioning train` has finished")
    return json.loads(path.read_text())


def minutes_so_far(log: Path) -> float:
    """Minutes of training by a run's log, whose lines have them where validation ended; nan before the first such."""
    found = (json.loads(line).get("minutes") for line in log.read_text().splitlines())
    return next(reversed([minutes for minutes in found if minutes is not None]), float("nan"))
