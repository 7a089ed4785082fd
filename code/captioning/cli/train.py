"""`captioning train` and `reinforce`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from captioning import paths
from captioning.cli.common import finish, readable
from captioning.decoding.config import Decoding, DecodingChanges
from captioning.learning.config import Recipe, RewardConfig, RLConfig, TrainConfig
from captioning.models.config import (
    BLIP_DECODING,
    OFA_LORA,
    VLM_LORA,
    AttentionConfig,
    BlipConfig,
    DecoderConfig,
    EncoderConfig,
    GRUConfig,
    LoraConfig,
    RegionConfig,
    SeeingConfig,
    TransformerConfig,
    VLMConfig,
)
from captioning.models.ofa.config import OFA_DECODING, OFAStart


def train(
    decoder: DecoderConfig,
    data: str = "minifashion",
    folder: Path | None = None,
    run: Path | None = None,
    encoder: EncoderConfig = EncoderConfig(),
    regions: RegionConfig | None = None,
    recipe: Recipe = Recipe(),
    training: TrainConfig = TrainConfig(),
    decoding: Decoding = Decoding(beams=3),
    resume: bool = True,
) -> None:
    """Train a captioner and keep the weights of the epoch that is best on val.

    Args:
        decoder: sizes of the decoder
        data: minifashion, deepfashion, flickr8k, flickr30k, coco, vizwiz, personality, OWNER/NAME of the hub, folder
            (of any format of docs/formats.md) or unsplit (the same, some of it held out)
        folder: where the data set lies; dataset/NAME by default
        run: folder of the run, output/KIND_DATA by default; a run that was stopped goes on where it was
        encoder: the picture encoder: a grid of cells
        regions: a detector's regions in place of the grid
        recipe: how captions become training samples
        training: the training loop
        decoding: how captions are chosen on val
        resume: false deletes the run in the folder; a folder with other files is refused
    """
    from captioning.data import sources
    from captioning.learning.experiment import train_captioner

    folder = folder or paths.DATASET / data
    run = run or paths.OUTPUT / f"{type(decoder).__name__.removesuffix('Config').lower()}_{data}"
    dataset, encoder = readable(sources.load(data, folder)), regions or encoder
    log = train_captioner(dataset, run, decoder, encoder, recipe, training, decoding, resume=resume)
    finish(run, log, recipe, decoding, data, folder)


def train_gru(decoder: GRUConfig = GRUConfig(), **options) -> None:
    """CNN + GRU: the whole picture as one vector."""
    train(decoder=decoder, **options)


def train_attention(decoder: AttentionConfig = AttentionConfig(), **options) -> None:
    """Grid self-attention and a GRU that looks at the cells."""
    train(decoder=decoder, **options)


def train_transformer(decoder: TransformerConfig = TransformerConfig(), **options) -> None:
    """Grid self-attention and a transformer decoder."""
    train(decoder=decoder, **options)


def train_seeing(
    decoder: SeeingConfig = SeeingConfig(),
    encoder: EncoderConfig = EncoderConfig("tf_efficientnet_lite2", weights="package", image_size=256),
    recipe: Recipe = Recipe(captions=5, max_length=40, smoothing=0.0),
    training: TrainConfig = TrainConfig(epochs=2, batch_size=8, lr=2e-4, clip=1.0),
    decoding: Decoding = Decoding(beams=3, max_length=40),
    **options,
) -> None:
    """A language model that reads visual tokens: all of it, only adapters, or only what makes the tokens."""
    train(decoder=decoder, encoder=encoder, recipe=recipe, training=training, decoding=decoding, **options)


def tune(
    start: BlipConfig | OFAStart | VLMConfig,
    adapters: LoraConfig,
    recipe: Recipe,
    training: TrainConfig,
    decoding: Decoding,
    data: str,
    lora: bool,
    folder: Path | None = None,
    run: Path | None = None,
    resume: bool = True,
) -> None:
    """Go on from pretrained weights, with all of them, or with --lora only adapters.

    Args:
        folder: where the data set lies; dataset/NAME by default
        run: folder of the run, output/KIND_DATA or output/KIND_lora_DATA by default
        resume: false deletes the run in the folder; a folder with other files is refused
    """
    from captioning.data import sources
    from captioning.learning.fine_tuning import fine_tune

    if not lora and adapters != {BlipConfig: LoraConfig(), OFAStart: OFA_LORA, VLMConfig: VLM_LORA}[type(start)]:
        raise ValueError("--adapters without --lora: all weights would be trained; say --lora, or leave --adapters out")
    folder, kind = folder or paths.DATASET / data, {BlipConfig: "blip", OFAStart: "ofa", VLMConfig: "vlm"}[type(start)]
    run = run or paths.OUTPUT / f"{kind}{'_lora' * lora}_{data}"
    dataset = readable(sources.load(data, folder))
    log = fine_tune(dataset, run, start, adapters if lora else None, recipe, training, decoding, resume=resume)
    finish(run, log, recipe, decoding, data, folder)


def train_blip(
    start: BlipConfig = BlipConfig(),
    adapters: LoraConfig = LoraConfig(),
    recipe: Recipe = Recipe(max_length=40, smoothing=0.0),
    training: TrainConfig = TrainConfig(epochs=5, batch_size=16, lr=5e-5, weight_decay=0.05, clip=1.0),
    decoding: Decoding = BLIP_DECODING,
    data: str = "vizwiz",
    lora: bool = False,
    **options,
) -> None:
    """BLIP from its pretrained weights: all of them, or with --lora only adapters.

    Args:
        data: minivizwiz, minifashion, deepfashion, flickr8k, flickr30k, coco, vizwiz, personality, OWNER/NAME of the
            hub, folder (of any format of docs/formats.md) or unsplit (the same, some of it held out)
        lora: train adapters and leave the model's own weights as they are
    """
    tune(start, adapters, recipe, training, decoding, data, lora, **options)


def train_ofa(
    start: OFAStart = OFAStart(),
    adapters: LoraConfig = OFA_LORA,
    recipe: Recipe = Recipe(max_length=40, smoothing=0.1),
    training: TrainConfig = TrainConfig(epochs=3, batch_size=8, lr=5e-5, warmup=0.01, weight_decay=0.001, clip=1.0),
    decoding: Decoding = OFA_DECODING,
    data: str = "personality",
    lora: bool = False,
    **options,
) -> None:
    """OFA from its pretrained weights: all of them, or with --lora only adapters; in the styles of the data set.

    Args:
        data: minivizwiz, minifashion, deepfashion, flickr8k, flickr30k, coco, vizwiz, personality, OWNER/NAME of the
            hub, folder (of any format of docs/formats.md) or unsplit (the same, some of it held out)
        lora: train adapters and leave the model's own weights as they are
    """
    tune(start, adapters, recipe, training, decoding, data, lora, **options)


def train_vlm(
    start: VLMConfig = VLMConfig(),
    adapters: LoraConfig = VLM_LORA,
    recipe: Recipe = Recipe(max_length=128, smoothing=0.0),
    training: TrainConfig = TrainConfig(epochs=3, batch_size=4, accumulation=4, lr=1e-4, clip=1.0),
    decoding: Decoding = Decoding(),
    data: str = "folder",
    lora: bool = False,
    **options,
) -> None:
    """A vision-language model of transformers (SmolVLM, Qwen-VL, LLaVA ...): all of it, or with --lora only adapters.

    Args:
        data: minivizwiz, minifashion, deepfashion, flickr8k, flickr30k, coco, vizwiz, personality, OWNER/NAME of the
            hub, folder (of any format of docs/formats.md) or unsplit (the same, some of it held out)
        lora: train adapters and leave the model's own weights as they are
    """
    tune(start, adapters, recipe, training, decoding, data, lora, **options)


def reinforce(
    start: Path,
    run: Path | None = None,
    data: str | None = None,
    folder: Path | None = None,
    rl: RLConfig = RLConfig(),
    reward: RewardConfig = RewardConfig(),
    recipe: Recipe = Recipe(),
    training: TrainConfig = TrainConfig(lr=5e-5),
    decoding: DecodingChanges | None = None,
    resume: bool = True,
) -> None:
    """Go on from a trained run with self-critical training: its captions are rewarded for their score.

    Args:
        start: folder of a run of `train`
        run: folder of the new run, START_rl by default; a run that was stopped goes on where it was
        data: the data set of a notebook's run; `train` notes its own, and this one takes its place
        folder: where the data set lies, of START or of --data; where it lay in training, or dataset/NAME, by default
        rl: how samples are drawn and what they must beat
        reward: what is rewarded
        recipe: how captions become training samples
        training: the training loop
        decoding: how captions are chosen on val, where not as in START
        resume: false deletes the run in the folder; a folder with other files is refused
    """
    from captioning.evaluation.runs import load_data, read_run
    from captioning.learning.experiment import reinforce_captioner

    described = read_run(start, data, folder)
    chosen = replace(Decoding(**described["decoding"]), **decoding or {})
    run = run or start.with_name(start.name + "_rl")
    dataset = readable(load_data(start, described))
    log = reinforce_captioner(dataset, run, start, rl, reward, recipe, training, chosen, resume=resume)
    finish(run, log, recipe, chosen, described["data"], described["folder"])


COMMANDS = {
    "train": {
        "_help": "Train a captioner: gru, attention, transformer; seeing, a language model that sees; blip, ofa, vlm.",
        "gru": train_gru,
        "attention": train_attention,
        "transformer": train_transformer,
        "seeing": train_seeing,
        "blip": train_blip,
        "ofa": train_ofa,
        "vlm": train_vlm,
    },
    "reinforce": reinforce,
}
