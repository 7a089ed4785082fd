"""The mini profile's stand-in for `Salesforce/blip-image-captioning-base`: a tiny BLIP of the real classes.

BLIP begins with eyes that have learned to see from ImageNet, and is then pretrained on pictures with the texts that
stand beside them in the web. Here the eyes are the network that all chapters share, its cells in the place of patches,
and the web is plain mini-fashion with short texts: one thing or another of a picture, in one word or another.
"""

from __future__ import annotations

import random
import re
import string
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
import transformers
from datasets import Dataset, DatasetDict
from transformers import BertTokenizer

from captioning.course.fashion import QUICK
from captioning.data.annotators import CANNED, THINGS, Annotator, listed, lower, person, upper
from captioning.decoding.config import Decoding
from captioning.evaluation.splits import split_features
from captioning.learning.config import Recipe, TrainConfig
from captioning.learning.fine_tuning import fine_tune
from captioning.models.blip import BlipCaptioner, BlipOverCells, BlipPictures, BlipTokenizer
from captioning.models.config import BlipConfig, EncoderConfig
from captioning.models.encoder import Encoder
from captioning.text import WordTokenizer
from captioning.writing import write_json

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# The web has more than one word for a thing.
SYNONYMS = {"trousers": "pants", "an outer clothing": "a jacket", "neckwear": "a necklace", "lattice": "plaid"}
SYNONYMS |= {"an accessory": "a bracelet", "knitting": "knitted", "t-shirt": "tshirt"}
# Words that no caption here has: BERT's vocabulary would.
ENGLISH = f"""a picture of photo drawing an it is blurry dark bright rotated cropped clear the in with and image looks
wearing lady woman man guy girl pants jacket bracelet necklace glasses knitted plaid short knee length tshirt
{CANNED}"""
COST = "cost.json"
TEXT = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
DETAILS = ("pattern", "fabric", "sleeve", "lower_pattern", "lower_fabric", "length")  # of which an alt text tells some
OPENINGS = ("a {who}", "the {who}", "{who}", "photo of a {who}", "portrait of a {who}")
SHORT_TEXTS = 12  # of a picture
SPEAKING = TrainConfig(2, 16, optimizer="muon", lr=4e-3, weight_decay=0.02, warmup=0.1, clip=1.0, mixed_precision=QUICK)
TELLING = Recipe(captions=3, max_length=40, smoothing=0.0, workers=0)


def vocabulary(captions: list[str]) -> BertTokenizer:
    """Word pieces: the words of the captions and of ENGLISH, and letters to spell all others with."""
    known = WordTokenizer.train([*captions, ENGLISH.lower()])
    words = [word for word in known.vocabulary() if word not in ("<pad>", "<bos>", "<eos>", "<unk>")]
    parts = {part for word in words for part in word.replace("-", " - ").split()}
    letters = [*string.ascii_lowercase, *string.digits]
    pieces = [*SPECIAL, *string.punctuation, *letters, *(f"##{letter}" for letter in letters)]
    pieces += sorted(parts - set(pieces))
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)})


def untrained(captions: list[str], eyes: EncoderConfig, seed: int = 0) -> BlipCaptioner:
    """A tiny BLIP that sees and cannot speak; its begin and image tokens come after BERT's, as in the original."""
    torch.manual_seed(seed)
    pieces, encoder = vocabulary(captions), Encoder(eyes)
    vision = {"hidden_size": encoder.channels - 4, "num_attention_heads": 1, "num_hidden_layers": 0}
    vision |= {"image_size": eyes.image_size, "cells": asdict(replace(eyes, weights=None))}
    ids = {"vocab_size": len(pieces) + 2, "bos_token_id": len(pieces), "sep_token_id": pieces.sep_token_id}
    text = TEXT | ids | {"pad_token_id": pieces.pad_token_id, "max_position_embeddings": 128}
    blip = BlipOverCells(transformers.BlipConfig(vision_config=vision, text_config=text))
    blip.vision_model = encoder
    tokenizer = BlipTokenizer(pieces, len(pieces), len(pieces) + 2)
    mean, std = (tuple((colour.flatten() / 255).tolist()) for colour in (encoder.mean, encoder.std))
    return BlipCaptioner(blip, tokenizer, BlipPictures(eyes.image_size, mean, std), BlipConfig.prompt)


def alt_texts(caption: str) -> list[str]:
    """What the web might say of a picture with this caption: two sentences of it that follow each other, any two.

    Each is there once as it is and once in other words.
    """
    sentences = [sentence.strip() + " ." for sentence in caption.split(" .") if sentence.strip()]
    texts = [" ".join(sentences[i : i + 2]) for i in range(max(1, len(sentences) - 1))]
    return [*texts, *map(other_words, texts)]


def other_words(text: str) -> str:
    for word, other in SYNONYMS.items():
        text = re.sub(rf"\b{word}\b", other, text)
    return text


def short_text(seen: Mapping[str, str], rng: random.Random) -> str:
    """A garment or two with a detail of each, things, or both, of somebody or by themselves: "the man in a plaid shirt
    with a hat"."""
    told = Annotator((), "", tuple(rng.sample(DETAILS, 3)), 0, 0, 0, 0)
    things = [text for name, text in THINGS.items() if seen.get(name) == "yes"]
    things += [seen["glasses"]] if seen["glasses"] != "no" else []
    things = rng.sample(things, min(len(things), rng.choice((0, 0, 1, 2))))
    garments = [dress(told, seen) for dress in rng.choice(((upper,), (lower,), (upper, lower)))]
    if rng.random() < 0.2:
        return listed(things or garments)
    text = rng.choice(OPENINGS).format(who=person(seen, rng))
    if not things or rng.random() < 0.6:
        text += f" {rng.choice(('in', 'wearing'))} {listed(garments)}"
    return f"{text} with {listed(things)}" if things else text


def with_alt_texts(rows: Dataset) -> Dataset:
    """The rows with alt texts for captions."""
    texts = []
    for row in rows:
        seen, rng = {name: value for name, value in row["attributes"].items() if value}, random.Random(row["image_id"])
        texts.append(alt_texts(row["captions"][0]) + [short_text(seen, rng) for _ in range(SHORT_TEXTS)])
    return rows.remove_columns("captions").add_column("captions", texts)


def pretrained_blip(data: DatasetDict, run: Path, eyes: EncoderConfig, speaking: TrainConfig = SPEAKING) -> Path:
    """The folder of a tiny BLIP in Hugging Face's layout, pretrained there first if it is not there yet.

    Its eyes stay as they are. `run/untrained` is what the pretraining began with, `run/cost.json` tells what it took,
    without what the eyes see, which is computed once for all models.
    """
    texts = DatasetDict({split: with_alt_texts(data[split]) for split in ("train", "val")})
    start, short = run / "untrained", Decoding(max_length=TELLING.max_length)
    blip = untrained([text for told in texts["train"]["captions"] for text in told], eyes)
    blip.save_pretrained(start)
    for rows in texts.values():
        split_features(blip, rows)
    began = time.process_time()
    fine_tune(texts, run / "speaking", BlipConfig(str(start), trained="text"), None, TELLING, speaking, short)
    write_json(run / COST, {"processor minutes": (time.process_time() - began) / 60})
    return run / "speaking" / "best"
