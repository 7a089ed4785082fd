"""The tiny BLIP that stands in for the published one."""

import pytest
import torch
from torch.testing import assert_close

from captioning import experiment, mini_blip
from captioning.data import minifashion
from captioning.data.annotators import CANNED
from captioning.models import saved
from captioning.models.encoder import EncoderConfig
from captioning.training import TrainConfig

TEACHER = EncoderConfig(
    "resnet10t", {"channels": [8, 16, 32, 64], "stem_width": 8, "output_stride": 16}, None, "all", 128
)
BRIEF = TrainConfig(epochs=1, batch_size=8, lr=1e-3, log_every=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return minifashion.build(tmp_path_factory.mktemp("data"), sizes={"train": 16, "val": 2}, size=128, workers=1)


def test_the_vocabulary_has_the_words_and_spells_the_others():
    pieces = mini_blip.vocabulary(["a t-shirt with plaid patterns ."])
    assert pieces.tokenize("A t-shirt.") == ["a", "t", "-", "shirt", "."]
    assert "[UNK]" not in pieces.tokenize(CANNED + " zebra") and "recognize" in pieces.tokenize(CANNED)
    assert pieces.tokenize("xy") == ["x", "##y"]


def test_each_patch_is_to_know_what_the_teacher_sees_there(data, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "FEATURES", tmp_path)
    monkeypatch.setattr(mini_blip, "FEATURES", tmp_path)
    wanted = mini_blip.teacher_features(data["train"], TEACHER).float()
    assert wanted.shape == (16, 64, 64)  # 8 x 8 cells are 8 x 8 patches
    assert_close(wanted.mean((0, 1)), torch.zeros(64), atol=2e-3, rtol=0)


def test_it_is_pretrained_once_and_lies_in_hugging_faces_layout(data, tmp_path, monkeypatch):
    monkeypatch.setattr(mini_blip, "FEATURES", tmp_path / "features")
    torch.manual_seed(0)
    folder = mini_blip.pretrained_blip(data, tmp_path / "run", TEACHER, BRIEF)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert mini_blip.pretrained_blip(data, tmp_path / "run", TEACHER, BRIEF) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    model = saved.load(folder)
    assert model.kind == "blip" and model.prompt == "a picture of" and model.encoder.config.image_size == 128
    assert {"config.json", "preprocessor_config.json", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
