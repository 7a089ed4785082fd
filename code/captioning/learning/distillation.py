"""Knowledge distillation: a student learns from what a teacher thinks, and not only from what people wrote.

Hinton et al. 2015 for the distributions over the next word, TinyBERT (Jiao et al. 2020, section 3.1) for attention maps
and hidden states. Like the objectives of losses.py this one owns the model it trains; the teacher is neither trained
nor saved with it.

Sizes: B pictures, n captions a picture, R = B*n captions, T tokens, N cells, D width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioning.learning.config import DistillConfig
from captioning.learning.losses import Objective, cross_entropy, mean_over_processes, seen
from captioning.models.base import CaptionModel, Internals

Batch = dict[str, Tensor]


class KeptLogits(Protocol):
    """A teacher whose logits are on disk: `student.TopWords`."""

    def logits(self, rows: Tensor, tokens: Tensor) -> Tensor: ...


def divergence(student: Tensor, teacher: Tensor, real: Tensor, temperature: float = 1.0) -> Tensor:
    """T^2 KL(teacher || student) in nats, mean over the words `real` (R, T) of all processes; logits (R, T, V).

    Both are divided by T before the softmax. The gradient of the KL with respect to the student's logits is
    (q_T - p_T) / T, and q_T - p_T shrinks with 1 / T too: T^2 keeps its size, so that weights need not be tuned anew
    for every temperature (Hinton et al. 2015, section 2).
    """
    wanted = (teacher.float() / temperature).softmax(dim=-1)
    found = (student.float() / temperature).log_softmax(dim=-1)
    apart = F.kl_div(found, wanted, reduction="none").sum(dim=-1)  # (R, T)
    return temperature**2 * mean_over_processes(apart, real)


def spread(students: int, teachers: int) -> list[tuple[int, int]]:
    """A teacher layer for each student layer, the last for the last (Sun et al. 2019, "PKD-skip")."""
    return [(i, math.ceil((i + 1) * teachers / students) - 1) for i in range(students)]


def map_distance(student: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
    """Squared distance of attention maps (R, T, S), summed over S, mean over the words `real` (R, T)."""
    return mean_over_processes(((student - teacher) ** 2).sum(dim=-1), real)


class Distillation(nn.Module):
    """A student `model` beside a frozen `teacher` with the same tokenizer, which reads the same captions.

    `teacher` is a captioner that is given the same batches, or what it said once, kept on disk; None where `config`
    asks nothing of it. Heads are averaged, so that teacher and student may have any number of them; hidden states of
    the student pass a linear map of their own to the teacher's width, which is trained with it and thrown away. Raises
    ValueError for a pair that does not go together.
    """

    def __init__(
        self,
        model: CaptionModel,
        teacher: CaptionModel | KeptLogits | None,
        config: DistillConfig,
        smoothing: float = 0.0,
    ):
        super().__init__()
        self.model, self.config, self.smoothing = model, config, smoothing
        if teacher is not None:
            check_tokenizers(model.tokenizer, teacher.tokenizer)
        if isinstance(teacher, CaptionModel):
            teacher = teacher.eval().requires_grad_(False)
        self.teacher = [teacher]  # in a list, so that it is neither trained nor saved with the student
        self.projections = nn.ModuleList()
        if config.hidden:
            pairs = self.pairs(model.layers, teacher.layers)
            self.projections.extend(nn.Linear(model.config.width, teacher.config.width) for _ in pairs)

    def forward(self, batch: Batch) -> Objective:
        inputs, targets = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        pad_id, config = self.model.tokenizer.pad_id, self.config
        student = self.read(self.model, batch, inputs)
        words = cross_entropy(student.logits, targets, pad_id, self.smoothing)
        loss, parts = config.cross_entropy * words, {"cross-entropy": words}
        if config.asks:
            with torch.no_grad():
                teacher = self.ask(batch, inputs)
            parts |= self.compare(student, teacher, (targets != pad_id).float())
            loss = loss + sum(getattr(config, name) * part for name, part in parts.items() if name != "cross-entropy")
        return loss, {"loss": loss.detach()} | {name: part.detach() for name, part in parts.items()}

    def compare(self, student: Internals, teacher: Internals, real: Tensor) -> dict[str, Tensor]:
        """The parts of the loss that look at the teacher, by the names of their weights."""
        parts, config = {}, self.config
        if config.logits:
            parts["logits"] = divergence(student.logits, teacher.logits, real, config.temperature)
        if config.attention:
            parts["attention"] = self.maps(student, teacher, real)
        if config.hidden:
            parts["hidden"] = self.states(student, teacher, real)
        return parts

    def read(self, model: CaptionModel, batch: Batch, inputs: Tensor) -> Internals:
        features = seen(model, batch)
        if self.config.inside:
            return model.decode_with_internals(features, inputs)
        return Internals(model.decode(features, inputs), [], {})

    def ask(self, batch: Batch, inputs: Tensor) -> Internals:
        """What the teacher makes of the batch, or made of it once."""
        [teacher] = self.teacher
        if isinstance(teacher, CaptionModel):
            return self.read(teacher, batch, inputs)
        return Internals(teacher.logits(batch["rows"], batch["tokens"]), [], {})

    def maps(self, student: Internals, teacher: Internals, real: Tensor) -> Tensor:
        """Mean distance of the paired maps of all kinds that are asked for."""
        distances = []
        for kind in self.config.attention_of:
            both = [each.attention.get(kind, []) for each in (student, teacher)]
            if not all(both):
                raise ValueError(f"attention_of={kind!r}: offered are {', '.join(student.attention)}, and by the "
                                 f"teacher {', '.join(teacher.attention)}")  # fmt: skip
            rows = real if kind != "encoder" else (both[0][0].sum(dim=-1) > 0).float()  # rows of padding are zero
            pairs = self.pairs(*both) if kind != "encoder" else spread(*map(len, both))
            distances += [map_distance(both[0][i], both[1][j], rows) for i, j in pairs]
        return torch.stack(distances).mean()

    def states(self, student: Internals, teacher: Internals, real: Tensor) -> Tensor:
        """Mean squared error of the student's projected states against the teacher's, each brought to mean 0 and
        variance 1 over its channels: 1 is what a student without any idea has."""
        errors = []
        for (i, j), project in zip(self.pairs(student.hidden, teacher.hidden), self.projections, strict=True):
            wanted = F.layer_norm(teacher.hidden[j], teacher.hidden[j].shape[-1:])
            errors.append(mean_over_processes(((project(student.hidden[i]) - wanted) ** 2).mean(dim=-1), real))
        return torch.stack(errors).mean()

    def pairs(self, students: Sequence, teachers: Sequence) -> Sequence[tuple[int, int]]:
        """Layers (student, teacher) of the decoder that are compared."""
        pairs = self.config.layers or spread(len(students), len(teachers))
        if not all(0 <= i < len(students) and 0 <= j < len(teachers) for i, j in pairs):
            raise ValueError(f"layers={pairs}: the student has {len(students)}, the teacher {len(teachers)}, from 0")
        return pairs


def check_tokenizers(student, teacher) -> None:
    """Raises ValueError unless the two tokenizers write the same words with the same ids."""
    ours, theirs = (each.vocabulary() for each in (student, teacher))
    if ours != theirs:
        differ = len(ours.items() ^ theirs.items())
        raise ValueError(
            f"student and teacher have other tokenizers ({len(ours)} and {len(theirs)} words, {differ} of them not at "
            "the same place): their logits cannot be compared. Learn from captions: captions=True, logits=0"
        )
