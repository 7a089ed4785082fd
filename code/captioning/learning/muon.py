"""Muon (Jordan et al. 2024): matrices move along their momentum made orthogonal, everything else by AdamW.

The filters of a convolution are the rows of a matrix. A network that is trained for a few hundred steps gets further
with it than with AdamW alone: the transformer of chapter 2 as far in two epochs as there in four. torch and timm have
it too, and always compute in bfloat16, which takes a CPU that has no instructions for it four times as long as float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOMENTUM = 0.95
THIN = 32  # a matrix with fewer rows or columns, such as a small head, is left to AdamW
# Odd polynomials of degree 5, each the best one for what the one before leaves of singular values from 0.01 to 1
# (Amsel et al. 2025): after the three they lie between 0.73 and 1.27. One polynomial for all steps needs five for that.
STEPS = ((8.0934, -23.6204, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526))


def orthogonal(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The nearest matrix whose singular values are all about 1, but the smallest ones; its products in `dtype`.

    All polynomials of x x^T commute, so they are gathered in one small square matrix before x itself is touched.
    """
    x = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    x = (x / (x.norm() + 1e-7)).to(dtype)
    gram = x @ x.mT
    gathered = step = polynomial(gram, *STEPS[0])
    for coefficients in STEPS[1:]:
        gram = step @ gram @ step
        step = polynomial(gram, *coefficients)
        gathered = step @ gathered
    x = gathered @ x
    return x.mT if matrix.shape[0] > matrix.shape[1] else x


def polynomial(gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """a + b gram + c gram^2."""
    step = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    step.diagonal().add_(a)
    return step


class Muon(torch.optim.AdamW):
    """Rates and weight decay as for AdamW: a matrix's step is scaled to the size that Adam's would have."""

    dtype = torch.float32  # of the products that make a step orthogonal

    def __init__(self, parameters, **settings):
        super().__init__(parameters, fused=True, **settings)
        # Of a gradient that overflowed in fp16 only the fused kernel would know: a scaler must leave the step out.
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in filter(is_matrix, group["params"]):
                state = self.state[weight]
                if not state:  # AdamW asks every state for its step
                    state |= {"step": torch.tensor(0.0), "momentum": torch.zeros_like(weight)}
                state["momentum"].lerp_(weight.grad, 1 - MOMENTUM)
                ahead = orthogonal(weight.grad.lerp(state["momentum"], MOMENTUM).flatten(1), self.dtype)
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(ahead.view(weight.shape), alpha=0.2 * group["lr"] * max(ahead.shape) ** 0.5)
                weight.grad = None  # none of AdamW's business
        return super().step(closure)


def is_matrix(weight: Tensor) -> bool:
    """Whether a weight has a gradient and rows and columns enough."""
    return weight.grad is not None and weight.dim() > 1 and min(len(weight), weight[0].numel()) >= THIN
