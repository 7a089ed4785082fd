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
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from captioning.data.batches import picture_tensor
from captioning.data.pictures import read_picture
from captioning.decoding.config import Decoding
from captioning.models import saved
from captioning.models.base import CaptionModel
from captioning.models.inference import device
from captioning.rebuild.config import Precision
from captioning.rebuild.prompts import Prompt, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, ProcessorMixin

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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


def loading(precision: Precision) -> dict[str, Any]:
    """The options of `from_pretrained` for this precision, spread over all GPUs if there are any."""
    placed = {"device_map": "auto"} if torch.cuda.is_available() else {}
    if precision in DTYPES:
        return placed | {"dtype": DTYPES[precision]}
    from transformers import BitsAndBytesConfig  # needs the package bitsandbytes and a GPU

    bits = BitsAndBytesConfig(load_in_8bit=precision == "8bit", load_in_4bit=precision == "4bit")
    return placed | {"quantization_config": bits}


def generation(sampling: Sampling) -> dict[str, Any]:
    """The settings as `transformers`' `generate` takes them."""
    drawn = {"top_p": sampling.top_p, "temperature": sampling.temperature, "top_k": 0} if sampling.sample else {}
    return drawn | {
        "do_sample": sampling.sample,
        "num_beams": max(sampling.beams, sampling.samples) if sampling.beams > 1 else 1,
        "repetition_penalty": sampling.repetition_penalty,
        "max_new_tokens": sampling.max_tokens,
        "num_return_sequences": sampling.samples,
    }


def answers(said: Tensor, asked: Tensor, config: PreTrainedConfig) -> Tensor:
    """What is new in `said` (R, T) by a model that was asked with ids (B, P): one that has an encoder for the prompt,
    such as T5, does not repeat it. The config of an InstructBLIP does not tell, but that of its language model does."""
    repeated = not (config.is_encoder_decoder or config.get_text_config(decoder=True).is_encoder_decoder)
    return said[:, asked.shape[1] * repeated :]


class InstructBlipWriter:
    """InstructBLIP and BLIP-2 of transformers, over whatever language model: Salesforce/instructblip-vicuna-7b,
    instructblip-flan-t5-xl, blip2-opt-2.7b and their kin."""

    def __init__(self, model: str = "Salesforce/instructblip-vicuna-7b", precision: Precision = "float16"):
        self.name, self.precision = model, precision

    @cached_property
    def processor(self) -> ProcessorMixin:
        from transformers import AutoProcessor

        return AutoProcessor.from_pretrained(self.name)

    @cached_property
    def model(self) -> PreTrainedModel:
        from transformers import AutoModelForImageTextToText

        return AutoModelForImageTextToText.from_pretrained(self.name, **loading(self.precision)).eval()

    def write(self, pictures: Sequence[str], prompt: Prompt, seed: int) -> list[list[str]]:
        torch.manual_seed(seed)
        return instructblip_answers(self.model, self.processor, self.pixels(pictures), prompt.text, prompt.sampling)

    def pixels(self, pictures: Sequence[str]) -> Tensor:
        """What the model is shown, (B, 3, S, S)."""
        read = [read_picture(picture) for picture in pictures]
        pixels = self.processor.image_processor(read, return_tensors="pt")["pixel_values"]
        return pixels.to(self.model.device, self.model.dtype)

    def facts(self) -> dict[str, Any]:
        return {"kind": "instructblip", "model": Path(self.name).name, "precision": self.precision}


@torch.inference_mode()
def instructblip_answers(model, processor, pixels: Tensor, prompt: str, sampling: Sampling) -> list[list[str]]:
    """`sampling.samples` answers of an InstructBLIP or BLIP-2 to one prompt about each of the pictures `pixels`
    (B, 3, S, S)."""
    asked = processor(text=[prompt], images=None, return_tensors="pt").to(model.device)  # BLIP-2 has no qformer_ ids
    image = torch.full((1, model.config.num_query_tokens), model.config.image_token_index, device=model.device)
    ids = torch.cat([image, asked["input_ids"]], dim=1)
    inputs = {name: x.expand(len(pixels), -1) for name, x in (asked | {"input_ids": ids}).items()}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    said = model.generate(pixel_values=pixels, **inputs, **generation(sampling))
    texts = processor.tokenizer.batch_decode(answers(said, ids, model.config), skip_special_tokens=True)
    return grouped(texts, sampling.samples)


def grouped(texts: list[str], samples: int) -> list[list[str]]:
    return [[text.strip() for text in texts[i : i + samples]] for i in range(0, len(texts), samples)]


class ChatWriter:
    """Any `image-text-to-text` model of transformers with a chat template (LLaVA, Qwen-VL, SmolVLM ...)."""

    def __init__(self, model: str, precision: Precision = "bfloat16"):
        self.name, self.precision = model, precision

    @cached_property
    def processor(self) -> ProcessorMixin:
        from transformers import AutoProcessor

        return AutoProcessor.from_pretrained(self.name, padding_side="left")

    @cached_property
    def model(self) -> PreTrainedModel:
        from transformers import AutoModelForImageTextToText

        return AutoModelForImageTextToText.from_pretrained(self.name, **loading(self.precision)).eval()

    def write(self, pictures: Sequence[str], prompt: Prompt, seed: int) -> list[list[str]]:
        torch.manual_seed(seed)
        chats = [
            [{"role": "user", "content": [{"type": "image", "image": read_picture(picture)}, text_part(prompt)]}]
            for picture in pictures
        ]
        inputs = self.processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        ).to(self.model.device, self.model.dtype)
        with torch.inference_mode():
            said = self.model.generate(**inputs, **generation(prompt.sampling))
        new = answers(said, inputs["input_ids"], self.model.config)
        texts = self.processor.batch_decode(new, skip_special_tokens=True)
        return grouped(texts, prompt.sampling.samples)

    def facts(self) -> dict[str, Any]:
        return {"kind": "chat", "model": Path(self.name).name, "precision": self.precision}


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
