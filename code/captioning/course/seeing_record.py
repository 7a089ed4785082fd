"""What chapter 09 says of Flickr8k, measured once where Flickr8k is:

    python -m captioning.course.seeing_record output/flickr8k_photos output/seeing output/short

writes record.json beside the captioner that ships: its scores on dev beside those of a small transformer's run and of
the controls, what its prefix tells it, which of the words that people agree on each of them says, and what becomes of
short trainings with and without a words stage.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from safetensors.torch import load_model
from torch.nn.utils.rnn import pad_sequence

from captioning.course.seeing import RECORD, SHIPPED, seeing_captioner, seeing_encoder
from captioning.course.world import photograph_features
from captioning.data.features import weights_digest
from captioning.data.pictures import PHOTOGRAPHS
from captioning.decoding.config import Decoding
from captioning.evaluation import splits
from captioning.evaluation.runs import load_data, minutes_so_far, read_run
from captioning.learning.content_words import Spoken, learn_words
from captioning.learning.experiment import fit, training_features
from captioning.learning.losses import CrossEntropy, cross_entropy
from captioning.metrics.diversity import diversity
from captioning.models.base import WEIGHTS, CaptionModel
from captioning.models.pieces import said_words
from captioning.models.saved import load, new, vocabulary
from captioning.models.seeing import SeeingCaptioner
from captioning.writing import write_json

AGREED = 3  # so many of the five people say a word that a caption should have
BANDS = {"over 1,000": (1000, 10**9), "100 to 1,000": (100, 1000), "under 100": (1, 100)}  # times in train's captions
FEW = {"train": 320, "val": 100}  # pictures of the short trainings
SOME = 200  # pictures that are enough for nats
SHORT = (("frozen", "at once"), ("LoRA", "at once"), ("LoRA", "words first"))  # language model, visual tokens


@torch.inference_mode()
def surprised(model: CaptionModel, features: np.ndarray, captions: list[str], batch: int = 50) -> float:
    """Nats a piece of one caption a picture, its end included, as the model sees its `features` (rows, N, C)."""
    tokenizer, total, count = model.tokenizer, 0.0, 0
    for i in range(0, len(captions), batch):
        rows = [[tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id] for text in captions[i : i + batch]]
        tokens = pad_sequence([torch.tensor(ids) for ids in rows], True, tokenizer.pad_id)
        logits = model(torch.from_numpy(np.array(features[i : i + batch])), tokens[:, :-1])
        pieces = sum(map(len, rows)) - len(rows)
        total += cross_entropy(logits, tokens[:, 1:], tokenizer.pad_id).item() * pieces
        count += pieces
    return total / count


def recalled(said: splits.Predictions, rows: Dataset, often: Counter) -> dict[str, float]:
    """Of the words that people agree on, the share that the captions say, by how often train has them."""
    found: dict[str, list[bool]] = {band: [] for band in BANDS}
    for image_id, captions in zip(rows["image_id"], rows["captions"], strict=True):
        agreed = Counter(word for caption in captions for word in {*said_words(caption)})
        words = {*said_words(said[image_id])}
        for word in (word for word, count in agreed.items() if count >= AGREED):
            for band, (low, high) in BANDS.items():
                if low <= often[word] < high:
                    found[band].append(word in words)
    return {band: sum(hits) / len(hits) for band, hits in found.items() if hits}


def likeliest(model: SeeingCaptioner, count: int = 2) -> dict[str, list[list[str]]]:
    """Of each photograph that is free to show, the likeliest words of each visual token."""
    said = model.projector.say(photograph_features(model))
    return {
        file.stem: [[model.tokenizer.content[i] for i in token.topk(count).indices] for token in tokens]
        for file, tokens in zip(PHOTOGRAPHS, said, strict=True)
    }


def words_of_stage(run: Path) -> dict[str, list[list[str]]]:
    """The same, as the words stage of a run left the visual tokens, before the language model was trained."""
    model = load(run)
    load_model(Spoken(model.projector), run.with_name(f"{run.name}_words") / "best" / WEIGHTS)
    return likeliest(model)


def short_training(data: DatasetDict, place: Path, language: str, tokens: str) -> dict[str, float]:
    """Few pictures, once: what the picture then tells the model. The words stage, if any, has all pictures."""
    settings, run = seeing_captioner("photos"), place / f"{language}_{tokens.replace(' ', '_')}"
    trained, words = "nothing" if language == "frozen" else "adapters", 1000 * (tokens == "words first")
    decoder = replace(settings.pop("decoder"), trained=trained, words=words)
    captions = [caption for captions in data["train"]["captions"] for caption in captions]
    model = new(decoder, seeing_encoder("photos"), vocabulary(captions, decoder, 1))
    recipe, training = settings["recipe"], settings["training"]
    if words:
        features = training_features(model, data["train"], recipe)
        learn_words(model, data, run.with_name(f"{run.name}_words"), recipe, training, features, resume=True)
    few = DatasetDict({split: data[split].select(range(count)) for split, count in FEW.items()})
    log = fit(CrossEntropy(model), few, run, **settings, watch=lambda log: None, resume=True, about={})
    model, features = load(run), splits.split_features(model, few["val"])
    truths = [captions[0] for captions in few["val"]["captions"]]
    own, other = (surprised(model, seen, truths) for seen in (features, features[::-1]))
    said = splits.caption_rows(model, few["val"], settings["decoding"], features)
    told = {"own picture": own, "another": other, "told by the picture": other - own}
    return told | {"distinct captions": len({*said.values()}) / len(said), "CIDEr-D": log[-1]["val/CIDEr-D"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("transformer", type=Path, help="the run of a small transformer on Flickr8k")
    parser.add_argument("run", type=Path, help="the run of what ships")
    parser.add_argument("short", type=Path, help="folder for the runs of the short trainings")
    chosen = parser.parse_args()
    data = load_data(chosen.transformer, read_run(chosen.transformer))
    rows, captions = data["val"], data["train"]["captions"]
    models = {"language model": load(SHIPPED), "transformer": load(chosen.transformer)}
    features = {name: splits.split_features(model, rows) for name, model in models.items()}
    said = {
        f"{name}, {how}": splits.caption_rows(model, rows, Decoding(beams=beams, max_length=30), features[name])
        for how, beams in {"beam 3": 3, "greedy": 1}.items()
        for name, model in models.items()
    }
    remembered = splits.split_features(models["language model"], data["train"])
    ours = said["language model, beam 3"], remembered, features["language model"]
    controls = splits.control_predictions(data["train"], *ours)
    often = Counter(word for each in captions for caption in each for word in said_words(caption))
    known, truths = [caption for each in captions for caption in each], [each[0] for each in rows["captions"]][:SOME]
    seer, seen = models["language model"], features["language model"][:SOME]
    record = {
        "weights": weights_digest(seer.projector),
        "minutes": {
            "language model": minutes_so_far(chosen.run / "log.jsonl"),
            "transformer": minutes_so_far(chosen.transformer / "log.jsonl"),
        },
        "scores": {name: found.json() for name, found in splits.score_systems(rows, said | controls).items()},
        "nats": {"own picture": surprised(seer, seen, truths), "another": surprised(seer, seen[::-1], truths)},
        "recalled": {name: recalled(each, rows, often) for name, each in said.items()},
        "varied": {name: diversity([*each.values()], known) for name, each in said.items()},
        "words": words_of_stage(chosen.run),
        "short": {", ".join(how): short_training(data, chosen.short, *how) for how in SHORT},
    }
    write_json(RECORD, record, indent=1)


if __name__ == "__main__":
    main()
