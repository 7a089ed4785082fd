"""Captions for picture files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from glob import glob
from pathlib import Path
from typing import TextIO

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from captioning.data.batches import Pictures
from captioning.data.pictures import BrokenPicture
from captioning.decoding import Decoding
from captioning.models.base import CaptionModel

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


def find_pictures(names: Iterable[str]) -> list[str]:
    """The picture files that files, folders (in any depth) and patterns name, each once, in order.

    Raises FileNotFoundError for a name that nothing matches.
    """
    found: dict[str, None] = {}
    for name in names:
        path = Path(name)
        if path.is_dir():
            matches = [str(p) for p in sorted(path.rglob("*")) if p.suffix.lower() in SUFFIXES]
        else:
            matches = [name] if path.is_file() else [p for p in sorted(glob(name, recursive=True)) if Path(p).is_file()]
        if not matches:
            raise FileNotFoundError(f"{name}: no picture there; give files, folders or patterns ('photos/*.jpg')")
        found |= dict.fromkeys(matches)
    return list(found)


class ReadablePictures(Pictures):
    """(tensor, None), or (None, what is wrong) for a picture that cannot be read."""

    def __getitem__(self, row: int) -> tuple[torch.Tensor | None, str | None]:
        try:
            return super().__getitem__(row), None
        except BrokenPicture as error:
            return None, str(error)


def caption_files(
    model: CaptionModel,
    names: Iterable[str],
    out: Path | None,
    decoding: Decoding,
    batch_size: int = 16,
    workers: int = 0,
) -> list[str]:
    """Write a row (image, caption, log_probability) a caption to `out` (.jsonl or .csv) or print it, as it is made.

    Returns what is wrong with the pictures that could not be read. Raises ValueError for another suffix of `out`.
    """
    if out is not None and out.suffix not in (".jsonl", ".csv"):
        raise ValueError(f"--out {out}: suffix {out.suffix!r}, expected .jsonl or .csv")
    files, broken = find_pictures(names), []
    rows = captioned(model, files, decoding, batch_size, workers, broken)
    if out is None:
        for row in rows:
            print(f"{row['image']}\t{row['caption']}", flush=True)
    else:
        with out.open("w", newline="", encoding="utf-8") as file:
            write(rows, file, out.suffix)
    return broken


def write(rows: Iterator[dict], file: TextIO, suffix: str) -> None:
    if suffix == ".csv":
        writer = csv.DictWriter(file, ["image", "caption", "log_probability"], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row)
    else:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()


def captioned(
    model: CaptionModel, files: list[str], decoding: Decoding, batch_size: int, workers: int, broken: list[str]
) -> Iterator[dict]:
    """A row a caption, picture by picture; messages on unreadable pictures go to `broken`."""
    device = next(model.parameters()).device
    pictures = ReadablePictures(files, model.encoder.config.image_size)
    batches = DataLoader(pictures, batch_size=batch_size, num_workers=workers, collate_fn=list)
    for start, batch in zip(
        range(0, len(files), batch_size), tqdm(batches, desc="captions", leave=False, disable=None), strict=True
    ):
        broken += [message for _, message in batch if message]
        named = [(file, image) for file, (image, _) in zip(files[start:], batch, strict=False) if image is not None]
        if not named:
            continue
        captions = model.generate(torch.stack([image for _, image in named]).to(device), decoding)
        for (file, _), texts, scores in zip(named, captions.texts, captions.log_probs.tolist(), strict=True):
            for text, score in zip(texts, scores, strict=True):
                yield {"image": file, "caption": text, "log_probability": round(score, 4)}
