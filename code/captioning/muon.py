"""Muon (Jordan et al. 2024): matrices move along their momentum made orthogonal, everything else by AdamW.

A network that is trained for a few hundred steps gets further with it. torch and timm have it too, and compute in
bfloat16, which takes a CPU that has no instructions for it four times as long as float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOMENTUM = 0.95
THIN = 32  # a matrix with fewer rows or columns, such as a small head, is left to AdamW
QUINTIC = (3.4445, -4.7750, 2.0315)  # takes any singular value from 0.01 to 1 to between 0.7 and 1.2 in five steps


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrix whose singular values are all about 1, by Newton-Schulz steps."""
    a, b, c = QUINTIC
    x = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if matrix.shape[0] > matrix.shape[1] else x


class Muon(torch.optim.AdamW):
    """Rates and weight decay as for AdamW: a matrix's step is scaled to the size that Adam's would have."""

    def __init__(self, parameters, **settings):
        super().__init__(parameters, fused=True, **settings)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for matrix in (p for p in group["params"] if p.dim() == 2 and min(p.shape) >= THIN and p.grad is not None):
                state = self.state[matrix]
                if not state:  # AdamW asks every state for its step
                    state |= {"step": torch.tensor(0.0), "momentum": torch.zeros_like(matrix)}
                state["momentum"].lerp_(matrix.grad, 1 - MOMENTUM)
                ahead = orthogonal(matrix.grad.lerp(state["momentum"], MOMENTUM))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.sub_(ahead, alpha=0.2 * group["lr"] * max(matrix.shape) ** 0.5)
                matrix.grad = None  # none of AdamW's business
        return super().step(closure)
