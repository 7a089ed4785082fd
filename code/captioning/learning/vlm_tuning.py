"""Fine-tunes a vision-language model of transformers: what of a chat is learned, the loss, and the run.

An answer is learned as it would be said: behind the question exactly as it is asked in captioning, in the words of the
chat template, with the token that ends an answer there. Templates that write no end (LLaVA's) get it, too: without one
a model is taught never to stop.

Sizes: R pictures with an answer each, L tokens of question and answer, T of them to be predicted, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from torch import Tensor, nn

from captioning.data.batches import fingerprint, shuffled_batches
from captioning.data.features import weights_digest
from captioning.data.prompt_fields import prompt_of, require_blind
from captioning.decoding.config import Decoding
from captioning.learning.config import Recipe, TrainConfig
from captioning.learning.experiment import check_splits, validation
from captioning.learning.loop import Record, train
from captioning.learning.losses import Objective, cross_entropy
from captioning.models import lora, vlm
from captioning.models.config import LoraConfig, VLMConfig
from captioning.models.inference import device
from captioning.models.vlm import Question, VisionLanguageModel

IGNORED = -100  # the label of a token that is not learned
OURS = ("captions", "max_length", "smoothing", "drop_worst", "workers", "choose")  # what of a recipe is for answers


def turn(model: VisionLanguageModel, text: str, answer: str) -> tuple[str, str]:
    """A question up to its answer, and all of it with the answer and the token that ends it.

    Raises ValueError where the chat template does not write the answer as it stands.
    """
    answer = answer.strip()  # as some templates do
    asked, told = model.written(text), model.written(text, answer)
    rest = told.removeprefix(asked)
    before, found, after = rest.partition(answer) if told.startswith(asked) else ("", answer, "")
    if not found:
        raise ValueError(f"the chat template of this {model.kind} writes {answer!r} otherwise: {told!r}")
    ends = model.tokenizer.convert_ids_to_tokens(model.ends)
    return asked, asked + before + found + next((end for end in ends if after.lstrip().startswith(end)), ends[0])


def answer_length(model: VisionLanguageModel, asked: str, whole: str) -> int:
    """How many tokens an answer has, its end included: those from where the two texts' tokens part."""
    asked, whole = (model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (asked, whole))
    same = next((i for i, pair in enumerate(zip(asked, whole, strict=False)) if pair[0] != pair[1]), len(asked))
    return len(whole) - same


def labelled(
    model: VisionLanguageModel, questions: Sequence[Question], answers: Sequence[str], longest: int, side: str = "right"
) -> dict[str, Tensor]:
    """What the network takes, padded on this `side`, with `labels` (R, L), or (R, T) of one that has an encoder: the
    first `longest` tokens of each answer and its end, nothing of prompt, picture and padding, not yet shifted."""
    pictures = [question.picture for question in questions]
    if model.encodes:
        inputs = model.processed(pictures, [question.text for question in questions], side)
        said = model.tokenizer(list(answers), padding=True, padding_side="right", return_tensors="pt")
        labels = said["input_ids"].masked_fill(said["attention_mask"] == 0, IGNORED)
        return {**inputs, "labels": labels[:, :longest]}
    turns = [turn(model, question.text, answer) for question, answer in zip(questions, answers, strict=True)]
    inputs = model.processed(pictures, [whole for _, whole in turns], side)
    ids, labels = inputs["input_ids"], torch.full_like(inputs["input_ids"], IGNORED)
    for row, (asked, whole) in enumerate(turns):
        read = inputs["attention_mask"][row].nonzero()[:, 0]
        learned = read[len(read) - answer_length(model, asked, whole) :][:longest]
        labels[row, learned] = ids[row, learned]
    return {**inputs, "labels": labels}


