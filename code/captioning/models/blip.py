"""BLIP (Li et al. 2022) behind the interface of models/base.py: the weights and layers of `transformers`, our search.

A vision transformer gives one vector a patch and one for the whole picture (an encoder of ours in its place: one a
cell); a BERT with cross-attention writes the caption. Sizes: B pictures, n captions a picture, K hypotheses, T tokens,
N patches + 1 (or cells), D width, V vocabulary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_model
from torch import Tensor, nn
from transformers import BertTokenizer, BlipForConditionalGeneration, BlipImageProcessor

from captioning.decoding.config import Decoding
from captioning.models import lora
from captioning.models.base import CaptionModel, State
from captioning.models.config import BLIP_DECODING, BLIP_LENGTHS, BlipConfig, EncoderConfig, LoraConfig
from captioning.models.encoder import Encoder
from captioning.models.folders import OURS, saved_folder
from captioning.models.grids import cell_boxes
from captioning.models.transformer import FIRST_SLOTS, grown

DASH = re.compile(r"(?<=[^\s-])(?:\s+-\s*|-\s+)(?=[^\s-])")  # a hyphen with a blank on one side or on both


class BlipTokenizer:
    """BERT's word pieces with the ids that BLIP begins and ends its captions with.

    BERT takes a hyphen for a word, with blanks around it or not. So that "t-shirt" can be put together again and
    "small - it's" is not, a dash that stands between words is written twice, as on a typewriter. (Weights that were
    trained elsewhere know the single one only, and what they say with it is put together.)
    """

    def __init__(self, pieces: BertTokenizer, bos_id: int, size: int):
        self.pieces, self.bos_id, self.size = pieces, bos_id, size
        self.pad_id, self.unk_id, self.eos_id = pieces.pad_token_id, pieces.unk_token_id, pieces.sep_token_id
        # the ids from len(pieces) on are BLIP's own: [DEC], which begins captions, and [ENC]
        self.never = tuple(sorted({*pieces.all_special_ids, *range(len(pieces), size)} - {self.eos_id}))

    def __len__(self) -> int:
        return self.size

    def vocabulary(self) -> dict[str, int]:
        """The id of each piece."""
        return self.pieces.get_vocab()

    def encode(self, text: str) -> list[int]:
        """Ids of the word pieces of `text`, without special ids."""
        return self.pieces(DASH.sub(" -- ", text), add_special_tokens=False)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special ids left out."""
        said = [i for i in ids if i != self.eos_id and i not in self.never]
        text = self.pieces.decode(said, clean_up_tokenization_spaces=True)
        return " - ".join(part.replace(" - ", "-") for part in text.split(" - - "))

    def words(self, ids: Sequence[int]) -> list[str]:
        """The word piece of each id, special ids left out."""
        return self.pieces.convert_ids_to_tokens([i for i in ids if i != self.eos_id and i not in self.never])


@dataclass(frozen=True)
class BlipPictures:
    """How pictures are prepared; `preprocessor_config.json`."""

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class BlipEncoder(nn.Module):
    """Features (B, N, D + 4) of uint8 pictures (B, 3, H, W): the whole picture, then its patches, with their boxes."""

    def __init__(self, vision: nn.Module, config: BlipPictures):
        super().__init__()
        self.vision, self.config = vision, config
        self.channels, self.training = vision.config.hidden_size + 4, vision.training
        side = config.image_size // vision.config.patch_size
        self.boxes = torch.cat([torch.tensor([[0.0, 0.0, 1.0, 1.0]]), cell_boxes(side, side)])

    @property
    def frozen(self) -> bool:
        return not any(p.requires_grad for p in self.parameters())

    def forward(self, images: Tensor) -> Tensor:
        mean, std = (
            torch.tensor(x, device=images.device).view(3, 1, 1) * 255 for x in (self.config.mean, self.config.std)
        )
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            x = self.vision(pixel_values=(images - mean) / std).last_hidden_state  # (B, N, D)
        return torch.cat([x, self.boxes.to(x).expand(len(x), -1, -1)], dim=-1)


class BlipOverCells(BlipForConditionalGeneration):
    """A BLIP whose text decoder looks at the cells of an `Encoder`, where BLIP's own looks at patches.

    `vision_config.cells` holds the settings of the encoder, `vision_config.hidden_size` is its channels without boxes.
    """

    def __init__(self, config: transformers.BlipConfig):
        super().__init__(config)
        self.vision_model = Encoder(EncoderConfig(**config.vision_config.cells))


