"""`captioning rebuild`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from datasets import DatasetDict

from captioning import paths
from captioning.cli.common import readable, require_ray
from captioning.data import sources
from captioning.rebuild import backends, pipeline, report, server
from captioning.rebuild.clean import Rules
from captioning.rebuild.prompts import Sampling, prompt


@dataclass(frozen=True)
class WriterConfig:
    """A writer and what it is asked."""

    kind: Literal["captioner", "instructblip", "chat", "lavis", "http"]
    prompt: str  # a label of captioning.rebuild.prompts, such as background-v2
    model: str = ""  # folder or hub name; the model's name at an HTTP server; lavis: the worker's command line
    name: str = ""  # of the writer in the provenance; by default KIND-PROMPT
    url: str = ""  # http only
    key_env: str = ""  # http: name of the environment variable that has the server's key, which no file is to have
    precision: backends.Precision = "float16"
    sampling: Sampling | None = None  # by default that of the prompt
    batch_size: int = 16


def task(config: WriterConfig, parallel: int = 1) -> pipeline.Task:
    asked = prompt(config.prompt)
    if config.sampling:
        asked = replace(asked, sampling=config.sampling)
    if config.kind == "http":
        writes = server.HttpWriter(config.model, config.url, config.key_env)
    else:
        writes, parallel = writer(config.kind, config.model, config.precision), 1
    return pipeline.Task(config.name or f"{config.kind}-{config.prompt}", writes, asked, config.batch_size, parallel)


@cache  # a model that is asked two things is loaded once
def writer(kind: str, model: str, precision: backends.Precision) -> backends.Writer:
    if kind == "captioner":
        return backends.CaptionerWriter(model)
    if kind == "instructblip":
        return backends.InstructBlipWriter(model, precision)
    if kind == "chat":
        return backends.ChatWriter(model, precision)
    return backends.LavisWriter(shlex.split(model))


def rebuild(
    out: Path,
    data: str = "deepfashion",
    folder: Path | None = None,
    writers: list[WriterConfig] | None = None,
    rules: Rules = Rules(),
    seed: int = 0,
    dry_run: bool = False,
    engine: Literal["local", "ray"] = "local",
    parallel: int = 8,
) -> None:
    """Write a data set anew: writers describe clothes and background, filters judge, what passes is joined.

    The same command again goes on where one was stopped, and asks again what ended in an error; with other rules only
    the cleaning is done anew.

    Args:
        out: folder of the new data set, its raw answers, its report
        data: the data set whose pictures are described
        folder: where that data set lies; dataset/DATA by default
        writers: who is asked what; by default Vicuna-7B about clothes and background, as an earlier course did
        rules: how long an answer may be
        seed: of the sampling, and of the split where the data set has only one
        dry_run: ask about 20 pictures only (kept for later) and say how long all will take
        engine: ray: on every GPU or core of this machine, or of the cluster that RAY_ADDRESS names
        parallel: requests to a server (writers of kind http) that run side by side
    """
    dataset = load(data, folder or paths.DATASET / data)
    pictures = pipeline.pictures_of(dataset, seed)
    tasks = [task(config, parallel) for config in writers or PUBLISHED_WRITERS]
    if dry_run:
        seconds = pipeline.ask(pictures, tasks, out, seed, limit=pipeline.TRIAL)
        for name, each in seconds.items():
            print(f"{name}: {each:.2f} s a picture, {each * len(pictures) / 3600:.2f} hours for {len(pictures):,}")
        return
    pipeline.ask(pictures, tasks, out, seed, engine=engine_named(engine))
    rebuilt = pipeline.clean(pictures, out, tasks, rules)
    report.page(rebuilt, pictures, out / "report.html")
    print(report.filter_table(rebuilt.verdicts).to_string())
    count = sum(map(len, rebuilt.data.values()))
    print(f"{out}: {count:,} pictures, {len(rebuilt.left_out):,} left out; see {out / 'report.html'}")


def engine_named(name: Literal["local", "ray"]) -> pipeline.Engine:
    if name == "local":
        return pipeline.answers
    require_ray()
    from captioning.rebuild import on_ray

    return on_ray.answers


def load(name: str, folder: Path) -> DatasetDict:
    if name == "street":
        return sources.load("minifashion", paths.DATASET / "minifashion", variant="street")
    return readable(sources.load(name, folder))


PUBLISHED_WRITERS = [
    WriterConfig("instructblip", label, "Salesforce/instructblip-vicuna-7b", batch_size=4)
    for label in ("clothes-v1", "background-v1")
]
COMMANDS = {"rebuild": rebuild}
