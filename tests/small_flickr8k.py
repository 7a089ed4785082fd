"""Flickr8k in the layout of its official files, without a list of test pictures, and with few pictures: noise."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_flickr8k(folder: Path, captions: list[list[str]], train: int, size: int) -> None:
    """`captions` of each picture, whose name is its number; the first `train` are those of train, the others of dev."""
    (folder / "Flicker8k_Dataset").mkdir(parents=True)
    names, rng = [f"{number}.jpg" for number in range(len(captions))], np.random.default_rng(0)
    for name in names:
        noise = rng.integers(0, 255, (size, size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "Flicker8k_Dataset" / name)
    lines = [
        f"{name}#{number}\t{text}"
        for name, texts in zip(names, captions, strict=True)
        for number, text in enumerate(texts)
    ]
    splits = {"token": lines, "trainImages": names[:train], "devImages": names[train:]}
    for split, rows in splits.items():
        file = "Flickr8k.token.txt" if split == "token" else f"Flickr_8k.{split}.txt"
        (folder / file).write_text("\n".join(rows) + "\n")
