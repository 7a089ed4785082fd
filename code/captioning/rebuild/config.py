"""Who is asked what, as the command line takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from captioning.models.config import Precision
from captioning.rebuild.prompts import SamplingChanges


@dataclass(frozen=True)
class WriterConfig:
    """A writer and what it is asked."""

    # a captioner of this project; a vision-language model of transformers, without chat (instructblip: InstructBLIP,
    # BLIP-2, Florence-2) or with it (chat), also one that `train vlm` tuned; a model in LAVIS' own environment; one
    # that is asked over HTTP
    kind: Literal["captioner", "instructblip", "chat", "lavis", "http"]
    prompt: str  # a label of captioning.rebuild.prompts, such as background-v2
    model: str = ""  # folder or hub name; the model's name at an HTTP server; lavis: the worker's command line
    name: str = ""  # of the writer in the provenance; by default KIND-PROMPT
    url: str = ""  # of the server, http only
    key_env: str = ""  # name of the environment variable that has the server's key, which no file is to have; http only
    precision: Precision = "float16"  # of the weights; instructblip and chat only
    sampling: SamplingChanges | None = None  # of the prompt's settings those that are to be others
    batch_size: int = 16  # pictures that are asked about at a time


PUBLISHED_WRITERS = [
    WriterConfig("instructblip", label, "Salesforce/instructblip-vicuna-7b", batch_size=4)
    for label in ("clothes-v1", "background-v1")
]
