"""Linear layers in 32 bits on a CPU by oneDNN, forward and backward.

PyTorch leaves them to MKL, which reaches 100 GFLOP/s a core of an AMD CPU with AVX-512, where oneDNN reaches 220: the
same sums in another order, 6e-7 apart. It was measured on such a CPU alone, so others are left as they are.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode


@functools.cache
def measured() -> bool:
    """Whether this CPU is of the kind on which oneDNN was found quicker."""
    return torch.backends.mkldnn.is_available() and bool(torch.cpu.get_capabilities().get("avx512_f"))


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., I) times weight (O, I), of any strides, plus bias (O,): (..., O). A private kernel of torch (2.15)."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class Linear(torch.autograd.Function):
    """`product` with a gradient; what it keeps for that is what F.linear keeps."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        of_x, of_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if of_weight else None, weight if of_x else None)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (x, weight), (of_x, of_weight, of_bias) = ctx.saved_tensors, ctx.needs_input_grad
        rows = slope.flatten(0, -2)
        return (
            product(slope, weight.t()) if of_x else None,
            product(rows.t(), x.flatten(0, -2).t()) if of_weight else None,
            rows.sum(dim=0) if of_bias else None,
        )


class QuickLinear(TorchFunctionMode):
    """While it is on, linear layers are `Linear` where they can be: on a CPU, in 32 bits, without autocast.

    Not for a model with gradient checkpointing, whose layers run again in the backward pass, when it is off.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return (linear if function is F.linear else function)(*args, **kwargs or {})


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    plain = input.is_cpu and input.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    can = plain and input.dim() > 1 and input.numel() and measured()
    return (Linear.apply if can else F.linear)(input, weight, bias)
