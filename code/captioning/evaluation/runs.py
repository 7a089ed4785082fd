"""Run folders: opened for a training, described for whatever comes after it, and read with their data."""

from __future__ import annotations

import json
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from datasets import DatasetDict

from captioning import paths
from captioning.data import sources
from captioning.data.batches import fingerprint
from captioning.data.files import read_json
from captioning.decoding.config import Decoding, DecodingChanges
from captioning.disk import left_over
from captioning.models.base import CaptionModel
from captioning.models.folders import is_hub
from captioning.models.vlm import is_vlm
from captioning.writing import claim_file, json_with, remove, some, write_json

FILES = (  # what the package writes into the folder of a run, or of a data set that is written anew
    *("config.json", "experiment.json", "log.jsonl", "made_of.txt", "predictions_*.json", "scores_*.json"),
    *("submission_*.json", "best", "last", "best.*", "last.*", "*.partial", "checkpoints", "tensorboard", "wandb"),
    *("answers", "*.parquet", "*_captions.json", "report.html"),
)


def open_run(run: Path, wanted: dict, resume: bool) -> None:
    """Make the folder and its `config.json`, or make sure that the run in it is the one that is wanted.

    Raises ValueError for a folder that holds files but no run and, where the run is to be replaced, for one that also
    holds other files; OtherRun for a run of another configuration.
    """
    path, wanted = run / "config.json", json.loads(json.dumps(wanted))  # tuples become lists, as in the file
    if run.is_dir() and (others := foreign(run, nested=resume)) and not (resume and is_run(run)):
        what = "the run and other files" if is_run(run) else "files but no run (config.json)"
        raise ValueError(f"{run} holds {what}: {some(others)}. Delete or move them yourself, or give another folder")
    if not resume:
        remove(run)
    run.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        write_json(path, wanted, indent=2)
    found = json.loads(path.read_text(encoding="utf-8"))
    if found != wanted:
        differ = {k: (found.get(k), wanted.get(k)) for k in found | wanted if found.get(k) != wanted.get(k)}
        raise OtherRun(
            f"{run} holds a run of another configuration (found, wanted): {differ}. "
            "Give the new run a folder of its own, or delete the old one (a training does it itself with resume=False, "
            "on the command line --resume false)."
        )


def is_run(folder: Path) -> bool:
    """Whether the folder has the `config.json` of a training or of a data set that is written anew."""
    return any(json_with(key)(folder / "config.json") for key in ("processes", "tasks"))


def foreign(folder: Path, nested: bool) -> list[str]:
    """The names in a folder that do not belong to its run; with `nested` runs may lie in it, which are none of them."""
    ours = FILES if is_run(folder) else ()
    names = {path.name for path in folder.iterdir() if not left_over(path) and not (nested and is_run(path))}
    return sorted(name for name in names if not any(fnmatch(name, pattern) for pattern in ours))


class OtherRun(ValueError):
    """The folder holds a run of another configuration."""


def describe_run(run: Path, **facts) -> None:
    """Write facts (data set, folder, decoding, command ...) to `run/experiment.json`, for evaluation."""
    write_json(run / "experiment.json", json.loads(json.dumps(facts, default=str)), indent=2)


def read_run(run: Path, data: str | None = None, folder: Path | None = None) -> dict:
    """What `describe_run` wrote, on another data set where `data` or `folder` names one.

    `folder` is then where the data set lies on this machine: the one that is given, the one of the training if it is
    there, else dataset/NAME. A run of `train_captioner` knows no names: it is read with `data`. Raises
    FileNotFoundError when `run` is no finished run.
    """
    path, log = run / "experiment.json", run / "log.jsonl"
    if path.is_file():
        described = read_json(path, dict)
    elif data and log.is_file():
        decoding = read_json(run / "config.json", dict)["decoding"]
        described = {"decoding": decoding, "minutes": minutes_so_far(log)}
    else:
        raise FileNotFoundError(f"{path}: no such file; give the folder of a run that `captioning train` has finished")
    trained = described.get("data"), described.get("folder") or ""
    name = data or trained[0]
    if folder is None:
        there = name == trained[0] and Path(trained[1]).is_absolute() and Path(trained[1]).is_dir()
        folder = trained[1] if there else paths.DATASET / name
    return described | {"data": name, "folder": str(Path(folder).absolute())}