class BlipCaptioner(CaptionModel):
    """`blip` is a `BlipForConditionalGeneration`, or one with adapters (`lora.add`).

    The begin token stands for itself and the prompt after it: nothing outside of this class sees the prompt, and no
    loss is taken on it.
    """

    kind, core = "blip", "blip"

    def __init__(self, blip: nn.Module, tokenizer: BlipTokenizer, pictures: BlipPictures, prompt: str):
        super(CaptionModel, self).__init__()  # the encoder is a part of blip
        self.blip, self.tokenizer, self.prompt = blip, tokenizer, prompt
        self.pictures = pictures
        self.opening = [tokenizer.bos_id, *tokenizer.encode(prompt)]
        self.max_length = self.text.config.max_position_embeddings - len(self.opening) + 1

    @property
    def encoder(self) -> BlipEncoder | Encoder:
        vision = lora.base(self.blip).vision_model
        return vision if isinstance(vision, Encoder) else BlipEncoder(vision, self.pictures)

    @property
    def text(self) -> nn.Module:
        """The text decoder, a `BlipTextLMHeadModel`."""
        return lora.base(self.blip).text_decoder

    @property
    def usual(self) -> Decoding:
        """As published: the lengths are those of begin token, prompt and caption together."""
        shortest, longest = (max(0, length - len(self.opening)) for length in BLIP_LENGTHS)
        return replace(BLIP_DECODING, min_length=shortest, max_length=longest)

    def opened(self, tokens: Tensor) -> Tensor:
        """Tokens (R, T) with the prompt after the begin token, (R, P + T): what the decoder really reads."""
        start = torch.tensor(self.opening, device=tokens.device)
        last = tokens.masked_fill(tokens == start[0], int(start[-1]))
        return torch.cat([start[:-1].expand(len(tokens), -1), last], dim=1)

    def decode(self, features: Tensor, tokens: Tensor) -> Tensor:
        if tokens.shape[1] > self.max_length:
            raise ValueError(f"{tokens.shape[1]} tokens: this BLIP has positions for {self.max_length}")
        memory = features[..., :-4]
        memory = memory.repeat_interleave(len(tokens) // len(features), dim=0)
        read = self.opened(tokens)
        logits = self.text(input_ids=read, encoder_hidden_states=memory, use_cache=False).logits
        return logits[:, read.shape[1] - tokens.shape[1] :]

    def init_state(self, features: Tensor) -> State:
        state, memory = State(), features[..., :-4]
        for i, layer in enumerate(self.text.bert.encoder.layer):
            cross = layer.crossattention.self
            keys, values = (split(cross, project(memory)).contiguous() for project in (cross.key, cross.value))
            empty = keys.new_zeros(*keys.shape[:2], FIRST_SLOTS, keys.shape[-1])  # (B, heads, slots, D / heads)
            state.picture |= {f"{i}.keys": keys, f"{i}.values": values}
            state.picture |= {f"{i}.past_keys": empty, f"{i}.past_values": empty.clone()}
        state.history["visible"] = torch.zeros(len(memory), 1, 0, dtype=torch.bool, device=memory.device)
        for token in self.opening[:-1]:
            _, state = self.read(torch.full((len(memory), 1), token, device=memory.device), state)
        return state

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One word further. The cache is written in place: a state may be stepped from once."""
        x, state = self.read(tokens.masked_fill(tokens == self.opening[0], self.opening[-1]), state)
        return self.text.cls(x), state

    def read(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """The decoder's output (B, K, D) for one more token of each hypothesis; the cache is transformer.py's."""
        bert, (b, k) = self.text.bert, tokens.shape
        own = torch.eye(k, dtype=torch.bool, device=tokens.device).expand(b, k, k)
        visible = torch.cat([state.history["visible"], own], dim=-1)  # (B, K, slots)
        picture, slots = grown(state.picture, visible.shape[-1]), visible.shape[-1]
        x = bert.embeddings(input_ids=tokens, position_ids=visible.sum(dim=-1) - 1)  # (B, K, D)
        for i, layer in enumerate(bert.encoder.layer):
            keys, values = picture[f"{i}.past_keys"], picture[f"{i}.past_values"]
            attention = layer.attention.self
            keys[:, :, slots - k : slots] = split(attention, attention.key(x))
            values[:, :, slots - k : slots] = split(attention, attention.value(x))
            x = attend(layer.attention, x, keys[:, :, :slots], values[:, :, :slots], visible[:, None])
            x = attend(layer.crossattention, x, picture[f"{i}.keys"], picture[f"{i}.values"])
            x = layer.feed_forward_chunk(x)
        return x, State(picture, {"visible": visible})

    def write_files(self, folder: Path) -> None:
        """Hugging Face's layout, so that `transformers` and `peft` read it too; with adapters only these."""
        pictures = self.pictures
        lora.base(self.blip).config.save_pretrained(folder)
        self.blip.save_pretrained(folder)
        self.tokenizer.pieces.save_pretrained(folder)
        sides = {"height": pictures.image_size, "width": pictures.image_size}
        BlipImageProcessor(size=sides, image_mean=list(pictures.mean), image_std=list(pictures.std)).save_pretrained(
            folder
        )
        (folder / OURS).write_text(json.dumps({"prompt": self.prompt}))


def split(attention: nn.Module, x: Tensor) -> Tensor:
    """(B, Q, D) to (B, heads, Q, D / heads)."""
    return x.unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)


