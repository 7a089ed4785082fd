"""What people wait for, in this build and in another, side by side: the start, a folder, a training step, memory.

    python tests/bench/everyday.py [--against WORKTREE] [--rows start folder ...] [--repeats 5] [--pictures 1000]
                                   [--model RUN] [--data flickr8k --folder dataset/flickr8k]

WORKTREE is a checkout of the other build (`git worktree add WORKTREE COMMIT`); both run on the Python that runs this.
The builds take turns, so that whatever else the machine does falls on both. The table has medians of wall time and of
CPU time (all threads, all processes), and how many times as quick this build is by each. `start`, `folder` and `help`
are whole commands; the other rows are timed inside a process that is warm. OMP_NUM_THREADS sets the threads of all.

A --model must be one that both builds can load. Without it the captioner has random weights: EfficientNet-Lite2 at 288
pixels and a transformer of width 320, whose captions are all of 20 tokens. The pictures are JPEGs of 640 x 480, drawn,
about as large as photographs. With --data the captions of its `val` in 32 bits and by default are compared, and scored.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parents[2]
ROWS = ("start", "folder", "seeing", "decoding", "help", "reinforce", "features", "memory", "words")
VERBS = ("caption", "train transformer", "evaluate", "demo", "distill gru", "rebuild")
BATCH, SEEN, CELLS, WORDS = 32, 64, 81, 2960


@dataclass(frozen=True)
class Cost:
    wall: float  # seconds
    cpu: float  # seconds of all threads and child processes
    said: str = ""  # what else there is to know


def command(build: Path, *words: object) -> Cost:
    """`captioning WORDS` by a build, from its start to its end."""
    call = "from captioning.cli import main; main()"
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", call, *map(str, words)], env=environment(build), capture_output=True, text=True
    )
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{build}: captioning {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout)


def environment(build: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{build}/code:{build}/tests/bench"}


class Worker:
    """A process of a build that does one piece of work again and again."""

    def __init__(self, build: Path, work: str, model: Path, photos: Path):
        words = [sys.executable, "-P", __file__, "--work", work, "--model", model, "--photos", photos]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([*map(str, words)], env=environment(build), **pipes)

    def __call__(self) -> Cost:
        self.process.stdin.write("again\n")
        self.process.stdin.flush()
        return Cost(**json.loads(self.process.stdout.readline()))

    def end(self) -> None:
        self.process.communicate()


def at_work(name: str, model: Path, photos: Path) -> None:
    """The life of a worker: a line in, the work done, its cost out."""
    run = WORK[name](model, photos)
    run()
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        said = run() or ""
        print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "said": said}))
        sys.stdout.flush()


def either(*places: str):
    """What stands under the first of these names that the build has: things have moved."""
    for place in places:
        module, name = place.rsplit(".", 1)
        try:
            return getattr(import_module(module), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    raise ModuleNotFoundError(" or ".join(places))


def load(model: Path):
    return either("captioning.models.saved.load")(model)


def seeing(model: Path, photos: Path) -> Callable:
    """SEEN pictures that are in memory, by the encoder alone in single precision, a batch at a time."""
    import torch

    captioner = load(model)
    size = captioner.encoder.config.image_size
    encode = either("captioning.models.inference.for_inference", "captioning.inference.for_inference")(captioner)
    images = torch.randint(0, 256, (BATCH, 3, size, size), dtype=torch.uint8)
    return lambda: [encode(images) for _ in range(SEEN // BATCH)] and None


def decoding(model: Path, photos: Path) -> Callable:
    """The two sizes of tests/bench/decoding.py at beam 5: our search as it is by default, Hugging Face's at 32 and 8
    pictures; milliseconds a picture."""
    import torch

    import decoding as bench

    torch.set_num_threads(1)
    engines = {}
    for vocabulary in (110, 10_000):
        ours = bench.make_model("transformer", vocabulary)
        theirs, features = bench.pegasus(ours), torch.randn(bench.PICTURES, bench.CELLS, ours.encoder.channels)
        how = either("captioning.decoding.config.Decoding", "captioning.decoding.Decoding")(
            beams=5, max_length=20, min_length=19
        )
        quick = default(ours)
        engines[f"{vocabulary} ours"] = lambda m=quick, f=features, h=how: bench.ours(m, f, h)
        for n in (32, 8):
            engines[f"{vocabulary} {n}"] = lambda t=theirs, m=ours, f=features, h=how, n=n: bench.hugging_face(
                t, m, f, h, n
            )

    def run() -> str:
        spent = {}
        for name, engine in engines.items():
            start = time.process_time()
            engine()
            spent[name] = time.process_time() - start
        return json.dumps(spent)

    return run


def default(model):
    """A captioner as the command `caption` uses it when nothing is said."""
    try:
        return either("captioning.serving.machine.automatic")(model)
    except ModuleNotFoundError:  # the other build has no such choice
        return model


def reinforce(model: Path, photos: Path) -> Callable:
    """A self-critical step of 8 pictures x 16 samples, one thread; says the norm of its gradient."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    captioner, pictures, samples = load(model), 8, 16
    words = sorted(w for w in captioner.tokenizer.tokenizer.get_vocab() if w.isalpha())
    rng = np.random.default_rng(0)
    references = {str(i): [" ".join(rng.choice(words, 11)) for _ in range(5)] for i in range(1000)}
    judge = either("captioning.learning.rewards.SampleReward", "captioning.rewards.SampleReward")
    config = either("captioning.learning.config.RLConfig", "captioning.losses.RLConfig")
    objective = either("captioning.learning.losses.SelfCritical", "captioning.losses.SelfCritical")(
        captioner, judge(references, captioner.tokenizer), config(samples=samples, max_length=20)
    )
    generator, keys = torch.Generator().manual_seed(0), torch.arange(pictures)
    features = torch.randn(pictures, CELLS, captioner.encoder.channels, generator=generator)
    parameters = [p for p in captioner.parameters() if p.requires_grad]

    def run() -> str:
        captioner.zero_grad()
        objective({"images": features, "rows": keys, "keys": keys})[0].backward()
        return f"{torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).norm():.7g}"

    return run


