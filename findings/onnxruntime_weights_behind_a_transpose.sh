#!/usr/bin/env bash
# onnxruntime 1.31.1 with onnx 1.23.2: `quantize_dynamic` passes over a product whose weight stands behind a Transpose.
#
# torch's exporter writes the weight of a linear layer as it lies, (out, in), with a Transpose after it. One would
# expect such a MatMul to get 8-bit weights like any other, or to be named. Seen: the usual advice to preprocess, no
# product in 8 bits, and a file as large as before. Once the Transpose is computed beforehand, the same call writes a
# MatMulInteger and a file a quarter as large.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.31.1
"$place/venv/bin/python" - "$place" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

place = Path(sys.argv[1])
weight = np.random.default_rng(0).normal(size=(512, 256)).astype("float32")  # (out, in)


def save(name, weight, nodes):
    given, made = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, s]) for n, s in (("x", 256), ("y", 512)))
    graph = helper.make_graph(nodes, "linear", [given], [made], [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), place / name)


def quantized(name):
    quantize_dynamic(place / name, place / f"int8_{name}")
    kinds = [node.op_type for node in onnx.load(place / f"int8_{name}").graph.node]
    sizes = [(place / file).stat().st_size for file in (name, f"int8_{name}")]
    return "MatMulInteger" in kinds, sizes[1] / sizes[0]


turn = helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0])
save("behind.onnx", weight, [turn, helper.make_node("MatMul", ["x", "wt"], ["y"])])
save("plain.onnx", np.ascontiguousarray(weight.T), [helper.make_node("MatMul", ["x", "w"], ["y"])])
behind, plain = quantized("behind.onnx"), quantized("plain.onnx")
print(f"behind a Transpose: in 8 bits {behind[0]}, size x {behind[1]:.2f}; plain: {plain[0]}, size x {plain[1]:.2f}")
assert not behind[0] and behind[1] > 0.99, "behaviour changed: the Transpose is seen through"
assert plain[0] and plain[1] < 0.3, "behaviour changed: a plain weight is not quantised"
PYTHON
