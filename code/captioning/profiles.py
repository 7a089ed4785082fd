"""What the course runs on: smoke (tests, seconds), mini (a laptop, minutes), full (real data and weights, a GPU)."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datasets import DatasetDict
from filelock import FileLock

from captioning.data import sources
from captioning.data.batches import fingerprint
from captioning.data.styles import style_table
from captioning.decoding import Decoding
from captioning.experiment import Recipe, reinforce_captioner, train_captioner
from captioning.losses import RLConfig
from captioning.models.encoder import EncoderConfig
from captioning.models.gru import GRUConfig
from captioning.models.ofa.config import BLOCKS, OFAConfig, ResNetConfig
from captioning.models.ofa.config import SIZES as OFA_SIZES
from captioning.models.ofa.tasks import Tasks
from captioning.models.saved import PictureConfig
from captioning.models.transformer import TransformerConfig
from captioning.paths import DATASET, OUTPUT
from captioning.pretraining import MINI_ENCODER, MINI_PRETRAINING, pretrained_encoder, with_weights
from captioning.rewards import RewardConfig
from captioning.training import OtherRun, Record, TrainConfig, remove

if TYPE_CHECKING:
    from captioning.models.base import CaptionModel
    from captioning.rebuild.pipeline import Task

SIZES = {
    "smoke": {"train": 48, "val": 12, "test": 12},
    "mini": {"train": 3000, "val": 300, "test": 300},
}

STYLE_DECODING = Decoding(max_length=60)  # greedy
FASHION_DECODING = Decoding(max_length=100)  # greedy; the longest captions have 97 words


MADE_OF = "made_of.txt"


def made(run: Path, make: Callable[[], object], data: DatasetDict, *recipe: object) -> Path:
    """`run`, after `make` has trained it; not again where it did before, on the same data and by the same recipe.

    The training would find that out by itself, but has to prepare all pictures and captions first. A run of an earlier
    version of the pictures or of the recipe is replaced. A process that comes while another one is at it waits.
    """
    note, text = run / MADE_OF, "\n".join(map(described, (fingerprint(data), *recipe)))
    run.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{run}.lock"):
        if note.is_file() and note.read_text() != text:
            remove(run)
        if not note.is_file():
            try:
                make()
            except OtherRun:
                remove(run)
                make()
            note.write_text(text)
    return run


def described(part: object) -> str:
    """What `made` notes of a part of a recipe: of a file its digest, for another one may have come to have its name."""
    if isinstance(part, EncoderConfig) and part.weights:
        return f"{replace(part, weights=None)} {described(Path(part.weights))}"
    return hashlib.sha256(part.read_bytes()).hexdigest() if isinstance(part, Path) else str(part)


@functools.cache
def fashion_data(profile: str) -> DatasetDict:
    """Mini-fashion, drawn on first use (smoke, mini), or DeepFashion-MultiModal from dataset/deepfashion (full)."""
    if profile == "full":
        return sources.load("deepfashion", DATASET / "deepfashion")
    return sources.load("minifashion", DATASET / "minifashion", sizes=SIZES[profile])


@functools.cache
def fashion_encoder(profile: str) -> EncoderConfig:
    """The encoder that the chapters share, frozen.

    full: ResNet-101 trained on ImageNet. smoke and mini: a small network trained once on the attributes of
    mini-fashion (`pretraining.py`), because nothing can be downloaded there.
    """
    if profile == "full":
        return EncoderConfig()
    training = MINI_PRETRAINING if profile == "mini" else replace(MINI_PRETRAINING, epochs=1)
    return drawn_encoder(fashion_data(profile), OUTPUT / f"mini_encoder_{profile}", MINI_ENCODER, training)


def drawn_encoder(data: DatasetDict, run: Path, config: EncoderConfig, training: TrainConfig) -> EncoderConfig:
    """The frozen encoder that `pretrained_encoder` trains on drawn pictures, once."""
    train_it = functools.partial(pretrained_encoder, data, run, config, training)
    return with_weights(config, made(run, train_it, data, config, training))


@functools.cache
def street_data(profile: str) -> DatasetDict:
    """Mini-fashion's variant *street*; full: DeepFashion-MultiModal, whose photographs have places of their own."""
    if profile == "full":
        return fashion_data(profile)
    return sources.load("minifashion", DATASET / "minifashion", variant="street", sizes=SIZES[profile])