def attend(block: nn.Module, x: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None = None) -> Tensor:
    """A `BlipTextAttention` for x (B, Q, D) with keys and values (B, heads, S, D / heads) that are there already."""
    mixed = F.scaled_dot_product_attention(split(block.self, block.self.query(x)), keys, values, attn_mask=visible)
    return block.output(mixed.transpose(1, 2).flatten(2), x)


def start(config: BlipConfig, adapters: LoraConfig | None) -> BlipCaptioner:
    """The captioner to be trained, its weights loaded: what is frozen, adapters, gradient checkpointing.

    One that has adapters goes on with these. Raises ValueError when it is to get others, or another prompt, and for
    adapters where the vision transformer is to be trained.
    """
    if adapters and config.trained == "vision":
        raise ValueError("trained='vision' with adapters: what they are in is said by their targets; leave it out")
    model = load(saved_folder(config.weights), config.prompt)
    if config.prompt not in (model.prompt, BlipConfig.prompt):
        raise ValueError(
            f"prompt={config.prompt!r}: {config.weights} was trained with {model.prompt!r} and keeps it; leave it out"
        )
    core = lora.base(model.blip)
    if core is model.blip:
        core.vision_model.requires_grad_(config.trained != "text")
        core.text_decoder.requires_grad_(config.trained != "vision")
    if adapters:
        lora.adapt(model, adapters, config.weights)
    if config.gradient_checkpointing:
        core.activation_checkpointing_enable({"use_reentrant": False})
    return model


def load(folder: Path, prompt: str = BlipConfig.prompt) -> BlipCaptioner:
    """The captioner of a folder in Hugging Face's layout, or of one with adapters, whose base is loaded first.

    `prompt` counts where the folder does not tell what its model was trained with. Raises ValueError for weights that
    are missing, FileNotFoundError for adapters without their base.
    """
    ours, adapter = folder / OURS, folder / "adapter_config.json"
    if ours.is_file():
        prompt = json.loads(ours.read_text())["prompt"]
    blip = read_weights(lora.base_folder(folder) if adapter.is_file() else folder)
    text = blip.config.text_config
    tokenizer = BlipTokenizer(BertTokenizer.from_pretrained(folder), text.bos_token_id, text.vocab_size)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    pictures = BlipPictures(
        blip.config.vision_config.image_size, tuple(settings["image_mean"]), tuple(settings["image_std"])
    )
    blip = lora.load(blip, folder) if adapter.is_file() else blip
    return BlipCaptioner(blip, tokenizer, pictures, prompt).eval()


def read_weights(name: Path) -> BlipForConditionalGeneration:
    """The weights of a folder, in float32 whatever they are stored in: transformers would compute in that, too."""
    config = transformers.BlipConfig.from_pretrained(name)
    if hasattr(config.vision_config, "cells"):
        blip = BlipOverCells(config)
        load_model(blip, name / "model.safetensors")  # transformers would lose the colours that an encoder takes off
        return blip
    blip, found = BlipForConditionalGeneration.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
    if missing := sorted(found["missing_keys"]) + sorted(key for key, *_ in found["mismatched_keys"]):
        raise ValueError(f"{name}: {len(missing)} weights of BLIP missing or of another shape, first {missing[0]}")
    return blip
