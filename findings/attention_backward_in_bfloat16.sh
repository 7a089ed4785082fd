#!/usr/bin/env bash
# torch 2.15.0 on a CPU with bfloat16 in its instructions: the backward pass of `scaled_dot_product_attention` takes
# many times as long in bfloat16 as in 32 bits.
#
# A caption model is trained on short rows, say 120 captions of 14 words with 5 heads of 64 channels. Under
# `torch.autocast("cpu", torch.bfloat16)` its attention is cast to bfloat16 like the linear layers around it, which
# become several times as quick; one would expect some of that for attention too, or at worst no gain. Seen on one
# thread of a Xeon with AMX: 9.0 milliseconds in 32 bits and 60.6 in bfloat16, and 4.0 and 28.3 for 24 captions of 64
# words (other work ran beside it; alone 2.5 and 39.8, 3.7 and 17.9). It is the fused kernel: `SDPBackend.MATH` took 6.7
# and 6.1 in bfloat16. Casting queries, keys and values back to 32 bits around the call is a way out.
# On an EPYC, with AVX512-bf16 and no AMX: 4.4 and 27.2 milliseconds, 4.1 and 12.5, plain 3.5 and 3.7.
set -euo pipefail
grep -qE "amx_bf16|avx512_bf16" /proc/cpuinfo || { echo "this CPU has no bfloat16: nothing to see"; exit 0; }
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.15.0 numpy
"$place/venv/bin/python" - <<'PYTHON'
import time
from statistics import median

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

torch.set_num_threads(1)


def milliseconds(work):
    work()
    times = []
    for _ in range(15):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1e3)
    return median(times)


def backward(rows, heads, words, dtype, *backends):
    q, k, v = (torch.randn(rows, heads, words, 64, dtype=dtype, requires_grad=True) for _ in range(3))
    with sdpa_kernel(list(backends)):
        mixed = F.scaled_dot_product_attention(q, k, v)
    slope = torch.randn_like(mixed)
    return milliseconds(lambda: torch.autograd.grad(mixed, (q, k, v), slope, retain_graph=True))


fused, plain = SDPBackend.FLASH_ATTENTION, SDPBackend.MATH
for shape, least in ((120, 5, 14), 4), ((24, 5, 64), 2):
    full, half = (backward(*shape, dtype, fused) for dtype in (torch.float32, torch.bfloat16))
    maths = backward(*shape, torch.bfloat16, plain)
    print(f"{shape} fused, backward: {full:.1f} ms in 32 bits, {half:.1f} in bfloat16; plain, bfloat16: {maths:.1f}")
    assert half > least * full, "behaviour changed: bfloat16 is no longer many times as slow"
    assert half > least * maths, "behaviour changed: the fused kernel is no longer the slow one"
PYTHON
