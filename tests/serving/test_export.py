"""Exported captioners caption as the originals do, whatever the search."""

import logging

import pytest
import torch
from torch.testing import assert_close

from captioning.decoding.config import Decoding
from captioning.models import saved
from captioning.models.ofa.config import OFAConfig
from captioning.models.ofa.tokenizer import BPETokenizer
from captioning.serving.export import OnnxCaptioner, compare, export_onnx
from conftest import TINY_ENCODER

SEARCHES = [
    Decoding(max_length=12),
    Decoding(beams=3, captions=2, max_length=12),
    Decoding(sample=True, captions=2, max_length=12),
]
pytest.importorskip("onnxscript")


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


def test_what_cannot_be_is_refused(tmp_path, make_model, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"encoder.onnx, .* missing; `captioning export RUN --onnx`"):
        OnnxCaptioner(tmp_path)
    model = make_model("gru")
    model.kind = "blip"
    with pytest.raises(ValueError, match="kind 'blip': only gru, attention, transformer, ofa"):
        export_onnx(model, tmp_path / "exported")
    monkeypatch.setattr("captioning.serving.export.find_spec", lambda name: None)
    for refused in (lambda: export_onnx(model, tmp_path), lambda: OnnxCaptioner(tmp_path)):
        with pytest.raises(ValueError, match=r"pip install 'captioning\[onnx\]'"):
            refused()
