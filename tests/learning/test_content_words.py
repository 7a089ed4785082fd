"""The stage in which visual tokens learn words: its loss by hand, what it trains, and that the run goes on from it."""

import pytest
import torch
from datasets import Dataset, DatasetDict
from torch.testing import assert_close

from captioning.evaluation import splits
from captioning.learning.config import Recipe, TrainConfig
from captioning.learning.content_words import ContentWords, Spoken, bags_of, learn_words
from captioning.learning.experiment import train_captioner
from captioning.models import saved
from captioning.models.config import LoraConfig, SeeingConfig
from captioning.models.pieces import content_words
from conftest import TINY_ENCODER
from small_run import draw
from tiny_language import CAPTIONS, write_language

RECIPE = Recipe(max_length=20, workers=0)
TRAINING = TrainConfig(epochs=1, batch_size=2, log_every=1)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    adapters = LoraConfig(rank=2, targets=("q_proj",))
    folder = write_language(tmp_path_factory.mktemp("language"))
    return SeeingConfig(str(folder), hidden=12, words=5, words_epochs=2, merge=1, adapters=adapters)


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "FEATURES", tmp_path / "features")
    pictures = sorted(map(str, draw(tmp_path / "photos").glob("*/*.png")))
    rows = {"image": pictures[:5], "image_id": list("abcde"), "captions": [[text, "a hat"] for text in CAPTIONS]}
    train = Dataset.from_dict(rows)
    return DatasetDict({"train": train, "val": train.select([0, 1])})


@pytest.fixture
def model(config):
    return saved.new(config, TINY_ENCODER, saved.vocabulary([*CAPTIONS, "a hat"], config, 1))


def test_content_words_are_the_most_frequent_ones_that_name_something():
    captions = ["A dog with a hat", "the Dog is on the T-shirt", "two hats"]
    assert content_words(captions, 3) == ["dog", "hat", "hats"]
    bags = bags_of(Dataset.from_dict({"captions": [captions[:2], captions[2:]]}), ["dog", "t-shirt", "two"])
    assert bags.tolist() == [[2, 1, 0], [0, 0, 1]]


def test_the_loss_is_that_of_a_word_that_any_visual_token_says(model, data):
    bags = torch.tensor([[2.0, 0, 1, 0, 0], [0, 0, 0, 3, 0], [0, 0, 0, 0, 0]])
    features = torch.rand(2, 4, model.encoder.channels)
    objective = ContentWords(Spoken(model.projector), model.encoder, bags).eval()
    loss, _ = objective({"images": features, "rows": torch.tensor([1, 0])})
    said = model.projector.eval().say(features).exp().mean(dim=1)  # (B, W)
    assert_close(loss, -(3 * said[0, 3].log() + 2 * said[1, 0].log() + said[1, 2].log()) / 6)


def test_only_what_says_words_learns_and_a_stage_that_was_done_is_read(model, config, data, tmp_path):
    before = {name: x.clone() for name, x in model.state_dict().items()}
    features = (splits.split_features(model, data["train"]),)
    log = learn_words(model, data, tmp_path / "words", RECIPE, TRAINING, features, resume=True)
    moved = {name for name, x in model.state_dict().items() if not torch.equal(x, before[name])}
    parts = {name.rsplit(".", 1)[0] for name in moved}
    assert parts == {"projector.norm", "projector.hidden", "projector.word"}
    assert [record["epoch"] for record in log if "val/score" in record] == [1, 2]
    again = saved.new(config, TINY_ENCODER, model.tokenizer)
    learn_words(again, data, tmp_path / "words", RECIPE, TRAINING, features, resume=True)
    assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_training_starts_from_the_words_that_were_learned(config, data, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("captioning.learning.content_words.learn_words", lambda *args: said.append(args[2]))
    train_captioner(data, tmp_path / "run", config, TINY_ENCODER, RECIPE, TRAINING)
    assert said == [tmp_path / "run_words"]