@functools.cache
def street_encoder(profile: str) -> EncoderConfig:
    """The encoder of `fashion_encoder` after some more training, on people and places: what sees must have seen."""
    start = fashion_encoder(profile)
    if profile == "full":
        return start
    training = replace(MINI_PRETRAINING, epochs=3 if profile == "mini" else 1)
    config = replace(start, trained_stages=3)  # what is trained first, edges and colours, serves both
    return drawn_encoder(street_data(profile), OUTPUT / f"street_encoder_{profile}", config, training)


def fashion_recipe(profile: str) -> Recipe:
    """One caption a picture; the epoch whose captions name most attributes of val is kept, where they are known."""
    known = profile != "full"
    return Recipe(max_length=FASHION_DECODING.max_length, smoothing=0.0, choose="attributes" if known else "CIDEr-D")


def fashion_gru(profile: str) -> dict[str, Any]:
    """The CNN+GRU of chapter 1 as arguments of `experiment.train_captioner`, for all chapters that compare with it."""
    small = GRUConfig(picture=128, embedding=64, hidden=192, dropout=0.1)
    decoder, training = {
        "smoke": (small, TrainConfig(epochs=2, batch_size=16, lr=3e-3, log_every=1)),
        "mini": (small, TrainConfig(epochs=4, optimizer="muon", lr=8e-3)),  # 4 x 94 steps; 94 x 32 = 3,000 pictures
        "full": (GRUConfig(), TrainConfig(epochs=10, batch_size=32, lr=5e-4, mixed_precision="bf16")),
    }[profile]
    chosen = {"recipe": fashion_recipe(profile), "decoding": FASHION_DECODING}
    return chosen | {"decoder": decoder, "training": training}


def fashion_transformer(profile: str) -> dict[str, Any]:
    """The transformer of chapter 2, in the same form, for all chapters that go on from it."""
    decoder, training = {
        "smoke": (
            TransformerConfig(width=32, heads=4, encoder_layers=1, layers=1),
            TrainConfig(epochs=1, batch_size=16, lr=2e-3, log_every=1),
        ),
        "mini": (
            TransformerConfig(width=128, heads=4, encoder_layers=1, layers=2, dropout=0.0),
            TrainConfig(epochs=2, batch_size=16, optimizer="muon", lr=4e-3, clip=1.0),  # 2 x 188 steps
        ),
        "full": (TransformerConfig(), TrainConfig(epochs=15, batch_size=32, lr=3e-4, mixed_precision="bf16")),
    }[profile]
    chosen = {"recipe": fashion_recipe(profile), "decoding": FASHION_DECODING}
    return chosen | {"decoder": decoder, "training": training}


@functools.cache
def street_captioner(profile: str) -> Path:
    """The transformer of chapter 2 trained on *street*, whose captions tell the clothes alone; trained once."""
    data, seen, chosen = street_data(profile), street_encoder(profile), fashion_transformer(profile)
    run = OUTPUT / f"street_captioner_{profile}"
    if profile == "full":  # what took hours is not replaced without being asked
        train_captioner(data, run, encoder=seen, **chosen)
        return run
    return made(run, lambda: train_captioner(data, run, encoder=seen, **chosen), data, seen, chosen)


def street_writer(profile: str) -> Path:
    """The vision-language model of chapter 4: full: Vicuna-7B by its name; else the small one, trained once."""
    if profile == "full":
        return Path("Salesforce/instructblip-vicuna-7b")
    from captioning.rebuild.miniature import MINI_SEEING, MINI_SPEAKING, train_miniature

    seeing, speaking = MINI_SEEING, MINI_SPEAKING
    if profile == "smoke":  # enough for whole sentences, though not for true ones
        seeing, speaking = replace(seeing, epochs=1), replace(speaking, epochs=15, batch_size=8, lr=3e-3)
    data, run = street_data(profile), OUTPUT / f"street_writer_{profile}"
    made(run, lambda: train_miniature(data, run, seeing, speaking), data, seeing, speaking)
    return run / "best"


