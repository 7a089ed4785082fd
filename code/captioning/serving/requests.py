"""Captions on demand: which picture in which style, from a JSON file or drawn at random, and JSON back.

In: a list of {"style", "image" or "image_hash", "reference"}, of which only the picture must be there. Out: an object
{"model_name", "model_revision", "results": [{"style", "image", "caption", "reference"}]}.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioning import paths
from captioning.data.batches import picture_batches
from captioning.data.files import BrokenSource, read_json
from captioning.decoding.config import Decoding
from captioning.models.base import CaptionModel
from captioning.models.inference import for_inference
from captioning.models.ofa.styles import find_style
from captioning.serving.inference import find_pictures
from captioning.writing import claim_file, json_with

if TYPE_CHECKING:
    from datasets import Dataset

FIELDS = ("style", "image", "image_hash", "reference")


@dataclass(frozen=True)
class Request:
    image: str  # path
    style: str | None = None
    reference: Any = None  # handed on as it is


def requested(
    pictures: list[str], captioner: CaptionModel, model: str, random: int | None, folder: Path | None
) -> list[Request] | None:
    """What a file of requests or --random asks for; None where pictures are to be captioned as they come."""
    if random is not None:
        if pictures and folder:
            raise ValueError(f"--folder {folder} with --random and pictures: leave one of the two out")
        if pictures:
            return random_requests(find_pictures(pictures), captioner, random)
        from captioning.evaluation.runs import load_data, read_run  # data sets are slow to load

        described = read_run(Path(model), folder=folder)
        return random_rows(load_data(Path(model), described, "test")["test"], captioner, random)
    files = named_requests(pictures)
    if files and len(pictures) > 1:
        raise ValueError(f"{', '.join(pictures)}: give one .json file of requests, or pictures")
    if not pictures:
        raise ValueError("no pictures: give files, folders, patterns, or one .json file of requests; or --random N")
    if folder and not files:
        raise ValueError(f"--folder {folder}: for requests by image_hash and for --random; else name it as pictures")
    pictures_of = folder or paths.DATASET / "personality" / "yfcc_images"
    return read_requests(Path(files[0]), captioner, pictures_of) if files else None


def named_requests(pictures: list[str]) -> list[str]:
    """The files of requests among what is to be captioned."""
    return [name for name in pictures if name.endswith(".json")]


def read_requests(path: Path, model: CaptionModel, pictures: Path) -> list[Request]:
    """What a file asks for. An image is a path, from here or from the file's folder; a hash names a .jpg of `pictures`.

    Raises BrokenSource listing every entry that cannot be granted: a picture that is not there, a style that the
    model has not (with the nearest names), fields that are unknown.
    """
    found, wrong = [], []
    for number, entry in enumerate(read_json(path, list)):
        try:
            found.append(read_request(entry, path.parent, model, pictures))
        except ValueError as error:
            wrong.append(f"entry {number}: {error}")
    if wrong:
        shown = "; ".join(wrong[:10]) + (f"; and {len(wrong) - 10} more" if len(wrong) > 10 else "")
        raise BrokenSource(f"{path}: {shown}")
    return found


def read_request(entry: Any, folder: Path, model: CaptionModel, pictures: Path) -> Request:
    if not isinstance(entry, dict) or set(entry) - set(FIELDS) or ("image" in entry) == ("image_hash" in entry):
        raise ValueError(
            f"{str(entry)[:80]}, expected an object of {', '.join(FIELDS)}, image or image_hash and not both"
        )
    named = entry.get("image", f"{entry.get('image_hash')}.jpg")
    places = [Path(named), folder / named] if "image" in entry else [pictures / named]
    file = next((place for place in places if place.is_file()), None)
    if not file:
        raise ValueError(f"no picture {' or '.join(dict.fromkeys(map(str, places)))}")
    return Request(str(file), known_style(model, entry.get("style")), entry.get("reference"))


def known_style(model: CaptionModel, style: str | None) -> str | None:
    """The model's own name of the style. Raises ValueError for one that it has not, and for a style asked of a model
    that has none."""
    if style is None:
        return None
    if not model.styles:
        raise ValueError(f"style {style!r} asked of this {model.kind}, which has no styles")
    return find_style(style, list(model.styles))


def random_requests(files: Sequence[str], model: CaptionModel, count: int, seed: int = 0) -> list[Request]:
    """Up to `count` of the pictures, each in a style of the model drawn at random, if it has styles."""
    rng = random.Random(seed)
    chosen = rng.sample(list(files), min(count, len(files)))
    return [Request(file, rng.choice(model.styles) if model.styles else None) for file in chosen]


def random_rows(rows: Dataset, model: CaptionModel, count: int, seed: int = 0) -> list[Request]:
    """Up to `count` items of a data set, in the style and with the references that they have there."""
    chosen = random.Random(seed).sample(range(len(rows)), min(count, len(rows)))
    return [
        Request(row["image"], row.get("style") if model.styles else None, row["captions"] or None)
        for row in (rows[i] for i in chosen)
    ]


def answer(
    model: CaptionModel,
    requests: Sequence[Request],
    decoding: Decoding,
    name: str,
    revision: str,
    batch_size: int = 32,
) -> dict:
    """What is written: the model, and a caption for every request in their order.

    `revision`: a digest of the weights as they are stored; `model` may have them in a quicker form. Raises
    BrokenPicture for a picture that cannot be read.
    """
    encode, captions = for_inference(model), {}
    for styled in (True, False):  # a batch is asked for styles, or for none
        some = [i for i, request in enumerate(requests) if (request.style is not None) == styled]
        batches = picture_batches([requests[i].image for i in some], model.encoder.config.image_size, batch_size)
        texts = []
        for batch in batches:
            styles = [requests[i].style for i in some[len(texts) : len(texts) + len(batch)]] if styled else None
            texts += model.generate(encode(batch), decoding, styles).best
        captions |= dict(zip(some, texts, strict=True))
    results = [
        {"style": request.style, "image": request.image, "caption": captions[i], "reference": request.reference}
        for i, request in enumerate(requests)
    ]
    return {"model_name": name, "model_revision": revision, "results": results}


def claim_answers(out: Path) -> None:
    """Make sure that answers may be written there: a new file, or earlier answers. Raises what `claim_file` raises, and
    ValueError for another suffix than .json."""
    if out.suffix != ".json":
        raise ValueError(f"--out {out}: suffix {out.suffix!r}, expected .json for requests and --random")
    claim_file(out, json_with("model_name", "model_revision", "results"))
