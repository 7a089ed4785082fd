"""Vision-language models of transformers (`image-text-to-text`): asked about pictures in words, searched by `generate`.

SmolVLM, Qwen-VL, LLaVA, Gemma, InternVL, ... by their chat templates; Florence-2, BLIP-2, InstructBLIP, PaliGemma, ...,
which have none, by the bare prompt. What is an answer, where it begins and how it ends, is told by templates and
tokenizers alone: no model is known here by name, but for what is asked where nothing is.

Sizes: Q questions, n answers each, R = Q*n, T tokens of an answer, L of question and answer, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor, nn

from captioning.data.pictures import read_picture
from captioning.data.prompt_fields import PROMPTS, filled
from captioning.decoding.config import Decoding
from captioning.disk import follow_umask
from captioning.models.base import Captions
from captioning.models.config import Precision
from captioning.models.folders import OURS, is_hub, saved_config, saved_folder
from captioning.models.inference import device

if TYPE_CHECKING:
    from transformers import BatchFeature, ProcessorMixin

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ASKED = 8  # questions at a time, where nobody says how many: a picture is many tokens
USUAL = {"florence2": "<CAPTION>", "paligemma": "caption en"}  # models that know no other way to ask for a caption
OTHERS = ("groups", "prefix", "forced_end", "forbidden", "required", "bad_endings")  # of Decoding: our search's alone


@dataclass(frozen=True)
class Question:
    picture: Image.Image
    text: str  # the prompt, its fields filled


@dataclass(frozen=True)
class Answers:
    """n answers to each question, question by question."""

    ids: list[list[int]]  # the end is included, if it was said
    log_probs: list[list[float]]  # of each of these, given those before it: the model's own, natural logarithm
    texts: list[str]  # without special tokens


class VisionLanguageModel(nn.Module):
    """`network`, a model of transformers with or without adapters, and the processor that it was released with."""

    core = "network"
    styles = ()

    def __init__(self, network: nn.Module, processor: ProcessorMixin, prompt: str, system: str = "", side: int = 0):
        """side: pixels of the longer side of a picture, to which larger ones are reduced; 0: as the processor likes."""
        super().__init__()
        self.network, self.processor, self.prompt, self.system, self.side = network, processor, prompt, system, side
        self.kind = network.config.model_type

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def usual(self) -> Decoding:
        """How captions are chosen where nothing else is said: the likeliest words."""
        return Decoding()

    @property
    def encodes(self) -> bool:
        """Whether an encoder reads picture and prompt, and a decoder writes: such a one does not repeat the prompt. The
        config of an InstructBLIP does not tell, but that of its language model does."""
        config = self.network.config
        return bool(config.is_encoder_decoder or config.get_text_config(decoder=True).is_encoder_decoder)

    @property
    def ends(self) -> list[int]:
        """The tokens that end an answer."""
        ends = self.network.generation_config.eos_token_id
        return list(ends) if isinstance(ends, list | tuple) else [self.tokenizer.eos_token_id if ends is None else ends]

    def read(self, picture: str | bytes) -> Question:
        """A picture and what is asked about it. Raises BrokenPicture, and MissingField for a field of the prompt."""
        return self.question(picture, filled(self.prompt, picture))

    def question(self, picture: str | bytes, text: str) -> Question:
        """Any question about a picture. Raises BrokenPicture."""
        read = read_picture(picture, self.side or None)
        if self.side:
            read.thumbnail((self.side, self.side))
        return Question(read, text)

    def written(self, text: str, answer: str | None = None) -> str:
        """A question as the model reads it, up to its answer or with it."""
        if self.processor.chat_template is None:
            return text
        chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
        if self.system:
            chat.insert(0, {"role": "system", "content": [{"type": "text", "text": self.system}]})
        if answer is not None:
            chat.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        return self.processor.apply_chat_template(chat, add_generation_prompt=answer is None, tokenize=False)

    def processed(self, pictures: Sequence[Image.Image], texts: Sequence[str], side: str = "left") -> BatchFeature:
        """What the network takes, of pictures and of texts as `written` gives them; padded on this side.

        A begin token that the template has written is not written twice.
        """
        begin, chats = self.tokenizer.bos_token, self.processor.chat_template is not None
        once = {"add_special_tokens": False} if begin and texts[0].startswith(begin) else {}
        images = [[picture] for picture in pictures] if chats else list(pictures)
        padding = {"padding": True, "padding_side": side}
        return self.processor(images=images, text=list(texts), return_tensors="pt", **padding, **once)

    @torch.inference_mode()
    def searched(self, questions: Sequence[Question], seed: int, **settings: Any) -> tuple[Any, BatchFeature]:
        """What the network's own search finds, and what it was asked with; `settings` are those of its `generate`. The
        same seed gives the same batch the same answers."""
        torch.manual_seed(seed)
        texts = [self.written(question.text) for question in questions]
        inputs = self.processed([question.picture for question in questions], texts)
        inputs = inputs.to(self.device, self.network.dtype)
        return self.network.generate(**inputs, **settings), inputs

    def answer(self, questions: Sequence[Question], seed: int = 0, **settings: Any) -> list[str]:
        """Answers as they were said, without special tokens."""
        said, inputs = self.searched(questions, seed, **settings)
        new = said if self.encodes else said[:, inputs["input_ids"].shape[1] :]
        return self.processor.batch_decode(new, skip_special_tokens=True)

    def spoken(self, questions: Sequence[Question], decoding: Decoding) -> Answers:
        """Answers token by token. Raises ValueError for settings that only our own search has."""
        told = {"return_dict_in_generate": True, "output_logits": True}
        said, _ = self.searched(questions, decoding.seed, **as_generate(decoding), **told)
        beams = getattr(said, "beam_indices", None)
        count = len(said.logits) if beams is None else beams.shape[1]
        new = said.sequences[:, said.sequences.shape[1] - count :]
        log_probs = torch.stack([chosen_log_probs(said.logits, new, beams, t) for t in range(count)], dim=1)
        ids = [until_end(row, self.ends) for row in new.tolist()]
        each = [row[: len(kept)] for row, kept in zip(log_probs.tolist(), ids, strict=True)]
        return Answers(ids, each, self.processor.batch_decode(ids, skip_special_tokens=True))

    def generate(
        self, questions: Sequence[Question], decoding: Decoding | None = None, styles: None = None
    ) -> Captions:
        """A caption is an answer as one line. Raises what `spoken` raises."""
        decoding = decoding or self.usual
        said, n = self.spoken(questions, decoding), decoding.captions
        texts = [" ".join(text.split()) for text in said.texts]
        sums = torch.tensor([sum(row) for row in said.log_probs]).view(-1, n)
        lengths = torch.tensor([max(1, len(row)) for row in said.ids]).view(-1, n)
        starts = range(0, len(texts), n)
        return Captions(
            [said.ids[i : i + n] for i in starts],
            [texts[i : i + n] for i in starts],
            sums,
            sums / lengths**decoding.length_penalty,
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Hugging Face's layout, for `load`, `transformers` and `peft`; with adapters only these."""
        from captioning.models import lora  # peft is slow to load

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lora.base(self.network).config.save_pretrained(folder)
        self.network.save_pretrained(folder)
        self.network.generation_config.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        (folder / OURS).write_text(json.dumps({"prompt": self.prompt, "system": self.system, "side": self.side}))
        follow_umask(folder)

    def hold_all(self) -> None:
        """Adapters that were merged are in the weights, and these are what is saved."""