def decoding_of(described: dict, model: CaptionModel, changes: DecodingChanges | None) -> Decoding:
    """How a run's captions are chosen but for `changes`: as in training (`read_run`), or as is usual for the model."""
    usual = Decoding(**described["decoding"]) if "decoding" in described else model.usual
    return replace(usual, **changes or {})


def trained_here(model: Path) -> bool:
    """Whether a folder is that of a run and not of a model alone."""
    return any((model / name).is_file() for name in ("experiment.json", "log.jsonl"))


def from_elsewhere(model: Path) -> bool:
    """Whether a folder or a hub repository has a vision-language model that was not trained here."""
    return not trained_here(model) and (is_hub(model) or (model / "config.json").is_file()) and is_vlm(model)


def about_elsewhere(model: Path, data: str | None, folder: Path | None) -> dict:
    """What `read_run` gives, of a model `from_elsewhere`. Raises ValueError where no data set is named."""
    if data is None:
        raise ValueError(f"{model} was not trained here: say with --data, and --folder, on which pictures to score it")
    return {"data": data, "folder": str((folder or paths.DATASET / data).absolute()), "minutes": 0.0}


def load_data(run: Path, described: dict, *needed: str) -> DatasetDict:
    """The data set that `read_run` names.

    Raises FileNotFoundError where it is not on this machine, ValueError where it lacks one of the splits `needed`.
    """
    name, folder = described["data"], Path(described["folder"])
    if not folder.is_dir() and not name.startswith("mini"):  # these are drawn
        raise FileNotFoundError(
            f"{folder}: no such folder, and {run} needs its data set {name}: say with --folder where that lies"
        )
    dataset = sources.load(name, folder)
    if missing := [split for split in needed if split not in dataset]:
        raise ValueError(f"{name} in {folder} has the splits {', '.join(dataset)}, not {', '.join(map(repr, missing))}")
    return dataset


def other_data(run: Path, described: dict, dataset: DatasetDict) -> str:
    """For a data set that `read_run` was asked for: empty if it is the one that the run was trained on, wherever that
    lies now; else the name of its folder, by which results are called, so that they do not replace the run's own."""
    path, config = run / "experiment.json", run / "config.json"
    trained = read_json(path, dict) if path.is_file() else described
    known = read_json(config, dict).get("data") if config.is_file() else None
    if all(trained.get(key) == described[key] for key in ("data", "folder")):
        return ""
    if {"train", "val"} <= dataset.keys() and fingerprint(dataset) == known:
        return ""
    folder = Path(described["folder"])
    return folder.name if folder.name != trained.get("data") else f"{folder.parent.name}_{folder.name}"


def result_files(run: Path, split: str, described: dict, other: str) -> tuple[Path, Path]:
    """The files for the predictions and the scores of a split, of the run's own data or of `other_data`; which are new
    or earlier ones of the same data. Raises what `claim_file` raises."""
    name = f"{split}_{other}" if other else split
    predictions, scores = run / f"predictions_{name}.json", run / f"scores_{name}.json"
    claim_file(predictions, is_predictions)
    folder = described["folder"] if other else None
    claim_file(scores, lambda path: json_with("data", "split", "scores")(path) and told_folder(path) == folder)
    return predictions, scores


def is_predictions(path: Path) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(found, list) and all(
        isinstance(each, dict) and {*each} == {"image_id", "caption"} for each in found
    )


def told_folder(path: Path) -> str | None:
    return read_json(path, dict).get("folder")


def minutes_so_far(log: Path) -> float:
    """Minutes of training by a run's log, whose lines have them where validation ended; nan before the first such."""
    found = (json.loads(line).get("minutes") for line in log.read_text().splitlines())
    return next(reversed([minutes for minutes in found if minutes is not None]), float("nan"))
