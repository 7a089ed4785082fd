"""A captioner made ready for captioning: its device, the arithmetic there, and an encoder for use alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from captioning.models.base import CaptionModel
from captioning.models.config import EncoderConfig, PictureConfig, RegionConfig
from captioning.models.lite import EfficientNetLite
from captioning.models.ofa.config import ResNetConfig
from captioning.models.packed_lite import PackedLite

FEW = 4  # pictures that a CPU looks at together: of more, what an encoder has in hand does not stay in the caches


def device() -> torch.device:
    """This process's device: its GPU if there is one, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    from accelerate import PartialState  # slow to load; knows which of several GPUs is this process's

    return PartialState().device


def precision(encoder: PictureConfig) -> torch.dtype:
    """The arithmetic in which this process's device runs an encoder fast: bfloat16 where a CPU has instructions for
    it, else 32 bits. A detector, whose boxes would change their rank, and other networks that are not made for it have
    32 bits always."""
    quick = device().type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16")
    return torch.bfloat16 if quick and isinstance(encoder, EncoderConfig | ResNetConfig) else torch.float32


class Eyes(nn.Module):
    """An encoder for use alone: norms folded, in `dtype`, and looking at so `few` pictures at a time; an
    EfficientNet-Lite on a CPU also `packed`, in another order of summation.

    Pictures (B, 3, S, S) uint8 of the size of its configuration to features (B, N, C), float32. It cannot be trained.
    """

    def __init__(
        self, encoder: nn.Module, dtype: torch.dtype = torch.float32, few: int | None = None, packed: bool = False
    ):
        super().__init__()
        self.config, self.dtype, self.few = encoder.config, dtype, few
        packs = packed and isinstance(getattr(encoder, "backbone", None), EfficientNetLite)
        self.encoder = folded(encoder, torch.float32 if packs else dtype)
        if packs:
            self.encoder.backbone = PackedLite(self.encoder.backbone, encoder.config.image_size, dtype)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        device = next(self.encoder.parameters()).device
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            parts = images.to(device).split(self.few or len(images))
            return torch.cat([self.encoder(part) for part in parts]).float()


def for_inference(model: CaptionModel) -> Callable[[Tensor], Tensor]:
    """Pictures (B, 3, S, S) uint8 to features (B, N, C), by the model's encoder or an equal one that is quicker."""
    eyes = model.encoder if isinstance(model.encoder, Eyes) else Eyes(model.encoder)
    return lambda images: eyes(images) if len(images) else images


@torch.no_grad()
def folded(encoder: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A copy of an encoder with its batch norms folded into the convolutions before them (features 1e-5 apart), and
    the weights of convolutions and linear layers in `dtype`, for autocast. Where there is nothing to do, and of a
    detector, the encoder itself."""
    normed = any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    if isinstance(encoder.config, RegionConfig) or not (normed or dtype != torch.float32):
        return encoder
    quick = deepcopy(encoder).eval()
    network, norms = quick, norms_after_convolutions
    if isinstance(getattr(quick, "backbone", None), EfficientNetLite):
        network, norms = quick.backbone, EfficientNetLite.norms  # its structure is known
    for name, convolution in norms(network).items():
        norm = network.get_submodule(name)
        fold(network.get_submodule(convolution), norm)
        rest = [norm.drop, norm.act] if hasattr(norm, "act") else []  # timm's norm with an activation in it
        network.set_submodule(name, nn.Sequential(*rest))
    for module in quick.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)
    return quick


class Readers(TorchFunctionMode):
    """What reads the outputs of convolutions while a model runs: batch norms by their names, "" for all else."""

    def __init__(self):
        super().__init__()
        self.said: dict[Tensor, str] = {}  # by which convolution
        self.norm, self.readers = "", {}  # the norm that is running; {convolution: its readers}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function.__name__ != "__get__":  # a shape may be looked at
            for name in {self.said[x] for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x in self.said}:
                self.readers.setdefault(name, set()).add(self.norm)
        return function(*args, **kwargs or {})


def norms_after_convolutions(encoder: nn.Module) -> dict[str, str]:
    """The batch norms that read a convolution's output, which nothing else reads: {name: the convolution's}.

    Seen in a run on PyTorch's device without storage, where nothing is computed.
    """
    shadows = {id(x): nn.Parameter(x.to("meta"), False) for x in encoder.parameters()}
    shadow = deepcopy(encoder, shadows | {id(x): x.to("meta") for x in encoder.buffers()}).eval()
    seen, runs = Readers(), Counter()

    def begin(name: str) -> None:
        seen.norm = name
        runs[name] += 1

    for name, module in shadow.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, inputs, output, name=name: seen.said.update({output: name}))
        elif isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda _, inputs, name=name: begin(name))
            module.register_forward_hook(lambda *_: setattr(seen, "norm", ""))
    with seen:
        shadow(torch.zeros(1, 3, *[encoder.config.image_size] * 2, dtype=torch.uint8, device="meta"))
    alone = {next(iter(norms)): convolution for convolution, norms in seen.readers.items() if len(norms) == 1}
    return {norm: convolution for norm, convolution in alone.items() if runs[norm] == 1}


def fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Let a convolution say what the norm would make of it."""
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    weight, bias = fuse_conv_bn_weights(convolution.weight, convolution.bias, *statistics)
    convolution.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
    convolution.bias = nn.Parameter(bias, requires_grad=False)
