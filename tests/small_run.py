"""A home folder with a data set of a few pictures and a captioner that was trained on it, for tests of commands."""

import json
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from captioning import cli, paths
from captioning.data import sources
from captioning.evaluation import splits
from conftest import TINY_DECODERS

SPLITS = ("train", "train", "train", "val", "val", "test", "test")
WORDS = ("a red hat", "a blue hat", "a man in a hat", "two dogs run", "a dog", "a red dog", "a blue man")


def draw(folder, words=WORDS):
    """A data set in the layout of `--data folder`: two pictures share each file name."""
    rows = []
    for number, (split, text) in enumerate(zip(SPLITS, words, strict=True)):
        file = folder / "ab"[number % 2] / f"{number // 2}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng([number, len(words[0])]).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
        rows.append({"file_name": file.relative_to(folder).as_posix(), "captions": [text], "split": split})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def say(*argv):
    """Exit status of a command, and what it says in the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["captioning", *map(str, argv)])
        patch.setenv("PATH", "")  # a machine without Java
        try:
            cli.main()
        except SystemExit as leave:
            return (1, leave.code) if isinstance(leave.code, str) else (leave.code or 0, "")
    return 0, ""


SMALL = ["--encoder.name", "test_resnet", "--encoder.weights", "null", "--encoder.image_size", 32]
SMALL += ["--recipe.workers", 0, "--training.epochs", 1, "--training.batch_size", 4, "--training.lr", 0.01]
SMALL += ["--decoding.max_length", 8]
SMALL += [f"--decoder.{name}={value}" for name, value in TINY_DECODERS["gru"].items()]


@contextmanager
def small_home(folder):
    """The folder as the home of all commands, with `photos` and the run `output/run` that was trained on them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "DATASET", folder / "dataset")
        patch.setattr(paths, "OUTPUT", folder / "output")
        patch.setattr(splits, "FEATURES", folder / "output" / "features")
        patch.setattr(sources, "_problems", lambda pictures, workers: [None] * len(pictures))  # no processes
        data = ["--data", "folder", "--folder", draw(folder / "photos")]
        assert say("train", "gru", *data, "--run", folder / "output" / "run", *SMALL) == (0, "")
        yield folder