def street_tasks(profile: str) -> list[Task]:
    """Who is asked what in chapter 4: our own captioner about clothes, the vision-language model about both."""
    from captioning.rebuild.backends import CaptionerWriter, InstructBlipWriter
    from captioning.rebuild.pipeline import Task
    from captioning.rebuild.prompts import prompt

    own = CaptionerWriter(str(street_captioner(profile)), FASHION_DECODING)
    vlm = InstructBlipWriter(str(street_writer(profile)), "float16" if profile == "full" else "float32")
    size = 4 if profile == "full" else 100
    return [
        Task("own-clothes", own, prompt("clothes-v2"), 100),
        Task("vlm-clothes", vlm, prompt("clothes-v2"), size),
        Task("vlm-background", vlm, prompt("background-v2"), size),
    ]


def street_rebuilt(profile: str) -> Path:
    """The folder of the data set that chapter 4 writes and chapter 5 trains on; what is there is not done again."""
    from captioning.rebuild import pipeline

    data, out = street_data(profile), OUTPUT / f"street_rebuilt_{profile}"

    def rebuild() -> None:
        pictures, tasks = pipeline.pictures_of(data), street_tasks(profile)
        pipeline.ask(pictures, tasks, out)
        pipeline.clean(pictures, out, tasks)

    if profile == "full":
        if not (out / "removed.parquet").is_file():  # what is written last
            rebuild()
        return out
    writers = street_captioner(profile), street_writer(profile).parent
    return made(out, rebuild, data, *(run / MADE_OF for run in writers))


VIZWIZ_SIZES = {
    "smoke": {"train": 40, "val": 12, "test": 6},
    "mini": {"train": 1500, "val": 500, "test": 100},
}


@functools.cache
def vizwiz_data(profile: str) -> DatasetDict:
    """VizWiz-Captions from dataset/vizwiz (full), or its imitation, drawn on first use (smoke, mini).

    Its own test split has no references, so choices are made on a tenth of train (`val`), what is reported is measured
    once on its val (`test`), and its test is `submission`.
    """
    if profile == "full":
        data = sources.load("vizwiz", DATASET / "vizwiz")
    else:
        data = sources.load("minivizwiz", DATASET / "minivizwiz", sizes=VIZWIZ_SIZES[profile])
    parts = data["train"].train_test_split(test_size=0.1, seed=0)
    return DatasetDict(train=parts["train"], val=parts["test"], test=data["val"], submission=data["test"])


def vizwiz_recipe(profile: str) -> Recipe:
    """Two of the five captions of a picture in one step; small pictures are decoded quickest where they are used."""
    return Recipe(captions=2, max_length=40, smoothing=0.0, workers=2 if profile == "full" else 0)


def vizwiz_gru(profile: str) -> dict[str, Any]:
    """The CNN+GRU of chapter 1 on VizWiz, as arguments of `experiment.train_captioner`."""
    from captioning.models.blip import BLIP_DECODING

    training = {
        "smoke": TrainConfig(epochs=1, batch_size=16, lr=3e-3, log_every=1),
        "mini": TrainConfig(epochs=5, optimizer="muon", lr=8e-3),  # 5 x 40 steps of 32 pictures, 2 captions of each
        "full": TrainConfig(epochs=10, batch_size=32, lr=5e-4, mixed_precision="bf16"),
    }[profile]
    recipe = replace(vizwiz_recipe(profile), min_count=5 if profile == "full" else 1)
    return fashion_gru(profile) | {"training": training, "recipe": recipe, "decoding": BLIP_DECODING}


def vizwiz_blip(profile: str) -> str:
    """What chapter 6 starts from: BLIP-base from the hub (full), or a tiny BLIP pretrained on plain mini-fashion."""
    if profile == "full":
        return "Salesforce/blip-image-captioning-base"
    from captioning.mini_blip import SEEING, SPEAKING, pretrained_blip

    stages = (SEEING, SPEAKING)
    if profile == "smoke":
        stages = tuple(replace(stage, epochs=1, log_every=1) for stage in stages)
    data, seen, run = fashion_data(profile), fashion_encoder(profile), OUTPUT / f"mini_blip_{profile}"
    made(run, lambda: pretrained_blip(data, run, seen, *stages), data, seen, *stages)
    return str(run / "speaking" / "best")


