"""A captioner as two ONNX files, and captions from them by ONNX Runtime.

`encoder.onnx` turns pictures into the state before the first word, `step.onnx` turns words and a state into logits and
what becomes of the state (models/base.py: `init_state`, `step`). The search stays in decoding/search.py, which knows no
model: it steps an `OnnxCaptioner` as it does any other.

Sizes: B pictures, K hypotheses, P tokens of a prompt, T places for words, S rows of OFA's memory, V vocabulary.
"""

from __future__ import annotations

import io
import json
import shutil
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.utils.rnn import pad_sequence

from captioning.data.batches import picture_batches
from captioning.decoding import search
from captioning.decoding.config import Decoding
from captioning.models.base import CaptionModel, Captions, State
from captioning.models.config import EncoderConfig
from captioning.models.grids import grid_shape
from captioning.models.ofa.captioner import OFACaptioner
from captioning.models.ofa.model import hide
from captioning.models.ofa.tokenizer import BPETokenizer
from captioning.text import WordTokenizer
from captioning.writing import claim, new_folder, write_json

KINDS = ("gru", "attention", "transformer", "ofa")
LOOKING = ("gru", "attention", "transformer")  # what can be asked of two views of a picture
FILES = ("encoder.onnx", "step.onnx", "tokenizer.json", "onnx.json")
PLACES = 128  # words that an exported OFA has position biases for, unless it has positions for fewer
HISTORY, SHARED = ("hidden", "visible"), ("cross", "places")  # of the tensors of a state; the others are the picture's
Tensors = dict[str, Tensor]


def grows(name: str) -> bool:
    """Whether a tensor of a state gets longer with every word: cached keys and values, and masks."""
    return "past_" in name or name in ("visible", "places")


class First(nn.Module):
    """Pictures (B, 3, S, S) uint8 to the state before the first word, without what is to grow."""

    def __init__(self, model: CaptionModel):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensors:
        state = self.model.init_state(self.model.features(images))
        return {name: x for name, x in (state.picture | state.history).items() if not grows(name)}


class FirstOfOFA(nn.Module):
    """The same for pictures and the ids (B, P) of the prompts that ask about them."""

    def __init__(self, model: OFACaptioner, grid: tuple[int, int], places: int):
        super().__init__()
        self.model, self.grid, self.places = model, grid, places

    def forward(self, images: Tensor, prompts: Tensor) -> Tensors:
        ofa, features = self.model.ofa, self.model.features(images)
        encoded = ofa.encoder(features[..., :-4].unflatten(1, self.grid), prompts)
        memory = [layer.cross_attn.keys_values(encoded["memory"]) for layer in ofa.decoder.layers]
        named = {f"{i}.{name}": x for i, each in enumerate(memory) for name, x in zip(("keys", "values"), each)}  # noqa: B905
        cross = ofa.decoder.biases(self.places, encoded["positions"])["cross"]  # (H, T, S)
        return {"padding": encoded["padding"], "cross": cross, **named}


class Next(nn.Module):
    """Words (B, K) and a state to logits (B, K, V) and those tensors of the state that change."""

    def __init__(self, model: CaptionModel):
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        history = {name: x for name, x in state.items() if name in HISTORY}
        picture = {name: roomier(name, x, tokens.shape[1]) for name, x in state.items() if name not in history}
        logits, after = self.model.step(tokens, State(picture, history))
        return logits, after.history | {name: x for name, x in after.picture.items() if grows(name)}