def chosen_log_probs(logits: Sequence[Tensor], new: Tensor, beams: Tensor | None, step: int) -> Tensor:
    """log p (R,) of each answer's token `step`, of what `generate` found: of its logits (rows, V) those of the
    hypothesis that the answer went on from."""
    rows = torch.arange(len(new), device=new.device) if beams is None else beams[:, step].clamp(min=0).long()
    return logits[step].float().log_softmax(dim=-1)[rows, new[:, step]]


def until_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    found = next((i for i, token in enumerate(ids) if token in ends), len(ids))
    return ids[: found + 1]


def as_generate(decoding: Decoding) -> dict[str, Any]:
    """The settings of `generate`, over whatever habits the model was released with. An n-gram and a repetition count in
    the question, too. Raises ValueError for what `generate` does not have."""
    usual = Decoding()
    if asked := [name for name in OTHERS if getattr(decoding, name) != getattr(usual, name)]:
        raise ValueError(
            f"decoding.{', decoding.'.join(asked)}: for captioners of this package, and a vision-language model is "
            "searched by transformers: leave it out"
        )
    drawn = {"temperature": decoding.temperature, "top_k": decoding.top_k, "top_p": decoding.top_p}
    return (drawn if decoding.sample else {}) | {
        "do_sample": decoding.sample,
        "num_beams": decoding.beams,
        "num_return_sequences": decoding.captions,
        "max_new_tokens": decoding.max_length,
        "min_new_tokens": decoding.min_length,
        "length_penalty": decoding.length_penalty,
        "early_stopping": decoding.early_stopping,
        "no_repeat_ngram_size": decoding.no_repeat_ngram,
        "repetition_penalty": decoding.repetition_penalty,
    }