def vizwiz_tuning(profile: str, adapted: bool = False) -> dict[str, Any]:
    """How chapter 6 fine-tunes BLIP, with all weights or with adapters, as arguments of `tuning.fine_tune`."""
    from captioning.models.lora import LoraConfig

    shared = TrainConfig(batch_size=16, weight_decay=0.02, warmup=0.1, clip=1.0)
    training, adapters = {
        "smoke": (replace(shared, epochs=1, lr=1e-3, log_every=1), LoraConfig(rank=2)),
        # 80 steps of 16 pictures an epoch, 2 of the 5 captions of each
        "mini": (
            replace(shared, epochs=5, lr=5e-3) if adapted else replace(shared, epochs=4, lr=4e-4),
            LoraConfig(rank=5, alpha=20, dropout=0.0, targets=("query", "value", "dense")),
        ),
        "full": (
            replace(shared, epochs=5, lr=2e-4 if adapted else 2e-5, weight_decay=0.05, mixed_precision="bf16"),
            LoraConfig(),
        ),
    }[profile]
    return {"training": training, "recipe": vizwiz_recipe(profile), "lora": adapters if adapted else None}


@functools.cache
def style_data(profile: str) -> DatasetDict:
    """Mini-fashion's variant *personality*, drawn on first use (smoke, mini), or Personality-Captions (full)."""
    if profile == "full":
        return sources.load("personality", DATASET / "personality")
    return sources.load("minifashion", DATASET / "minifashion", variant="personality", sizes=SIZES[profile])


def style_encoder(profile: str) -> PictureConfig:
    """What the OFA of chapter 7 sees through: its own ResNet (full), or the encoder that all chapters share."""
    return ResNetConfig(BLOCKS["base"]) if profile == "full" else fashion_encoder(profile)


def style_ofa(profile: str, data: DatasetDict, told_by: Literal["words", "token"] = "words") -> dict[str, Any]:
    """The OFA of chapter 7, and how it is trained, as arguments of `experiment.train_captioner`."""
    styles = tuple(style_table(data).index)  # of all splits
    decoder, training = {
        "smoke": (
            OFAConfig(32, 64, 1, 1, 2, positions=128),
            TrainConfig(epochs=1, optimizer="muon", lr=2e-3, log_every=1),
        ),
        "mini": (
            OFAConfig(96, 384, 1, 1, 4, positions=128, dropout=0.0),
            TrainConfig(epochs=3, batch_size=16, optimizer="muon", lr=3e-3, clip=1.0),  # 3 x 188 steps
        ),
        "full": (
            OFA_SIZES["base"],
            TrainConfig(3, 8, 4, lr=7.5e-5, warmup=0.05, decay="linear", weight_decay=0.002, mixed_precision="bf16"),
        ),
    }[profile]
    recipe = Recipe(max_length=60, smoothing=0.1 if profile == "full" else 0.0, choose="CIDEr-D")
    decoder = replace(decoder, styles=styles, told_by=told_by)
    return {"decoder": decoder, "training": training, "recipe": recipe, "decoding": STYLE_DECODING}


def train_styled(
    profile: str,
    data: DatasetDict,
    run: Path,
    told_by: Literal["words", "token"] = "words",
    tasks: Tasks = Tasks(),
    watch: Callable[[list[Record]], None] = lambda log: None,
) -> list[Record]:
    """One of the models of chapter 7 in a new run: from nothing (smoke, mini), or from the released OFA-base (full)."""
    chosen = style_ofa(profile, data, told_by)
    chosen["recipe"] = replace(chosen["recipe"], tasks=tasks)
    if profile == "full":
        from captioning.models.ofa.start import OFAStart
        from captioning.tuning import fine_tune

        del chosen["decoder"]  # that of the released one
        return fine_tune(data, run, OFAStart(told_by=told_by), watch=watch, resume=False, **chosen)
    seen = style_encoder(profile)
    return train_captioner(data, run, encoder=seen, watch=watch, resume=False, **chosen)


