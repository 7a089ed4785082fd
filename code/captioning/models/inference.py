"""A captioner made ready for captioning: its device, the arithmetic there, and an encoder for use alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from copy import copy, deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

from captioning.models.base import CaptionModel
from captioning.models.config import RegionConfig
from captioning.models.lite import EfficientNetLite, FoldedLite

FEW = 4  # pictures that a CPU looks at together: of more than that, what an encoder keeps does not stay in the caches


def device() -> torch.device:
    """This process's device: its GPU if there is one, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    from accelerate import PartialState  # slow to load; knows which of several GPUs is this process's

    return PartialState().device


def precision() -> torch.dtype:
    """The arithmetic in which this process's device runs an encoder fast: bfloat16 where a CPU has instructions for
    it (2.5 times as fast with AVX512-bf16, features' cosine .998), else 32 bits."""
    quick = device().type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16")
    return torch.bfloat16 if quick else torch.float32


class Eyes(nn.Module):
    """An encoder for use alone: norms folded, in `dtype`, and on a CPU a few pictures at a time.

    Pictures (B, 3, S, S) uint8 of the size of its configuration to features (B, N, C), float32. It cannot be trained.
    """

    def __init__(self, encoder: nn.Module, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.config, self.channels, self.dtype = encoder.config, encoder.channels, dtype
        self.encoder = folded(encoder, dtype)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        device = next(self.encoder.parameters()).device
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            few = images.to(device).split(FEW if device.type == "cpu" else max(1, len(images)))
            return torch.cat([self.encoder(some) for some in few]).float()


def for_inference(model: CaptionModel) -> Callable[[Tensor], Tensor]:
    """Pictures (B, 3, S, S) uint8 to features (B, N, C), by the model's encoder or an equal one that is quicker."""
    eyes = model.encoder if isinstance(model.encoder, Eyes) else Eyes(model.encoder)
    return lambda images: eyes(images) if len(images) else images


@torch.no_grad()
def folded(encoder: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A copy of an encoder with its batch norms folded into the convolutions before them; features 1e-5 apart.

    An EfficientNet-Lite is made anew, in `dtype`; of others a norm is folded where its convolution's output goes
    nowhere else. A detector stays as it is.
    """
    if isinstance(encoder.config, RegionConfig):
        return encoder
    if isinstance(getattr(encoder, "backbone", None), EfficientNetLite):
        quick = copy(encoder).eval()
        quick._modules = encoder._modules | {
            "backbone": FoldedLite(encoder.backbone, encoder.config.image_size, dtype)
        }
        return quick
    quick, pairs = deepcopy(encoder).eval(), norms_after_convolutions(encoder)
    for name, convolution in pairs.items():
        norm = quick.get_submodule(name)
        fold(quick.get_submodule(convolution), norm)
        rest = [norm.drop, norm.act] if hasattr(norm, "act") else []  # timm's norm with an activation in it
        quick.set_submodule(name, nn.Sequential(*rest))
    return quick


class Readers(TorchFunctionMode):
    """Which modules read what a convolution said, while a model runs.

    `current` is the module that runs, {name: names of the modules, or "" for the model itself, that read its output}.
    """


def norms_after_convolutions(encoder: nn.Module) -> dict[str, str]:
    """Names of the batch norms that alone read what a convolution says, each with the convolution's.

    Seen by a run on PyTorch's device without storage, where nothing is computed.
    """


def fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Let a convolution say what the norm would make of it."""
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    weight, bias = fuse_conv_bn_weights(convolution.weight, convolution.bias, *statistics)
    convolution.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
    convolution.bias = nn.Parameter(bias, requires_grad=False)
