"""Chapter 06 in the world: a captioner of photographs that has never heard of dogs, and 300 photographs of them.

    python -m captioning.course.dogs output/photos/06_dogs

needs Flickr8k, takes about a quarter of an hour of one core, and writes dogs.json: what the transformer says
of pictures with and without dogs, as it is, fine-tuned with adapters, with all weights, and trained on the 300 alone.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from torch import Tensor, nn

from captioning.course.fashion import ENCODERS, flickr8k_folder, photographs
from captioning.course.world import photograph_features
from captioning.data.features import weights_digest
from captioning.data.photo_claims import VALUES
from captioning.data.pictures import PHOTOGRAPHS
from captioning.decoding.config import Decoding
from captioning.evaluation import splits
from captioning.learning.config import Recipe, TrainConfig
from captioning.learning.experiment import fit
from captioning.learning.losses import CrossEntropy
from captioning.models import lora
from captioning.models.base import CaptionModel
from captioning.models.config import LoraConfig, TransformerConfig
from captioning.models.saved import load, new, vocabulary
from captioning.text import SPECIAL, WordTokenizer
from captioning.writing import write_json

RECORD = Path(__file__).with_name("dogs.json")
DOGS = frozenset(VALUES["animal"]["dog"].split())
MOST = 3  # of five people say "dog" of a picture with dogs; of one without nobody does
PICTURES = {"without": {"train": 2000, "val": 100, "test": 250}, "with": {"train": 300, "val": 100, "test": 250}}
SEEDS = (0, 1, 2)
SIZES = TransformerConfig(width=160, heads=5, encoder_layers=1, layers=2, dropout=0.2)  # the shipped one: 320 wide
LINEAR = ("qkv", "query", "key_value", "out", "feed_forward.0", "feed_forward.2")  # in grid and decoder
ADAPTERS = LoraConfig(rank=8, alpha=16, dropout=0.0, targets=LINEAR)
RECIPE = Recipe(captions=5, max_length=20, min_count=4, smoothing=0.1)
GREEDY = Decoding(max_length=20)
BEFORE = TrainConfig(
    epochs=6, batch_size=24, optimizer="muon", lr=4e-3, weight_decay=0.1, clip=1.0, mixed_precision="bf16"
)
AFTER = {
    "full": replace(BEFORE, epochs=6, optimizer="adamw", lr=1e-3),
    "adapters": replace(BEFORE, epochs=6, optimizer="adamw", lr=2e-3, weight_decay=0.0),
    "from nothing": replace(BEFORE, epochs=8),
}


def says_dog(caption: str) -> bool:
    return not DOGS.isdisjoint(caption.lower().split())


def parted(data: DatasetDict) -> dict[str, DatasetDict]:
    """So many pictures with dogs, and without, of each split."""
    parts = {name: DatasetDict() for name in PICTURES}
    for split, rows in data.items():
        votes = np.array([sum(map(says_dog, captions)) for captions in rows["captions"]])
        for name, chosen in (("without", votes == 0), ("with", votes >= MOST)):
            parts[name][split] = rows.select(np.flatnonzero(chosen)[: PICTURES[name][split]])
    return parts


def unsaid(words: WordTokenizer, captions: list[str]) -> Tensor:
    """Which words of the vocabulary (V,) none of the captions has."""
    fresh = torch.ones(len(words), dtype=torch.bool)
    fresh[[*range(len(SPECIAL)), *{i for caption in captions for i in words.encode(caption)}]] = False
    return fresh


def adapted(model: CaptionModel, way: str, fresh: Tensor) -> CaptionModel:
    """The captioner (in place) with what of it is trained in this way. The vectors of `fresh` words begin at the mean
    of all others: training has taught it never to say one of them."""
    vectors = model.embedding.weight
    with torch.no_grad():
        vectors[fresh] = vectors[~fresh].mean(dim=0)
    if way == "adapters":
        model.requires_grad_(False)
        lora.add(nn.ModuleList([model.grid, model.layers]), ADAPTERS)
        vectors.requires_grad_().register_hook(lambda gradient: gradient * fresh[:, None])
    return model


def learned(model: CaptionModel, data: DatasetDict, run: Path, training: TrainConfig) -> CaptionModel:
    """The captioner after training what of it is to be trained, with the weights that are best on val."""
    about = {"start": weights_digest(model)}
    fit(CrossEntropy(model, RECIPE.smoothing), data, run, RECIPE, training, GREEDY, lambda log: None, True, about)
    model.load_weights(run / "best")
    return model


def judged(model: CaptionModel, tests: dict[str, Dataset]) -> dict[str, float]:
    """CIDEr-D of the pictures with dogs and of those without, and of how many of each it says "dog"."""
    found = {}
    for name, rows in tests.items():
        said = splits.caption_rows(model, rows, GREEDY, splits.split_features(model, rows))
        found[f"CIDEr-D, {name}"] = splits.score_systems(rows, {"": said})[""]["CIDEr-D"]
        found[f"dog, {name}"] = float(np.mean([says_dog(caption) for caption in said.values()]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the runs go, and are gone on with")
    place, parts = parser.parse_args().folder, parted(photographs(flickr8k_folder()))
    tests = {name: rows["test"] for name, rows in parts.items()}
    told = {name: [text for texts in rows["train"]["captions"] for text in texts] for name, rows in parts.items()}
    words = vocabulary(told["without"] + told["with"], SIZES, RECIPE.min_count)
    fresh, record = unsaid(words, told["without"]), {"trained": {}, "scores": {}, "photographs": {}}

    def note(way: str, model: CaptionModel) -> None:
        held = SIZES.width * int((~fresh).sum()) if way == "adapters" else 0  # vectors that have a gradient of zeros
        record["trained"][way] = sum(p.numel() for p in model.parameters() if p.requires_grad) - held
        record["scores"].setdefault(way, []).append(judged(model, tests))
        said = model.generate(photograph_features(model), GREEDY).best
        record["photographs"].setdefault(way, dict(zip([file.stem for file in PHOTOGRAPHS], said, strict=True)))

    note("before", learned(new(SIZES, ENCODERS["photos"], words), parts["without"], place / "before", BEFORE))
    for way, training in AFTER.items():
        for seed in SEEDS:
            if way == "from nothing":
                start = new(SIZES, ENCODERS["photos"], words, seed)
            else:
                start = adapted(load(place / "before"), way, fresh)
            run = place / f"{way.replace(' ', '_')}_{seed}"
            note(way, learned(start, parts["with"], run, replace(training, seed=seed)))
    write_json(RECORD, record, indent=1)


if __name__ == "__main__":
    main()
