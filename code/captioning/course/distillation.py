"""Chapter 08: the transformer of chapter 02 as the teacher, and students with a quarter of its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

from captioning.course.fashion import QUICK
from captioning.learning.config import DistillConfig, TrainConfig
from captioning.models.config import TransformerConfig

# What a student is told. The teacher's k likeliest words are kept on disk; at T = 2 more of them matter.
WAYS = {
    "alone": DistillConfig(logits=0.0),
    "logits": DistillConfig(cross_entropy=0.0, top_k=16),
    "logits at T=2": DistillConfig(cross_entropy=0.0, top_k=64, temperature=2.0),
    "attention": DistillConfig(logits=0.0, attention=5.0),
    "captions": DistillConfig(captions=True, logits=0.0),
}


@dataclass(frozen=True)
class Lesson:
    """How the students of a profile learn."""

    student: TransformerConfig
    training: TrainConfig  # `epochs` is set by `passes`
    pictures: int  # that the ways are compared on
    passes: dict[int, int]  # of a student alone over so many pictures
    curve: int  # pictures of val that are captioned after each pass
    writing: int = 1  # how many passes take about as long as the teacher's writing
    step: float = 1.0  # how many times as long a step takes that compares with the teacher's words
    seeds: tuple[int, ...] = (0, 1, 2)

    def of(self, way: str, pictures: int, seed: int) -> TrainConfig:
        """The training of a student that takes about as long as that of one alone: the teacher's reading takes about a
        pass, its writing about `writing`; beside the student it makes a pass about twice as long."""
        alone = self.passes[pictures]
        others = {"alone": alone, "attention": alone // 2, "captions": alone - self.writing}
        epochs = others.get(way, round((alone - 1) / self.step))
        return replace(self.training, epochs=epochs, seed=seed)


MUON = TrainConfig(batch_size=16, optimizer="muon", lr=2e-2, clip=1.0, mixed_precision=QUICK)
LESSONS = {
    "smoke": Lesson(
        TransformerConfig(width=16, heads=2, encoder_layers=1, layers=1, dropout=0.0),
        TrainConfig(batch_size=16, lr=3e-3, log_every=1),
        pictures=48,
        passes={24: 2, 48: 2},
        curve=12,
        seeds=(0, 1),
    ),
    "mini": Lesson(
        TransformerConfig(width=64, heads=4, encoder_layers=1, layers=1, dropout=0.0),
        MUON,
        pictures=1000,
        passes={300: 13, 1000: 4},  # as long with 300 as with 1,000
        curve=60,
        writing=2,
    ),
    "photos": Lesson(
        TransformerConfig(width=160, heads=5, encoder_layers=1, layers=1, dropout=0.1),
        TrainConfig(batch_size=24, lr=1.2e-3, weight_decay=0.05, clip=1.0, mixed_precision="bf16"),
        pictures=1500,
        passes={500: 20, 1500: 10},
        curve=200,
        step=1.7,  # it grows with the vocabulary: 3,000 words are many
        seeds=(0, 1),
    ),
    "full": Lesson(
        TransformerConfig(width=256, heads=8, encoder_layers=1, layers=2),
        TrainConfig(batch_size=32, lr=5e-4, mixed_precision="bf16"),
        pictures=9000,
        passes={1000: 40, 3000: 20, 9000: 10},
        curve=500,
    ),
}
