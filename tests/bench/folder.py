"""Pictures per second of `captioning caption FOLDER`, from JPEG files to a file of captions, beside its encoder alone.

    python tests/bench/folder.py [--encoders mobilenetv2_100 resnet101] [--pictures 128] [--beams 1 5] [--repeats 3]

The folders have pictures of 640 x 480 and of 4000 x 3000 pixels, random and smooth. Encoder (at `--size` pixels) and
decoder (a transformer of width 512, 8 heads, 3 layers) have random weights, and all captions are of `--tokens` tokens.
The encoder alone has its pictures in memory, as tensors, and its batch norms folded as in the whole. All take turns;
the rates are medians, with the part of the encoder's own rate that the whole reaches.
"""

import argparse
import os
import string
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from captioning.decoding.config import Decoding
from captioning.models.base import CaptionModel
from captioning.models.config import EncoderConfig, TransformerConfig
from captioning.models.inference import device, for_inference
from captioning.models.transformer import TransformerCaptioner
from captioning.serving.inference import caption_files
from captioning.text import WordTokenizer

SIZES = {"640 x 480": (640, 480), "4000 x 3000": (4000, 3000)}
DIFFERENT = 8  # pictures; the others are links to them


def draw(folder: Path, size: tuple[int, int], pictures: int) -> Path:
    """A folder of smooth random JPEGs, about as large as photographs are (1 bit a pixel)."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(pictures):
        if i < DIFFERENT:
            noise = Image.fromarray(rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8))
            noise.resize(size, Image.Resampling.BICUBIC).save(folder / f"{i:04}.jpg", quality=75)
        else:
            os.link(folder / f"{i % DIFFERENT:04}.jpg", folder / f"{i:04}.jpg")
    return folder


def make_model(encoder: str, size: int, words: int) -> CaptionModel:
    spelled = ("".join(letters) for letters in product(string.ascii_lowercase, repeat=3))
    tokenizer = WordTokenizer.train([" ".join(word for word, _ in zip(spelled, range(words), strict=False))])
    torch.manual_seed(0)
    config = EncoderConfig(encoder, weights=None, image_size=size)
    return TransformerCaptioner(TransformerConfig(), config, tokenizer).eval().to(device())


def whole(model: CaptionModel, folder: Path, decoding: Decoding, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as place:
        broken = caption_files(
            model, [str(folder)], Path(place) / "captions.jsonl", decoding, options.batch_size, options.workers
        )
        assert not broken


def encoder_alone(encode: Callable, images: torch.Tensor, pictures: int) -> None:
    for start in range(0, pictures, len(images)):
        features = encode(images[: pictures - start])
    features.sum().item()  # waits for a GPU


def compare(encoder: str, folders: dict[str, Path], options: argparse.Namespace) -> None:
    model = make_model(encoder, options.size, options.words)
    images = torch.randint(0, 256, (options.batch_size, 3, options.size, options.size), dtype=torch.uint8)
    encode, name = for_inference(model), f"{encoder} alone"
    runs = {name: lambda: encoder_alone(encode, images, options.pictures)}
    for (size, folder), beams in product(folders.items(), options.beams):
        decoding = Decoding(beams=beams, max_length=options.tokens, min_length=options.tokens - 1)
        runs[f"{size}, beam {beams}"] = lambda folder=folder, d=decoding: whole(model, folder, d, options)
    seconds = {run: [] for run in runs}
    runs[name]()  # warm
    for _ in range(options.repeats):
        for run, call in runs.items():
            start = time.perf_counter()
            call()
            seconds[run].append(time.perf_counter() - start)
    print(f"load {', '.join(f'{x:.1f}' for x in os.getloadavg())}")
    for run, times in seconds.items():
        part = median(seconds[name]) / median(times)
        print(f"  {run:28} {options.pictures / median(times):7.1f} pictures/s {part:5.0%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--encoders", nargs="+", default=["mobilenetv2_100"], help="timm models")
    parser.add_argument("--size", type=int, default=224, help="pixels that the encoder sees")
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--words", type=int, default=3000)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.workers} workers, {device()}")
    with tempfile.TemporaryDirectory() as place:
        folders = {n: draw(Path(place) / f"{i}", size, options.pictures) for i, (n, size) in enumerate(SIZES.items())}
        for encoder in options.encoders:
            compare(encoder, folders, options)


if __name__ == "__main__":
    main()
