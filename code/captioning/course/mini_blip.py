"""The mini profile's stand-in for `Salesforce/blip-image-captioning-base`: a tiny BLIP of the real classes.

BLIP begins with a vision transformer that has learned to see from ImageNet, and is then pretrained on pictures with
the texts that stand beside them in the web. Here both are plain mini-fashion, in two stages. First the vision
transformer learns to see what the encoder that the other chapters share sees, patch by patch (a convolutional teacher,
as that of DeiT, Touvron et al. 2021, whose features are what is learned, as in FitNets, Romero et al. 2015); pictures
are turned, zoomed, darkened and blurred meanwhile, as BLIP's are. Then the text decoder learns to describe: one thing
or another of a picture, in one word or another, as the web does.

Sizes: B pictures, N patches, C channels of the teacher.
"""

from __future__ import annotations

import math
import re
import string
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from datasets import Dataset, DatasetDict
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader
from transformers import BertTokenizer, BlipForConditionalGeneration

from captioning.data.annotators import CANNED
from captioning.data.batches import EpochSampler, fingerprint, picture_batches
from captioning.data.features import cached_features, weights_digest
from captioning.decoding.config import Decoding
from captioning.evaluation.splits import FEATURES
from captioning.learning.config import Recipe, TrainConfig
from captioning.learning.fine_tuning import fine_tune
from captioning.learning.loop import Record, train
from captioning.models.blip import BlipCaptioner, BlipPictures, BlipTokenizer
from captioning.models.config import BlipConfig, EncoderConfig
from captioning.models.encoder import Encoder
from captioning.models.inference import precision
from captioning.text import WordTokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# The web has more than one word for a thing.
SYNONYMS = {"trousers": "pants", "an outer clothing": "a jacket", "neckwear": "a necklace", "lattice": "plaid"}
SYNONYMS |= {"an accessory": "a bracelet", "knitting": "knitted", "t-shirt": "tshirt"}
# Words that no caption here has: BERT's vocabulary would.
ENGLISH = f"""a picture of photo drawing an it is blurry dark bright rotated cropped clear the in with and image looks
wearing lady woman man guy girl pants jacket bracelet necklace glasses knitted plaid short knee length tshirt
{CANNED}"""
VISION = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
TEXT = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
# 188 steps of 16 pictures an epoch: 3,000 pictures
SEEING = TrainConfig(epochs=5, batch_size=16, optimizer="muon", lr=3e-3, weight_decay=0.02, warmup=0.1, clip=1.0)
SPEAKING = TrainConfig(epochs=3, batch_size=16, lr=2e-3, weight_decay=0.02, warmup=0.1, clip=1.0)
TELLING = Recipe(captions=3, max_length=40, smoothing=0.0, workers=0)


def vocabulary(captions: list[str]) -> BertTokenizer:
    """Word pieces: the words of the captions and of ENGLISH, and letters to spell all others with."""
    known = WordTokenizer.train([*captions, ENGLISH.lower()])
    words = [word for word in known.tokenizer.get_vocab() if word not in ("<pad>", "<bos>", "<eos>", "<unk>")]
    parts = {part for word in words for part in word.replace("-", " - ").split()}
    letters = [*string.ascii_lowercase, *string.digits]
    pieces = [*SPECIAL, *string.punctuation, *letters, *(f"##{letter}" for letter in letters)]
    pieces += sorted(parts - set(pieces))
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)})


