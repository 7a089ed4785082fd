#!/usr/bin/env bash
# torch 2.15.0: a `GradScaler` does not leave out the step of an optimizer that is derived from a fused AdamW, even where
# the gradients overflowed.
#
# `fused=True` tells the scaler that the optimizer's kernel looks for infinite gradients by itself, and the scaler then
# calls `step` in any case. The mark is inherited: a subclass that moves some of the weights on its own, as mixtures of
# Muon and AdamW do, is called with infinite gradients as well. Its own weights become nan, those of the kernel stay,
# and the scaler says, as always, that it has halved its factor and gone on. With fused=False the step is left out.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.15.0 numpy
"$place/venv/bin/python" - <<'PYTHON'
import torch


class Mixed(torch.optim.AdamW):
    """Matrices go down their gradient's sign, everything else is AdamW's."""

    @torch.no_grad()
    def step(self, closure=None):
        for weight in (weight for group in self.param_groups for weight in group["params"] if weight.dim() > 1):
            weight.sub_(weight.grad / weight.grad.norm(), alpha=self.defaults["lr"])
            weight.grad = None
        return super().step(closure)


def overflow(fused):
    """Whether matrix and bias are finite after a step with gradients that are not, and the factor before and after."""
    torch.manual_seed(0)
    layer, scaler = torch.nn.Linear(8, 8), torch.amp.GradScaler("cpu")
    optimizer, factor = Mixed(layer.parameters(), lr=0.1, fused=fused), scaler.get_scale()
    scaler.scale(layer(torch.randn(4, 8)).square().sum() * 1e38).backward()
    scaler.step(optimizer)
    scaler.update()
    return bool(layer.weight.isfinite().all()), bool(layer.bias.isfinite().all()), factor, scaler.get_scale()


for fused in (False, True):
    print(f"fused={fused!s:5} matrix finite: {overflow(fused)[0]}, bias finite: {overflow(fused)[1]}")
assert overflow(False) == (True, True, 65536.0, 32768.0), "behaviour changed: without fused the step was not left out"
assert overflow(True) == (False, True, 65536.0, 32768.0), "behaviour changed: the step of a subclass is left out"
PYTHON
