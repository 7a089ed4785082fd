"""Chapters 04 and 05: people in places, who describes them, and the data set that is rebuilt from that.

Three sets of pictures that have none in common: `lessons`, on which the writer learns; `train` and `val`, which it
describes and the captioners of chapter 05 learn from; `test`, which no model has written about, for every score.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict

from captioning import paths
from captioning.course.fashion import ENCODERS, fashion_data
from captioning.course.made import MADE_OF, made
from captioning.data import sources
from captioning.data.features import cached_features
from captioning.evaluation.splits import FEATURES
from captioning.models.encoder import Encoder
from captioning.models.inference import FEW, precision
from captioning.rebuild.clean import Rules
from captioning.rebuild.pipeline import Task

STREET_SIZES = {
    "smoke": {"lessons": 40, "train": 40, "val": 8, "test": 12},
    "mini": {"lessons": 2000, "train": 2000, "val": 200, "test": 300},
}
HELD = {"smoke": 4, "mini": 100}  # lessons that the writer does not learn
ASKED = "background-v3"
# Where nothing is sure of a place but the scene, many pictures have the same words about it, and rightly so.
STREET_RULES = Rules(copies=1_000_000)


@functools.cache
def street_data(profile: str) -> DatasetDict:
    """Mini-fashion's variant *street*; full: DeepFashion-MultiModal, whose photographs have places of their own, and
    no lessons: Vicuna had others."""
    if profile == "full":
        return fashion_data(profile)
    return sources.load("minifashion", paths.DATASET / "minifashion", variant="street", sizes=STREET_SIZES[profile])


def lessons(profile: str) -> DatasetDict:
    """What the writer learns on; of `val` it is only asked how far it is."""
    rows = street_data(profile)["lessons"]
    learned = len(rows) - HELD[profile]
    return DatasetDict(train=rows.select(range(learned)), val=rows.select(range(learned, len(rows))))


def described(data: DatasetDict) -> DatasetDict:
    """The pictures that writers are asked about: those that captioners learn from."""
    return DatasetDict({split: data[split] for split in ("train", "val")})


@functools.cache
def held_out(profile: str) -> Dataset:
    """The rows of every score: pictures that no model has learned from or written about. The references are those of
    the drawing program, clothes and place; of photographs those that people wrote."""
    rows = street_data(profile)["test"]
    if "background" not in rows.column_names:
        return rows
    told = [[f"{texts[0]} {place}"] for texts, place in zip(rows["captions"], rows["background"], strict=True)]
    return rows.remove_columns("captions").add_column("captions", told, feature=rows.features["captions"])


@functools.cache
def street_features(profile: str) -> dict[str, np.ndarray]:
    """{picture file: what the frozen eyes of the course see of it, (N, C)}, read from disk."""
    eyes = Encoder(ENCODERS[profile]).eval()
    arithmetic, found = precision(eyes.config), {}
    for rows in street_data(profile).values():
        pictures = list(rows["image"])
        features = cached_features(pictures, eyes, FEATURES, batch_size=FEW, precision=arithmetic)
        found |= dict(zip(pictures, features, strict=True))
    return found


def street_writer(profile: str) -> Path:
    """The vision-language model of chapter 4: full: Vicuna-7B by its name; else the small one, trained once."""
    if profile == "full":
        return Path("Salesforce/instructblip-vicuna-7b")
    from captioning.course.mini_instructblip import MINI_SEEING, MINI_SPEAKING, train_miniature

    seeing, speaking = MINI_SEEING, MINI_SPEAKING
    if profile == "smoke":  # enough for whole sentences, though not for true ones
        seeing, speaking = replace(seeing, epochs=1), replace(speaking, epochs=10, batch_size=8)
    data, run = lessons(profile), paths.OUTPUT / profile / "street_writer"
    made(
        run,
        lambda: train_miniature(data, street_features(profile), run, seeing, speaking),
        data,
        ENCODERS[profile],
        seeing,
        speaking,
    )
    return run / "best"


def street_task(profile: str) -> Task:
    """Who is asked what in chapter 4: the vision-language model, about the place."""
    from captioning.rebuild.backends import VLMWriter
    from captioning.rebuild.prompts import prompt

    if profile == "full":
        writer = VLMWriter(str(street_writer(profile)), "float16", "instructblip")
        return Task("vlm", writer, prompt(ASKED), 4)
    from captioning.course.mini_instructblip import MiniatureWriter

    return Task("vlm", MiniatureWriter(str(street_writer(profile)), street_features(profile)), prompt(ASKED), 100)


def street_rebuilt(profile: str) -> Path:
    """The folder of the data set that chapter 4 writes and chapter 5 trains on; what is there is not done again."""
    from captioning.rebuild import pipeline

    data, out = described(street_data(profile)), paths.OUTPUT / profile / "street_rebuilt"

    def rebuild() -> None:
        pictures, tasks = pipeline.pictures_of(data), [street_task(profile)]
        pipeline.ask(pictures, tasks, out)
        pipeline.clean(pictures, out, tasks, STREET_RULES)

    if profile == "full":
        if not (out / "removed.parquet").is_file():  # what is written last
            rebuild()
        return out
    return made(out, rebuild, data, street_writer(profile).parent / MADE_OF, STREET_RULES)
