"""Chapters 04 and 05: people in places, who describes them, and the data set that is rebuilt from that."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

from datasets import DatasetDict

from captioning import paths
from captioning.course.fashion import (
    ENCODERS,
    FASHION_DECODING,
    SIZES,
    fashion_data,
    fashion_transformer,
)
from captioning.course.made import MADE_OF, made
from captioning.data import sources
from captioning.learning.experiment import train_captioner
from captioning.rebuild.pipeline import Task


@functools.cache
def street_data(profile: str) -> DatasetDict:
    """Mini-fashion's variant *street*; full: DeepFashion-MultiModal, whose photographs have places of their own."""
    if profile == "full":
        return fashion_data(profile)
    return sources.load("minifashion", paths.DATASET / "minifashion", variant="street", sizes=SIZES[profile])


@functools.cache
def street_captioner(profile: str) -> Path:
    """The transformer of chapter 2 trained on *street*, whose captions describe the clothes alone; trained once."""
    data, seen, chosen = street_data(profile), ENCODERS[profile], fashion_transformer(profile)
    run = paths.OUTPUT / profile / "street_captioner"
    if profile == "full":  # what took hours is not replaced without being asked
        train_captioner(data, run, encoder=seen, **chosen)
        return run
    return made(run, lambda: train_captioner(data, run, encoder=seen, **chosen), data, seen, chosen)


def street_writer(profile: str) -> Path:
    """The vision-language model of chapter 4: full: Vicuna-7B by its name; else the small one, trained once."""
    if profile == "full":
        return Path("Salesforce/instructblip-vicuna-7b")
    from captioning.course.mini_instructblip import MINI_SEEING, MINI_SPEAKING, train_miniature

    seeing, speaking = MINI_SEEING, MINI_SPEAKING
    if profile == "smoke":  # enough for whole sentences, though not for true ones
        seeing, speaking = replace(seeing, epochs=1), replace(speaking, epochs=15, batch_size=8, lr=3e-3)
    data, run = street_data(profile), paths.OUTPUT / profile / "street_writer"
    made(run, lambda: train_miniature(data, run, seeing, speaking), data, seeing, speaking)
    return run / "best"


def street_tasks(profile: str) -> list[Task]:
    """Who is asked what in chapter 4: our own captioner about clothes, the vision-language model about both."""
    from captioning.rebuild.backends import CaptionerWriter, VLMWriter
    from captioning.rebuild.pipeline import Task
    from captioning.rebuild.prompts import prompt

    own = CaptionerWriter(str(street_captioner(profile)), FASHION_DECODING)
    precision = "float16" if profile == "full" else "float32"
    vlm = VLMWriter(str(street_writer(profile)), precision, "instructblip")
    size = 4 if profile == "full" else 100
    return [
        Task("own-clothes", own, prompt("clothes-v2"), 100),
        Task("vlm-clothes", vlm, prompt("clothes-v2"), size),
        Task("vlm-background", vlm, prompt("background-v2"), size),
    ]


def street_rebuilt(profile: str) -> Path:
    """The folder of the data set that chapter 4 writes and chapter 5 trains on; what is there is not done again."""
    from captioning.rebuild import pipeline

    data, out = street_data(profile), paths.OUTPUT / profile / "street_rebuilt"

    def rebuild() -> None:
        pictures, tasks = pipeline.pictures_of(data), street_tasks(profile)
        pipeline.ask(pictures, tasks, out)
        pipeline.clean(pictures, out, tasks)

    if profile == "full":
        if not (out / "removed.parquet").is_file():  # what is written last
            rebuild()
        return out
    writers = street_captioner(profile), street_writer(profile).parent
    return made(out, rebuild, data, *(run / MADE_OF for run in writers))
