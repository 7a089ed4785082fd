"""Faster copies of a captioner for decoding on a CPU: its weights in another form. machine.py chooses."""

from __future__ import annotations

from copy import deepcopy
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioning.models.base import CaptionModel
from captioning.models.transformer import CrossAttention, WordEmbedding

USUAL_ROWS = 160  # 32 pictures of 5 beams: what oneDNN lays the packed weights out for; any number is right


class PackedLinear(nn.Module):
    """A linear layer whose weight (O, I) lies as the kernels of oneDNN read it."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.register_buffer("packed", torch.ops.mkldnn._reorder_linear_weight(weight, USUAL_ROWS))
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")


class Int8Linear(nn.Module):
    """A linear layer with weight (O, I) and input in 8 bits: a scale for each output, and for each row of the input.

    The products are summed in integers, so that a row's result does not depend on its batch by as much as a bit.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.scale = weight.abs().amax(dim=1).clamp(min=1e-12) / 127  # (O,)
        self.weight = (weight / self.scale[:, None]).round().to(torch.int8).t()  # (I, O), a view: fast as it is
        self.bias = torch.zeros_like(self.scale) if bias is None else bias

    def forward(self, x: Tensor) -> Tensor:
        scale = x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / 127
        rows = (x / scale).round().to(torch.int8).flatten(0, -2)
        sums = torch._int_mm(rows, self.weight).view(*x.shape[:-1], -1)
        return (sums * scale).mul_(self.scale).add_(self.bias)


class HalfLinear(nn.Module):
    """A linear layer with weight (O, I) and input in bfloat16: half the bytes, sums in single precision."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.weight, self.bias = weight.bfloat16(), None if bias is None else bias.bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.bfloat16(), self.weight, self.bias).float()


class HalfCrossAttention(CrossAttention):
    """A CrossAttention with keys, values and the mixing in bfloat16: a search reads all of them at each word."""

    def __init__(self, other: CrossAttention):
        nn.Module.__init__(self)
        self.heads, self._modules = other.heads, other._modules

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = super().keys_values(memory)
        return keys.bfloat16(), values.bfloat16()

    def mixed(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        scores = (queries * keys.shape[-1] ** -0.5).bfloat16() @ keys.transpose(-1, -2)
        return (scores.softmax(dim=-1) @ values).float()


class QuickEmbedding(nn.Module):
    """A WordEmbedding with another form of its output layer."""

    def __init__(self, embedding: WordEmbedding, linear: type[nn.Module]):
        super().__init__()
        self.weight = embedding.weight.detach()
        self.logits = linear(self.weight, None)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.weight)


def faster(model: CaptionModel, how: Literal["packed", "bf16", "int8"]) -> CaptionModel:
    """A copy of `model` for `generate` on a CPU, with other linear layers; encoder and GRU cells stay as they are.

    packed: the same numbers in another order of summation, logits about 1e-6 apart; a caption changes only where two
    were equally good. bf16: half the bytes of these layers, and of the keys and values that a transformer has of the
    picture, logits a few tenths of a per cent apart. int8: a quarter of the bytes, logits about 1 % apart. Long
    captions that could be worded in several ways change often (with int8 a third or more of those of the transformer
    of chapter 2), so look at the scores on `val`; how much time it saves depends on the machine and the size of the
    model: see tests/bench/decoding.py. The copy cannot be trained or saved.
    The kernels are private ones of torch (2.15); tests/decoding/test_search.py notices if they change.
    Raises ValueError for a model on a GPU.
    """
    if (device := next(model.parameters()).device).type != "cpu":
        raise ValueError(f"weights {how!r} are for a CPU, and this model is on {device}; leave them as they are")
    linear = {"packed": PackedLinear, "bf16": HalfLinear, "int8": Int8Linear}[how]
    quick, tables = deepcopy(model).eval().requires_grad_(False), {}
    for parent in behind_encoder(quick):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                setattr(parent, name, linear(child.weight.detach(), child.bias))
            elif isinstance(child, WordEmbedding):
                tables[child] = tables.get(child) or QuickEmbedding(child, linear)  # OFA has one for both halves
                setattr(parent, name, tables[child])
            elif how == "bf16" and isinstance(child, CrossAttention):
                setattr(parent, name, HalfCrossAttention(child))
    return quick


def behind_encoder(model: CaptionModel) -> list[nn.Module]:
    """All modules of a captioner but those of its encoder, which may lie anywhere in it (BLIP's is a part of BLIP)."""
    eyes = set(model.encoder.modules())
    return [module for module in model.modules() if module not in eyes]


def decoder_bytes(model: CaptionModel) -> int:
    """Bytes of the weights behind the encoder, in whatever form they are; what is shared is counted once."""
    sizes = {}
    for module in behind_encoder(model):
        held = [*module.parameters(recurse=False), *module.buffers(recurse=False), *vars(module).values()]
        sizes |= {x.data_ptr(): x.nbytes for x in held if isinstance(x, Tensor)}
    return sum(sizes.values())
