#!/usr/bin/env bash
# torch 2.15.0: `torch.export` keeps a dynamic number of rows behind `len(x)` in strict mode and refuses it in the other,
# which is the default; `torch.onnx.export` then quietly traces the model a second time.
#
# A module stretches a constant over its batch. With `x.shape[0]` both modes export it for any number of rows. With
# `len(x)` strict mode does, too; the other says that the code "specialized it to be a constant" and raises.
# `torch.onnx.export` tries that one and then strict mode, so a graph comes out that is right for any batch, and unless
# it is asked to talk all that one sees is the time. One would expect the two modes to agree.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.15.0 numpy onnx==1.23.2 onnxscript==0.7.2
"$place/venv/bin/python" - <<'PYTHON'
import contextlib
import io

import torch
from torch import nn


class Shift(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.shift = how, nn.Parameter(torch.ones(1, 3))

    def forward(self, x):
        rows = len(x) if self.how == "len" else x.shape[0]
        return x + self.shift.expand(rows, -1)


def exported(how, strict):
    rows = {"x": {0: torch.export.Dim.DYNAMIC}}
    try:
        program = torch.export.export(Shift(how), (torch.zeros(2, 3),), dynamic_shapes=rows, strict=strict)
    except torch._dynamo.exc.UserError as error:
        return "refused" if "specialized it to be a constant (2)" in str(error) else f"refused: {error}"
    return f"{len(program.module()(torch.zeros(5, 3)))} rows"


found = {(how, strict): exported(how, strict) for how in ("shape", "len") for strict in (True, False)}
for (how, strict), outcome in found.items():
    print(f"{how:5} strict={strict!s:5} {outcome}")
assert found.pop(("len", False)) == "refused", "behaviour changed: both modes take len(x)"
assert set(found.values()) == {"5 rows"}, "behaviour changed: another way fails"

said = io.StringIO()
with contextlib.redirect_stdout(said):
    torch.onnx.export(Shift("len"), (torch.zeros(2, 3),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), verbose=True)
lines = [line for line in said.getvalue().splitlines() if "torch.export.export(" in line]
print("\n".join(lines))
assert any("strict=False" in line and "❌" in line for line in lines), "behaviour changed: the first try succeeds"
assert any("strict=True" in line and "✅" in line for line in lines), "behaviour changed: no second try"
PYTHON
