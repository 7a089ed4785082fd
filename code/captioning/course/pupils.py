"""Chapter 05: the same captioner taught by four kinds of captions of the same pictures, with several seeds each."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from captioning import paths
from captioning.course.fashion import ENCODERS, fashion_transformer
from captioning.course.made import made
from captioning.course.street import described, held_out, street_data, street_rebuilt, street_task
from captioning.decoding.config import Decoding
from captioning.evaluation.splits import Predictions, caption_rows, split_features, write_predictions
from captioning.learning.config import Recipe
from captioning.learning.experiment import train_captioner
from captioning.models import saved
from captioning.rebuild import pipeline, report

SEEDS = {"smoke": (0, 1), "mini": (0, 1, 2), "full": (0, 1, 2)}
LONGEST = Decoding(max_length=128)  # greedy; clothes and place take up to 120 words
SAID = "test_captions.json"


@functools.cache
def street_captions(profile: str) -> dict[str, DatasetDict]:
    """The same pictures, train and val, with the captions of each kind.

    old: about the clothes alone. unfiltered: with the first answer of the writer behind them. filtered: with what was
    kept of its answers, where something was. true: with the place as the drawing program tells it, where it does.
    """
    data, out = described(street_data(profile)), street_rebuilt(profile)
    task = street_task(profile)
    first = report.first_answers(pipeline.read_answers(out, [(task.name, task.prompt)]), "background")
    kept = {row["image_id"]: row["background"] for table in pipeline.load(out).values() for row in table}
    kinds = {"old": data, "unfiltered": with_places(data, first), "filtered": with_places(data, kept)}
    if "background" in data["train"].column_names:
        true = {row["image_id"]: row["background"] for table in data.values() for row in table}
        kinds["true"] = with_places(data, true)
    return kinds


def with_places(data: DatasetDict, places: Mapping[str, str]) -> DatasetDict:
    """The captions with the text of `places`, {image_id: text}, behind them; a picture that has none keeps its own."""

    def longer(image_id: str, captions: list[str]) -> list[str]:
        return [f"{captions[0]} {places[image_id]}"] if image_id in places else captions

    new = {}
    for split, rows in data.items():
        captions = [longer(*each) for each in zip(rows["image_id"], rows["captions"], strict=True)]
        new[split] = rows.remove_columns("captions").add_column("captions", captions, feature=rows.features["captions"])
    return DatasetDict(new)


def pupil_settings(profile: str, seed: int) -> dict[str, Any]:
    """The transformer of chapter 02, in mini a smaller one with fewer steps, for there are a dozen to train. The epoch
    is chosen by what a data set without known truth has."""
    chosen = fashion_transformer(profile)
    decoder, training = chosen["decoder"], replace(chosen["training"], seed=seed)
    if profile == "mini":
        decoder, training = replace(decoder, width=96, layers=1), replace(training, epochs=2, batch_size=8)
    recipe = Recipe(max_length=LONGEST.max_length, smoothing=0.0, choose="CIDEr-D")
    return {"decoder": decoder, "training": training, "recipe": recipe, "decoding": LONGEST}


def street_pupil(profile: str, kind: str, seed: int) -> Path:
    """The run of the captioner that learned from one kind of `street_captions`, with what it says of test beside it."""
    data, settings = street_captions(profile)[kind], pupil_settings(profile, seed)
    run = paths.OUTPUT / profile / "05_pupils" / f"{kind}_{seed}"

    def teach() -> None:
        train_captioner(data, run, encoder=ENCODERS[profile], **settings)
        model, test = saved.load(run), held_out(profile)
        write_predictions(caption_rows(model, test, LONGEST, split_features(model, test)), run / SAID)

    if profile != "full":
        return made(run, teach, data, ENCODERS[profile], settings)
    if not (run / SAID).is_file():  # what took hours is not replaced without being asked
        teach()
    return run


def street_said(profile: str, kind: str) -> list[Predictions]:
    """What the captioners that learned from one kind of captions say of test, seed by seed."""
    files = [street_pupil(profile, kind, seed) / SAID for seed in SEEDS[profile]]
    return [{str(row["image_id"]): row["caption"] for row in json.loads(file.read_text())} for file in files]
