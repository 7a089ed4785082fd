"""The tiny BLIP that stands in for the published one."""

import random

import pytest

from captioning.course import mini_blip
from captioning.data import minifashion
from captioning.data.annotators import CANNED
from captioning.data.fashion_captions import read_attributes
from captioning.data.features import weights_digest
from captioning.evaluation import splits
from captioning.learning.config import TrainConfig
from captioning.models import saved
from captioning.models.config import EncoderConfig

EYES = EncoderConfig("resnet10t", {"channels": [8, 16, 32, 64], "stem_width": 8}, weights=None)
BRIEF = TrainConfig(epochs=1, batch_size=8, lr=1e-3, log_every=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return minifashion.build(tmp_path_factory.mktemp("data"), sizes={"train": 16, "val": 2}, workers=1)


def test_the_vocabulary_has_the_words_and_spells_the_others():
    pieces = mini_blip.vocabulary(["a t-shirt with plaid patterns ."])
    assert pieces.tokenize("A t-shirt.") == ["a", "t", "-", "shirt", "."]
    assert "[UNK]" not in pieces.tokenize(CANNED + " zebra") and "recognize" in pieces.tokenize(CANNED)
    assert pieces.tokenize("xy") == ["x", "##y"]


def test_the_web_says_two_sentences_of_a_picture_in_one_word_or_another():
    texts = mini_blip.alt_texts("the man wears a t-shirt . there is a belt . he wears neckwear .")
    assert texts[:2] == ["the man wears a t-shirt . there is a belt .", "there is a belt . he wears neckwear ."]
    assert texts[2:] == ["the man wears a tshirt . there is a belt .", "there is a belt . he wears a necklace ."]
    assert mini_blip.alt_texts("the man wears a hat .") == ["the man wears a hat ."] * 2


def test_a_short_text_tells_the_truth():
    rng = random.Random(0)
    for _ in range(300):
        seen = minifashion.sample_attributes(rng)
        text = mini_blip.short_text(seen, rng)
        claimed = read_attributes(text)
        claimed.pop("length", None)  # to annotators a skirt of three quarters is long
        assert claimed.items() <= seen.items(), text
        assert len(text.split()) <= 24


def test_it_is_pretrained_once_and_lies_in_hugging_faces_layout(data, tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "FEATURES", tmp_path / "features")
    folder = mini_blip.pretrained_blip(data, tmp_path / "run", EYES, BRIEF)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert mini_blip.pretrained_blip(data, tmp_path / "run", EYES, BRIEF) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    model, before = saved.load(folder), saved.load(tmp_path / "run" / "untrained")
    assert weights_digest(model.encoder) == weights_digest(before.encoder)
    assert weights_digest(model.text) != weights_digest(before.text)
    assert model.kind == "blip" and model.prompt == "a picture of" and model.encoder.config.image_size == 224
    assert {"config.json", "preprocessor_config.json", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
