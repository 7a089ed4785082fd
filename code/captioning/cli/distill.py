"""`captioning distill`."""

from __future__ import annotations

from pathlib import Path

from captioning import paths
from captioning.cli.common import finish, load_model, readable
from captioning.decoding.config import DecodingChanges
from captioning.learning.config import DistillConfig, Recipe, TrainConfig
from captioning.models.config import AttentionConfig, DecoderConfig, GRUConfig, TransformerConfig
from captioning.models.ofa.config import OFAConfig


def distill(
    teacher: str,
    decoder: DecoderConfig,
    start: str | None = None,
    data: str | None = None,
    folder: Path | None = None,
    run: Path | None = None,
    distill: DistillConfig = DistillConfig(),
    recipe: Recipe = Recipe(),
    training: TrainConfig = TrainConfig(),
    decoding: DecodingChanges | None = None,
    resume: bool = True,
) -> None:
    """Train a small captioner on what a large one thinks of every word, or on what it says.

    Args:
        teacher: folder of a run, or a saved model (then --data is needed)
        decoder: sizes of the student's decoder; a new student sees through the teacher's encoder
        start: a trained captioner to go on from, in place of a new student
        data: the data set; the teacher's by default
        folder: where the data set lies, of TEACHER or of --data; where it lay in training, or dataset/NAME, by default
        run: folder of the new run, output/TEACHER_student by default; a run that was stopped goes on where it was
        distill: what is learned from, and how much of it
        recipe: how captions become training samples
        training: the training loop
        decoding: how captions are chosen, on val and by the teacher, where not as in TEACHER
        resume: false deletes the run in the folder; a folder with other files is refused
    """
    from captioning.evaluation.runs import decoding_of, load_data, read_run, trained_here
    from captioning.learning.student import distill_captioner, new_student

    if data is None or trained_here(Path(teacher)):
        described = read_run(Path(teacher), data, folder)
    else:
        described = {"data": data, "folder": folder or paths.DATASET / data}
    if start and decoder != type(decoder)():
        raise ValueError(f"--decoder is of a new student, and --start {start} is trained already: leave one out")
    dataset, model = readable(load_data(Path(teacher), described, "train", "val")), load_model(teacher)
    run = run or paths.OUTPUT / f"{Path(teacher).name}_student"
    chosen = decoding_of(described, model, decoding)
    words = (caption for captions in dataset["train"]["captions"] for caption in captions)
    student = load_model(start) if start else new_student(model, decoder, words, training.seed)
    log = distill_captioner(dataset, run, model, student, distill, recipe, training, chosen, resume=resume)
    finish(run, log, recipe, chosen, described["data"], described["folder"])


def distill_gru(teacher: str, decoder: GRUConfig = GRUConfig(), **options) -> None:
    """The student is a CNN + GRU."""
    distill(teacher, decoder=decoder, **options)


def distill_attention(teacher: str, decoder: AttentionConfig = AttentionConfig(), **options) -> None:
    """The student is a GRU that looks at the cells."""
    distill(teacher, decoder=decoder, **options)


def distill_transformer(teacher: str, decoder: TransformerConfig = TransformerConfig(), **options) -> None:
    """The student is a transformer."""
    distill(teacher, decoder=decoder, **options)


def distill_ofa(teacher: str, decoder: OFAConfig = OFAConfig(), **options) -> None:
    """The student is an OFA."""
    distill(teacher, decoder=decoder, **options)


COMMANDS = {
    "distill": {
        "_help": "Train a small captioner on what a large one knows: gru, attention, transformer or ofa.",
        "gru": distill_gru,
        "attention": distill_attention,
        "transformer": distill_transformer,
        "ofa": distill_ofa,
    },
}
