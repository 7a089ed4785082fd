"""The features of a frozen encoder, computed once and kept on disk in half precision.

One `.npy` file a split and view, memory-mapped on reading, so a batch costs a page read however large the set is.
Beside it a `.txt` lists the pictures, so that the beginning of a split finds its rows there.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from captioning.data.archives import file_of
from captioning.data.batches import WHOLE, View, picture_batches
from captioning.disk import require_room
from captioning.writing import kept

NO_MATTER = ("weights", "trained_stages")  # where the weights came from, and what is trained, change no feature


def key(files: bytes, encoder: nn.Module, view: View, precision: torch.dtype) -> str:
    """What the features depend on: the encoder, the view, the arithmetic, and behind the dash the files (`listing`)."""
    settings = {name: value for name, value in asdict(encoder.config).items() if name not in NO_MATTER}
    # as JSON, where a list read from a file equals the tuple that was written
    how = hashlib.sha256(json.dumps([settings, weights_digest(encoder), *view, str(precision)]).encode())
    return f"{how.hexdigest()[:16]}-{hashlib.sha256(files).hexdigest()[:16]}"


def listing(sources: list[str]) -> bytes:
    """A line for each file: path, size, time."""
    lines = []
    for source in sources:
        stat = os.stat(file_of(source))
        lines.append(f"{os.path.realpath(source)} {stat.st_size} {stat.st_mtime_ns}\n")
    return "".join(lines).encode()


def longer(path: Path, files: bytes) -> Path | None:
    """The kept features of a longer list that begins with `files`, if there are some: a part of a data set is mostly
    its beginning. (The beginning only, for crops depend on the row.)"""
    others = (other.with_suffix(".npy") for other in path.parent.glob(f"{path.stem.split('-')[0]}-*.txt")
              if other.read_bytes().startswith(files))  # fmt: skip
    return next((other for other in others if other.is_file()), None)


def weights_digest(module: nn.Module) -> str:
    """A digest of all parameters and buffers of a module, of any type of number: numpy does not know bfloat16."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def cached_features(
    sources: list[str],
    encoder: nn.Module,
    folder: Path,
    view: View = WHOLE,
    batch_size: int = 32,
    workers: int = 0,
    precision: torch.dtype = torch.float32,
) -> np.ndarray:
    """Features (rows, N, C) float16 of the pictures in order, from `folder` or computed and put there.

    `precision` (`models.inference.precision`) is that of the encoder's arithmetic.
    `encoder` is a `captioning.models.encoder.Encoder` or a module whose `config` dataclass has `image_size` too.
    Two processes that ask at once compute once; a process killed half-way leaves no file that looks whole. Every
    picture must be readable (`sources.healthy` drops those that are not).
    """
    files = listing(sources)
    path = folder / f"{key(files, encoder, view, precision)}.npy"
    if not path.is_file() and (known := longer(path, files)):
        return np.load(known, mmap_mode="r")[: len(sources)]
    make = functools.partial(compute, sources, encoder, view, batch_size, workers, precision)
    with kept(path, make) as found, kept(found.with_suffix(".txt"), lambda file: file.write_bytes(files)):
        return np.load(found, mmap_mode="r")


def compute(
    sources: list[str],
    encoder: nn.Module,
    view: View,
    batch_size: int,
    workers: int,
    precision: torch.dtype,
    path: Path,
) -> None:
    """Encode in evaluation mode into a file. Raises DiskFull, after the first batch, where it will not have room."""
    training, device = encoder.training, next(encoder.parameters()).device
    batches = picture_batches(sources, encoder.config.image_size, batch_size, workers, view)
    quick = torch.autocast(device.type, precision, enabled=precision != torch.float32)
    encoder.eval()
    try:
        # Written as a stream and not through a memory map: a full disk is then an error and not a crash (SIGBUS).
        with path.open("wb") as file:
            for images in tqdm(batches, desc="features", unit="batch", leave=False, disable=None):
                with quick:
                    features = encoder(images.to(device))
                features = features.half().cpu().numpy()
                if not file.tell():
                    require_room(path, len(sources) * features[0].nbytes)
                    shape = (len(sources), *features.shape[1:])
                    np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
                file.write(features.tobytes())
    finally:
        encoder.train(training)
