"""One interface for every captioner, so that training, decoding, scoring and plots know no model by name.

Shapes: B pictures, K hypotheses a picture, T tokens, N cells (or regions), C feature channels, D width, V vocabulary.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_model, save_file, save_model
from torch import Tensor, nn

from captioning.decoding import search
from captioning.disk import follow_umask
from captioning.models.config import EncoderConfig, PictureConfig
from captioning.models.encoder import picture_encoder
from captioning.text import WordTokenizer


@dataclass
class State:
    """What a decoder remembers between two steps; tensors are batch-first, but for the shared ones.

    `picture` tensors (B, ...) belong to the picture and are shared by its hypotheses; `history` tensors (B, K, ...)
    belong to one hypothesis; what is in `shared`, of any shape, is the same for all pictures.
    """

    picture: dict[str, Tensor] = field(default_factory=dict)
    history: dict[str, Tensor] = field(default_factory=dict)
    shared: dict[str, Tensor] = field(default_factory=dict)

    def reorder(self, parents: Tensor) -> State:
        """Let hypothesis k of picture b continue hypothesis `parents[b, k]`; parents is (B, K'), K' free."""
        rows = torch.arange(len(parents), device=parents.device)[:, None]
        history = {name: tensor[rows, parents] for name, tensor in self.history.items()}
        return State(self.picture, history, self.shared)

    def keep(self, pictures: Tensor) -> State:
        """Only the pictures at these indices (B',)."""
        return State(
            {name: tensor[pictures] for name, tensor in self.picture.items()},
            {name: tensor[pictures] for name, tensor in self.history.items()},
            self.shared,
        )


@dataclass(frozen=True)
class Captions:
    """What `generate` returns: for each picture its captions, best first."""

    ids: list[list[list[int]]]  # picture, caption, token; the end token is included, the begin token is not
    texts: list[list[str]]
    log_probs: Tensor  # (B, n) sum over the tokens, natural logarithm
    scores: Tensor  # (B, n) log_probs / tokens ** length_penalty: what beam search ranks by

    @property
    def best(self) -> list[str]:
        """The first caption of each picture."""
        return [texts[0] for texts in self.texts]


@dataclass(frozen=True)
class Internals:
    """What a decoder makes of n captions of each of B pictures, R = B*n, layer by layer; attention is the mean over
    the heads."""

    logits: Tensor  # (R, T, V)
    hidden: list[Tensor]  # after each decoder layer, (R, T, D)
    # of each layer: "self" (R, T, T), "cross" (R, T, N), "encoder" (B, N, N), whose rows of padding are zero
    attention: dict[str, list[Tensor]]


class Views:
    """A captioner that sees each picture twice, as a search steps it: a state for each view, and of their next words
    the mean probability."""

    def __init__(self, model: CaptionModel):
        self.model, self.tokenizer = model, model.tokenizer

    def init_state(self, features: Tensor) -> State:
        return together([self.model.init_state(view) for view in features.chunk(self.model.views, dim=1)])

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        found = [self.model.step(tokens, apart(state, str(view))) for view in range(self.model.views)]
        return mean_logits([logits for logits, _ in found]), together([after for _, after in found])


def together(states: Sequence[State]) -> State:
    """One state of several, each tensor under the number of its view."""

    def numbered(part: str) -> dict[str, Tensor]:
        return {f"{i}/{name}": x for i, state in enumerate(states) for name, x in getattr(state, part).items()}

    return State(numbered("picture"), numbered("history"), numbered("shared"))


def apart(state: State, view: str) -> State:
    """The state of one view out of `together`."""

    def own(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name.removeprefix(f"{view}/"): x for name, x in tensors.items() if name.startswith(f"{view}/")}

    return State(own(state.picture), own(state.history), own(state.shared))


def mean_logits(views: Sequence[Tensor]) -> Tensor:
    """Logits (..., V) whose softmax is the mean of the views' probabilities."""
    if len(views) == 1:
        return views[0]
    return torch.stack([logits.log_softmax(dim=-1) for logits in views]).logsumexp(dim=0) - math.log(len(views))


WEIGHTS = "model.safetensors"


def borrowed(encoder: PictureConfig) -> bool:
    """Whether an encoder is frozen and its weights lie in a pip package: they are read from there, and never saved."""
    return isinstance(encoder, EncoderConfig) and encoder.weights == "package" and encoder.trained_stages == 0


class CaptionModel(nn.Module):
    """An encoder, a tokenizer and a decoder. A subclass sets `kind` and implements `decode`, `init_state` and `step`.

    Saved as a folder `config.json` + `model.safetensors` + `tokenizer.json`; `saved.load` reads it. Frozen eyes from a
    pip package stay there and are not saved.
    """

    kind: str
    core: str  # of a pretrained captioner: the name of the module that adapters go into
    max_length: int | None = None  # tokens that the decoder has positions for; None: any number
    styles: tuple[str, ...] = ()  # that it can be asked for; such a model has `prompt`, `prompts`, `asked`

    def __init__(self, config, encoder: PictureConfig, tokenizer: WordTokenizer):
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.encoder = picture_encoder(encoder)

    def features(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) uint8 to features (B, N, C); features pass through, so that they can be cached."""
        return self.encoder(images) if images.dim() == 4 else images.float()

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B*n, T, V) of the token after each of `tokens` (B*n, T): n captions a picture, picture by picture.

        `images` is (B, 3, H, W) uint8 pictures or (B, N, C) cached features.
        """
        return mean_logits([self.decode(view, tokens) for view in self.features(images).chunk(self.views, dim=1)])

    @property
    def views(self) -> int:
        """2 where the encoder sees each picture mirrored, too, its cells after the others."""
        return 2 if getattr(self.encoder.config, "mirrored", False) else 1

    def first_view(self, images: Tensor) -> Tensor:
        """The features (B, N, C) of the pictures as they are, without those of their mirror images."""
        return self.features(images).chunk(self.views, dim=1)[0]

    def decode(self, features: Tensor, tokens: Tensor) -> Tensor:
        """`forward` from features (B, N, C) on. What stands at padding means nothing."""
        raise NotImplementedError

    def decode_said(self, features: Tensor, tokens: Tensor, said: Tensor) -> Tensor:
        """`decode` of the P places that are `said` (R, T), each after said ones alone: (P, V)."""
        return self.decode(features, tokens)[said]

    def decode_with_internals(self, features: Tensor, tokens: Tensor) -> Internals:
        """`decode`, with what a student can learn from beside the logits. Models with decoder `layers` offer it."""
        raise NotImplementedError(f"{self.kind}: has no layers to compare; distil from its logits or captions")

    def init_state(self, features: Tensor) -> State:
        """The state before the first token, with one hypothesis a picture (K = 1)."""
        raise NotImplementedError

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, K, V) of the next token after `tokens` (B, K), and the new state."""
        raise NotImplementedError

    @property
    def usual(self) -> search.Decoding:
        """How captions are chosen where nothing else is said."""
        return search.Decoding(beams=3, max_length=self.max_length or 100)

    @torch.inference_mode()
    def generate(
        self, images: Tensor, config: search.Decoding | None = None, styles: Sequence[str] | None = None
    ) -> Captions:
        """Caption pictures (B, 3, H, W) or cached features (B, N, C); greedy unless `config` says otherwise.

        `styles` names a style for each picture, if the model has styles; ValueError for one that it has not.
        """
        config, training = config or search.Decoding(), self.training
        if styles is not None and not self.styles:
            raise ValueError(f"styles {sorted(set(styles))} asked of this {self.kind}, which has none")
        if self.max_length is not None and config.max_length > self.max_length:
            raise ValueError(
                f"max_length={config.max_length}: this {self.kind} has positions for {self.max_length} tokens"
            )
        try:
            features = self.eval().features(images)
            if styles is not None:
                features = self.asked(features, self.prompts([self.prompt(style) for style in styles]))
            found = search.generate(self if self.views == 1 else Views(self), features, config)
        finally:
            self.train(training)
        texts = [[self.tokenizer.decode(ids) for ids in captions] for captions in found.ids]
        return Captions(found.ids, texts, found.log_probs, found.scores)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the captioner into a folder, for `saved.load`."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.write_files(Path(folder))
        follow_umask(Path(folder))

    def write_files(self, folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps(self.about(), indent=2))
        self.tokenizer.save(folder)
        self.save_weights(folder)

    def about(self) -> dict:
        """What `config.json` says."""
        return {"kind": self.kind, "decoder": asdict(self.config), "encoder": asdict(self.encoder.config)}

    def elsewhere(self, name: str) -> bool:
        """Whether a weight of this name is not saved, because it is read from where it came from."""
        return borrowed(self.encoder.config) and name.startswith("encoder.")

    def hold_all(self) -> None:
        """From now on it is saved whole: what it was made of has changed, or cannot be had by others."""

    def save_weights(self, folder: Path) -> None:
        names = self.state_dict().keys()
        if any(map(self.elsewhere, names)):
            twice = {name for name, _ in self.named_parameters(remove_duplicate=False)}
            twice -= {name for name, _ in self.named_parameters()}  # other names of what is there already
            own = {name: x for name, x in self.state_dict().items() if not self.elsewhere(name) and name not in twice}
            save_file({name: x.contiguous() for name, x in own.items()}, folder / WEIGHTS)
        else:
            save_model(self, str(folder / WEIGHTS))

    def load_weights(self, folder: Path) -> None:
        """Read what `save_weights` wrote. Raises RuntimeError listing weights that are missing or left over."""
        missing, extra = load_model(self, folder / WEIGHTS, strict=False)
        missing = [name for name in missing if not self.elsewhere(name)]
        if missing or extra:
            raise RuntimeError(
                f"{folder / WEIGHTS}: {len(missing)} weights missing {missing[:5]}, left over {extra[:5]}"
            )
