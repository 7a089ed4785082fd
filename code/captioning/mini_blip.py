"""The mini profile's stand-in for `Salesforce/blip-image-captioning-base`: a tiny BLIP of the real classes.

BLIP begins with a vision transformer that has learned to see from ImageNet and a BERT that knows English, and is
pretrained on pairs of picture and text. Here the pairs are plain mini-fashion; what is seen is taught by the small
encoder that the other chapters share, patch by patch; English is a list of words.

Sizes: B pictures, N patches, D width, C channels of the teacher.
"""

from __future__ import annotations

import string
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from datasets import DatasetDict
from torch import Tensor, nn
from transformers import BertTokenizer, BlipForConditionalGeneration

from captioning.data.annotators import CANNED
from captioning.data.batches import CaptionRows, fingerprint, training_batches
from captioning.data.features import cached_features, weights_digest
from captioning.decoding import Decoding
from captioning.evaluation import caption_rows, scorer
from captioning.experiment import FEATURES
from captioning.losses import CrossEntropy
from captioning.models.blip import BlipCaptioner, BlipConfig, BlipPictures, BlipTokenizer
from captioning.models.encoder import Encoder, EncoderConfig
from captioning.text import WordTokenizer
from captioning.training import OtherRun, TrainConfig, train

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Words that plain mini-fashion does not have: BERT's vocabulary would.
ENGLISH = f"""a picture of photo drawing an it is blurry dark bright rotated cropped clear the in with and image looks
wearing lady woman man guy girl pants jacket bracelet necklace glasses knitted plaid short knee length tshirt
{CANNED}"""
VISION = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
TEXT = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 4}
LONG = Decoding(max_length=100)
# 188 steps of 16 pictures an epoch: 3,000 pictures
MINI_BLIP = TrainConfig(epochs=6, batch_size=16, lr=1.5e-3, weight_decay=0.02, warmup=0.1, clip=1.0)


def vocabulary(captions: list[str]) -> BertTokenizer:
    """Word pieces: the words of the captions and of ENGLISH, and letters to spell all others with."""
    known = WordTokenizer.train([*captions, ENGLISH.lower()])
    words = [word for word in known.tokenizer.get_vocab() if word not in ("<pad>", "<bos>", "<eos>", "<unk>")]
    parts = {part for word in words for part in word.replace("-", " - ").split()}
    letters = [*string.ascii_lowercase, *string.digits]
    pieces = [*SPECIAL, *string.punctuation, *letters, *(f"##{letter}" for letter in letters)]
    pieces += sorted(parts - set(pieces))
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)})


def untrained(captions: list[str], image_size: int = 128, patch_size: int = 16, seed: int = 0) -> BlipCaptioner:
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


class Pretraining(nn.Module):
    """Captions by cross-entropy, and each patch is to know what the teacher sees there: `wanted` (pictures, N, C)."""

    def __init__(self, model: BlipCaptioner, wanted: Tensor):
        super().__init__()
        self.model, self.captions = model, CrossEntropy(model)
        self.match = nn.Linear(model.encoder.channels - 4, wanted.shape[-1])
        self.register_buffer("wanted", wanted, persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        features = self.model.features(batch["images"])
        loss, numbers = self.captions(batch | {"images": features})
        sight = F.mse_loss(self.match(features[:, 1:, :-4]), self.wanted[batch["rows"]].float())
        return loss + sight, numbers | {"sight": sight.detach()}


def teacher_features(rows, teacher: EncoderConfig) -> Tensor:
    """What the teacher sees in each cell, (pictures, N, C), its channels scaled to mean 0 and spread 1."""
    seen = np.array(cached_features(list(rows["image"]), Encoder(teacher).eval(), FEATURES))[..., :-4]
    seen = torch.from_numpy(seen).float()
    return ((seen - seen.mean((0, 1))) / (seen.std((0, 1)) + 1e-3)).half()


def pretrained_blip(data: DatasetDict, run: Path, teacher: EncoderConfig, training: TrainConfig = MINI_BLIP) -> Path:
    """The folder of a tiny BLIP in Hugging Face's layout, pretrained there first if it is not there yet."""
    captions = [caption for captions in data["train"]["captions"] for caption in captions]
    model = untrained(captions)
    rows = CaptionRows(data["train"], model.tokenizer, model.encoder.config.image_size, seed=training.seed)
    some = data["val"].select(range(min(100, len(data["val"]))))
    score = scorer(some)

    def validate(model: BlipCaptioner) -> dict[str, float]:
        return {"score": score(caption_rows(model, some, LONG))["attributes"]}

    objective = Pretraining(model, teacher_features(data["train"], teacher))
    batches = training_batches(rows, model.tokenizer.pad_id, training.batch_size, workers=0)
    about = {"data": fingerprint(data), "start": weights_digest(model), "teacher": asdict(teacher) | {"weights": None}}
    try:
        train(objective, batches, training, run, validate, about=about)
    except OtherRun:  # of an earlier version of the pictures or of this recipe
        train(objective, batches, training, run, validate, about=about, resume=False)
    return run / "last"
