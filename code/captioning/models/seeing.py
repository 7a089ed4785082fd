"""A language model that sees: visual tokens, made of a picture, stand before the words that it reads and writes.

The prefix of LLaVA (Liu et al. 2023, section 4.1) and ClipCap (Mokady et al. 2021) for any causal language model of
transformers, with a stage of its own in which the visual tokens learn words before the language model is asked.

Sizes: B pictures, n captions a picture, K hypotheses, T tokens, N cells, P visual tokens, C feature channels, D width
of the language model, W content words, S cache slots, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, Cache, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from captioning.decoding.config import Decoding
from captioning.models import lora
from captioning.models.attention import trainable
from captioning.models.base import CaptionModel, State
from captioning.models.config import EncoderConfig, LoraConfig, RegionConfig, SeeingConfig
from captioning.models.grids import grid_shape
from captioning.models.language import built, keep_layers, keep_pieces, read, spelt
from captioning.models.pieces import PieceTokenizer
from captioning.models.transformer import FIRST_SLOTS, grown


class Projector(nn.Module):
    """Features (B, N, C) to visual tokens (B, P, D), each of `merge` x `merge` cells.

    A visual token is a mixture of the vectors of content words, and a detail that words do not tell. It is as long as
    the vectors of words are: many language models have no gradient at a vector of zeros.
    """

    def __init__(self, config: SeeingConfig, channels: int, words: Tensor, spread: float):
        """words (W, D): the vectors of the content words; spread: of the components of any word's vector."""
        super().__init__()
        self.merge, self.channels = config.merge, channels - 4
        inputs = config.merge**2 * self.channels
        self.norm = nn.LayerNorm(inputs)
        self.hidden = nn.Linear(inputs, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.detail = nn.Linear(config.hidden, words.shape[1])
        self.gain = nn.Parameter(torch.tensor(spread))
        self.word = None
        if len(words):
            self.word = nn.Linear(config.hidden, len(words))
            self.vectors = nn.Parameter(words.clone())
            nn.init.zeros_(self.detail.weight)
            nn.init.zeros_(self.detail.bias)

    def merged(self, features: Tensor) -> Tensor:
        """The cells that become one visual token side by side, (B, P, merge * merge * (C - 4)).

        Raises ValueError for a grid that they do not divide.
        """
        cells, boxes, m = features[..., :-4], features[0, :, -4:], self.merge
        if m == 1:
            return cells
        rows, columns = grid_shape(boxes)
        if rows * columns != cells.shape[1] or rows % m or columns % m:
            raise ValueError(
                f"merge={m}: {cells.shape[1]} cells, {rows} x {columns}, are not divided into {m} x {m}; "
                "choose another merge or image_size"
            )
        blocks = cells.unflatten(1, (rows // m, m, columns // m, m)).transpose(2, 3)
        return blocks.flatten(3).flatten(1, 2).reshape(len(cells), -1, m * m * self.channels)

    def seen(self, features: Tensor) -> Tensor:
        """(B, P, hidden)."""
        return self.dropout(F.gelu(self.hidden(self.dropout(self.norm(self.merged(features))))))

    def say(self, features: Tensor) -> Tensor:
        """Log-probabilities (B, P, W) of the content words that each visual token would say."""
        return self.word(self.seen(features)).float().log_softmax(dim=-1)

    def forward(self, features: Tensor) -> Tensor:
        seen = self.seen(features)
        x = self.detail(seen)
        if self.word is not None:
            # a mean over what is seen: Adam moves every weight as far as any other, so a sum would drown the words
            x = self.word(seen).softmax(dim=-1) @ self.vectors + x / self.hidden.out_features
        return F.rms_norm(x, x.shape[-1:]) * self.gain


class Slots(Cache):
    """The cache of a step: keys and values of all that was read of a picture, (B, heads, S, D / heads) a layer.

    New ones are written into the last of its `slots`; the tensors are those of a `State`, and are made if need be.
    """

    def __init__(self, picture: dict[str, Tensor], slots: int):
        super().__init__(layers=[])
        self.picture, self.slots = picture, slots

    def update(self, keys: Tensor, values: Tensor, layer: int, *args, **kwargs) -> tuple[Tensor, Tensor]:
        new = {f"{layer}.past_keys": keys, f"{layer}.past_values": values}
        for name, x in new.items():
            if name not in self.picture:
                self.picture[name] = x.new_zeros(*x.shape[:2], self.slots + FIRST_SLOTS, x.shape[3])
            self.picture[name][:, :, self.slots - x.shape[2] : self.slots] = x
        return tuple(self.picture[name][:, :, : self.slots] for name in new)

    def get_seq_length(self, layer: int = 0) -> int:
        return self.slots


def grouped(module, query: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None, **how) -> tuple[Tensor, None]:
    """Attention of queries (B, heads, Q, d) as transformers asks for it, (B, Q, heads, d). Heads that share keys
    (B, fewer heads, S, d) are one head with more queries here; transformers copies the keys for each of them."""
    share, (b, heads, q, d) = query.shape[1] // keys.shape[1], query.shape
    with trainable(query, keys, values) as (query, keys, values):
        if visible is None:
            return sdpa_attention_forward(module, query, keys, values, visible, **how)
        more, visible = query.reshape(b, -1, share * q, d), visible.repeat(1, 1, share, 1)
        alone = SimpleNamespace(is_causal=False)  # a module whose heads share nothing
        found, _ = sdpa_attention_forward(alone, more, keys, values, visible, **how)  # (B, share * Q, fewer heads, d)
    return found.unflatten(1, (share, q)).permute(0, 2, 3, 1, 4).reshape(b, q, heads, -1), None


AttentionInterface.register("grouped", grouped)
AttentionMaskInterface.register("grouped", sdpa_mask)


class SeeingCaptioner(CaptionModel):
    """`language` is a causal language model whose vocabulary is that of the tokenizer.

    The visual tokens are read once a picture. Their keys and values, and those of the words of all hypotheses, lie in
    slots; a mask (B, K, S) says which of them a hypothesis sees. So one step reads one word of each hypothesis, and
    beam search copies no key and no value. What attention, norms and positions are, only transformers knows.
    """

    kind, core = "seeing", "language"

    def __init__(
        self,
        config: SeeingConfig,
        encoder: EncoderConfig | RegionConfig,
        tokenizer: PieceTokenizer,
        language: PreTrainedModel,
        words: Tensor | None = None,
    ):
        """words (W, D): the vectors of the content words, where they are not loaded."""
        super().__init__(config, encoder, tokenizer)
        table = language.get_input_embeddings().weight.detach()
        words = table.new_zeros(len(tokenizer.content), table.shape[1]) if words is None else words
        self.projector = Projector(config, self.encoder.channels, words, table.std().item())
        language.set_attn_implementation("grouped")
        language.requires_grad_(config.trained == "all")
        self.language = lora.add(language, config.adapters) if config.trained == "adapters" else language
        self.max_length = language.config.max_position_embeddings - self.visual_tokens()

    @torch.no_grad()
    def visual_tokens(self) -> int:
        """How many a picture has. Raises ValueError where its cells cannot be merged."""
        training, size = self.encoder.training, self.encoder.config.image_size
        features = self.encoder.eval()(torch.zeros(1, 3, size, size, dtype=torch.uint8))
        self.encoder.train(training)
        return self.projector.merged(features).shape[1]

    @property
    def usual(self) -> Decoding:
        return Decoding(beams=3, max_length=min(40, self.max_length))

    def read(self, x: Tensor, visible: Tensor, places: Tensor, **how) -> Tensor:
        """Logits after vectors x (R, Q, D) at places (R, Q) that see what is visible, (R, 1, Q, S)."""
        language = lora.base(self.language)
        return language(inputs_embeds=x, attention_mask=visible, position_ids=places, **how).logits

    def embed(self, tokens: Tensor) -> Tensor:
        return lora.base(self.language).get_input_embeddings()(tokens)

    def decode(self, features: Tensor, tokens: Tensor) -> Tensor:
        """The captions of a picture stand in one row behind one prefix, and do not see each other.

        Of padding, which would be half of the row, only as much is read as the fullest row of the batch leaves; the
        logits of padding say nothing.
        """
        prefix = self.projector(features)  # (B, P, D)
        (b, p, _), t = prefix.shape, tokens.shape[1]
        if t > self.max_length:
            raise ValueError(f"{t} tokens: this language model has positions for {self.max_length}")
        row = tokens.reshape(b, -1)  # (B, nT)
        real = row != self.tokenizer.pad_id
        found = (~real).byte().argsort(dim=1, stable=True)[:, : real.sum(dim=1).max()]  # (B, M), where words stand
        x = torch.cat([prefix, self.embed(row.gather(1, found))], dim=1)
        visible, places = in_one_row(p, found // t, found % t)
        logits = self.read(x, visible, places, use_cache=False, logits_to_keep=found.shape[1])
        whole = logits.new_zeros(*row.shape, logits.shape[-1])
        return whole.scatter(1, found[..., None].expand_as(logits), logits).view(len(tokens), t, -1)

    def init_state(self, features: Tensor) -> State:
        prefix, picture = self.projector(features), {}
        b, p = prefix.shape[:2]
        visible = torch.ones(p, p, dtype=torch.bool, device=prefix.device).tril()[None, None]
        places = torch.arange(p, device=prefix.device)[None]
        self.read(prefix, visible, places, past_key_values=Slots(picture, p), use_cache=True, logits_to_keep=1)
        return State(picture, {"visible": torch.ones(b, 1, p, dtype=torch.bool, device=prefix.device)})

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One word further. The cache is written in place: a state may be stepped from once."""
        b, k = tokens.shape
        own = torch.eye(k, dtype=torch.bool, device=tokens.device).expand(b, k, k)
        visible = torch.cat([state.history["visible"], own], dim=-1)  # (B, K, S)
        picture, slots = grown(state.picture, visible.shape[-1]), visible.shape[-1]
        places = visible.sum(dim=-1) - 1
        cache = Slots(picture, slots)
        logits = self.read(self.embed(tokens), visible[:, None], places, past_key_values=cache, use_cache=True)
        return logits, State(picture, {"visible": visible})

    def elsewhere(self, name: str) -> bool:
        """Also what is not trained of the language model, which can be had where it came from."""
        own = self.config.trained == "all" or "lora_" in name or not name.startswith("language.")
        return not own or super().elsewhere(name)

    def about(self) -> dict:
        whole = {"language": self.language.config.to_diff_dict()} if self.config.trained == "all" else {}
        return super().about() | whole

    def hold_all(self) -> None:
        self.config = replace(self.config, trained="all")


def in_one_row(prefix: int, caption: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """What each token of a row sees, (B, 1, L, L), and its position, (B, L): behind a prefix stand the words of
    captions, each with the number of its caption and its place in it, (B, M). It sees what comes before it of both."""
    places = torch.arange(prefix, device=place.device).expand(len(place), prefix)
    caption = torch.cat([torch.full_like(places, -1), caption], dim=1)
    visible = ((caption[:, :, None] == caption[:, None]) | (caption[:, None] == -1)).tril()
    return visible[:, None], torch.cat([places, prefix + place], dim=1)


def new(
    config: SeeingConfig, encoder: EncoderConfig | RegionConfig, tokenizer: PieceTokenizer, seed: int
) -> SeeingCaptioner:
    """An untrained captioner of a trained language model."""
    language = read(config.language)
    words = spelt(language, tokenizer)
    torch.manual_seed(seed)
    return SeeingCaptioner(config, encoder, tokenizer, shaped(language, config, tokenizer), words)


def shaped(language: PreTrainedModel, config: SeeingConfig, tokenizer: PieceTokenizer) -> PreTrainedModel:
    """The language model (in place) with the layers and words that the captioner has."""
    if config.layers:
        keep_layers(language, config.layers)
    keep_pieces(language, tokenizer.kept)
    return language


def load(folder: Path, settings: dict, encoder: EncoderConfig | RegionConfig) -> SeeingCaptioner:
    """The captioner saved in a folder, with the settings of its config.json."""
    decoder = {name: tuple(v) if isinstance(v, list) else v for name, v in settings["decoder"].items()}
    adapters = decoder["adapters"] | {"targets": tuple(decoder["adapters"]["targets"])}
    config = SeeingConfig(**decoder | {"adapters": LoraConfig(**adapters)})
    tokenizer = PieceTokenizer.load(folder)
    whole = settings.get("language")
    language = built(whole) if whole else shaped(read(config.language), config, tokenizer)
    model = SeeingCaptioner(config, encoder, tokenizer, language)
    model.load_weights(folder)
    return model.eval()
