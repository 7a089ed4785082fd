"""Mini-fashion as someone takes pictures who cannot see them: the layout, the flaws and the crowd of VizWiz-Captions.

The drawings are those of mini-fashion, photographed badly: blurred, in glare or in the dark, turned, half out of the
frame, and sometimes so that nothing can be made out. `annotators.py` captions them. The folder has the files of the
real data set, so `sources.load("vizwiz", folder)` reads both; its annotations also have the attributes, except in test.
"""

import io
import json
import math
import os
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from captioning.data.annotators import annotate, visible
from captioning.data.minifashion import draw, sample_attributes
from captioning.data.workers import forked
from captioning.disk import alone
from captioning.writing import replaced

SIZES = {"train": 1500, "val": 500, "test": 100}
MAKING = 1  # raise it with every change of the pictures or captions, so that older folders are not taken for new


@dataclass(frozen=True)
class Flaws:
    """What is wrong with one photograph. Lengths are shares of the picture's side."""

    zoom: float = 1.0
    right: float = 0.0  # how far the middle of the frame is beside the middle of the person
    down: float = 0.0
    turn: float = 0.0  # degrees
    blur: float = 0.0  # radius
    smear: float = 0.0  # length of motion blur
    glare: tuple[float, float] | None = None  # where the lamp is
    light: float = 1.0  # below 1: dark

    @property
    def frame(self) -> tuple[float, float]:
        """Top and bottom of what is seen, 0 to 1 of the drawing."""
        half = 0.5 / self.zoom
        return 0.5 + self.down - half, 0.5 + self.down + half

    @property
    def readable(self) -> float:
        """1: as drawn; below 0.2: nothing to be made out."""
        lost = 14 * self.blur + 4 * self.smear + 1.5 * max(0, 0.75 - self.light) + 0.15 * (self.glare is not None)
        return max(0.0, 1 - lost)

    @property
    def word(self) -> str:
        found = {"blurry": self.blur > 0.012 or self.smear > 0.05, "dark": self.light < 0.6, "bright": bool(self.glare)}
        found |= {"rotated": abs(self.turn) > 45, "cropped": self.zoom > 1.25}
        return next((word for word, is_so in found.items() if is_so), "clear")


def sample_flaws(rng: random.Random) -> Flaws:
    """Two thirds of the pictures have something wrong with them, about one in twenty shows nothing."""
    if rng.random() < 0.05:
        return rng.choice((Flaws(blur=0.11), Flaws(light=0.04), Flaws(blur=0.06, light=0.25, turn=rng.uniform(0, 360))))
    if rng.random() < 0.25:
        return Flaws()
    flaws = {}
    if rng.random() < 0.45:
        flaws |= {"zoom": rng.uniform(1.05, 1.5), "right": rng.uniform(-0.12, 0.12), "down": rng.uniform(-0.15, 0.15)}
    if rng.random() < 0.4:
        flaws["turn"] = rng.choice((90, 180, 270)) if rng.random() < 0.2 else rng.gauss(0, 9)
    if rng.random() < 0.4:
        flaws[rng.choice(("blur", "smear"))] = rng.uniform(0.006, 0.024)
    if rng.random() < 0.2:
        flaws["glare"] = (rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9))
    if rng.random() < 0.2:
        flaws["light"] = rng.uniform(0.35, 0.8)
    return Flaws(**flaws)


def photograph(drawing: Image.Image, flaws: Flaws) -> Image.Image:
    """The drawing as it comes out with these flaws."""
    size = drawing.width
    paper = drawing.getpixel((1, 1))
    half, x, y = size / 2 / flaws.zoom, size * (0.5 + flaws.right), size * (0.5 + flaws.down)
    reach = math.ceil(1.5 * half) + 8  # a turned frame is in there, and what is mixed in at its edges
    left, top = round(x) - reach, round(y) - reach
    wide = Image.new("RGB", (2 * reach, 2 * reach), paper)
    wide.paste(drawing, (-left, -top))
    x, y = x - left, y - top
    if flaws.turn:
        wide = wide.rotate(flaws.turn, Image.Resampling.BICUBIC, center=(x, y), fillcolor=paper)
    image = wide.resize((size, size), Image.Resampling.BICUBIC, box=(x - half, y - half, x + half, y + half))
    image = image.filter(ImageFilter.GaussianBlur(flaws.blur * size)) if flaws.blur else image
    pixels = np.asarray(image, dtype=np.float32)
    if flaws.smear:
        pixels = np.mean(
            [np.roll(pixels, step, axis=1) for step in range(max(2, round(2 * flaws.smear * size)))], axis=0
        )
    pixels = pixels * flaws.light
    if flaws.glare:
        down, across = np.mgrid[:size, :size] / size
        far = (across - flaws.glare[0]) ** 2 + (down - flaws.glare[1]) ** 2
        pixels = pixels + 230 * np.exp(-far / 0.03)[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def build(
    folder: str | Path, sizes: dict[str, int] = SIZES, size: int = 224, seed: int = 6, workers: int | None = None
) -> Path:
    """The folder of the data set, drawn below `folder` if it is not there yet: written aside and renamed when whole.

    sizes: pictures per split. size: their side in pixels. workers: processes that draw, all cores by default; the
    files do not depend on it.
    """
    counts = "-".join(f"{split}{count}" for split, count in sizes.items())
    home = Path(folder).absolute() / f"made{MAKING}_{counts}_{size}px_seed{seed}"
    if not home.exists():
        with alone(home, wait=True):
            if not home.exists():  # no other process has drawn it while this one waited
                with replaced(home) as aside:
                    write(aside, sizes, size, seed, workers or os.cpu_count())
    return home


def write(folder: Path, sizes: dict[str, int], size: int, seed: int, workers: int) -> None:
    (folder / "annotations").mkdir()
    first = 0
    for split, count in sizes.items():
        (folder / split).mkdir()
        numbers = range(first, first + count)
        with ProcessPoolExecutor(workers, forked(workers)) as pool:
            made = list(pool.map(partial(write_picture, folder, split, size, seed), numbers, chunksize=32))
        annotations = [annotation for _, found in made for annotation in found]
        content = {"images": [image for image, _ in made]}
        content |= {} if split == "test" else {"annotations": [{"id": i} | a for i, a in enumerate(annotations)]}
        (folder / f"annotations/{split}.json").write_text(json.dumps(content), encoding="utf-8")
        first += count


def write_picture(folder: Path, split: str, size: int, seed: int, number: int) -> tuple[dict, list[dict]]:
    """Draw one picture; its entries of `images` and of `annotations`."""
    rng = random.Random(f"minivizwiz {seed} {number}")
    attributes, flaws = sample_attributes(rng), sample_flaws(rng)
    image = {"id": number, "file_name": f"VizWiz_{split}_{number:08d}.jpg"}
    content = io.BytesIO()
    photograph(draw(attributes, size, rng), flaws).save(content, "JPEG", quality=85)
    (folder / split / image["file_name"]).write_bytes(content.getvalue())
    found = annotate(visible(attributes, *flaws.frame), flaws.readable, flaws.word, rng)
    if split != "test":
        image["attributes"] = visible(attributes, *flaws.frame)
    return image, [{"image_id": number, "text_detected": False} | annotation for annotation in found]
