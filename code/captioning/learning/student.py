"""Trains a student by its teacher in one call: what chapter 08 and `captioning distill` share.

What a teacher has to say can be kept on disk: the likeliest next words after every word of every training caption
(`TopWords`), or its own captions of the pictures (`captioned_by`), which a student with any tokenizer can learn from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from torch import Tensor
from tqdm import tqdm

from captioning.data.batches import WHOLE, CaptionRows, Collate
from captioning.data.config import Augmentation
from captioning.data.features import key, listing, weights_digest
from captioning.decoding.config import Decoding
from captioning.disk import require_room
from captioning.evaluation.splits import caption_rows, split_features
from captioning.learning.config import DistillConfig, Recipe, TrainConfig
from captioning.learning.distillation import Distillation
from captioning.learning.experiment import check_splits, fit
from captioning.learning.loop import Record
from captioning.learning.losses import seen
from captioning.models.base import CaptionModel
from captioning.models.config import DecoderConfig, PictureConfig
from captioning.models.inference import device, precision
from captioning.models.ofa.config import Tasks
from captioning.models.ofa.tasks import StyledRows
from captioning.models.saved import new, tokenizer_class, vocabulary
from captioning.paths import OUTPUT
from captioning.writing import dumps, kept

TEACHERS = OUTPUT / "teachers"  # what teachers said


def distill_captioner(
    data: DatasetDict,
    run: Path,
    teacher: CaptionModel,
    student: CaptionModel,
    distill: DistillConfig = DistillConfig(),
    recipe: Recipe = Recipe(),
    training: TrainConfig = TrainConfig(),
    decoding: Decoding = Decoding(),
    watch: Callable[[list[Record]], None] = lambda log: None,
    resume: bool = True,
) -> list[Record]:
    """Train `student`, new or trained before, on the captions of `train` or on the teacher's, and on what the teacher
    thinks of every word of them; the rest as in `experiment.train_captioner`.

    With `distill.top_k` the teacher speaks once, of the pictures as they are. Else it reads the student's batches:
    cached features where both have the same frozen encoder, and pictures otherwise. `decoding` chooses the captions on
    val and those of the teacher. Raises ValueError for a pair, or a recipe, that does not go together.
    """
    check_splits(data)
    if teacher.views > 1:
        raise ValueError("this teacher sees each picture mirrored, too: distil from the run that it was exported from")
    recipe.require_default("distillation", "coverage", "drop_words", "drop_worst")
    teacher, source, cached = teacher.to(device()).eval().requires_grad_(False), None, True
    if distill.captions:
        data = DatasetDict(data | {"train": captioned_by(teacher, data["train"], decoding)})
    if distill.asks and distill.top_k:
        source = kept_words(data["train"], teacher, distill.top_k, recipe, distill.temperature)
    elif distill.asks:
        source, cached = teacher, same_encoder(student, teacher)
    about = {"teacher": weights_digest(teacher), "student": weights_digest(student), "distill": asdict(distill)}
    objective = Distillation(student, source, distill, recipe.smoothing)
    return fit(objective, data, run, recipe, training, decoding, watch, resume, about, cached)


def new_student(
    teacher: CaptionModel, decoder: DecoderConfig, captions: Iterable[str] = (), seed: int = 0
) -> CaptionModel:
    """An untrained captioner that sees through the teacher's encoder. It writes with the teacher's words if it can, and
    else (a student of another kind than OFA, and an OFA) with those of `captions`.

    Raises ValueError for a teacher whose encoder is a part of its network.
    """
    if not isinstance(teacher.encoder.config, PictureConfig):
        raise ValueError(
            f"the eyes of this {teacher.kind} are a part of its network, and a new student needs some: train one with "
            "an encoder of its own, and give it as --start"
        )
    tokenizer = teacher.tokenizer
    if not isinstance(tokenizer, tokenizer_class(decoder)):
        tokenizer = vocabulary(captions, decoder, min_count=1)
    student = new(decoder, teacher.encoder.config, tokenizer, seed)
    student.encoder.load_state_dict(teacher.encoder.state_dict())
    return student


def same_encoder(student: CaptionModel, teacher: CaptionModel) -> bool:
    """Whether the two make the same features of a picture. Raises ValueError if they cannot even be given the same."""
    sizes = [each.encoder.config.image_size for each in (student, teacher)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"the student's pictures have {sizes[0]} pixels a side, the teacher's {sizes[1]}: keep what the teacher "
            "thinks on disk (top_k above 0), or give both pictures of one size"
        )
    return weights_digest(student.encoder) == weights_digest(teacher.encoder)


class TopWords:
    """The k likeliest words that a teacher would say after each word of each training caption, and their
    log-probabilities at a temperature. What is left of the probability is spread evenly over the other words.

    So its distribution at this temperature is off by at most twice the probability that is left over there (in the sum
    of absolute values, a word), and by the rounding of log-probabilities to half precision. At a high temperature much
    is left over: keep more words.
    """

    def __init__(self, table: np.ndarray, places: dict[tuple[int, ...], int], tokenizer, temperature: float):
        self.table, self.places, self.tokenizer, self.temperature = table, places, tokenizer, temperature

    def logits(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B*n, T - 1, V), to be divided by the temperature, of the words after tokens[:, :-1]; tokens (B*n, T)
        are n training captions of each of the pictures rows (B,). Padding has zeros."""
        n, size = len(tokens) // len(rows), len(self.tokenizer)
        found = torch.zeros(len(tokens), tokens.shape[1] - 1, size)
        for i, caption in enumerate(tokens.tolist()):
            words = [int(rows[i // n]), *(word for word in caption if word != self.tokenizer.pad_id)]
            start = self.places[tuple(words)]
            kept = self.table[start : start + len(words) - 2]
            found[i, : len(kept)] = restored(kept, size)
        return self.temperature * found.to(tokens.device)


def restored(kept: np.ndarray, size: int) -> Tensor:
    """Log-probabilities (T, V) from the k likeliest of each row of a table of `TopWords`."""
    ids, log_probs = (torch.from_numpy(kept[name].astype(kind)) for name, kind in (("id", "i8"), ("log_prob", "f4")))
    others = size - ids.shape[1]
    left = (1 - log_probs.exp().sum(dim=-1, keepdim=True)).clamp(min=1e-9) / max(1, others)
    return left.log().expand(-1, size).scatter(-1, ids, log_probs)


def kept_words(rows: Dataset, teacher: CaptionModel, k: int, recipe: Recipe, temperature: float = 1.0) -> TopWords:
    """The teacher's `TopWords` of a split, from disk, or asked for now and put there; the file is memory-mapped.

    Raises ValueError when the recipe changes pictures or asks for other things than captions.
    """
    if recipe.augmentation != Augmentation() or recipe.tasks != Tasks():
        raise ValueError(
            f"top_k={k} with {recipe.augmentation}, {recipe.tasks}: the teacher only captioned, pictures as they are"
        )
    size, features = teacher.encoder.config.image_size, split_features(teacher, rows, recipe.workers)
    settings = {"max_length": recipe.max_length, "features": () if features is None else (features,)}
    if teacher.styles:
        items = StyledRows(rows, teacher, Tasks(), **settings)
    else:
        items = CaptionRows(rows, teacher.tokenizer, size, **settings)
    captions = list(dict.fromkeys((row, *ids.tolist()) for row, texts in enumerate(items.tokens) for ids in texts))
    ends = np.cumsum([len(caption) - 2 for caption in captions])  # a row, and one token more than words to guess
    asked = items.prompts and [prompt.tolist() for prompt in items.prompts]
    seen = key(listing(items.images), teacher.encoder, WHOLE, precision(teacher.encoder.config))
    about = [weights_digest(teacher), seen, k, temperature, captions, asked]
    path = TEACHERS / f"{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]}.npy"
    places = dict(zip(captions, [0, *ends[:-1].tolist()], strict=True))

    def make(path: Path) -> None:
        write_table(likeliest(teacher, items, captions, k, temperature), int(ends[-1]), path)

    with kept(path, make) as found:
        return TopWords(np.load(found, mmap_mode="r"), places, teacher.tokenizer, temperature)


@torch.inference_mode()
def likeliest(
    teacher: CaptionModel, items: CaptionRows, captions: list[tuple[int, ...]], k: int, temperature: float
) -> Iterator[np.ndarray]:
    """The entries of a `TopWords` table for each of the captions (row, tokens ...)."""
    k, at = min(k, len(teacher.tokenizer)), next(teacher.parameters()).device
    kind = np.dtype([("id", np.min_scalar_type(len(teacher.tokenizer)), k), ("log_prob", "f2", k)])
    collate = Collate(teacher.tokenizer.pad_id)
    for start in tqdm(range(0, len(captions), 32), desc="teacher", unit="batch", leave=False, disable=None):
        some = captions[start : start + 32]
        read = [(items[0, row], torch.tensor(ids)) for row, *ids in some]
        batch = collate([(index, image, [ids], prompt) for (index, image, _, prompt), ids in read])
        batch = {name: tensor.to(at) for name, tensor in batch.items()}
        logits = teacher.decode(seen(teacher, batch), batch["tokens"][:, :-1])
        log_probs, ids = (logits.float() / temperature).log_softmax(dim=-1).topk(k)
        for i, caption in enumerate(some):
            entries = np.empty(len(caption) - 2, kind)
            entries["id"], entries["log_prob"] = (x[i, : len(entries)].cpu().numpy() for x in (ids, log_probs))
            yield entries


def write_table(parts: Iterator[np.ndarray], length: int, path: Path) -> None:
    """One array of `length` entries."""
    with path.open("wb") as file:
        for part in parts:
            if not file.tell():
                require_room(path, length * part.itemsize)
                form = {"descr": np.lib.format.dtype_to_descr(part.dtype), "fortran_order": False}
                np.lib.format.write_array_header_1_0(file, form | {"shape": (length,)})
            file.write(part.tobytes())


def captioned_by(teacher: CaptionModel, rows: Dataset, decoding: Decoding) -> Dataset:
    """The split with the teacher's captions in place of its own, or of none: sequence-level distillation (Kim and Rush
    2016). A student of any kind, with any tokenizer, can be trained on it. What the teacher said is kept on disk."""
    teacher = teacher.to(device()).eval().requires_grad_(False)
    styles = list(rows["style"]) if teacher.styles else None
    seen = key(listing(rows["image"]), teacher.encoder, WHOLE, precision(teacher.encoder.config))
    about = [weights_digest(teacher), seen, asdict(decoding), styles]
    path = TEACHERS / f"{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]}.json"

    def make(path: Path) -> None:
        said = caption_rows(teacher, rows, decoding, split_features(teacher, rows))
        path.write_text(dumps(list(said.values())))

    with kept(path, make) as found:
        own = [[caption] for caption in json.loads(found.read_text())]
    return rows.remove_columns("captions").add_column("captions", own, feature=rows.features["captions"])
