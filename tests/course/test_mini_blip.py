"""The tiny BLIP that stands in for the published one."""

import pytest
import torch
from torch.testing import assert_close

from captioning.course import mini_blip
from captioning.data import minifashion
from captioning.data.annotators import CANNED
from captioning.evaluation import splits
from captioning.learning.config import TrainConfig
from captioning.models import saved
from captioning.models.config import EncoderConfig

TEACHER = EncoderConfig("resnet10t", {"channels": [8, 16, 32, 64], "stem_width": 8}, None, "all", 224)
BRIEF = TrainConfig(epochs=1, batch_size=8, lr=1e-3, log_every=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return minifashion.build(tmp_path_factory.mktemp("data"), sizes={"train": 16, "val": 2}, workers=1)


def test_the_vocabulary_has_the_words_and_spells_the_others():
    pieces = mini_blip.vocabulary(["a t-shirt with plaid patterns ."])
    assert pieces.tokenize("A t-shirt.") == ["a", "t", "-", "shirt", "."]
    assert "[UNK]" not in pieces.tokenize(CANNED + " zebra") and "recognize" in pieces.tokenize(CANNED)
    assert pieces.tokenize("xy") == ["x", "##y"]


def test_each_patch_is_to_know_what_the_teacher_sees_there(data, tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "FEATURES", tmp_path)
    monkeypatch.setattr(mini_blip, "FEATURES", tmp_path)
    wanted = mini_blip.teacher_features(data["train"], TEACHER).float()
    assert wanted.shape == (16, 49, 64)  # 7 x 7 cells are 7 x 7 patches
    assert_close(wanted.mean((0, 1)), torch.zeros(64), atol=2e-3, rtol=0)


def test_the_web_says_two_sentences_of_a_picture_in_one_word_or_another():
    texts = mini_blip.alt_texts("the man wears a t-shirt . there is a belt . he wears neckwear .")
    assert texts[:2] == ["the man wears a t-shirt . there is a belt .", "there is a belt . he wears neckwear ."]
    assert texts[2:] == ["the man wears a tshirt . there is a belt .", "there is a belt . he wears a necklace ."]
    assert mini_blip.alt_texts("the man wears a hat .") == ["the man wears a hat ."] * 2


def test_the_cells_go_with_their_picture():
    torch.manual_seed(0)
    cells = torch.rand(40, 64, 3)
    pictures = 255 * cells.transpose(1, 2).unflatten(2, (8, 8)).repeat_interleave(16, 2).repeat_interleave(16, 3)
    seen, wanted = mini_blip.photographed(pictures, cells)
    assert seen.shape == pictures.shape and wanted.shape == cells.shape
    shown = torch.nn.functional.avg_pool2d(seen, 16).flatten(2).transpose(1, 2) / 255
    alike, before = (torch.corrcoef(torch.stack([x.flatten(), shown.flatten()]))[0, 1] for x in (wanted, cells))
    assert alike > 0.8 and alike > before + 0.2


def test_it_is_pretrained_once_and_lies_in_hugging_faces_layout(data, tmp_path, monkeypatch):
    monkeypatch.setattr(mini_blip, "FEATURES", tmp_path / "features")
    torch.manual_seed(0)
    folder = mini_blip.pretrained_blip(data, tmp_path / "run", TEACHER, BRIEF, BRIEF)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert mini_blip.pretrained_blip(data, tmp_path / "run", TEACHER, BRIEF, BRIEF) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    model = saved.load(folder)
    seen = saved.load(tmp_path / "run" / "seeing" / "last")
    for name, weight in seen.blip.vision_model.state_dict().items():
        assert_close(model.blip.vision_model.state_dict()[name], weight, rtol=0, atol=0)
    assert model.kind == "blip" and model.prompt == "a picture of" and model.encoder.config.image_size == 224
    assert {"config.json", "preprocessor_config.json", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
