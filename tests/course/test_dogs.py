"""Chapter 06 in the world: who has dogs, what adapters move, and the record that the chapter shows."""

import json

import pytest
import torch
from datasets import Dataset, DatasetDict

from captioning.course import dogs
from captioning.models.config import EncoderConfig, TransformerConfig
from captioning.models.saved import new
from captioning.text import WordTokenizer

EYES = EncoderConfig("resnet10t", {"channels": [8, 16, 32, 64], "stem_width": 8}, weights=None)


@pytest.mark.parametrize(("caption", "dog"), [("Two Dogs run .", True), ("a hot-dog stand", False), ("a man", False)])
def test_a_caption_says_dog_or_not(caption, dog):
    assert dogs.says_dog(caption) is dog


def test_pictures_on_which_people_do_not_agree_are_in_neither_part():
    told = [["a dog"] * said + ["a man"] * (5 - said) for said in range(6)]
    rows = Dataset.from_dict({"image_id": [*"012345"], "captions": told})
    parts = dogs.parted(DatasetDict(train=rows))
    assert parts["without"]["train"]["image_id"] == ["0"]
    assert parts["with"]["train"]["image_id"] == ["3", "4", "5"]


def test_adapters_change_nothing_at_first_move_little_and_can_be_read_back(tmp_path):
    model = new(TransformerConfig(16, 2, 1, 1, 0.0), EYES, WordTokenizer.train(["a dog runs"])).eval()
    seen, tokens = torch.randn(2, 4, model.encoder.channels), torch.tensor([[1, 4, 5]] * 2)
    before, everything = model(seen, tokens), sum(p.numel() for p in model.parameters())
    dogs.adapted(model, "adapters", torch.zeros(len(model.tokenizer), dtype=torch.bool))
    torch.testing.assert_close(model(seen, tokens), before)
    moved = [p for p in model.parameters() if p.requires_grad]
    assert 0 < sum(p.numel() for p in moved) < everything
    torch.nn.init.ones_(moved[1])
    after = model(seen, tokens)
    model.save_pretrained(tmp_path)
    torch.nn.init.zeros_(moved[1])
    model.load_weights(tmp_path)
    torch.testing.assert_close(model(seen, tokens), after)


def test_of_the_vectors_only_those_of_new_words_move():
    words = WordTokenizer.train(["a dog runs", "a man runs"])
    fresh = dogs.unsaid(words, ["a man runs"])
    assert words.words(fresh.nonzero().flatten().tolist()) == ["dog"]
    model = dogs.adapted(new(TransformerConfig(16, 2, 1, 1, 0.0), EYES, words), "adapters", fresh)
    seen, tokens = torch.randn(1, 4, model.encoder.channels), torch.tensor([words.encode("a dog runs")])
    model(seen, tokens).logsumexp(dim=-1).sum().backward()
    moved = model.embedding.weight.grad.abs().sum(dim=1) > 0
    assert moved.tolist() == fresh.tolist()


def test_the_record_has_all_ways_and_seeds():
    record = json.loads(dogs.RECORD.read_text())
    assert {way: len(found) for way, found in record["scores"].items()} == {
        "before": 1,
        **dict.fromkeys(dogs.AFTER, len(dogs.SEEDS)),
    }
