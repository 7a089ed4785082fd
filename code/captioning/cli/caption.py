"""`captioning caption`."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Literal

from captioning.cli.common import load_speaker, require_ray
from captioning.data.config import Beside
from captioning.decoding.config import DecodingChanges
from captioning.models.config import Precision
from captioning.writing import dumps, write_json


def caption(
    pictures: list[str],
    *,
    model: str | None = None,
    out: Path | None = None,
    to: str | None = None,
    existing: Literal["skip", "overwrite", "append", "prepend"] = "skip",
    before: str = "",
    after: str = "",
    joint: str | None = None,
    naming: Literal["stem", "file"] = "stem",
    language: str = "x-default",
    dry_run: bool = False,
    undo: Path | None = None,
    skip: Path | None = None,
    prompt: str | None = None,
    system: str | None = None,
    precision: Precision = "auto",
    side: int | None = None,
    decoding: DecodingChanges | None = None,
    batch_size: int | None = None,
    workers: int = 2,
    engine: Literal["local", "ray"] = "local",
    weights: Literal["auto", "fp32", "packed", "bf16", "int8"] = "auto",
    style: str | None = None,
    random: int | None = None,
    folder: Path | None = None,
    json: bool = False,
) -> None:
    """Caption pictures: files, folders (in any depth) and patterns such as 'photos/*.jpg'.

    The same command again goes on where one was stopped. With --to the captions are written as other programs have
    them: beside the pictures (sidecars, sidecar-lines, xmp), where --undo FILE takes all changes back, or into --out.

    A list of requests, captioning caption --json requests.json --model RUN, is answered in one JSON object with
    model_name, model_revision and results; its entries have image (or image_hash) and, where wanted, style and
    reference. So is --random N: N of the pictures in random styles, or, when none are given, N items of the run's
    test split.

    Args:
        pictures: files, folders, patterns; or one .json file of requests
        model: folder of a run or a saved model, or a hub repository, also of a vision-language model of transformers
            (image-text-to-text); by default the small captioner of photographs that comes with the package
        out: .jsonl or .csv file to write, with image, caption and log_probability; printed when not given. Pictures
            that it has already stay as they are. With --to a new file or folder of that format; beside pictures the
            undo file, captions_undo.jsonl by default, in the folder that is named (of several: that holds them)
        to: sidecars, sidecar-lines, xmp: beside the pictures; imagefolder, csv, kohya, karpathy, coco-captions,
            coco-results, chat, gallery, webdataset, parquet: into --out. docs/formats.md shows each
        existing: what is done with a picture that has a text beside it: skip it, overwrite the text, append or prepend
        before: text before each caption beside a picture, such as 'sks person, '
        after: text after each
        joint: between the text that is there and the caption; ', ' by default, a new line for sidecar-lines, a blank
            for xmp
        naming: of new files beside pictures: stem for a.txt, file for a.jpg.txt
        language: of the description in XMP, such as en-GB
        dry_run: only list what would be changed beside the pictures, with ... for the captions
        undo: an undo file, whose changes are taken back
        skip: a folder or file of captions in any format: pictures that have one there are left out
        prompt: what a vision-language model is asked: the words, a .txt file with them, or a name: sentence, detailed,
            alt-text, better, memory. {name}, {folder}, {caption} (the text beside the picture), {date} and {place}
            (EXIF) stand for what is known of the picture; a part in [square brackets] is left out where that is not
            known
        system: its system turn, before the prompt
        precision: of its weights: auto as they are stored; 8bit and 4bit need the package bitsandbytes
        side: pixels of the longer side, to which larger pictures are reduced before it sees them. By default all of a
            picture is shown, and some models (Qwen-VL) then read thousands of tokens of a photograph: try 1024
        decoding: how captions are chosen, where not as is usual for the model: with 3 beams, and as many words as it
            has positions for (BLIP: 5 to 20 tokens, those of its prompt counted, as published; a vision-language
            model: the likeliest words)
        batch_size: pictures at a time; by default 32, of a vision-language model 8
        workers: processes that read pictures
        engine: ray: Ray Data, on this machine or the cluster that RAY_ADDRESS names
        weights: how a CPU computes. auto: the encoder, and a transformer behind it, in bfloat16 where the CPU has
            instructions for it, with which some captions are worded differently; other decoders packed; of a decoder
            only where a short trial says that it pays. fp32: 32 bits. Of the decoder alone: packed, with the same
            captions but for ties; bf16 and int8, with which more captions are worded differently, so score it first.
            With --engine ray: fp32
        style: one of the model's styles, for all pictures; those that an --out file has already keep theirs
        random: how many to draw
        folder: where the pictures lie that requests name by image_hash, dataset/personality/yfcc_images by default; for
            --random alone, where the run's data set lies
        json: print JSON lines with image, caption and log_probability, where `out` is not given
    """
    from captioning.data.formats import beside
    from captioning.serving.inference import PHOTO_CAPTIONER
    from captioning.serving.written import caption_beside, caption_into, chosen, would_change

    options = Beside(existing, before, after, joint, naming, language)
    if undo:
        others = {"pictures": pictures, "--to": to, "--out": out, "--skip": skip, "--dry_run": dry_run}
        others |= {"--existing and what belongs to it": options != Beside(), "--random": random is not None}
        if given := [name for name, value in others.items() if value]:
            raise ValueError(f"--undo takes changes back and does nothing else: leave {', '.join(given)} out")
        from captioning.data.undo import undo as take_back

        print(f"{undo}: {take_back(undo)} files are as they were before")
        return
    check_words(to, out, options, dry_run, weights, engine, batch_size)
    if not (pictures or model or folder):
        raise ValueError("nothing to caption: name files, folders or patterns, or for --random a --model")
    if dry_run:
        about = {"to": to, "model": model or str(PHOTO_CAPTIONER), "weights": weights} | asdict(options)
        if files := chosen(pictures, skip):
            print(*would_change(files, to, options, beside.undo_file(pictures, out), about), sep="\n")
        return
    if engine == "ray":
        require_ray()
        from captioning.serving.ray_engine import captioned
    else:
        from captioning.serving.inference import captioned
    from captioning.data.features import weights_digest
    from captioning.models.vlm import ASKED, VisionLanguageModel
    from captioning.serving import asking
    from captioning.serving.inference import caption_files, json_line, shipped, tabbed
    from captioning.serving.machine import automatic
    from captioning.serving.quantized import faster
    from captioning.serving.requests import answer, claim_answers, known_style, named_requests, requested

    model = model or str(shipped())
    captioner = load_speaker(model, prompt, system, precision, side)
    asked = random is not None or named_requests(pictures)
    vlm = isinstance(captioner, VisionLanguageModel)
    revision = weights_digest(captioner) if asked and not vlm else ""
    if vlm:
        refuse({"--engine ray": engine == "ray", f"--weights {weights}": weights not in ("auto", "fp32"),
                "--style": style, "--random and requests": asked})  # fmt: skip
        captioned = asking.captioned
    elif weights == "auto" and engine == "local":
        captioner = automatic(captioner)
    elif weights not in ("auto", "fp32"):
        captioner = faster(captioner, weights)
    decoding = replace(captioner.usual, **decoding or {})
    style = None if vlm else known_style(captioner, style)
    batch_size = batch_size or (ASKED if vlm else 32)
    if asked and (to or skip):
        raise ValueError(f"{'--to' if to else '--skip'}: for pictures, not for requests or --random; leave it out")
    if out and asked:
        claim_answers(out)
    requests = requested(pictures, captioner, model, random, folder)
    if requests is not None:
        requests = [replace(request, style=style or request.style) for request in requests]
        show(answer(captioner, requests, decoding, Path(model).name, revision, batch_size), out)
        return
    run = partial(captioned, style=style) if style else captioned
    if not (files := chosen(pictures, skip)):
        return
    work = (decoding, batch_size, workers, run)
    about = {"to": to, "model": model, "weights": weights, "style": style, "decoding": asdict(decoding)}
    if vlm:
        about |= {
            "prompt": captioner.prompt,
            "system": captioner.system,
            "precision": precision,
            "side": captioner.side,
        }
    if to in beside.KINDS:
        undo_file = beside.undo_file(pictures, out)
        broken = caption_beside(captioner, files, to, options, undo_file, about | asdict(options), *work)
    elif to:
        broken = caption_into(captioner, files, to, out, about, *work)
    else:
        broken = caption_files(captioner, files, out, *work, json_line if json else tabbed)
    for message in broken:
        print(message, file=sys.stderr)
    if broken:
        sys.exit(f"captioning: files that could not be read: {len(broken)} (above); all other pictures are captioned")


def refuse(given: dict[str, object]) -> None:
    """Raises ValueError for what a vision-language model is given and does not have."""
    if found := [name for name, value in given.items() if value]:
        raise ValueError(f"{found[0]}: for captioners of this package, not for a vision-language model; leave it out")


def check_words(
    to: str | None,
    out: Path | None,
    options: Beside,
    dry_run: bool,
    weights: str,
    engine: str,
    batch_size: int | None,
) -> None:
    """Raises ValueError for options that mean nothing or do not go together, before a model is loaded."""
    from captioning.data.formats import beside
    from captioning.data.formats.convert import writable

    if batch_size is not None and batch_size < 1:
        raise ValueError(f"--batch_size {batch_size}: expected 1 picture at a time, or more")
    if to is not None:
        writable(to)
    if to in beside.KINDS:
        beside.check([], to, options)
    if to not in (None, *beside.KINDS) and out is None:
        raise ValueError(f"--to {to} needs --out: a new file, or a new folder that gets the pictures, too")
    if to not in beside.KINDS and (options != Beside() or dry_run):
        raise ValueError(
            f"--existing, --before, --after, --joint, --naming, --language and --dry_run are for captions beside the "
            f"pictures: give --to {', '.join(beside.KINDS)}, or leave them out"
        )
    if weights not in ("auto", "fp32") and engine == "ray":
        raise ValueError(f"--weights {weights}: cannot be sent to other processes; leave --engine ray out")


def show(answered: dict, out: Path | None) -> None:
    if out is None:
        print(dumps(answered, indent=2, ensure_ascii=False))
    else:
        write_json(out, answered, indent=2)
        print(f"{out}: {len(answered['results'])} captions", file=sys.stderr)


COMMANDS = {"caption": caption}