def reinforce_styled(
    profile: str, data: DatasetDict, run: Path, start: Path, watch: Callable[[list[Record]], None]
) -> list[Record]:
    """The second stage of chapter 7: CIDEr-D against the references of the same picture in the same style, and, where
    attributes are known, the truth."""
    training, items = {
        "smoke": (TrainConfig(epochs=1, batch_size=8, lr=1e-4, log_every=1), 16),
        "mini": (TrainConfig(epochs=1, batch_size=16, lr=5e-5, clip=1.0, log_every=2), 640),
        "full": (TrainConfig(epochs=1, batch_size=8, accumulation=3, lr=1e-5, mixed_precision="bf16"), None),
    }[profile]
    some = DatasetDict(data | {"train": data["train"].select(range(items or len(data["train"])))})
    chosen = style_ofa(profile, data)
    known = {"recipe": chosen["recipe"], "decoding": chosen["decoding"], "training": training}
    reward = RewardConfig({"CIDEr-D": 1.0} if profile == "full" else {"CIDEr-D": 1.0, "attributes": 20.0})
    return reinforce_captioner(some, run, start, RLConfig(max_length=40), reward, watch=watch, resume=False, **known)


def train_teacher(
    profile: str, data: DatasetDict, run: Path, watch: Callable[[list[Record]], None] = lambda log: None
) -> list[Record]:
    """The large OFA of chapter 8 in a new run: from nothing (smoke, mini), or from the released OFA-large (full)."""
    chosen = {"recipe": fashion_recipe(profile), "decoding": FASHION_DECODING, "watch": watch, "resume": False}
    if profile == "full":
        from captioning.models.ofa.start import OFAStart
        from captioning.tuning import fine_tune

        training = TrainConfig(epochs=5, batch_size=8, lr=3e-5, warmup=0.05, decay="linear", mixed_precision="bf16")
        return fine_tune(data, run, OFAStart("OFA-Sys/ofa-large"), training=training, **chosen)
    decoder, training = {
        "smoke": (
            OFAConfig(64, 64, 1, 2, 4, positions=128, dropout=0.0),
            TrainConfig(epochs=1, batch_size=16, lr=2e-3, log_every=1),
        ),
        "mini": (
            OFAConfig(128, 512, 1, 2, 4, positions=128, dropout=0.0),
            TrainConfig(epochs=1, batch_size=16, optimizer="muon", lr=5e-3, clip=1.0),  # 188 steps
        ),
    }[profile]
    return train_captioner(data, run, encoder=fashion_encoder(profile), decoder=decoder, training=training, **chosen)


def ofa_student(profile: str, data: DatasetDict, teacher: CaptionModel) -> CaptionModel:
    """The small OFA of chapter 8 before it is taught: untrained, behind the teacher's encoder (smoke, mini), or the
    released OFA-tiny (full)."""
    if profile == "full":
        from captioning.models.ofa.start import OFAStart

        return OFAStart("OFA-Sys/ofa-tiny").model(data, None)
    from captioning.teaching import new_student

    width, hidden, heads = (16, 32, 2) if profile == "smoke" else (64, 128, 4)
    return new_student(teacher, OFAConfig(width, hidden, 1, 1, heads, positions=128, dropout=0.0))


def teaching_plan(profile: str) -> dict[str, Any]:
    """How the students of chapter 8 are taught, as arguments of `teaching.distill_captioner`."""
    training = {
        "smoke": TrainConfig(epochs=1, batch_size=16, lr=3e-3, log_every=1),
        "mini": TrainConfig(epochs=3, batch_size=16, optimizer="muon", lr=5e-3, clip=1.0),  # 3 x 63 steps
        "full": TrainConfig(epochs=5, batch_size=8, lr=5e-5, mixed_precision="bf16"),
    }[profile]
    return {"recipe": fashion_recipe(profile), "decoding": FASHION_DECODING, "training": training}