def features(model: Path, photos: Path) -> Callable:
    """Cached features of all photographs, as a training asks for them."""
    cached = either("captioning.data.features.cached_features")
    encoder, files = load(model).encoder, sorted(map(str, photos.iterdir()))
    try:
        inference = import_module("captioning.models.inference")
        # as `splits.split_features` asks
        quick = {"precision": inference.precision(encoder.config), "batch_size": inference.FEW}
    except ModuleNotFoundError:
        quick = {}

    def run() -> None:
        with tempfile.TemporaryDirectory() as place:
            cached(files, encoder, Path(place), **quick)

    return run


WORK = {"seeing": seeing, "decoding": decoding, "reinforce": reinforce, "features": features}


@dataclass
class Bench:
    """The two builds, what they caption with, and how often."""

    new: Path
    old: Path
    model: Path
    place: Path  # for what is drawn and written
    options: argparse.Namespace
    times: dict[str, tuple[list[Cost], list[Cost]]] = field(default_factory=dict)  # new, old

    def photos(self, pictures: int) -> Path:
        from folder import SIZES, draw

        folder = self.place / f"photos{pictures}"
        return folder if folder.exists() else draw(folder, SIZES["640 x 480"], pictures)

    def in_turns(self, row: str, run: Callable[[Path], Cost], pictures: int = 1) -> None:
        """Run for both builds in turns, and show what it costs."""
        costs = [], []
        for turn in range(self.options.repeats + 1):
            for build, found in zip((self.new, self.old), costs, strict=True):
                cost = run(build)
                if turn:  # the first ones read files that nobody had read
                    found.append(cost)
        self.times[row] = costs
        new, old = (
            {k: 1000 * median(getattr(c, k) for c in each) / pictures for k in ("wall", "cpu")} for each in costs
        )
        ratios = "  ".join(f"{k} {old[k]:8.1f} -> {new[k]:8.1f} ms  {old[k] / new[k]:5.2f} x" for k in ("wall", "cpu"))
        print(f"{row:10} {ratios}  ({self.options.repeats} runs each)", flush=True)

    def working(self, row: str, pictures: int, photos: Path) -> None:
        """The same for what workers do."""
        workers = {build: Worker(build, row, self.model, photos) for build in (self.new, self.old)}
        self.in_turns(row, lambda build: workers[build](), pictures)
        for worker in workers.values():
            worker.end()

    def start(self) -> None:
        [one] = self.photos(1).iterdir()
        self.in_turns("start", lambda build: command(build, "caption", one, "--model", self.model))

    def folder(self) -> None:
        pictures = self.options.pictures
        photos, out = self.photos(pictures), self.place / "captions.jsonl"

        def run(build: Path) -> Cost:
            out.unlink(missing_ok=True)
            return command(build, "caption", photos, "--model", self.model, "--out", out)

        self.in_turns("folder", run, pictures)

    def seeing(self) -> None:
        self.working("seeing", SEEN, self.photos(1))
        if "folder" in self.times:
            alone = median(c.wall for c in self.times["seeing"][1]) / SEEN
            for build, costs in zip(("this", "the other"), self.times["folder"], strict=True):
                rate = alone * self.options.pictures / median(c.wall for c in costs)
                print(f"  {build} build's folder, as a part of the rate of the other's encoder alone: {rate:.2f}")

    def decoding(self) -> None:
        self.working("decoding", 1, self.photos(1))
        for build, costs in zip(("this", "the other"), self.times["decoding"], strict=True):
            spent = [json.loads(cost.said) for cost in costs]
            middle = {name: median(each[name] for each in spent) for name in spent[0]}
            for words in (110, 10_000):
                ours, at32, at8 = (middle[f"{words} {name}"] for name in ("ours", "32", "8"))
                print(
                    f"  {build} build, {words:,} words: {at32 / ours:.1f} x Hugging Face at batch 32, "
                    f"{min(at8, at32) / ours:.1f} x at its best"
                )

    def help(self) -> None:
        for verb in VERBS:
            self.in_turns(f"help: {verb}", lambda build, verb=verb: command(build, *verb.split(), "--help"))

    def reinforce(self) -> None:
        self.working("reinforce", 1, self.photos(1))
        new, old = (float(costs[-1].said) for costs in self.times["reinforce"])
        print(f"  norm of the gradient: {new:.7g} here, {old:.7g} there")

    def features(self) -> None:
        pictures = self.options.features
        self.working("features", pictures, self.photos(pictures))

    def memory(self) -> None:
        """Peaks of `caption` over few and over many pictures, MiB."""
        few, many = (self.peak(n) for n in (100, self.options.many))
        print(f"memory     {few:.0f} MiB over 100 pictures, {many:.0f} over {self.options.many:,}: {many / few:.2f} x")

    def peak(self, pictures: int) -> float:
        out = self.place / f"captions{pictures}.jsonl"
        call = f"""import resource, sys; sys.argv = ["captioning", "caption", {str(self.photos(pictures))!r},
            "--model", {str(self.model)!r}, "--out", {str(out)!r}]
from captioning.cli import main; main(); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"""
        return float(subprocess.check_output([sys.executable, "-c", call], env=environment(self.new)).split()[-1])

    def words(self) -> None:
        """How many captions of `val` are worded differently than in single precision, by how much the one is better
        than the other there (the score of the search, of both captions in single precision), and what that costs."""
        if not self.options.data:
            return print("words      not compared: needs --data and --folder, and a trained --model")
        from captioning.data.sources import load as data_set
        from captioning.metrics.score import Scorer

        rows = data_set(self.options.data, self.options.folder)["val"]
        rows = rows.select(range(min(len(rows), self.options.said)))
        files = list(rows["image"])
        said = {weights: self.captions(files, weights) for weights in ("fp32", "auto")}
        scorer, scores = Scorer(dict(zip(rows["image_id"], rows["captions"], strict=True))), {}
        for weights, captions in said.items():
            scores[weights] = scorer(dict(zip(rows["image_id"], captions, strict=True)))["CIDEr-D"]
        differ = [(file, *two) for file, *two in zip(files, *said.values(), strict=True) if two[0] != two[1]]
        print(
            f"words      {len(differ)} of {len(rows)} captions differ; CIDEr-D {scores['fp32']:.4f} -> "
            f"{scores['auto']:.4f}"
        )
        if differ:
            gaps, moves = zip(*map(apart, seen_by_both(load(self.model), differ)), strict=True)
            ties = sum(gap <= move for gap, move in zip(gaps, moves, strict=True))
            print(
                f"  where they differ the scores are apart by {median(gaps):.4f} in the middle, {max(gaps):.4f} at "
                f"most; {ties} of them by no more than the arithmetic moves the two scores"
            )

    def captions(self, files: list[str], weights: str) -> list[str]:
        out = self.place / f"{weights}.jsonl"
        command(self.new, "caption", *files, "--model", self.model, "--out", out, "--weights", weights)
        return [json.loads(line)["caption"] for line in out.read_text().splitlines()]