def loading(precision: Precision, device_map: str | dict = "auto") -> dict[str, Any]:
    """The options of `from_pretrained` for this precision, and for the GPUs if there are any.

    Raises ValueError where 8 or 4 bits lack what they need.
    """
    placed = {"device_map": device_map} if torch.cuda.is_available() else {}
    if precision not in ("8bit", "4bit"):
        return placed | {"dtype": DTYPES.get(precision, "auto")}
    if not find_spec("bitsandbytes"):
        raise ValueError(f"precision {precision}: needs the package bitsandbytes: pip install bitsandbytes")
    from transformers import BitsAndBytesConfig

    bits = BitsAndBytesConfig(load_in_8bit=precision == "8bit", load_in_4bit=precision == "4bit")
    return placed | {"quantization_config": bits}


def is_vlm(name: str | Path) -> bool:
    """Whether a folder, or a repository of the hub, has such a model: by its config, before any weights are here."""
    config = saved_config(name)
    if "kind" in config or config.get("model_type") in ("blip", "ofa"):  # captioners of this package
        return False
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return config.get("model_type") in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def load(
    name: str | Path,
    prompt: str = "",
    system: str | None = None,
    precision: Precision = "auto",
    side: int | None = None,
    device_map: str | dict = "auto",
) -> VisionLanguageModel:
    """The model in a folder or in the repository `name`, in eval mode, with the adapters that it has.

    Where there are GPUs it is spread over them as `device_map` says. It is asked as its folder says, or as is usual for
    it, unless `prompt`, `system` and `side` say otherwise. Raises what `saved_folder` and `loading` raise, and
    ValueError where its processor needs a package that is not there.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    adapted = Path(name, "adapter_config.json").is_file()  # a folder of ours, or of peft alone
    place = name if is_hub(name) or adapted else saved_folder(name)
    adapted, options = Path(place, "adapter_config.json").is_file(), loading(precision, device_map)
    base = base_of(Path(place)) if adapted else place
    own = not adapted or Path(place, "processor_config.json").is_file()
    try:
        processor = AutoProcessor.from_pretrained(place if own else base)
    except ImportError as error:
        raise ValueError(f"{name}: its processor needs another package. {error}") from error
    if processor.chat_template is None:
        processor.chat_template = processor.tokenizer.chat_template
    network = AutoModelForImageTextToText.from_pretrained(base, **options)
    if adapted:
        from captioning.models import lora  # peft is slow to load

        network = lora.load(network, Path(place))
    ours = json.loads(Path(place, OURS).read_text()) if Path(place, OURS).is_file() else {}
    prompt = prompt or ours.get("prompt") or USUAL.get(network.config.model_type, PROMPTS["sentence"])
    system = ours.get("system", "") if system is None else system
    side = ours.get("side", 0) if side is None else side
    model = VisionLanguageModel(network, processor, prompt, system, side).eval()
    return model if "device_map" in options else model.to(device())


def base_of(folder: Path) -> str | Path:
    """What the adapters in a folder were trained on: a hub repository, or the folder that has it."""
    from captioning.models import lora

    name = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    return name if is_hub(name) else lora.base_folder(folder)