class NextOfOFA(nn.Module):
    """The same, with the biases of all places in the graph."""

    def __init__(self, model: OFACaptioner, places: int):
        super().__init__()
        self.decoder = model.ofa.decoder
        nowhere = torch.zeros(1, model.config.width)
        self.register_buffer("own", self.decoder.biases(places, nowhere)["own"])  # (layers, H, T, T)

    def forward(self, tokens: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        b, k = tokens.shape
        place = state["visible"].sum(dim=-1)[0, :1]  # how many words each hypothesis has, (1,)
        itself = torch.eye(k, dtype=torch.bool).expand(b, k, k)
        after = {"visible": torch.cat([state["visible"], itself], dim=-1)}  # (B, K, slots)
        after["places"] = torch.cat([state["places"], place.expand(k)])
        own = self.own.index_select(2, place).index_select(3, after["places"])  # (layers, H, 1, slots)
        cross = hide(state["cross"].index_select(1, place), state["padding"])  # (B, H, 1, S)
        x = self.decoder.layernorm_embedding(self.decoder.embed_tokens(tokens))
        for i, layer in enumerate(self.decoder.layers):
            past = [roomier("past_", state[f"{i}.past_{name}"], k) for name in ("keys", "values")]
            bias = own[i].masked_fill(~after["visible"][:, None], float("-inf"))  # (B, H, K, slots)
            x = layer.step(x, past, (state[f"{i}.keys"], state[f"{i}.values"]), bias, cross)
            after |= {f"{i}.past_keys": past[0], f"{i}.past_values": past[1]}
        return self.decoder.logits(x), after


def roomier(name: str, x: Tensor, words: int) -> Tensor:
    """A cache (B, H, slots, D / H) with room for `words` more; anything else as it is."""
    return F.pad(x, (0, 0, 0, words)) if "past_" in name else x


def example_state(first: Tensors) -> Tensors:
    """A state of 2 pictures and 3 hypotheses after 2 words, with the tensors that `first` has not: for tracing."""
    state = dict(first)
    if "hidden" in state:
        return state | {"hidden": state["hidden"].expand(2, 3, -1).contiguous()}
    visible = torch.eye(3, dtype=torch.bool).repeat(1, 2).expand(2, 3, 6).contiguous()
    seen = {name: x for name, x in first.items() if name.endswith(("keys", "values"))}
    past = {name.replace(".", ".past_"): x.new_zeros(*x.shape[:2], 6, x.shape[3]) for name, x in seen.items()}
    places = {"places": torch.tensor([0, 0, 0, 1, 1, 1])} if "cross" in first else {}
    return state | {name: x.contiguous() for name, x in past.items()} | {"visible": visible} | places


def axes(name: str, x: Tensor) -> dict[int, object]:
    """Which axes of an input of a graph may have any length."""
    named = {"cross": {2}, "places": {0}, "padding": {0, 1}, "visible": {0, 1, 2}}
    named |= dict.fromkeys(("tokens", "prompts", "hidden"), {0, 1})
    return dict.fromkeys(named.get(name, {0, 2} if "." in name else {0}), Dim.DYNAMIC)


@torch.no_grad()
def export_onnx(model: CaptionModel, folder: Path) -> None:
    """Write `encoder.onnx`, `step.onnx`, `tokenizer.json` and `onnx.json`, for `OnnxCaptioner`, into a folder that is
    new, empty or an earlier export, which is replaced.

    Raises ValueError where ONNX is not installed, and for a kind of model that cannot be exported; what `claim` raises
    for another folder.
    """
    claim(folder, "export", unmarked=FILES)
    if not find_spec("onnxscript"):
        raise ValueError("writing ONNX files needs onnx and onnxscript: pip install 'captioning[onnx]'")
    if model.kind not in KINDS:
        raise ValueError(
            f"a model of kind {model.kind!r}: only {', '.join(KINDS)} can be exported; a step of the others is run by "
            "transformers, and these graphs do not hold it. Caption with the model as it is, or distil one of these"
        )
    if model.views > 1:
        raise ValueError("this model sees each picture mirrored, too, which these graphs do not: export its run")
    model, size = model.cpu().eval(), model.encoder.config.image_size
    inputs = {"images": torch.zeros(2, 3, size, size, dtype=torch.uint8)}
    about = {"kind": model.kind, "image_size": size, "max_length": model.max_length}
    if isinstance(model, OFACaptioner):
        first, after, more = parts_of_ofa(model, inputs["images"])
        inputs["prompts"], about = model.prompts([model.prompt()] * 2), about | more
    else:
        first, after = First(model), Next(model)
    found = first(**inputs)
    tokens, state = torch.full((2, 3), model.tokenizer.eos_id), example_state(found)
    about["empty"] = {name: [str(x.dtype)[6:], list(x.shape[1:])] for name, x in state.items() if name not in found}
    outputs = ["logits", *after(tokens, state)[1]]
    with new_folder(folder, "export", unmarked=FILES) as made:
        write_graph(first, inputs, list(found), made / "encoder.onnx")
        write_graph(after, {"tokens": tokens, "state": state}, outputs, made / "step.onnx")
        model.tokenizer.save(made)
        write_json(made / "onnx.json", about)


def parts_of_ofa(model: OFACaptioner, images: Tensor) -> tuple[nn.Module, nn.Module, dict]:
    """The two graphs of an OFA, and what its `onnx.json` says: the prompt of each style, "" for none."""
    places = min(PLACES, model.config.positions)
    first = FirstOfOFA(model, grid_shape(model.features(images)[0, :, -4:]), places)
    prompts = {style or "": model.prompts([model.prompt(style)])[0].tolist() for style in (None, *model.styles)}
    return first, NextOfOFA(model, places), {"prompts": prompts, "max_length": places}


def write_graph(module: nn.Module, inputs: dict, outputs: list[str], path: Path) -> None:
    """Trace a module and write it; inputs by name, a dictionary of tensors among them as if it were its tensors."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass

    flat = {name: x for key, x in inputs.items() for name, x in (x if isinstance(x, dict) else {key: x}).items()}
    shapes = {
        key: {name: axes(name, each) for name, each in x.items()} if isinstance(x, dict) else axes(key, x)
        for key, x in inputs.items()
    }
    names = {"input_names": list(flat), "output_names": [f"next.{name}" if name in flat else name for name in outputs]}
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # torch's own, about its tracing
        # not optimised: that takes as long as all the rest, and ONNX Runtime does it again when it loads the graph
        program = torch.onnx.export(module.eval(), kwargs=inputs, dynamic_shapes=shapes, optimize=False, **names)
        RemoveUnusedNodesPass()(program.model)  # above all the weights of the other half
        ClearMetadataAndDocStringPass()(program.model)  # where in our code each node comes from
        program.save(path, external_data=False)


class OnnxCaptioner:
    """What `export_onnx` wrote, run by ONNX Runtime: `generate`, `init_state` and `step` as a CaptionModel has them.

    Raises ValueError where ONNX Runtime is not installed, FileNotFoundError for a folder without an exported model.
    """

    def __init__(self, folder: Path, threads: int = 0):
        if not find_spec("onnxruntime"):
            raise ValueError("running ONNX files needs onnxruntime: pip install 'captioning[onnx]'")
        if missing := [name for name in FILES if not (folder / name).is_file()]:
            raise FileNotFoundError(
                f"{folder}: {', '.join(missing)} missing; `captioning export RUN --onnx` writes them"
            )
        from onnxruntime import InferenceSession, SessionOptions

        options = SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3  # errors alone
        self.first, self.after = (InferenceSession(folder / name, options) for name in FILES[:2])
        self.about = json.loads((folder / "onnx.json").read_text())
        self.tokenizer = (BPETokenizer if self.about["kind"] == "ofa" else WordTokenizer).load(folder)

    def generate(
        self, images: Tensor, config: search.Decoding | None = None, styles: Sequence[str] | None = None
    ) -> Captions:
        """Caption pictures (B, 3, S, S) uint8 as `CaptionModel.generate` does; `styles` are those of `onnx.json`.

        Raises ValueError for a style or a length that the model does not have.
        """
        config, most = config or search.Decoding(), self.about["max_length"]
        if most is not None and config.max_length > most:
            raise ValueError(f"max_length={config.max_length}: this model was exported for {most} tokens")
        known = self.about.get("prompts", {})
        if unknown := sorted({*(styles or ())} - known.keys()):
            has = ", ".join(filter(None, known)) or "none"
            raise ValueError(f"styles {unknown} asked of this exported {self.about['kind']}, which has {has}")
        prompts = [known[style] for style in styles or [""] * len(images)] if self.asked else None
        asked = SimpleNamespace(
            tokenizer=self.tokenizer, step=self.step, init_state=lambda images: self.init_state(images, prompts)
        )
        found = search.generate(asked, images, config)
        texts = [[self.tokenizer.decode(ids) for ids in captions] for captions in found.ids]
        return Captions(found.ids, texts, found.log_probs, found.scores)

    @property
    def asked(self) -> bool:
        """Whether it reads a prompt with the picture."""
        return "prompts" in self.about

    def init_state(self, images: Tensor, prompts: Sequence[list[int]] | None = None) -> State:
        """The state before the first word, with one hypothesis a picture; token ids of the prompts for an OFA."""
        inputs = {"images": images}
        if prompts:
            inputs["prompts"] = pad_sequence([*map(torch.tensor, prompts)], True, float(self.tokenizer.pad_id))
        tensors = run(self.first, inputs)
        for name, (kind, shape) in self.about["empty"].items():
            batch = [] if name in SHARED else [len(images)]
            slots = {"visible": [1, 1], "places": [1]}.get(name, [*shape[:1], 1, *shape[2:]])  # one that nobody sees
            tensors[name] = torch.zeros(*batch, *slots, dtype=getattr(torch, kind))
        return sorted_out(tensors)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, K, V) of the next token after `tokens` (B, K), and the new state."""
        tensors = state.picture | state.history | state.shared
        found = run(self.after, {"tokens": tokens} | tensors)
        changed = {name.removeprefix("next."): x for name, x in found.items() if name != "logits"}
        return found["logits"], sorted_out(tensors | changed)


def run(session, inputs: Tensors) -> Tensors:
    """What a graph makes of its inputs; those that it does not need are left out."""
    feed = {each.name: inputs[each.name].contiguous().numpy() for each in session.get_inputs()}
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, map(torch.from_numpy, session.run(names, feed)), strict=True))


