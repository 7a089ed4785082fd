"""Trains a captioner on a data set in one call: what the notebooks and `captioning train` share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict

from captioning.data.batches import CaptionRows, fingerprint, training_batches, views
from captioning.data.features import weights_digest
from captioning.decoding.config import Decoding
from captioning.evaluation.splits import caption_rows, kept, marks, references, scorer, split_features
from captioning.learning.config import Recipe, RewardConfig, RLConfig, TrainConfig
from captioning.learning.loop import Record, train
from captioning.learning.losses import CrossEntropy, SelfCritical
from captioning.learning.rewards import SampleReward
from captioning.metrics.words import as_written, for_scoring
from captioning.models.base import CaptionModel
from captioning.models.config import DecoderConfig, PictureConfig, SeeingConfig
from captioning.models.inference import device
from captioning.models.ofa.tasks import StyledRows
from captioning.models.saved import load, new, vocabulary
from captioning.models.vlm import VisionLanguageModel


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

    A frozen encoder's features are computed once and read from disk. The model is in `run`, for `saved.load`. The
    visual tokens of a language model learn words first, in a run of their own beside it, RUN_words.
    """
    check_splits(data)
    captions = (caption for captions in data["train"]["captions"] for caption in captions)
    words = vocabulary(captions, decoder, recipe.min_count, recipe.tokenizer)
    model = new(decoder, encoder, words, training.seed)
    if isinstance(decoder, SeeingConfig) and decoder.words:
        from captioning.learning.content_words import learn_words  # transformers is slow to load

        features, place = training_features(model, data["train"], recipe), run.with_name(f"{run.name}_words")
        learn_words(model, data, place, recipe, training, features, resume)
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
    recipe.require_default("self-critical training", "coverage", "drop_words", "drop_worst")
    model = load(start)
    judge = SampleReward(references(data["train"]), model.tokenizer, reward, marks(data["train"]))
    objective = SelfCritical(model, judge, rl, load(start).to(device()) if rl.kl else None)
    about = {"start": weights_digest(model), "rl": asdict(rl), "reward": asdict(reward)}
    return fit(objective, data, run, recipe, training, decoding, watch, resume, about)


def check_splits(data: DatasetDict) -> None:
    missing = [split for split in ("train", "val") if split not in data]
    if missing:
        raise ValueError(
            f"the data set has the splits {', '.join(data)}, not {' and '.join(missing)}: training needs both. In a "
            'folder of your own, put pictures into train/ and val/, or write "split" into metadata.jsonl; or have '
            "some held out: --data unsplit"
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
    Raises ValueError for a recipe of characters where the model has a tokenizer of another kind, and for tasks of a
    model that is not asked.
    """
    model = objective.model
    units = getattr(model.tokenizer, "units", "pieces of words")
    if recipe.tokenizer == "characters" and units != "characters":
        raise ValueError(f"tokenizer='characters': this {model.kind} writes with {units} already; leave it at 'words'")
    if recipe.choose == "attributes" and marks(data["val"]) is None:
        raise ValueError("recipe.choose='attributes': these of val are not known; choose CIDEr-D, BLEU-4 or ROUGE-L")
    if not model.styles:
        recipe.require_default(f"a {model.kind} without styles", "tasks")
    if model.views > 1:
        raise ValueError("mirrored=True of the encoder is for captioning only: train without it, then export with it")
    about |= {"kind": model.kind, "data": fingerprint(data), "encoder weights": weights_digest(model.encoder)}
    about |= {"decoding": asdict(decoding), "recipe": asdict(replace(recipe, workers=0))}  # workers: of no consequence
    settings = {"captions": recipe.captions, "max_length": recipe.max_length, "augmentation": recipe.augmentation}
    settings |= {"seed": training.seed, "features": training_features(model, data["train"], recipe) if cached else ()}
    if model.styles:
        rows = StyledRows(data["train"], model, recipe.tasks, **settings)
    else:
        rows = CaptionRows(data["train"], model.tokenizer, model.encoder.config.image_size, **settings)
    words, val_features = for_scoring(model.tokenizer), split_features(model, data["val"], recipe.workers)
    validate = validation(data["val"], recipe, decoding, words, val_features)
    workers = 0 if rows.features else recipe.workers
    batches = training_batches(rows, model.tokenizer.pad_id, training.batch_size, workers)
    return train(objective, batches, training, run, validate, watch, resume, about)


def validation(
    rows: Dataset,
    recipe: Recipe,
    decoding: Decoding,
    words: Callable[[str], str] = as_written,
    features: np.ndarray | None = None,
) -> Callable[[CaptionModel | VisionLanguageModel], Record]:
    """What `train` calls after each epoch: the scores of the model's captions of `rows`, whose `features` may be at
    hand; `words` as in `scorer`."""
    score = scorer(rows, words=words)

    def validate(model: CaptionModel | VisionLanguageModel) -> Record:
        captions = caption_rows(model, rows, decoding, features, workers=recipe.workers)
        scores = score({image_id: words(caption) for image_id, caption in captions.items()})
        return {"score": scores[recipe.choose]} | dict(zip(scores.names, scores.values.tolist(), strict=True))

    return validate


def training_features(model: CaptionModel, rows: Dataset, recipe: Recipe) -> tuple[np.ndarray, ...]:
    """One array for each of the views that training has; none when the encoder is trained."""
    if not kept(model):
        return ()
    return tuple(split_features(model, rows, recipe.workers, view) for view in views(recipe.augmentation))
