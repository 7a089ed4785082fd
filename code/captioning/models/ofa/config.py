"""Settings of OFA: the published sizes (Wang et al. 2022, table 1), what it starts from, and its tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from captioning.decoding.config import Decoding
from captioning.models.ofa.styles import PLAIN

IMAGE_BUCKETS = 42  # picture positions: a grid of at most 42 x 42 cells, which is 672 px
TOKEN_BUCKETS = 256
IMAGE_DISTANCES = (2 * IMAGE_BUCKETS - 1) ** 2 + 3  # 6,892 rows a relative table
TOKEN_DISTANCES = 2 * TOKEN_BUCKETS - 1  # 511
VOCABULARY = 59_457  # 50,265 BPE + 8,192 <code_i> + 1,000 <bin_i>
CELL_CHANNELS = 1024  # what the third stage of the ResNet puts out


BLOCKS = {"tiny": (3, 4, 6), "medium": (3, 4, 23), "base": (3, 4, 23), "large": (3, 8, 36), "huge": (3, 8, 36)}


@dataclass(frozen=True)
class OFAConfig:
    """Encoder and decoder; what they see of a picture comes from `ResNetConfig`, or any other encoder."""

    width: int = 256  # of the embedding and of all layers
    feed_forward: int = 1024  # width inside a layer
    encoder_layers: int = 4  # over the cells of the picture and the words of the question
    decoder_layers: int = 4  # over the words of the answer
    heads: int = 4  # of each attention; the width is a multiple of them
    positions: int = 1024  # tokens of a text
    dropout: float = 0.1  # share of units that are left out in a training step
    styles: tuple[str, ...] = ()  # the personalities it was trained for
    # how a prompt names the style: in words, or by a reserved token of the vocabulary
    style_by: Literal["words", "token"] = "words"
    prompt: str = PLAIN  # the question that asks for a caption without a style
    search: dict[str, Any] = field(default_factory=dict)  # fields of Decoding, where not searched as OFA usually is


@dataclass(frozen=True)
class ResNetConfig:
    """OFA's own picture encoder: the first three stages of a ResNet, one cell for 16 x 16 pixels."""

    blocks: tuple[int, int, int] = BLOCKS["tiny"]
    image_size: int = 480  # pictures are resized to a square of this many pixels; 384 in pretraining
    trained: bool = False  # else it is frozen


SIZES = {
    "tiny": OFAConfig(),
    "medium": OFAConfig(512, 2048, 4, 4, 8),
    "base": OFAConfig(768, 3072, 6, 6, 12),
    "large": OFAConfig(1024, 4096, 12, 12, 16),
    "huge": OFAConfig(1280, 5120, 24, 12, 16),
}


@dataclass(frozen=True)
class Tasks:
    """How often, relative to each other, a training picture is asked for what."""

    caption: float = 1.0  # for its caption
    matching: float = 0.0  # does this caption, of this style, belong to the picture?
    masked: float = 0.0  # the caption of this style again, whole words of which are hidden


# of the paper's code: 1 to 16 tokens, and the end
OFA_DECODING = Decoding(beams=5, min_length=1, max_length=17, no_repeat_ngram=3, forced_end=True, early_stopping=True)


@dataclass(frozen=True)
class OFAStart:
    """What is trained of OFA, and from where it starts."""

    weights: str = "OFA-Sys/ofa-base"  # a folder, a hub repository, or modelscope:OWNER/NAME
    # how a prompt names a style, if the data set has some: in words, or by a reserved token of the vocabulary
    style_by: Literal["words", "token"] = "words"
    trained_resnet: bool = False  # whether the picture encoder is trained, too
