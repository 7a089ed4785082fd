"""What a machine does fastest is tried once, said once, kept, and changes no caption that is not a tie."""

import json

import pytest
import torch

from captioning import paths
from captioning.decoding.config import Decoding
from captioning.models import inference
from captioning.models.config import EncoderConfig, RegionConfig
from captioning.models.inference import Eyes, for_inference
from captioning.serving import machine
from captioning.serving.quantized import HalfLinear, PackedLinear

TRIAL = machine.packing_pays  # conftest.py puts another in its place


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "cache", lambda: tmp_path / "cache")
    return tmp_path


@pytest.mark.parametrize("gain", [0.8, 1.6])
def test_a_trial_is_kept_and_said_once(make_model, home, monkeypatch, capsys, gain):
    model = make_model("transformer")
    monkeypatch.setattr(machine, "gain", lambda weight, linear: gain)
    assert TRIAL(model) == (gain > 1)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{gain} times as quick" in said and "--weights fp32" in said
    assert list(json.loads((home / "cache" / "packing.json").read_text()).values()) == [gain]
    monkeypatch.setattr(machine, "gain", lambda weight, linear: 1 / gain)
    assert TRIAL(model) == (gain > 1)
    assert capsys.readouterr().err == ""


def test_a_home_that_cannot_be_written_to_costs_a_trial_each_time(make_model, home, monkeypatch):
    (home / "cache").write_text("a file where a folder should be")
    trials = []
    monkeypatch.setattr(machine, "gain", lambda weight, linear: trials.append(weight) or 1.5)
    assert TRIAL(make_model("transformer")) and TRIAL(make_model("transformer"))
    assert len(trials) == 2


@pytest.mark.parametrize("linear", machine.FORMS.values())
def test_the_trial_runs_both_forms(linear):
    assert 0 < machine.gain(torch.randn(32, 16), linear) < 1000


def test_a_transformer_has_bfloat16_where_its_eyes_have(make_model, monkeypatch):
    monkeypatch.setattr(machine, "packing_pays", lambda model: True)
    for arithmetic, half in ((torch.bfloat16, True), (torch.float32, False)):
        monkeypatch.setattr(machine, "precision", lambda encoder, arithmetic=arithmetic: arithmetic)
        quick = machine.automatic(make_model("transformer"))
        assert any(isinstance(module, HalfLinear) for module in quick.modules()) == half
        assert machine.form(make_model("gru")) == "packed"


@pytest.mark.parametrize("packed", [True, False])
def test_the_copy_says_what_the_model_says(make_model, monkeypatch, packed):
    model, images = make_model("transformer"), torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8)
    monkeypatch.setattr(machine, "packing_pays", lambda model: packed)
    quick, decoding = machine.automatic(model), Decoding(beams=3, max_length=8)
    assert any(isinstance(module, PackedLinear) for module in quick.modules()) == packed
    assert isinstance(quick.encoder, Eyes) and not isinstance(model.encoder, Eyes)
    torch.testing.assert_close(for_inference(quick)(images), model.encoder(images), atol=1e-4, rtol=1e-4)
    assert quick.generate(images, decoding).texts == model.generate(images, decoding).texts


def test_eyes_in_bfloat16_see_nearly_the_same(make_model, monkeypatch):
    monkeypatch.setattr(machine, "precision", lambda encoder: torch.bfloat16)
    model, images = make_model("transformer"), torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8)
    seen, expected = machine.automatic(model).encoder(images), model.encoder(images)
    assert seen.dtype == torch.float32 and torch.equal(seen[..., -4:], expected[..., -4:])
    assert torch.nn.functional.cosine_similarity(seen[..., :-4], expected[..., :-4], dim=-1).mean() > 0.99


def test_models_with_networks_of_others_keep_their_encoder(make_model):
    model = make_model("gru")
    model.encoder.config = object()
    assert machine.automatic(model).encoder is model.encoder


def test_a_detector_has_32_bits_whatever_the_processor(monkeypatch):
    monkeypatch.setattr(inference, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert inference.precision(EncoderConfig()) == torch.bfloat16
    assert inference.precision(RegionConfig()) == torch.float32  # else its boxes change their rank
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    assert inference.precision(EncoderConfig()) == torch.float32
