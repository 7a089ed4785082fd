"""Chapter 09: what ships is small and as its config and card say, and what measured it agrees with a count by hand."""

import json
import re
import struct
from collections import Counter

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset

from captioning import paths
from captioning.course import seeing, seeing_record
from captioning.models import saved

CONFIG = yaml.safe_load((paths.ROOT / "code/configs/flickr8k_seeing.yaml").read_text(encoding="utf-8"))
CARD = (seeing.SHIPPED / "README.md").read_text(encoding="utf-8")
RECORD = json.loads(seeing.RECORD.read_text(encoding="utf-8"))


def test_what_ships_is_small_has_16_bits_and_leaves_eyes_and_language_model_to_their_packages():
    assert sum(path.stat().st_size for path in seeing.SHIPPED.iterdir()) <= 16e6
    with (seeing.SHIPPED / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    header.pop("__metadata__", None)
    assert {tensor["dtype"] for tensor in header.values()} == {"F16"}
    assert all("lora_" in name or name.startswith("projector.") for name in header)


def test_what_ships_was_made_by_the_committed_config():
    settings = json.loads((seeing.SHIPPED / "config.json").read_text(encoding="utf-8"))
    for part in ("encoder", "decoder"):
        assert {name: settings[part][name] for name in CONFIG[part]} == CONFIG[part]
    assert tuple(CONFIG["decoder"]["layers"]) == seeing.LAYERS


def test_the_card_has_the_numbers_of_the_record():
    written = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", CARD, re.M)
    table = {name.strip(): [cell.strip() for cell in cells] for name, *cells in written if "[" in cells[0]}
    assert table == {
        name: [f"{x[m]['score']:.3f} [{x[m]['low']:.3f}, {x[m]['high']:.3f}]" for m in ("BLEU-4", "ROUGE-L", "CIDEr-D")]
        for name, x in RECORD["scores"].items()
    }


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The captioner of the smoke profile, new."""
    monkeypatch.setattr(paths, "OUTPUT", tmp_path / "output")
    monkeypatch.setattr(paths, "DATASET", tmp_path / "dataset")
    seeing.fashion_data.cache_clear()
    decoder = seeing.seeing_captioner("smoke")["decoder"]
    captions = [caption for captions in seeing.seeing_data("smoke")["train"]["captions"] for caption in captions]
    yield saved.new(decoder, seeing.seeing_encoder("smoke"), saved.vocabulary(captions, decoder, 1)).eval()
    seeing.fashion_data.cache_clear()


def test_nats_a_piece_are_those_of_one_caption_at_a_time(tiny):
    captions = [captions[0] for captions in seeing.seeing_data("smoke")["train"]["captions"]][:5]
    features = torch.randn(5, 16, tiny.encoder.channels)
    features[:, :, -4:] = tiny.features(torch.zeros(1, 3, 128, 128, dtype=torch.uint8))[0, :, -4:]
    total = pieces = 0
    for row, caption in zip(features, captions, strict=True):
        ids = [tiny.tokenizer.bos_id, *tiny.tokenizer.encode(caption), tiny.tokenizer.eos_id]
        log_p = tiny(row[None], torch.tensor([ids[:-1]]))[0].log_softmax(dim=-1)
        total -= sum(log_p[i, token].item() for i, token in enumerate(ids[1:]))
        pieces += len(ids) - 1
    found = seeing_record.surprised(tiny, np.asarray(features), captions, batch=2)
    assert found == pytest.approx(total / pieces, rel=1e-4)


def test_recalled_counts_the_words_that_people_agree_on():
    people = ["A dog runs", "The dog jumps", "a brown dog", "the cat and a bird", "a bird runs and runs"]
    rows = Dataset.from_dict({"image_id": ["a", "b"], "captions": [people, ["a zebra"] * 5]})
    often = Counter(dog=5000, zebra=3)
    said = {"a": "a dog is in the grass", "b": "a horse"}
    assert seeing_record.recalled(said, rows, often) == {"over 1,000": 1.0, "under 100": 0.0}
