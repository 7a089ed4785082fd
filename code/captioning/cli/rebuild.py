"""`captioning rebuild`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from captioning import paths
from captioning.cli.common import readable, require_ray
from captioning.rebuild.clean import Rules
from captioning.rebuild.config import PUBLISHED_WRITERS, WriterConfig


def rebuild(
    out: Path,
    data: str = "deepfashion",
    folder: Path | None = None,
    writers: list[WriterConfig] | None = None,
    rules: Rules = Rules(),
    seed: int = 0,
    dry_run: bool = False,
    engine: Literal["local", "ray"] = "local",
    parallel: int = 8,
    to: str | None = None,
) -> None:
    """Write a data set anew: writers describe clothes and background, filters judge, what passes is joined.

    The same command again goes on where one was stopped, and asks again what ended in an error; with other rules only
    the cleaning is done anew.

    Args:
        out: folder of the new data set, its raw answers, its report
        data: the data set whose pictures are described
        folder: where that data set lies; dataset/DATA by default
        writers: who is asked what; by default Vicuna-7B about clothes and background, as an earlier course did
        rules: what an answer must be like to stay
        seed: of the sampling, and of the split where the data set has only one
        dry_run: ask about 20 pictures only (kept for later) and say how long all will take
        engine: ray: on every GPU or core of this machine, or of the cluster that RAY_ADDRESS names
        to: also write the new data set, with its pictures, into OUT/FORMAT, for another program: sidecars, kohya,
            webdataset, ...; docs/formats.md shows each
        parallel: requests to a server (writers of kind http) that run side by side
    """
    if engine == "ray":
        require_ray()
        from captioning.rebuild.on_ray import answers
    else:
        from captioning.rebuild.pipeline import answers
    from captioning.data import sources
    from captioning.data.formats.convert import convert, writable
    from captioning.rebuild import pipeline, report
    from captioning.rebuild.writers import task

    if to:
        writable(to)
    if data == "street":
        dataset = sources.load("minifashion", paths.DATASET / "minifashion", variant="street")
    else:
        dataset = readable(sources.load(data, folder or paths.DATASET / data))
    pictures = pipeline.pictures_of(dataset, seed)
    tasks = [task(config, parallel) for config in writers or PUBLISHED_WRITERS]
    if dry_run:
        seconds = pipeline.ask(pictures, tasks, out, seed, limit=pipeline.TRIAL)
        for name, each in seconds.items():
            print(f"{name}: {each:.2f} s a picture, {each * len(pictures) / 3600:.2f} hours for {len(pictures):,}")
        return
    pipeline.ask(pictures, tasks, out, seed, engine=answers)
    rebuilt = pipeline.clean(pictures, out, tasks, rules)
    report.page(rebuilt, pictures, out / "report.html")
    if to:
        for sentence in convert(rebuilt.data, folder or paths.DATASET / data, out / to, to):
            print(f"{to}: {sentence}", file=sys.stderr)
    print(report.filter_table(rebuilt.verdicts).to_string())
    count = sum(map(len, rebuilt.data.values()))
    print(f"{out}: {count:,} pictures, {len(rebuilt.left_out):,} left out; see {out / 'report.html'}")


COMMANDS = {"rebuild": rebuild}