def untrained(captions: list[str], image_size: int = 224, patch_size: int = 32, seed: int = 0) -> BlipCaptioner:
    """A tiny BLIP with random weights; its begin and image tokens come after BERT's, as in the original."""
    torch.manual_seed(seed)
    pieces = vocabulary(captions)
    sides = {"image_size": image_size, "patch_size": patch_size, "initializer_range": 0.02}
    ids = {"vocab_size": len(pieces) + 2, "bos_token_id": len(pieces), "sep_token_id": pieces.sep_token_id}
    text = TEXT | ids | {"pad_token_id": pieces.pad_token_id, "max_position_embeddings": 128}
    config = transformers.BlipConfig(vision_config=VISION | sides, text_config=text)
    tokenizer = BlipTokenizer(pieces, len(pieces), len(pieces) + 2)
    pictures = BlipPictures(image_size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return BlipCaptioner(BlipForConditionalGeneration(config), tokenizer, pictures, BlipConfig.prompt)


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


def with_alt_texts(rows: Dataset) -> Dataset:
    """The rows with alt texts for captions."""
    texts = [[text for caption in captions for text in alt_texts(caption)] for captions in rows["captions"]]
    return rows.remove_columns("captions").add_column("captions", texts)


class Seeing(nn.Module):
    """The first stage: each patch is to know what the teacher sees there.

    pictures (rows, 3, S, S) uint8, cells (rows, N, C) of the teacher; a batch is row numbers (B,).
    """

    def __init__(self, model: BlipCaptioner, pictures: Tensor, cells: Tensor):
        super().__init__()
        self.model = model
        self.match = nn.Linear(model.encoder.channels - 4, cells.shape[-1])
        for name, rows in {"pictures": pictures, "cells": cells}.items():
            self.register_buffer(name, rows, persistent=False)

    def forward(self, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.missed(*photographed(self.pictures[rows].float(), self.cells[rows].float()))
        return loss, {"loss": loss.detach()}

    def missed(self, pictures: Tensor, cells: Tensor) -> Tensor:
        """The share of the cells' variance (1 in each channel) that the patches do not know."""
        return F.mse_loss(self.match(self.model.encoder(pictures)[:, 1:, :-4]), cells)


def photographed(pictures: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, S, S) seen less well, at random: half turned, zoomed and moved, some darker, a fourth blurred.

    The teacher's cells (B, N, C) are turned and moved with their picture, and stay as sharp and bright as they were.
    """
    count, side = len(pictures), math.isqrt(cells.shape[1])
    some = torch.rand(count) < 0.5
    turn = some * torch.randn(count) * 0.14  # radians: 8 degrees
    zoom = 1 / (1 + some * torch.empty(count).uniform_(-0.05, 0.35))
    right, down = some * torch.empty(2, count).uniform_(-0.2, 0.2)  # of half a side
    rows = [zoom * turn.cos(), -zoom * turn.sin(), right, zoom * turn.sin(), zoom * turn.cos(), down]
    frame = torch.stack(rows, dim=1).view(count, 2, 3).to(pictures)
    cells = moved(cells.transpose(1, 2).unflatten(2, (side, side)), frame).flatten(2).transpose(1, 2)
    light = torch.where(torch.rand(count) < 0.3, torch.empty(count).uniform_(0.35, 1.2), 1.0)
    pictures = (moved(pictures, frame) * light.view(-1, 1, 1, 1).to(pictures)).clamp(0, 255)
    blurred, radius = count // 4, int(torch.randint(1, 4, ()))
    soft = F.pad(pictures[:blurred], [radius] * 4, mode="replicate")
    return torch.cat([F.avg_pool2d(soft, 2 * radius + 1, stride=1), pictures[blurred:]]), cells


def moved(grid: Tensor, frame: Tensor) -> Tensor:
    """(B, C, H, W) seen through a frame (B, 2, 3), an affine map; what is outside is as the edge."""
    places = F.affine_grid(frame, [*grid.shape], align_corners=False)
    return F.grid_sample(grid, places, padding_mode="border", align_corners=False)


class RowNumbers(torch.utils.data.Dataset):
    """Items (epoch, row): the row."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: tuple[int, int]) -> int:
        return index[1]


def teacher_features(rows: Dataset, teacher: EncoderConfig) -> Tensor:
    """What the teacher sees in each cell, (pictures, N, C), its channels scaled to mean 0 and spread 1."""
    pictures, quick = list(rows["image"]), precision(teacher)
    seen = np.array(cached_features(pictures, Encoder(teacher), FEATURES, precision=quick))[..., :-4]
    seen = torch.from_numpy(seen).float()
    return ((seen - seen.mean((0, 1))) / (seen.std((0, 1)) + 1e-3)).half()


def pictures_of(rows: Dataset, model: BlipCaptioner) -> Tensor:
    """(pictures, 3, S, S) uint8."""
    return torch.cat(list(picture_batches(list(rows["image"]), model.encoder.config.image_size, 100)))


def learn_to_see(data: DatasetDict, run: Path, teacher: EncoderConfig, training: TrainConfig) -> Path:
    """The folder of a tiny BLIP that sees and does not speak yet, trained there first if it is not there yet."""
    rows = data["train"]
    model = untrained([text for texts in with_alt_texts(rows)["captions"] for text in texts])
    objective = Seeing(model, pictures_of(rows, model), teacher_features(rows, teacher))
    sampler = EpochSampler([1] * len(rows), training.batch_size, training.seed)
    batches = DataLoader(RowNumbers(len(rows)), batch_sampler=BatchSampler(sampler, training.batch_size, False))
    about = {"data": fingerprint(data), "start": weights_digest(model), "teacher": asdict(teacher)}

    pictures, cells = pictures_of(data["val"], model), teacher_features(data["val"], teacher)

    @torch.inference_mode()
    def validate(model: BlipCaptioner) -> Record:
        model.eval()
        device = objective.cells.device
        return {"score": 1 - float(objective.missed(pictures.to(device), cells.to(device).float()))}

    train(objective, batches, training, run, validate, about=about)
    return run / "last"


def pretrained_blip(
    data: DatasetDict,
    run: Path,
    teacher: EncoderConfig,
    seeing: TrainConfig = SEEING,
    speaking: TrainConfig = SPEAKING,
) -> Path:
    """The folder of a tiny BLIP in Hugging Face's layout, pretrained there first if it is not there yet.

    The text decoder is trained with the vision transformer frozen, whose features are computed once.
    """
    start = learn_to_see(data, run / "seeing", teacher, seeing)
    texts = DatasetDict({split: with_alt_texts(data[split]) for split in ("train", "val")})
    config = BlipConfig(str(start), trained="text")
    short = Decoding(max_length=TELLING.max_length)
    fine_tune(texts, run / "speaking", config, None, TELLING, speaking, short)
    return run / "speaking" / "best"
