"""`captioning caption`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from captioning.cli.common import load_model, require_ray
from captioning.decoding import Decoding
from captioning.inference import Engine, caption_files, captioned, json_line, tabbed
from captioning.quantized import faster


def caption(
    pictures: list[str],
    *,
    model: str,
    out: Path | None = None,
    decoding: Decoding | None = None,
    batch_size: int = 32,
    workers: int = 2,
    engine: Literal["local", "ray"] = "local",
    weights: Literal["fp32", "packed", "bf16", "int8"] = "fp32",
    json: bool = False,
) -> None:
    """Caption pictures: files, folders (in any depth) and patterns such as 'photos/*.jpg'.

    The same command again goes on where one was stopped.

    Args:
        pictures: files, folders, patterns
        model: folder of a run or a saved model, or a hub repository
        out: .jsonl or .csv file to write, with image, caption and log_probability; printed when not given. Pictures
            that it has already stay as they are
        decoding: how captions are chosen; by default 3 beams, and as many words as the model has positions for
            (BLIP: 5 to 20)
        batch_size: pictures at a time
        workers: processes that read pictures
        engine: ray: Ray Data, on this machine or the cluster that RAY_ADDRESS names
        weights: of the decoder on a CPU. packed: the same captions, but for ties, quicker on some processors; bf16
            and int8: smaller, quicker on most, and some captions are worded differently, so score it first
        json: print JSON lines with image, caption and log_probability, where `out` is not given
    """
    if weights != "fp32" and engine == "ray":
        raise ValueError(f"--weights {weights}: cannot be sent to other processes; leave --engine ray out")
    run, captioner = engine_named(engine), load_model(model)
    captioner = captioner if weights == "fp32" else faster(captioner, weights)
    decoding = decoding or captioner.usual
    broken = caption_files(captioner, pictures, out, decoding, batch_size, workers, run, json_line if json else tabbed)
    for message in broken:
        print(message, file=sys.stderr)
    if broken:
        sys.exit(f"captioning: pictures that could not be read: {len(broken)} (above); all others are captioned")


def engine_named(name: Literal["local", "ray"]) -> Engine:
    if name == "local":
        return captioned
    require_ray()
    from captioning import ray_engine

    return ray_engine.captioned


COMMANDS = {"caption": caption}
