"""`captioning caption`."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from captioning.cli.common import load_model, require_ray
from captioning.decoding.config import Decoding
from captioning.writing import dumps, write_json


def caption(
    pictures: list[str],
    *,
    model: str | None = None,
    out: Path | None = None,
    decoding: Decoding | None = None,
    batch_size: int = 32,
    workers: int = 2,
    engine: Literal["local", "ray"] = "local",
    weights: Literal["fp32", "packed", "bf16", "int8"] = "fp32",
    style: str | None = None,
    random: int | None = None,
    folder: Path | None = None,
    json: bool = False,
) -> None:
    """Caption pictures: files, folders (in any depth) and patterns such as 'photos/*.jpg'.

    The same command again goes on where one was stopped.

    A list of requests, captioning caption --json requests.json --model RUN, is answered in one JSON object with
    model_name, model_revision and results; its entries have image (or image_hash) and, where wanted, style and
    reference. So is --random N: N of the pictures in random styles, or, when none are given, N items of the run's
    test split.

    Args:
        pictures: files, folders, patterns; or one .json file of requests
        model: folder of a run or a saved model, or a hub repository; by default the small captioner of photographs
            that comes with the package
        out: .jsonl or .csv file to write, with image, caption and log_probability; printed when not given. Pictures
            that it has already stay as they are
        decoding: how captions are chosen; by default 3 beams, and as many words as the model has positions for
            (BLIP: 5 to 20 tokens, those of its prompt counted, as published)
        batch_size: pictures at a time
        workers: processes that read pictures
        engine: ray: Ray Data, on this machine or the cluster that RAY_ADDRESS names
        weights: of the decoder on a CPU. packed: the same captions, but for ties, quicker on some processors; bf16
            and int8: smaller, quicker on most, and some captions are worded differently, so score it first
        style: one of the model's styles, for all pictures; an --out file is of one style
        random: how many to draw
        folder: where the pictures lie that requests name by image_hash, dataset/personality/yfcc_images by default; for
            --random alone, where the run's data set lies
        json: print JSON lines with image, caption and log_probability, where `out` is not given
    """
    if weights != "fp32" and engine == "ray":
        raise ValueError(f"--weights {weights}: cannot be sent to other processes; leave --engine ray out")
    if engine == "ray":
        require_ray()
        from captioning.serving.ray_engine import captioned
    else:
        from captioning.serving.inference import captioned
    from captioning.serving.inference import caption_files, json_line, shipped, tabbed
    from captioning.serving.quantized import faster
    from captioning.serving.requests import answer, claim_answers, known_style, named_requests, requested

    model = model or str(shipped())
    captioner = load_model(model)
    captioner = captioner if weights == "fp32" else faster(captioner, weights)
    decoding = decoding or captioner.usual
    style = known_style(captioner, style)
    if out and (random is not None or named_requests(pictures)):
        claim_answers(out)
    requests = requested(pictures, captioner, model, random, folder)
    if requests is not None:
        requests = [replace(request, style=style or request.style) for request in requests]
        show(answer(captioner, requests, decoding, Path(model).name, batch_size), out)
        return
    run = partial(captioned, style=style) if style else captioned
    broken = caption_files(captioner, pictures, out, decoding, batch_size, workers, run, json_line if json else tabbed)
    for message in broken:
        print(message, file=sys.stderr)
    if broken:
        sys.exit(f"captioning: pictures that could not be read: {len(broken)} (above); all others are captioned")


def show(answered: dict, out: Path | None) -> None:
    if out is None:
        print(dumps(answered, indent=2, ensure_ascii=False))
    else:
        write_json(out, answered, indent=2)
        print(f"{out}: {len(answered['results'])} captions", file=sys.stderr)


COMMANDS = {"caption": caption}
