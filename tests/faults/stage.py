"""Commands as processes that are disturbed: killed, told to end, stopped, short of room, run by somebody else.

Each is forked from one process that has the libraries loaded, and begins in milliseconds. They share a home with a data
set and a small run; whatever a trial writes, it writes into a folder of its own.
"""

import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image

NOBODY = 65534
LOADED = [f"captioning.{name}" for name in (
    "cli.train", "cli.rebuild", "cli.terminal", "data.sources", "metrics.files", "metrics.report", "plots.figures",
    "evaluation.styles", "learning.experiment", "rebuild.pipeline", "rebuild.report", "rebuild.server",
    "serving.requests", "serving.quantized", "serving.web", "sharing.backup", "models.timm_models", "serving.machine",
    "serving.written", "data.formats.shown", "cli.caption", "cli.evaluate",
)]  # fmt: skip
LOADED += ["openai", "accelerate", "platformdirs.unix", "multiprocessing.synchronize", "encodings.utf_8_sig"]
SMALL = ["--encoder.name", "test_resnet", "--encoder.weights", "null", "--encoder.image_size", "32"]
SMALL += ["--training.batch_size", "4", "--training.lr", "0.01", "--decoding.max_length", "8", "--decoding.beams", "1"]
SMALL += ["--decoder.picture=12", "--decoder.embedding=8", "--decoder.hidden=16"]
PICTURES = 24


@dataclass(frozen=True)
class Ended:
    status: int  # as `subprocess` has it: -9 for a process that was killed
    out: str
    err: str


class Said:
    """What comes out of a command, through a pipe: of a file a full disk would cut it."""

    def __init__(self):
        self.text = b""
        self.mine, self.pipe = multiprocessing.Pipe(duplex=False)
        self.reader = threading.Thread(target=self.read, daemon=True)

    def begin(self) -> None:
        self.pipe.close()
        self.reader.start()

    def read(self) -> None:
        while more := os.read(self.mine.fileno(), 1 << 16):
            self.text += more
        self.mine.close()


class Command:
    """`captioning ARGV ...`, begun. `room`: bytes that a file may have. `before`: called first, in the process."""

    def __init__(self, *argv: object, room: int = 0, nobody: bool = False, before: Callable[[], None] | None = None):
        self.said = {name: Said() for name in ("out", "err")}
        pipes = [self.said[name].pipe for name in ("out", "err")]
        context = multiprocessing.get_context("forkserver")
        self.process = context.Process(target=act, args=(list(map(str, argv)), pipes, room, nobody, before))
        self.process.start()
        for said in self.said.values():
            said.begin()
        self.pid, self.told = self.process.pid, False

    def wait_for(self, happened: Callable[[], bool], seconds: float = 120) -> None:
        """Until something has happened, or the command has ended."""
        end = time.monotonic() + seconds
        while not happened() and self.process.is_alive():
            assert time.monotonic() < end, f"nothing happened in {seconds} s: {self.text('err')}"
            time.sleep(0.01)

    def tell(self, number: int, group: bool = False) -> None:
        """Send a signal, as `kill` does, or to all of its processes, as a terminal does."""
        self.told = True
        with suppress(ProcessLookupError):  # it has ended before
            (os.killpg if group else os.kill)(self.pid, number)

    def end(self, seconds: float = 300) -> Ended:
        self.process.join(seconds)
        if self.process.is_alive():
            self.tell(signal.SIGKILL, group=True)
            raise AssertionError(f"it did not end in {seconds} s: {self.text('err')}")
        for said in self.said.values():
            said.reader.join(30)  # as long as one of its processes lives, it may say more
        return Ended(self.process.exitcode, self.text("out"), self.text("err"))

    def text(self, name: str) -> str:
        return self.said[name].text.decode(errors="replace")


def act(argv: list[str], pipes: list[Connection], room: int, nobody: bool, before: Callable[[], None] | None) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell begins in the background ignores it
    for number, pipe in enumerate(pipes, 1):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    sys.argv = ["captioning", *argv]
    os.environ["PATH"] = ""  # a machine without Java
    from captioning import cli

    if before:
        before()
    if not argv:
        return
    if nobody and not os.geteuid():
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    if room:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    cli.main()


@dataclass(eq=False)
class Stage:
    """What all trials begin with."""

    place: Path
    number: int = field(default=0)

    @property
    def photos(self) -> Path:
        return self.place / "photos"

    @property
    def run(self) -> Path:
        return self.place / "run"

    def folder(self) -> Path:
        """A new one."""
        self.number += 1
        made = self.place / f"trial{self.number}"
        made.mkdir(mode=0o777)
        made.chmod(0o777)
        return made

    def train(self, run: Path, *more: object, **how: object) -> Command:
        words = ["train", "gru", "--data", "folder", "--folder", self.photos, "--run", run, *SMALL]
        return Command(*words, *(more or ("--recipe.workers", 0, "--training.epochs", 2)), **how)

    def caption(self, out: Path, *more: object, **how: object) -> Command:
        words = ["caption", self.photos, "--model", self.run, "--out", out, "--decoding.max_length", 8]
        return Command(*words, "--batch_size", 2, *(more or ("--workers", 0)), **how)


def build(place: Path) -> Stage:
    """Draw the pictures and train the run. The home of all commands is `place`/home."""
    place.chmod(0o755)
    os.environ |= {"CAPTIONING_HOME": str(place / "home"), "HOME": str(place / "user"), "TQDM_DISABLE": "1"}
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    multiprocessing.get_context("forkserver").set_forkserver_preload(LOADED)
    for folder in ("home/output", "user"):
        (place / folder).mkdir(parents=True)
    stage = Stage(place)
    draw(stage.photos)
    ended = stage.train(stage.run).end()
    assert ended.status == 0, ended.err
    return stage


def draw(folder: Path) -> None:
    rows, words = [], ("a red hat", "a blue hat", "a man in a hat", "two dogs run", "a dog", "a red dog")
    folder.mkdir()
    for number in range(PICTURES):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
        split = ("train", "train", "train", "val", "test", "train")[number % 6]
        rows.append({"file_name": f"{number:02}.png", "captions": [words[number % 6]], "split": split})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def content(folder: Path) -> dict[str, bytes]:
    """All files, the hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def hidden(folder: Path) -> list[str]:
    """What a process left half done."""
    return [path.name for path in folder.rglob(".*") if path.name != ".captioning.json"]