def score(model, features, caption: str) -> float:
    """What a search ranks a caption by, for features (1, N, C)."""
    import torch

    ids = torch.tensor([[model.tokenizer.bos_id, *model.tokenizer.encode(caption), model.tokenizer.eos_id]])
    with torch.inference_mode():
        said = model(features, ids[:, :-1]).log_softmax(dim=-1).gather(-1, ids[:, 1:, None])
    return said.sum().item() / (ids.shape[1] - 1) ** model.usual.length_penalty


def seen_by_both(model, differ: list[tuple[str, str, str]]):
    """For (picture, caption in single precision, the other): the scores of both in single precision, and by default."""
    from captioning.data.batches import picture_tensor
    from captioning.models.inference import for_inference

    models = [(each, for_inference(each)) for each in (model, default(model))]
    for file, *captions in differ:
        image = picture_tensor(file, model.encoder.config.image_size)[None]
        yield [[score(each, features, caption) for caption in captions] for each, see in models
               for features in [see(image)]]  # fmt: skip


def apart(scores: list[list[float]]) -> tuple[float, float]:
    """How much better the first caption is in single precision, and by how much both scores move together."""
    plain, quick = scores
    return plain[0] - plain[1], sum(abs(a - b) for a, b in zip(plain, quick, strict=True))


