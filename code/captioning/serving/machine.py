"""A captioner as this machine runs it fastest: by what the CPU has and by a short trial, not by a table of CPUs."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioning import paths
from captioning.models.base import CaptionModel
from captioning.models.config import EncoderConfig
from captioning.models.inference import FEW, Eyes, precision
from captioning.models.ofa.config import ResNetConfig
from captioning.models.transformer import TransformerCaptioner
from captioning.serving.quantized import USUAL_ROWS, HalfLinear, PackedLinear, behind_encoder, faster
from captioning.writing import json_with, write_json

RUNS = 7  # of each form in a trial
FORMS = {"packed": PackedLinear, "bf16": HalfLinear}


def automatic(model: CaptionModel) -> CaptionModel:
    """A copy of `model` for `generate`, as quick as this machine makes it: an encoder for use alone, in bfloat16 where
    the CPU has instructions for it, and the decoder's weights in the `form` of it where that pays. On a GPU the model
    itself."""
    encoder = model.encoder
    if next(model.parameters()).device.type != "cpu":
        return model
    quick = faster(model, form(model)) if packing_pays(model) else copy(model)
    quick._modules = quick._modules.copy()  # in which the encoder is replaced
    if "encoder" in quick._modules and isinstance(encoder.config, EncoderConfig | ResNetConfig):  # BLIP's is in BLIP
        quick.encoder = Eyes(encoder, precision(encoder.config), FEW, packed=torch.backends.mkldnn.is_available())
    return quick


def form(model: CaptionModel) -> Literal["packed", "bf16"]:
    """The decoder's weights are in bfloat16 where the encoder is, whose rounding changes more captions than theirs; of
    a transformer of this package only, for others were not scored with it."""
    half = isinstance(model, TransformerCaptioner) and precision(model.encoder.config) == torch.bfloat16
    return "bf16" if half else "packed"


def packing_pays(model: CaptionModel) -> bool:
    """Whether weights in their `form` are quicker here. The trial is kept in the user's cache: an outcome that changed
    from run to run would break ties now this way, now that. It is said once, when it is found."""
    linear = [module for module in behind_encoder(model) if isinstance(module, nn.Linear)]
    if not linear or not torch.backends.mkldnn.is_available():
        return False
    weight = max((module.weight.detach() for module in linear), key=Tensor.numel)
    how = form(model)
    machine = f"{platform.node()}, torch {torch.__version__}, {how}, {tuple(weight.shape)}"
    file = paths.cache() / "packing.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if json_with()(file) else {}
    if machine not in kept:
        kept[machine] = round(gain(weight, FORMS[how]), 2)
        with suppress(OSError):  # of a home that cannot be written to: the next run tries again
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, kept)
        how = how if kept[machine] > 1 else f"not {how}"
        eyes = str(precision(model.encoder.config)).removeprefix("torch.")
        print(
            f"this machine: encoders in {eyes}, decoders' weights {how} (the trial: "
            f"{kept[machine]} times as quick, kept in {file}); --weights fp32 for plain 32 bits",
            file=sys.stderr,
        )
    return kept[machine] > 1


@torch.inference_mode()
def gain(weight: Tensor, linear: type[nn.Module]) -> float:
    """How many times as quick products with weights (O, I) in that form are: the best of RUNS of each, in turns, on one
    thread, for of several those that wait for another process count as busy."""
    x, other, threads = torch.ones(USUAL_ROWS, weight.shape[1]), linear(weight, None), torch.get_num_threads()
    torch.set_num_threads(1)
    times = [(seconds(F.linear, x, weight), seconds(other, x)) for _ in range(RUNS)]
    torch.set_num_threads(threads)
    plain, quick = map(min, zip(*times, strict=True))
    return plain / quick


def seconds(run: Callable[..., Tensor], *inputs: Tensor) -> float:
    """CPU time: what other processes take away at that moment is kept for good otherwise."""
    start = time.process_time()
    run(*inputs)
    return time.process_time() - start