def answer_logits(model: VisionLanguageModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Logits (R, T, V) and the tokens (R, T) that they are to predict, IGNORED where there is none.

    The output layer is computed at those places alone before which some answer of the batch has a token.
    """
    network, labels = model.network, batch["labels"]
    inputs = {name: x.to(network.dtype) if x.is_floating_point() else x for name, x in batch.items()}
    if model.encodes:  # the decoder's inputs are made of the labels, shifted
        return network(**inputs, use_cache=False).logits, labels
    del inputs["labels"]
    places = (labels != IGNORED).any(dim=0).nonzero()[:, 0] - 1
    if "logits_to_keep" in inspect.signature(lora.base(network).forward).parameters:
        logits = network(**inputs, logits_to_keep=places, use_cache=False).logits
    else:
        logits = network(**inputs, use_cache=False).logits[:, places]
    return logits, labels[:, places + 1]


class AnswerLoss(nn.Module):
    """Cross-entropy of the answers; `smoothing` and `drop_worst` as in `losses.CrossEntropy`."""

    def __init__(self, model: VisionLanguageModel, smoothing: float = 0.0, drop_worst: float = 0.0):
        super().__init__()
        self.model, self.smoothing, self.drop_worst = model, smoothing, drop_worst

    def forward(self, batch: dict[str, Tensor]) -> Objective:
        logits, targets = answer_logits(self.model, batch)
        drop = self.drop_worst if self.training else 0.0
        loss = cross_entropy(logits, targets, IGNORED, self.smoothing, drop)
        return loss, {"loss": loss.detach()}


class AnswerRows(torch.utils.data.Dataset):
    """Items (epoch, row): the picture, and `captions` of its captions, which ones being a function of both and the
    seed; a picture with fewer repeats some."""

    def __init__(self, rows: Dataset, captions: int, seed: int):
        self.images, self.texts, self.captions, self.seed = list(rows["image"]), list(rows["captions"]), captions, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: tuple[int, int]) -> tuple[str, list[str]]:
        texts, rng = self.texts[index[1]], np.random.default_rng((self.seed, *index))
        order = rng.permutation(max(len(texts), self.captions)) % len(texts)
        return self.images[index[1]], [texts[i] for i in order[: self.captions]]


def collate(items: list[tuple[str, list[str]]], model: VisionLanguageModel, longest: int) -> dict[str, Tensor]:
    questions = {image: model.read(image) for image, _ in items}
    pairs = [(questions[image], text) for image, texts in items for text in texts]
    return labelled(model, *zip(*pairs, strict=True), longest)


def start(config: VLMConfig, adapters: LoraConfig | None) -> VisionLanguageModel:
    """The model to be trained, its weights loaded; one that has adapters goes on with these.

    Raises ValueError for a prompt that tells the caption, for weights that cannot be trained, for a model that has
    adapters and is to get others, and for one whose answers have no place of their own.
    """
    prompt = prompt_of(config.prompt) if config.prompt else ""
    asked = (prompt, config.system or None, config.precision, config.side or None)
    model = vlm.load(config.weights, *asked, device_map={"": device()})
    require_blind(model.prompt)
    if not model.encodes and model.processor.chat_template is None:
        raise ValueError(
            f"{config.weights}: a {model.kind} without a chat template: where an answer begins is not known"
        )
    if config.precision in ("8bit", "4bit") and not adapters:
        raise ValueError(
            f"precision {config.precision}: such weights cannot be trained; give --lora, or other precision"
        )
    if adapters:
        lora.adapt(model, adapters, config.weights)
    if config.gradient_checkpointing:
        lora.base(model.network).activation_checkpointing_enable({"use_reentrant": False})
    return model


def tune_vlm(
    data: DatasetDict,
    run: Path,
    config: VLMConfig,
    adapters: LoraConfig | None,
    recipe: Recipe,
    training: TrainConfig,
    decoding: Decoding,
    watch: Callable[[list[Record]], None] = lambda log: None,
    resume: bool = True,
) -> list[Record]:
    """Go on from a released model with cross-entropy, with all its weights or with adapters only; the log of `train`.

    The model is in `run`, for `vlm.load`; with adapters only these, and what they were trained on must stay where it
    is.
    """
    check_splits(data)
    others = (field.name for field in fields(Recipe) if field.name not in OURS)
    recipe.require_default(f"a vision-language model, which has {', '.join(OURS)}", *others)
    torch.manual_seed(training.seed)
    model = start(config, adapters)
    print(f"{run}: trains {lora.trained_share(model)}")
    about = {"kind": model.kind, "start": weights_digest(model), "lora": adapters and asdict(adapters)}
    asked = {"prompt": model.prompt, "system": model.system, "side": model.side}
    about |= {"tuning": asdict(replace(config, weights="", **asked))}
    about |= {"data": fingerprint(data), "decoding": asdict(decoding), "recipe": asdict(replace(recipe, workers=0))}
    rows = AnswerRows(data["train"], recipe.captions, training.seed)
    lengths = [sum(map(len, texts)) / len(texts) for texts in rows.texts]
    made = partial(collate, model=model, longest=recipe.max_length)
    batches = shuffled_batches(rows, lengths, made, training.batch_size, recipe.workers, training.seed)
    objective = AnswerLoss(model, recipe.smoothing, recipe.drop_worst)
    return train(objective, batches, training, run, validation(data["val"], recipe, decoding), watch, resume, about)
