"""An exported captioner in 8 bits: the same files, a quarter of the bytes where products with weights were."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from captioning.data.batches import picture_batches
from captioning.decoding.config import Decoding
from captioning.serving.export import FILES, OnnxCaptioner
from captioning.writing import new_folder

PRODUCTS = ("MatMul", "Gemm")


def export_int8(source: Path, folder: Path) -> None:
    """Write what `export_onnx` wrote into `source` once more, in 8 bits. Raises what `writing.claim` raises.

    Weights get a scale for each output, and are rounded once; what they are multiplied with gets a scale for the
    whole batch at every step, so that a close choice may depend on what a picture is captioned together with.
    Convolutions, word tables and ONNX's own GRU stay as they are. The products are `MatMulInteger`, 8 bits times 8
    bits summed in 32; weights are without sign, for with one older processors cut the sums.
    """
    with new_folder(folder, "export", unmarked=FILES) as made:
        for name in FILES:
            if name.endswith(".onnx"):
                write_int8(source / name, made / name)
            else:
                shutil.copy(source / name, made / name)


def write_int8(graph: Path, path: Path) -> None:
    """A graph with its products in 8 bits. RuntimeError should one with weights be left in single precision.

    torch writes a weight as it lies, (O, I), and a Transpose after it. Quantising leaves such a product alone, so what
    can be computed of weights alone is computed first.
    """
    import onnx
    import onnx_ir
    from onnx_ir.passes.common import RemoveUnusedNodesPass
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxscript.optimizer import fold_constants

    settings = {"op_types_to_quantize": list(PRODUCTS), "per_channel": True, "weight_type": QuantType.QUInt8}
    model, level = onnx_ir.load(graph), logging.root.manager.disable
    logging.disable(logging.WARNING)  # what was not folded, and the advice to do what was just done
    try:
        fold_constants(model, input_size_limit=2**31, output_size_limit=2**31)
        RemoveUnusedNodesPass()(model)  # above all the weights as they lay
        folded = onnx_ir.to_proto(model)
        del folded.graph.value_info[:]  # the quantiser turns the weights of a Gemm and leaves their shapes as noted
        quantize_dynamic(folded, path, **settings)
    finally:
        logging.disable(level)
    if left := products_with_weights(onnx.load(path).graph, PRODUCTS):
        raise RuntimeError(f"{graph.name}: {left} products with weights are not in 8 bits; please report this model")


def products_with_weights(graph, kinds: Sequence[str]) -> int:
    """How many nodes of these kinds an ONNX graph has whose second factor is known before any input."""
    known = {each.name for each in graph.initializer}
    for node in graph.node:  # in the order in which they are computed
        if node.op_type == "Constant" or node.input and known.issuperset(node.input):
            known.update(node.output)
    return sum(node.op_type in kinds and node.input[1] in known for node in graph.node)


def compare_int8(single: OnnxCaptioner, eight: OnnxCaptioner, pictures: list[str], decoding: Decoding) -> None:
    """Say how many captions are the same in 8 bits, and how long both take."""
    said: list[list[str]] = [[], []]
    seconds = [0.0, 0.0]
    for number, images in enumerate(picture_batches(pictures, single.about["image_size"], batch_size=20)):
        for i, model in enumerate((single, eight)):
            if not number:
                model.generate(images, decoding)  # the first time is slower
            start = time.perf_counter()
            said[i] += model.generate(images, decoding).best
            seconds[i] += time.perf_counter() - start
    equal = sum(one == other for one, other in zip(*said, strict=True))
    slow, quick = (1000 * each / len(pictures) for each in seconds)
    print(
        f"in 8 bits {equal} of {len(pictures)} pictures keep their caption, "
        f"{slow / quick:.1f} times as quick ({quick:.0f} ms a picture, {slow:.0f} in single precision)"
    )
