"""The writers that a command line asks for."""

from __future__ import annotations

import shlex
from dataclasses import replace
from functools import cache

from captioning.models.config import Precision
from captioning.rebuild import backends
from captioning.rebuild.config import WriterConfig
from captioning.rebuild.pipeline import Task
from captioning.rebuild.prompts import prompt
from captioning.rebuild.server import HttpWriter


def task(config: WriterConfig, parallel: int = 1) -> Task:
    """A writer with its prompt; `parallel` requests at once, if it is asked over HTTP."""
    asked = prompt(config.prompt)
    if config.sampling:
        asked = replace(asked, sampling=replace(asked.sampling, **config.sampling))
    if config.kind == "http":
        writes = HttpWriter(config.model, config.url, config.key_env)
    else:
        writes, parallel = writer(config.kind, config.model, config.precision), 1
    return Task(config.name or f"{config.kind}-{config.prompt}", writes, asked, config.batch_size, parallel)


@cache  # a model that is asked two things is loaded once
def writer(kind: str, model: str, precision: Precision) -> backends.Writer:
    if kind == "captioner":
        return backends.CaptionerWriter(model)
    if kind in ("instructblip", "chat"):
        return backends.VLMWriter(model, precision, kind)
    return backends.LavisWriter(shlex.split(model))
