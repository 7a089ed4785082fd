"""A captioner made ready for captioning: its device, and an encoder whose batch norms are folded."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from captioning.models.base import CaptionModel
from captioning.models.encoder import Encoder
from captioning.models.ofa.pictures import ResNetEncoder


def device() -> torch.device:
    """This process's device: its GPU if there is one, else the CPU."""
    return PartialState(cpu=not torch.cuda.is_available()).device


def precision() -> torch.dtype:
    """The arithmetic in which this process's device runs an encoder fast: bfloat16 where a CPU has instructions for
    it (2.5 times as fast with AVX512-bf16, features' cosine .998), else 32 bits."""
    quick = device().type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16")
    return torch.bfloat16 if quick else torch.float32


def for_inference(model: CaptionModel) -> Callable[[Tensor], Tensor]:
    """Pictures (B, 3, S, S) uint8 to features (B, N, C), by a copy of the model's encoder with its norms folded."""
    device, encoder = next(model.parameters()).device, model.encoder
    encoder = folded(encoder) if isinstance(encoder, Encoder | ResNetEncoder) else encoder

    @torch.inference_mode()
    def encode(images: Tensor) -> Tensor:
        return encoder(images.to(device)) if len(images) else images

    return encode


@torch.no_grad()
def folded(encoder: Encoder | ResNetEncoder) -> Encoder | ResNetEncoder:
    """A copy of an encoder with its batch norms folded into the convolutions before them; features 1e-5 apart.

    Which convolution feeds which norm is seen by running a picture. Should a model do more with what a convolution
    says than norm it, its features change, and then it is returned as it is.
    """
    encoder = deepcopy(encoder).eval()
    size, device = encoder.config.image_size, next(encoder.parameters()).device
    picture = torch.arange(3 * size * size, device=device).view(1, 3, size, size).remainder(251).to(torch.uint8)
    expected, quick = encoder(picture), deepcopy(encoder)
    pairs = norms_after_convolutions(quick, picture)
    for parent in list(quick.modules()):
        for name, child in parent.named_children():
            if child in pairs:
                fold(pairs[child], child)
                rest = [child.drop, child.act] if hasattr(child, "act") else []  # timm's norm with an activation in it
                setattr(parent, name, nn.Sequential(*rest))
    close = (quick(picture) - expected).abs().max() <= 1e-3 * expected.abs().max()
    return quick if close else encoder


def norms_after_convolutions(encoder: nn.Module, picture: Tensor) -> dict[nn.BatchNorm2d, nn.Conv2d]:
    """Each batch norm whose input is just what a convolution said, with this convolution."""
    said: list[tuple[Tensor, nn.Conv2d]] = []
    pairs: dict[nn.BatchNorm2d, nn.Conv2d] = {}

    def after_convolution(module, inputs, output):
        said.append((output, module))

    def before_norm(module, inputs):
        for output, convolution in said:
            if output is inputs[0]:
                pairs[module] = convolution

    hooks = [m.register_forward_hook(after_convolution) for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    hooks += [m.register_forward_pre_hook(before_norm) for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    encoder(picture)
    for hook in hooks:
        hook.remove()
    return pairs


def fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Let a convolution say what the norm would make of it."""
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    weight, bias = fuse_conv_bn_weights(convolution.weight, convolution.bias, *statistics)
    convolution.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
    convolution.bias = nn.Parameter(bias, requires_grad=False)
