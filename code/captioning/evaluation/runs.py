"""Run folders: opened for a training, described for whatever comes after it, and read."""

from __future__ import annotations

import json
from pathlib import Path

from captioning.paths import remove


def open_run(run: Path, wanted: dict, resume: bool) -> None:
    """Make the folder and its `config.json`, or make sure that the run in it is the one that is wanted."""
    path, wanted = run / "config.json", json.loads(json.dumps(wanted))  # tuples become lists, as in the file
    if not resume and run.exists():
        if not path.is_file() and any(run.iterdir()):
            raise ValueError(f"{run} holds files but no run (config.json): delete it yourself, or give another folder")
        remove(run)
    run.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        aside = path.with_suffix(".partial")
        aside.write_text(json.dumps(wanted, indent=2))
        aside.rename(path)
    found = json.loads(path.read_text())
    if found != wanted:
        differ = {k: (found.get(k), wanted.get(k)) for k in found | wanted if found.get(k) != wanted.get(k)}
        raise OtherRun(
            f"{run} holds a run of another configuration (found, wanted): {differ}. "
            "Give the new run a folder of its own, or say resume=False to replace the old one."
        )


class OtherRun(ValueError):
    """The folder holds a run of another configuration."""


def describe_run(run: Path, **facts) -> None:
    """Write facts (data set, folder, decoding, command ...) to `run/experiment.json`, for evaluation."""
    (run / "experiment.json").write_text(json.dumps(facts, indent=2, default=str))


def read_run(run: Path, data: str | None = None, folder: Path | None = None) -> dict:
    """What `describe_run` wrote; for a run of `train_captioner`, which does not know their names, with data and folder.

    Raises FileNotFoundError when `run` is no finished run.
    """
    path = run / "experiment.json"
    if data and (run / "log.jsonl").is_file():
        decoding = json.loads((run / "config.json").read_text())["decoding"]
        minutes = minutes_so_far(run / "log.jsonl")
        return {"data": data, "folder": folder, "decoding": decoding, "minutes": minutes}
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the folder of a run that `captioning train` has finished")
    return json.loads(path.read_text())


def minutes_so_far(log: Path) -> float:
    """Minutes of training by a run's log, whose lines have them where validation ended; nan before the first such."""
    found = (json.loads(line).get("minutes") for line in log.read_text().splitlines())
    return next(reversed([minutes for minutes in found if minutes is not None]), float("nan"))
