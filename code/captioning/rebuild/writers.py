"""The writers that a command line asks for."""

from __future__ import annotations

import shlex
from dataclasses import replace
from functools import cache

from captioning.rebuild import backends
from captioning.rebuild.config import Precision, WriterConfig
from captioning.rebuild.pipeline import Task
from captioning.rebuild.prompts import prompt


def task(config: WriterConfig) -> Task:
    asked = prompt(config.prompt)
    if config.sampling:
        asked = replace(asked, sampling=config.sampling)
    writes = writer(config.kind, config.model, config.url, config.precision)
    return Task(config.name or f"{config.kind}-{config.prompt}", writes, asked, config.batch_size)


@cache  # a model that is asked two things is loaded once
def writer(kind: str, model: str, url: str, precision: Precision) -> backends.Writer:
    if kind == "captioner":
        return backends.CaptionerWriter(model)
    if kind == "instructblip":
        return backends.InstructBlipWriter(model, precision)
    if kind == "chat":
        return backends.ChatWriter(model, precision)
    if kind == "http":
        return backends.HttpWriter(model, url)
    return backends.LavisWriter(shlex.split(model))