def sorted_out(tensors: Tensors) -> State:
    state = State()
    for name, x in tensors.items():
        (state.history if name in HISTORY else state.shared if name in SHARED else state.picture)[name] = x
    return state


def export_half(model: CaptionModel, out: Path, mirrored: bool = False, about: Path | None = None) -> None:
    """The captioner as a saved model whose weights have 16 bits; it is loaded and runs as any other. `mirrored`: it
    will see each picture mirrored, too. `about`: the description of its run, which goes along so that it can be scored.
    """
    half = deepcopy(model).half()
    if mirrored:
        if model.kind not in LOOKING or not isinstance(model.encoder.config, EncoderConfig):
            raise ValueError(f"--mirrored with this {model.kind}: only {', '.join(LOOKING)} on a grid see two views")
        half.encoder.config = replace(half.encoder.config, mirrored=True)
    with new_folder(out, "export") as folder:
        half.save_pretrained(folder)
        if about and about.is_file():
            shutil.copy(about, folder)


def equal_captions(
    model: CaptionModel, other: CaptionModel | OnnxCaptioner, pictures: list[str], decoding: Decoding
) -> int:
    """Of how many pictures both captions are equal."""
    equal = 0
    for images in picture_batches(pictures, model.encoder.config.image_size, batch_size=20):
        both = (each.generate(images, decoding).best for each in (model, other))
        equal += sum(one == other for one, other in zip(*both, strict=True))
    return equal


def compare(model: CaptionModel, exported: OnnxCaptioner, pictures: list[str], decoding: Decoding) -> None:
    """Say of how many pictures both captions are equal; RuntimeError unless it is all of them."""
    equal = equal_captions(model, exported, pictures, decoding)
    said = f"{equal} of {len(pictures)} pictures have equal captions"
    if equal < len(pictures):
        raise RuntimeError(f"{said}; the others were a close choice, or the export is wrong: look at them")
    print(said)
