"""OFA as a captioner, behind the interface of models/base.py.

OFA is asked: its encoder reads the cells of the picture and then a prompt. Sizes: B pictures, n captions a picture,
K hypotheses, T tokens, N cells, P tokens of the prompt, C channels of the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from captioning.decoding.config import Decoding
from captioning.models.base import CaptionModel, Internals, State
from captioning.models.config import EncoderConfig
from captioning.models.encoder import picture_encoder
from captioning.models.grids import grid_shape
from captioning.models.ofa.config import OFA_DECODING, OFAConfig, ResNetConfig
from captioning.models.ofa.model import OFA
from captioning.models.ofa.styles import BY_WORDS, style_name
from captioning.models.ofa.tokenizer import BPETokenizer


class OFACaptioner(CaptionModel):
    """An OFA with the picture encoder of its own (`ResNetConfig`), or with any other.

    Features are (B, N, C): the cells and, in the last four channels, their boxes. A prompt rides along as P further
    rows: the token id in the first channel, and an empty box. Features without a prompt are asked the plain one.
    """

    kind, core = "ofa", "ofa"

    def __init__(self, config: OFAConfig, encoder: EncoderConfig | ResNetConfig, tokenizer: BPETokenizer):
        super(CaptionModel, self).__init__()
        self.config, self.tokenizer = config, tokenizer
        self.encoder = picture_encoder(encoder)
        self.ofa = OFA(config, len(tokenizer), self.encoder.channels - 4)
        self.ofa.initialise()
        self.styles, self.max_length = config.styles, config.positions

    def configure(self, **changes) -> OFACaptioner:
        """The same weights with other fields of the configuration: styles, how a prompt names them, the prompt."""
        self.config = replace(self.config, **changes)
        self.styles = self.config.styles
        return self

    @property
    def usual(self) -> Decoding:
        return replace(OFA_DECODING, **self.config.search)

    def prompt(self, style: str | None = None) -> str:
        """The question that asks for a caption, in a style of the table or in none."""
        return self.config.prompt if style is None else BY_WORDS.format(self.style_name(style))

    def style_name(self, style: str) -> str:
        """How a prompt names a style of the table; ValueError names the nearest ones."""
        return style_name(style, list(self.styles), self.config.style_by)

    def prompts(self, texts: Sequence[str]) -> Tensor:
        """Ids (B, P) of prompts between the begin and the end token, padded at the end."""
        ids = pad_sequence([self.prompt_ids(text) for text in texts], True, float(self.tokenizer.pad_id))
        return ids.to(self.ofa.encoder.embed_tokens.weight.device)

    def prompt_ids(self, text: str) -> Tensor:
        """Ids (P,) of one prompt, on the CPU: also for processes that load data, which must not touch a GPU."""
        return torch.tensor([self.tokenizer.bos_id, *self.tokenizer.encode(text), self.tokenizer.eos_id])

    def asked(self, features: Tensor, prompts: Tensor) -> Tensor:
        """Features (B, N, C) with prompts (B, P) as further rows, (B, N + P, C), in a precision that ids survive."""
        rows = features.new_zeros(*prompts.shape, features.shape[-1], dtype=torch.float32)
        rows[..., 0] = prompts
        return torch.cat([features.float(), rows], dim=1)

    def encode(self, features: Tensor) -> dict:
        """What OFA's encoder makes of features (B, N, C) or (B, N + P, C)."""
        rows, columns = grid_shape(features[0, :, -4:])
        cells, asked = features[:, : rows * columns, :-4], features[:, rows * columns :, 0].long()
        if not asked.shape[1]:
            asked = self.prompts([self.prompt()]).expand(len(features), -1)
        return self.ofa.encoder(cells.unflatten(1, (rows, columns)), asked)

    def decode(self, features: Tensor, tokens: Tensor) -> Tensor:
        return self.ofa.decoder(tokens, self.encode(features))

    @property
    def layers(self) -> nn.ModuleList:
        """Of the decoder."""
        return self.ofa.decoder.layers

    def decode_with_internals(self, features: Tensor, tokens: Tensor) -> Internals:
        encoded = self.encode(features)
        found = self.ofa.decoder.internals(tokens, encoded) | {"encoder": self.ofa.encoder.attention(encoded)}
        hidden = found.pop("hidden")
        maps = {name: [weights.mean(dim=1) for weights in layers] for name, layers in found.items()}
        return Internals(self.ofa.decoder.logits(hidden[-1]), hidden, maps)

    def attention_maps(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Where each word looked, (B*n, T, N + P), mean of layers and heads; row t chose the token after t."""
        features = self.features(images)
        maps = self.ofa.decoder.internals(tokens, self.encode(features))["cross"]
        return torch.stack(maps).mean(dim=(0, 2))[..., : features.shape[1]]

    def init_state(self, features: Tensor) -> State:
        return self.ofa.init_state(self.encode(features))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        return self.ofa.step(tokens, state)

    def save_weights(self, folder: Path) -> None:
        """With adapters only these; what they were trained on is named beside them."""
        if isinstance(self.ofa, OFA):
            super().save_weights(folder)
        else:
            self.ofa.save_pretrained(folder)
