"""Writers: models that describe pictures for a rebuilt data set. All are asked in batches and answer with strings.

Weights are local folders or names on the hub, and are loaded when a writer is first asked: until then it is small
and can be sent to another machine. A writer that cannot answer raises `WriterFailed`. A server's is in server.py.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Literal, Protocol

import torch

from captioning.data.batches import picture_tensor
from captioning.decoding.config import Decoding
from captioning.models import saved, vlm
from captioning.models.base import CaptionModel
from captioning.models.config import Precision
from captioning.models.inference import device
from captioning.models.vlm import VisionLanguageModel
from captioning.rebuild.prompts import Prompt, Sampling


class WriterFailed(RuntimeError):
    """A writer gave no answer: what was asked, and what came instead."""


class WriterAway(WriterFailed):
    """A writer that answers nobody now, whatever is asked: to go on asking would fail for every picture."""


class Writer(Protocol):
    def write(self, pictures: Sequence[str], prompt: Prompt, seed: int) -> list[list[str]]:
        """`prompt.sampling.samples` answers for each picture file; the same for the same seed and pictures."""

    def facts(self) -> dict[str, Any]:
        """What the provenance says of this writer."""


class CaptionerWriter:
    """A captioner of this course: it knows one way to speak, so the prompt's text is not for it."""

    def __init__(self, model: str, decoding: Decoding = Decoding(max_length=100)):
        self.name, self.decoding = model, decoding

    @cached_property
    def model(self) -> CaptionModel:
        return saved.load(self.name).to(device())

    def write(self, pictures: Sequence[str], prompt: Prompt, seed: int) -> list[list[str]]:
        size = self.model.encoder.config.image_size
        images = torch.stack([picture_tensor(picture, size) for picture in pictures])
        return self.model.generate(images.to(device()), self.decoding).texts

    def facts(self) -> dict[str, Any]:
        return {"kind": "captioner", "model": Path(self.name).name, "decoding": asdict(self.decoding)}


def generation(sampling: Sampling) -> dict[str, Any]:
    """The settings as `transformers`' `generate` takes them; several sentences that are not drawn are those of as many
    beams."""
    searched = sampling.beams > 1 or (sampling.samples > 1 and not sampling.sample)
    drawn = {"top_p": sampling.top_p, "temperature": sampling.temperature, "top_k": 0} if sampling.sample else {}
    return drawn | {
        "do_sample": sampling.sample,
        "num_beams": max(sampling.beams, sampling.samples) if searched else 1,
        "repetition_penalty": sampling.repetition_penalty,
        "max_new_tokens": sampling.max_tokens,
        "num_return_sequences": sampling.samples,
    }


class VLMWriter:
    """Any `image-text-to-text` model of transformers: LLaVA, Qwen-VL, SmolVLM ... by their chat templates, InstructBLIP
    (Salesforce/instructblip-vicuna-7b, ...-flan-t5-xl), BLIP-2 and Florence-2 by the bare prompt; with the adapters
    that `train vlm` gave one, too. `kind` is what the provenance calls it."""

    def __init__(self, model: str, precision: Precision = "bfloat16", kind: Literal["chat", "instructblip"] = "chat"):
        self.name, self.precision, self.kind = model, precision, kind

    @cached_property
    def model(self) -> VisionLanguageModel:
        return vlm.load(self.name, precision=self.precision)

    def write(self, pictures: Sequence[str], prompt: Prompt, seed: int) -> list[list[str]]:
        questions = [self.model.question(picture, prompt.text) for picture in pictures]
        texts, samples = self.model.answer(questions, seed, **generation(prompt.sampling)), prompt.sampling.samples
        return [[text.strip() for text in texts[i : i + samples]] for i in range(0, len(texts), samples)]

    def facts(self) -> dict[str, Any]:
        return {"kind": self.kind, "model": Path(self.name).name, "precision": self.precision}


def text_part(prompt: Prompt) -> dict[str, str]:
    return {"type": "text", "text": prompt.text}


class LavisWriter:
    """LAVIS' own InstructBLIP, in a process and an environment of its own: LAVIS/worker.py, a line of JSON each way.

    `command` starts the worker (LAVIS/.venv/bin/python LAVIS/worker.py --model vicuna7b ...). A worker that is silent
    for `timeout` seconds, or has ended, is started afresh for the next batch.
    """

    def __init__(self, command: Sequence[str], timeout: float = 600.0):
        self.command, self.timeout, self.process = list(command), timeout, None

    def start(self) -> None:
        try:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
        except OSError as error:
            raise WriterFailed(
                f"cannot start {self.command[0]} ({error.strerror}); `bash prepare.sh lavis` builds its environment"
            ) from error
        self.lines = Queue()
        self.listener = threading.Thread(target=self.listen, args=(self.process, self.lines), daemon=True)
        self.listener.start()

    @staticmethod
    def listen(process: subprocess.Popen, lines: Queue[str]) -> None:
        for line in process.stdout:
            lines.put(line)
        lines.put("")  # the end

    def write(self, pictures: Sequence[str], prompt: Prompt, seed: int) -> list[list[str]]:
        if self.process is None:
            self.start()
        request = {"pictures": [str(p) for p in pictures], "prompt": prompt.text, "seed": seed}
        reply = self.exchange(request | {"sampling": asdict(prompt.sampling)})
        if "error" in reply or len(reply.get("texts", ())) != len(pictures):
            raise WriterFailed(f"LAVIS worker: {reply.get('error') or f'no texts for {len(pictures)} pictures'}")
        return reply["texts"]

    def exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        """One line there, one line back. Raises WriterFailed, and leaves no half-dead worker behind."""
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.lines.get(timeout=self.timeout)
            return json.loads(line)
        except (OSError, Empty, json.JSONDecodeError) as error:
            found = f"silent for {self.timeout:g} s" if isinstance(error, Empty) else f"broke off ({error})"
            self.close()
            raise WriterFailed(f"LAVIS worker: {found}; its messages are above") from error

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.listener.join()  # it ends with the pipe
            with suppress(OSError), self.process:  # what was still to be written is lost
                self.process = None

    def facts(self) -> dict[str, Any]:
        return {"kind": "lavis", "model": " ".join(self.command[1:])}
