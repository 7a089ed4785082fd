"""Exported captioners caption as the originals do, whatever the search."""

import logging
import re

import pytest
import torch
from torch.testing import assert_close

from captioning.decoding.config import Decoding
from captioning.models import saved
from captioning.models.ofa.config import OFAConfig
from captioning.models.ofa.tokenizer import BPETokenizer
from captioning.serving import onnx_int8
from captioning.serving.export import OnnxCaptioner, compare, export_half, export_onnx
from captioning.serving.onnx_int8 import compare_int8, export_int8, products_with_weights
from conftest import TINY_ENCODER

SEARCHES = [
    Decoding(max_length=12),
    Decoding(beams=3, captions=2, max_length=12),
    Decoding(sample=True, captions=2, max_length=12),
]
pytest.importorskip("onnxscript")
onnx = pytest.importorskip("onnx")


@pytest.fixture(autouse=True)
def quiet():
    """pytest would keep every line that torch logs about its tracing, which takes longer than the tracing."""
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def images():
    return torch.randint(0, 255, (5, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def ofa():
    words = BPETokenizer.train(["a man with a hat", "a dog", "what does the image describe? reply in"], codes=0)
    config = OFAConfig(16, 24, 1, 1, 2, positions=60, dropout=0.0, styles=("plain", "very happy"))
    return saved.new(config, TINY_ENCODER, words).eval()


def test_a_transformer(make_model, images, tmp_path):
    model = make_model("transformer", layers=1, max_length=20)
    model.embedding.weight.data *= 20
    export_onnx(model, tmp_path / "exported")
    exported = OnnxCaptioner(tmp_path / "exported", threads=1)
    for search in SEARCHES:
        expected, found = model.generate(images, search), exported.generate(images, search)
        assert found.ids == expected.ids and found.texts == expected.texts
        assert_close(found.log_probs, expected.log_probs, atol=1e-4, rtol=1e-4)
    parts = [exported.generate(some, SEARCHES[1]).ids for some in (images[:1], images[1:], images)]
    assert parts[0] + parts[1] == parts[2]
    with pytest.raises(ValueError, match="max_length=21: this model was exported for 20"):
        exported.generate(images, Decoding(max_length=21))


def test_an_ofa_with_its_styles(ofa, images, tmp_path):
    export_onnx(ofa, tmp_path / "exported")
    exported, styles = OnnxCaptioner(tmp_path / "exported", threads=1), ["plain", "very happy"] * 2 + ["plain"]
    for search in SEARCHES:
        for asked in (None, styles):
            expected, found = (model.generate(images, search, asked) for model in (ofa, exported))
            assert found.ids == expected.ids
            assert_close(found.log_probs, expected.log_probs, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"styles \['sad'\] asked of this exported ofa, which has plain, very happy"):
        exported.generate(images, SEARCHES[0], ["sad"] * 5)


def test_a_gru_and_what_is_said_of_the_check(make_model, images, tmp_path, capsys, monkeypatch):
    model = make_model("gru")
    export_onnx(model, tmp_path / "exported")
    exported = OnnxCaptioner(tmp_path / "exported", threads=1)
    for search in SEARCHES:
        assert exported.generate(images, search).ids == model.generate(images, search).ids
    monkeypatch.setattr("captioning.serving.export.picture_batches", lambda *_, **__: [images])
    compare(model, exported, ["a.png"] * 5, SEARCHES[0])
    assert capsys.readouterr().out == "5 of 5 pictures have equal captions\n"
    model.head.weight.data.neg_()
    with pytest.raises(RuntimeError, match="of 5 pictures have equal captions; the others"):
        compare(model, exported, ["a.png"] * 5, SEARCHES[0])
    with pytest.raises(ValueError, match="asked of this exported gru, which has none"):
        exported.generate(images, styles=["plain"] * 5)


def test_a_gru_that_looks(make_model, images, tmp_path):
    model = make_model("attention")
    export_onnx(model, tmp_path / "exported")
    exported = OnnxCaptioner(tmp_path / "exported", threads=1)
    for search in SEARCHES:
        assert exported.generate(images, search).ids == model.generate(images, search).ids


def products(folder):
    """{file: its products with weights in single precision, and those in 8 bits}."""
    graphs = {path.name: onnx.load(path).graph for path in sorted(folder.glob("*.onnx"))}
    kinds = (("MatMul", "Gemm"), ("MatMulInteger",))
    return {name: [products_with_weights(graph, each) for each in kinds] for name, graph in graphs.items()}


@pytest.mark.parametrize("kind", ["gru", "transformer", "ofa"])
def test_in_8_bits_all_products_with_weights_are_and_the_files_shrink(make_model, images, tmp_path, kind, request):
    if kind == "ofa":
        model = request.getfixturevalue("ofa")
    else:
        wide = {"width": 128, "layers": 1} if kind == "transformer" else {"hidden": 128, "picture": 96}
        model = make_model(kind, **wide)
    export_onnx(model, tmp_path / "single")
    export_int8(tmp_path / "single", tmp_path / "eight")
    before, after = products(tmp_path / "single"), products(tmp_path / "eight")
    assert {name: counts[::-1] for name, counts in after.items()} == before
    assert all(single > 0 and eight == 0 for single, eight in before.values())
    for name in before:
        assert (tmp_path / "eight" / name).stat().st_size < (tmp_path / "single" / name).stat().st_size
    single, eight = (OnnxCaptioner(tmp_path / name, threads=1) for name in ("single", "eight"))
    for search in SEARCHES[:2]:  # nearly the same numbers, in batches and beams of any size
        assert eight.generate(images, search).log_probs.shape == single.generate(images, search).log_probs.shape
    asked = [[eight.tokenizer.eos_id]] * 5 if eight.asked else None
    logits = [each.step(torch.full((5, 1), 4), each.init_state(images, asked))[0] for each in (single, eight)]
    assert 0 < (logits[0] - logits[1]).abs().max() < 0.05 * logits[0].std() + 0.05


def test_what_is_said_of_8_bits(make_model, images, tmp_path, capsys, monkeypatch):
    model = make_model("gru")
    export_onnx(model, tmp_path / "single")
    export_int8(tmp_path / "single", tmp_path / "eight")
    single, eight = (OnnxCaptioner(tmp_path / name, threads=1) for name in ("single", "eight"))
    monkeypatch.setattr(onnx_int8, "picture_batches", lambda *_, **__: [images, images[:2]])
    monkeypatch.setattr(eight, "generate", single.generate)
    compare_int8(single, eight, ["a.png"] * 7, SEARCHES[0])
    said = capsys.readouterr().out
    assert re.match(
        r"in 8 bits 7 of 7 pictures keep their caption, \d+\.\d times as quick "
        r"\(\d+ ms a picture, \d+ in single precision\)\n$",
        said,
    )


def test_a_product_that_is_left_is_an_error(make_model, tmp_path, monkeypatch):
    """Quantising alone leaves all weights that stand behind a Transpose."""
    export_onnx(make_model("gru"), tmp_path / "single")
    monkeypatch.setattr("onnxscript.optimizer.fold_constants", lambda *_, **__: None)
    with pytest.raises(RuntimeError, match=r"onnx: \d products with weights are not in 8 bits"):
        export_int8(tmp_path / "single", tmp_path / "eight")
    assert not (tmp_path / "eight").exists()


def test_half_the_bits_are_half_the_size_and_loaded_as_any_model(make_model, tmp_path):
    model = make_model("transformer").eval()
    model.save_pretrained(tmp_path / "whole")
    export_half(model, tmp_path / "half")
    whole, half = (saved.load(tmp_path / name) for name in ("whole", "half"))
    for name, tensor in whole.state_dict().items():
        assert half.state_dict()[name].dtype == tensor.dtype
        assert torch.equal(half.state_dict()[name], tensor.half().to(tensor.dtype)), name
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.55 * sizes[0]
    assert next(model.parameters()).dtype == torch.float32  # the model that was exported is as it was


def test_what_cannot_be_is_refused(tmp_path, make_model, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"encoder.onnx, .* missing; `captioning export RUN --onnx`"):
        OnnxCaptioner(tmp_path)
    model = make_model("gru")
    model.kind = "blip"
    with pytest.raises(ValueError, match="kind 'blip': only gru, attention, transformer"):
        export_onnx(model, tmp_path / "exported")
    monkeypatch.setattr("captioning.serving.export.find_spec", lambda name: None)
    for refused in (lambda: export_onnx(model, tmp_path), lambda: OnnxCaptioner(tmp_path)):
        with pytest.raises(ValueError, match=r"pip install 'captioning\[onnx\]'"):
            refused()


def test_two_views_are_for_grids_and_stay_when_exported_again(make_model, ofa, tmp_path):
    export_half(make_model("gru"), tmp_path / "two", mirrored=True)
    two = saved.load(tmp_path / "two")
    assert two.views == 2
    export_half(two, tmp_path / "again")
    assert saved.load(tmp_path / "again").views == 2
    export_half(ofa, tmp_path / "ofa")
    assert saved.load(tmp_path / "ofa").config == ofa.config
    with pytest.raises(ValueError, match="--mirrored with this ofa: only gru, attention, transformer"):
        export_half(ofa, tmp_path / "mirrored", mirrored=True)
    with pytest.raises(ValueError, match="sees each picture mirrored, too"):
        export_onnx(two, tmp_path / "onnx")
