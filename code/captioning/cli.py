"""`captioning VERB ...`: the functions below as commands, with their options built from the configuration dataclasses.

Every command takes `--config FILE` (YAML or JSON) and single options over it; `--print_config` shows what would run.
"""

from __future__ import annotations

import json
import shlex
import sys
import warnings
from dataclasses import asdict
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Literal

from datasets import DatasetDict
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from jsonargparse import auto_cli
from rich.console import Console
from rich.markup import escape

from captioning import evaluation, metrics, paths, terminal
from captioning.data import sources
from captioning.decoding import Decoding
from captioning.experiment import Recipe, describe_run, read_run, reinforce_captioner, split_features, train_captioner
from captioning.inference import Engine, caption_files, captioned
from captioning.losses import RLConfig
from captioning.metrics.base import Unavailable
from captioning.metrics.files import metrics_at_hand, read_captions
from captioning.metrics.legacy import fashion
from captioning.models.attention import AttentionConfig
from captioning.models.base import CaptionModel
from captioning.models.encoder import EncoderConfig
from captioning.models.gru import GRUConfig
from captioning.models.regions import RegionConfig
from captioning.models.saved import DecoderConfig, load
from captioning.models.transformer import TransformerConfig
from captioning.rewards import RewardConfig
from captioning.training import Record, TrainConfig, device


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
        data: minifashion, deepfashion, flickr8k, flickr30k, coco, vizwiz, personality or folder
        folder: where the data set lies; dataset/NAME by default
        run: folder of the run, output/KIND_DATA by default; a run that was stopped goes on where it was
        encoder: the picture encoder: a grid of cells
        regions: a detector's regions in place of the grid
        recipe: how captions become training samples
        training: the training loop
        decoding: how captions are chosen on val
        resume: false deletes what the run folder holds
    """
    folder = folder or paths.DATASET / data
    run = run or paths.OUTPUT / f"{type(decoder).__name__.removesuffix('Config').lower()}_{data}"
    dataset, encoder = readable(sources.load(data, folder)), regions or encoder
    log = train_captioner(dataset, run, decoder, encoder, recipe, training, decoding, resume=resume)
    finish(run, log, recipe, decoding, data, folder)


def finish(run: Path, log: list[Record], recipe: Recipe, decoding: Decoding, data: str, folder: Path) -> None:
    """Note what `evaluate` needs to know of a run, and print its best score."""
    facts = {"data": data, "folder": Path(folder).absolute(), "minutes": log[-1]["minutes"], "command": command()}
    describe_run(run, **facts, recipe=asdict(recipe), decoding=asdict(decoding))
    best = max((record for record in log if "val/score" in record), key=lambda record: record["val/score"])
    print(f"{run}: best {recipe.choose} on val {best['val/score']:.4f} after epoch {best['epoch']:.0f}")


def readable(dataset: DatasetDict) -> DatasetDict:
    """The data set without the pictures and captions that would stop an epoch; they are listed."""
    findings = sources.check(dataset)
    if len(findings):
        print(f"left out {len(findings)}:\n{findings.to_string(index=False)}", file=sys.stderr)
    return sources.healthy(dataset, findings)


def train_gru(decoder: GRUConfig = GRUConfig(), **options) -> None:
    """CNN + GRU: the whole picture as one vector."""
    train(decoder=decoder, **options)


def train_attention(decoder: AttentionConfig = AttentionConfig(), **options) -> None:
    """Grid self-attention and a GRU that looks at the cells."""
    train(decoder=decoder, **options)


def train_transformer(decoder: TransformerConfig = TransformerConfig(), **options) -> None:
    """Grid self-attention and a transformer decoder."""
    train(decoder=decoder, **options)


def reinforce(
    start: Path,
    run: Path | None = None,
    data: str | None = None,
    folder: Path | None = None,
    rl: RLConfig = RLConfig(),
    reward: RewardConfig = RewardConfig(),
    recipe: Recipe = Recipe(),
    training: TrainConfig = TrainConfig(lr=5e-5),
    decoding: Decoding | None = None,
    resume: bool = True,
) -> None:
    """Go on from a trained run with self-critical training: its captions are rewarded for their score.

    Args:
        start: folder of a run of `train`
        run: folder of the new run, START_rl by default; a run that was stopped goes on where it was
        data: the data set of a notebook's run; `train` notes its own
        folder: where that data set lies; dataset/NAME by default
        rl: how samples are drawn and what they must beat
        reward: what is rewarded
        recipe: how captions become training samples
        training: the training loop
        decoding: how captions are chosen on val; as in START by default
        resume: false deletes what the run folder holds
    """
    described = read_run(start, data, folder or paths.DATASET / (data or ""))
    run = run or start.with_name(start.name + "_rl")
    dataset = readable(sources.load(described["data"], described["folder"]))
    chosen = decoding or Decoding(**described["decoding"])
    log = reinforce_captioner(dataset, run, start, rl, reward, recipe, training, chosen, resume=resume)
    finish(run, log, recipe, chosen, described["data"], described["folder"])


def evaluate(
    run: Path,
    split: str = "val",
    data: str | None = None,
    folder: Path | None = None,
    decoding: Decoding | None = None,
    record: bool = False,
    name: str | None = None,
) -> None:
    """Score a run on a split, with the controls and 95 % intervals beside it.

    Args:
        run: folder of a run
        data: the data set of a notebook's run; `train` notes its own
        folder: where that data set lies; dataset/NAME by default
        split: val for every choice; test once
        decoding: how captions are chosen; as in training by default
        record: put the rows into output/results.csv, the source of the README's tables
        name: of the model in the table; its kind by default
    """
    described = read_run(run, data, folder or paths.DATASET / (data or ""))
    dataset, model = readable(sources.load(described["data"], described["folder"])), load_model(run)
    if split not in dataset:
        raise ValueError(f"{described['data']} has the splits {', '.join(dataset)}, not {split!r}")
    decoding, rows = decoding or Decoding(**described["decoding"]), dataset[split]
    train_features, features = split_features(model, dataset["train"]), split_features(model, rows)
    predictions = evaluation.caption_rows(model, rows, decoding, features)
    controls = evaluation.control_predictions(dataset["train"], predictions, train_features, features)
    also, absent = metrics_at_hand()
    scores = evaluation.score_systems(rows, {name or model.kind: predictions} | controls, also)
    evaluation.write_predictions(predictions, run / f"predictions_{split}.json")
    Console().print(terminal.score_rows(scores), *absent, sep="\n")
    if record:
        facts = {
            "run": run.name,
            "data": described["data"],
            "split": split,
            "profile": "full" if described["data"] != "minifashion" else paths.profile(),
        }
        settings = {"decoding": f"beam {decoding.beams}", "minutes": described["minutes"]}
        evaluation.record(scores, **facts, **settings, command=described.get("command", command()))


def score(
    predictions: Path,
    references: Path,
    against: Path | None = None,
    train: Path | None = None,
    out: Path | None = None,
    strict: bool = False,
    legacy: Literal["fashion"] | None = None,
    spice: Path | None = None,
    clip: Path | None = None,
) -> None:
    """Score a file of captions: COCO's metrics, METEOR where there is Java, intervals, controls and diversity.

    The files are COCO results ([{"image_id", "caption"}]), COCO annotations, or {id: caption or [captions]}.

    Args:
        predictions: the captions to judge
        references: the true captions
        against: another system's captions: paired test of the difference
        train: the training captions, for the controls and the share of novel captions
        out: a JSON file for everything that was found
        strict: what is missing, extra, doubled, empty or no caption is an error and not a message
        legacy: fashion: also the three numbers of an earlier fashion course, as it computed them
        spice: a folder with the CoreNLP 3.6.0 jars: also SPICE
        clip: a folder of pictures named by their ids: also CLIPScore
    """
    judged, truth = read_captions(predictions), read_captions(references)
    others = {"against": against and read_captions(against), "train": train and read_captions(train)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        also, absent = metrics_at_hand(spice, clip)
        report = metrics.score(judged, truth, **others, also=also)
    messages = [str(warning.message) for warning in caught if warning.category is UserWarning]
    if strict and messages:
        raise ValueError("\n".join(messages))
    console = Console()
    for table in terminal.report_tables(report):
        console.print(table)
    for message in messages + absent:
        console.print(f"[yellow]note[/yellow]: {escape(message)}", highlight=False)
    found = report.json()
    if legacy:
        first = {i: judged[i][0] for i in report.scores["predictions"].ids}
        found["legacy fashion"] = fashion(first, {i: truth[i] for i in first})
        console.print("the earlier fashion course's numbers:", found["legacy fashion"])
    if out:
        out.write_text(json.dumps(found, indent=1))


def caption(
    pictures: list[str],
    *,
    model: str,
    out: Path | None = None,
    decoding: Decoding | None = None,
    batch_size: int = 32,
    workers: int = 2,
    engine: Literal["local", "ray"] = "local",
) -> None:
    """Caption pictures: files, folders (in any depth) and patterns such as 'photos/*.jpg'.

    The same command again goes on where one was stopped.

    Args:
        pictures: files, folders, patterns
        model: folder of a run or a saved model, or a hub repository
        out: .jsonl or .csv file to write, with image, caption and log_probability; printed when not given. Pictures
            that it has already stay as they are
        decoding: how captions are chosen; by default 3 beams, and as many words as the model has positions for
        batch_size: pictures at a time
        workers: processes that read pictures
        engine: ray: Ray Data, on this machine or the cluster that RAY_ADDRESS names
    """
    run, captioner = engine_named(engine), load_model(model)
    decoding = decoding or Decoding(beams=3, max_length=captioner.max_length or 100)
    broken = caption_files(captioner, pictures, out, decoding, batch_size, workers, run)
    for message in broken:
        print(message, file=sys.stderr)
    if broken:
        sys.exit(f"captioning: pictures that could not be read: {len(broken)} (above); all others are captioned")


def engine_named(name: Literal["local", "ray"]) -> Engine:
    if name == "local":
        return captioned
    if not find_spec("ray"):
        raise ValueError("--engine ray needs Ray Data: pip install 'captioning[ray]'")
    from captioning import ray_engine

    return ray_engine.captioned


def load_model(name: str | Path) -> CaptionModel:
    """The saved captioner, on the GPU if there is one.

    Raises FileNotFoundError when `name` is no folder and no hub repository that can be had, and what `load` raises.
    """
    try:
        model = load(name)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise FileNotFoundError(
            f"{name}: no such folder, and no hub repository of this name can be had ({type(error).__name__}). "
            "Give the folder of a run or of a saved model, or OWNER/NAME on the hub."
        ) from error
    return model.to(device())


def data(name: str, folder: Path | None = None, check: bool = False) -> None:
    """Download a data set into dataset/NAME, or say which files to put where; --check verifies a folder.

    Args:
        name: flickr8k, flickr30k, coco, vizwiz, deepfashion or personality
        folder: another folder than dataset/NAME
        check: only check what is there: counts, missing and unreadable pictures
    """
    from captioning.data import download

    folder = folder or paths.DATASET / name
    if not check:
        try:
            download.fetch(name, folder)
        except download.ByHand as message:
            sys.exit(str(message))
    findings = download.verify(name, folder)
    if len(findings):
        print(findings.to_string(index=False))
        sys.exit(f"{folder}: {len(findings)} findings (above)")
    print(f"{folder}: complete")


def prepare() -> None:
    """Draw the embedded data set and train the small encoder that the notebooks share (CAPTIONING_PROFILE)."""
    from captioning.profiles import fashion_data, fashion_encoder

    profile = paths.profile()
    print(fashion_data(profile))
    print(f"encoder: {fashion_encoder(profile)}")


def results(data: str = "minifashion") -> None:
    """Print the Markdown table of output/results.csv that the README shows for a data set.

    Args:
        data: minifashion, flickr8k, ...
    """
    print(evaluation.results_markdown(data))


def command() -> str:
    """This command line, to be repeated by others."""
    return shlex.join(["python", "-m", "captioning", *sys.argv[1:]])


VERBS = {
    "train": {
        "_help": "Train a captioner: gru, attention or transformer.",
        "gru": train_gru,
        "attention": train_attention,
        "transformer": train_transformer,
    },
    "reinforce": reinforce,
    "evaluate": evaluate,
    "score": score,
    "caption": caption,
    "data": data,
    "prepare": prepare,
    "results": results,
}


def arguments(words: list[str]) -> list[str]:
    """A command line as jsonargparse takes it: a flag has a value there, and the pictures to caption are one list."""
    words = [f"{word}=true" if word in ("--check", "--record", "--strict") else word for word in words]
    if words[:1] != ["caption"]:
        return words
    pictures, options, rest = [], [], iter(words[1:])
    for word in rest:
        if not word.startswith("-"):
            pictures.append(word)
        else:
            has_value = "=" not in word and word not in ("-h", "--help", "--print_config")
            options += [word, *islice(rest, int(has_value))]
    return ["caption", *([json.dumps(pictures)] if pictures else []), *options]


def main() -> None:
    try:
        auto_cli(VERBS, args=arguments(sys.argv[1:]), prog="captioning")
    except (ValueError, TypeError, OSError, FloatingPointError, Unavailable) as error:
        sys.exit(f"captioning: {error}")
    except KeyboardInterrupt:
        sys.exit("captioning: interrupted; the same command goes on where this one was")