def random_model(folder: Path) -> Path:
    """A captioner of the size that Flickr8k's has."""
    from captioning.models.config import EncoderConfig, TransformerConfig
    from captioning.models.saved import new
    from decoding import tokenizer_of

    decoder = TransformerConfig(width=320, heads=5, encoder_layers=1, layers=2, max_length=20)
    eyes = EncoderConfig("tf_efficientnet_lite2", weights=None, image_size=288)
    new(decoder, eyes, tokenizer_of(WORDS)).save_pretrained(folder)
    about = json.loads((folder / "config.json").read_text())
    del about["encoder"]["mirrored"]  # older builds do not know of it
    (folder / "config.json").write_text(json.dumps(about))
    return folder


def reader() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--against", type=Path, default=HERE, help="a checkout of another build; this one by default")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--model", type=Path, help="a trained captioner")
    parser.add_argument("--data", help="a data set, for the row `words`")
    parser.add_argument("--folder", type=Path, help="where it lies")
    parser.add_argument("--pictures", type=int, default=1000, help="of the row `folder`")
    parser.add_argument("--features", type=int, default=3600, help="pictures of the row `features`")
    parser.add_argument("--many", type=int, default=10_000, help="pictures of the row `memory`")
    parser.add_argument("--said", type=int, default=1000, help="pictures of the row `words`")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--photos", type=Path, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    options = reader().parse_args()
    if options.work:
        at_work(options.work, options.model, options.photos)
        return
    sys.path.insert(0, str(HERE / "code"))
    with tempfile.TemporaryDirectory() as place:
        model = options.model or random_model(Path(place) / "model")
        bench = Bench(HERE, options.against.resolve(), model.resolve(), Path(place), options)
        print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs; the other build -> this one, a picture or a run")
        for row in options.rows:
            getattr(bench, row)()


if __name__ == "__main__":
    main()
