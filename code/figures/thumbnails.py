"""Draws NN_thumbnail.png, the small pictures of the README's table: of each chapter one idea, on a light card that can
be read on a dark page too. Their numbers are those of output/results.csv and of the committed notebooks: run it when
these have changed."""

import io
import json
import math
import random
import re
from itertools import chain, pairwise, product
from pathlib import Path

import nbformat
import numpy as np
from matplotlib.patches import Circle, FancyBboxPatch, Polygon, Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image, ImageOps
from sheet import MUTED, Sheet

from captioning.course import seeing
from captioning.data import minifashion
from captioning.data.drawing import boxes, draw
from captioning.data.pictures import PHOTOGRAPHS, read_picture
from captioning.evaluation.results import CONTROLS, RESULTS, read_results
from captioning.plots import figures
from captioning.plots.figures import BLUE, GREEN, GREY, INK, ORANGE, PALE, RED

HERE = Path(__file__).parent
COLOURS = 112  # of a card, and one more that is clear
DPI = 100  # a card has 360 x 240 pixels and is shown half as wide


class Card(Sheet):
    """A sheet with a border, and with marks that are still seen at half the size."""

    letters, line, head = 19, 3, 22

    def __init__(self):
        super().__init__(3.6, 2.4)
        self.figure.patch.set_alpha(0)  # around the rounded corners
        self.axes.add_patch(rounded(0.02, 0.02, 3.56, 2.36, 0.14, fc="#fcfcfd", ec=PALE, lw=2))

    def words(self, x, y, text, colour=INK, size=18, align="center", **options):
        self.axes.text(x, y, text, ha=align, va="center", fontsize=size, color=colour, weight="bold", **options)

    def picture(self, image, left, bottom, width, height):
        """A picture that fills this place; what is too wide or too high for it is cut off on both sides."""
        pixels = ImageOps.fit(image, (round(width * DPI), round(height * DPI)), Image.Resampling.LANCZOS)
        shown = self.axes.imshow(pixels, extent=(left, left + width, bottom, bottom + height), aspect="auto", zorder=1)
        edge = self.axes.add_patch(rounded(left, bottom, width, height, 0.08, fc="none", ec=PALE, lw=1.5, zorder=2))
        shown.set_clip_path(edge)
        self.axes.set(xlim=(0, 3.6), ylim=(0, 2.4))  # imshow has moved them

    def dot(self, x, y, colour):
        self.axes.add_patch(Circle((x, y), 0.12, fc=colour, ec="white", lw=1.5, zorder=3))

    def balloon(self, x, y, text, colour, tail):
        """What somebody says at the point `tail`."""
        self.axes.add_patch(rounded(x - 0.83, y - 0.3, 1.66, 0.6, 0.15, fc=colour, ec="none"))
        self.axes.add_patch(Polygon([(x - 0.6, y - 0.15), (x - 0.6, y + 0.15), tail], fc=colour, ec="none"))
        self.words(x, y, text, "white")

    def network(self, left, right, layers, colour):
        """Layers of so many units, each joined to all of the next, from `left` to `right`."""
        places = [
            [(left + i * (right - left) / (len(layers) - 1), 1.3 + 0.36 * (j - (units - 1) / 2)) for j in range(units)]
            for i, units in enumerate(layers)
        ]
        for near, far in pairwise(places):
            for ends in product(near, far):
                self.axes.plot(*zip(*ends, strict=True), color=colour, lw=1.5, alpha=0.5, zorder=1)
        for place in chain(*places):
            self.dot(*place, colour)

    def save(self, name):
        buffer = io.BytesIO()
        self.figure.savefig(buffer, dpi=DPI)
        *_, cover = (drawn := Image.open(buffer)).split()
        flat = Image.new("RGB", drawn.size, PALE)
        flat.paste(drawn, mask=cover)
        small = flat.quantize(COLOURS)  # of a picture that is clear in places Pillow would choose worse colours
        small.putpalette([*small.getpalette(), 0, 0, 0])
        small.paste(COLOURS, mask=cover.point(lambda opacity: 255 * (opacity < 128)))
        small.save(HERE / f"{name}_thumbnail.png", optimize=True, transparency=COLOURS)


def rounded(left, bottom, width, height, radius, **options):
    return FancyBboxPatch((left, bottom), width, height, f"round,pad=0,rounding_size={radius}", **options)


def person(seed, **scene):
    """Somebody with the attributes that this seed gives."""
    return draw(worn(seed) | scene, 400, random.Random(seed))


def worn(seed):
    return minifashion.sample_attributes(random.Random(seed))


def printed(chapter, pattern):
    """The first output of a chapter's notebook that the pattern is found in: plain text or, if in none, HTML."""
    [path] = HERE.parent.glob(f"{chapter}_*.ipynb")
    outputs = [out for cell in nbformat.read(path, 4).cells for out in cell.get("outputs", [])]
    texts = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in outputs]
    texts += [out.get("data", {}).get("text/html", "") for out in outputs]
    return next(text for text in texts if re.search(pattern, text))


def table(text):
    """{row: its numbers} of a table that pandas printed; names are parted from numbers by two spaces or more."""
    rows = (re.match(r"(.*?\S)\s{2,}([\d.\s]+)$", line) for line in text.splitlines())
    return {row[1]: [float(number) for number in row[2].split()] for row in rows if row}


def plane(card, up, right):
    """The axes of a plane, with what grows up them and to the right."""
    for end in ((0.3, 2.2), (3.4, 0.48)):
        card.arrow([(0.3, 0.48), end], MUTED)
    card.words(0.43, 2.1, up, MUTED, align="left")
    card.words(3.38, 0.25, right, MUTED, align="right")


def gru(card):
    card.picture(person(1), 0.2, 0.75, 1.25, 1.45)
    card.arrow([(1.55, 1.4), (2.05, 1.4)])
    card.box(2.65, 1.4, "GRU", 1.1, 0.7, BLUE)
    card.arrow([(3.0, 1.78), (3.0, 2.15), (2.35, 2.15), (2.35, 1.77)], BLUE)
    card.arrow([(2.65, 1.02), (2.65, 0.65)])
    card.words(1.8, 0.4, "a man in a hat …", size=20)


def window(card):
    seed = 21
    box = boxes(worn(seed), 400, random.Random(seed))["lower_garment"]
    lit = figures.spotlight(person(seed), np.ones(1), np.array([box]), dark=0.4)
    card.picture(Image.fromarray((255 * lit).astype(np.uint8)), 0.2, 0.2, 2.0, 2.0)
    left, top, right, bottom = (2 * edge for edge in box)
    around = rounded(0.2 + left, 2.2 - bottom, right - left, bottom - top, 0.05, fc="none", ec=ORANGE, lw=4, zorder=3)
    card.axes.add_patch(around)
    y = 2.2 - (top + bottom) / 2
    card.arrow([(2.45, y), (0.25 + right, y)], ORANGE)
    card.words(2.98, y, worn(seed)["lower_fabric"])


def reward(card):
    drawn = [row for row in read_results(RESULTS) if row["data"] == "minifashion"]
    rows = {row["run"]: row for row in drawn if row["model"].startswith("transformer")}
    card.axes.plot((1.78, 1.78), (0.3, 2.1), color=PALE, lw=2)
    for x, name, metric, colour, digits in (
        (0.9, "reward", "CIDEr-D", GREEN, 2),
        (2.68, "truth", "attributes", RED, 3),
    ):
        before, after = (float(rows[run][metric]) for run in ("02_transformer", "03_others"))
        rise = math.copysign(0.28, after - before)  # each on a scale of its own
        card.words(x, 2.05, name, colour, 20)
        card.arrow([(x - 0.42, 1.0 - rise), (x + 0.45, 1.0 + rise)], colour)
        card.dot(x - 0.42, 1.0 - rise, colour)
        card.words(x - 0.42, 1.0 - 2 * rise, f"{before:.{digits}f}", size=16)
        card.words(x + 0.42, 1.0 + 2 * rise, f"{after:.{digits}f}", size=16)


def page(card):
    place = {"scene": "street", "light": "day"}
    things = {"left": "bus", "left_color": "blue", "right": "car", "right_color": "red"}
    card.picture(person(31, **place, **things), 0.2, 0.4, 1.4, 1.6)
    card.frame(1.75, 0.2, 1.65, 2.0, "white", GREY)
    for y, text, kept in ((1.9, "a street", 1), (1.43, "red bus", 0), (0.96, "blue bus", 1), (0.49, "nice hat", 0)):
        card.words(1.9, y, text, INK if kept else MUTED, align="left")
        if not kept:
            card.axes.plot((1.85, 3.2), (y, y), color=RED, lw=3)


def pupils(card):
    text = printed("05", r"precision +recall *\nold +[\d.]+ \[")
    rows = re.findall(r"(\w+) +([\d.]+) \[[^]]*\] +([\d.]+) \[", text.split("precision")[-1])
    found = {name: (float(precision), float(recall)) for name, precision, recall in rows}
    plane(card, "precision", "recall")
    places = {
        name: (0.7 + (found[name][1] - found["old"][1]) * 18, 0.8 + (found[name][0] - found["unfiltered"][0]) * 8)
        for name in ("old", "unfiltered", "filtered")
    }
    for (name, (x, y)), colour, side in zip(places.items(), (MUTED, RED, GREEN), (1, -1, -1), strict=True):
        card.dot(x, y, colour)
        card.words(x + 0.2 * side, y, name, colour, align="left" if side > 0 else "right")
    (x, low), (_, high) = places["unfiltered"], places["filtered"]
    card.arrow([(x, low + 0.14), (x, high - 0.14)], GREEN)


def lora(card):
    html = printed("06", "memory, MB")
    every, few = (
        int(re.search(rf">{name}</th>\s*<td[^>]*>([\d,]+)<", html)[1].replace(",", ""))
        for name in ("full fine-tuning", "LoRA")
    )
    side = 1.8
    card.axes.add_patch(rounded(0.3, 0.3, side, side, 0.06, fc=BLUE, ec="none"))
    card.words(0.3 + side / 2, 0.3 + side / 2, "all\nweights", "white", 20)
    card.axes.add_patch(Rectangle((2.35, 0.3), side * few / every, side, fc=RED, ec="none"))  # areas as the weights are
    card.words(2.55, 1.35, "LoRA", RED, 20, "left")
    card.words(2.55, 1.02, f"{few / every:.1%}", RED, 16, "left")


def voices(card):
    card.picture(person(56), 0.2, 0.2, 1.35, 2.0)
    card.balloon(2.57, 1.75, "splendid!", RED, (1.38, 1.6))
    card.balloon(2.57, 0.85, "perhaps …", BLUE, (1.38, 1.0))


def distillation(card):
    card.network(0.3, 1.5, (3, 4, 4, 3), BLUE)
    card.network(2.75, 3.25, (2, 2), RED)
    card.arrow([(1.75, 1.3), (2.5, 1.3)])
    for i, height in enumerate((0.5, 0.3, 0.12)):
        card.axes.add_patch(Rectangle((1.85 + 0.18 * i, 1.5), 0.13, height, fc=BLUE))
    card.words(0.9, 0.32, "teacher", BLUE)
    card.words(2.85, 0.32, "student", RED)


def words_of_cells(card):
    [file] = [file for file in PHOTOGRAPHS if file.stem == "temple"]
    card.picture(read_picture(file), 0.12, 0.12, 3.36, 2.16)
    for share in (0.25, 0.5, 0.75):
        card.axes.plot((0.12 + 3.36 * share,) * 2, (0.12, 2.28), color="white", lw=1, alpha=0.5)
        card.axes.plot((0.12, 3.48), (0.12 + 2.16 * share,) * 2, color="white", lw=1, alpha=0.5)
    cells = json.loads(seeing.RECORD.read_text())["words"]["temple"]
    for cell, rank in ((3, 1), (5, 0), (7, 0), (13, 1), (15, 0)):
        x, y = 0.12 + 3.36 * (cell % 4 + 0.5) / 4, 2.28 - 2.16 * (cell // 4 + 0.5) / 4
        card.words(x, y, cells[cell][rank], "white", 20, path_effects=[withStroke(linewidth=5, foreground=INK)])


def claims(card):
    found = table(printed("10", r"^\s+said +true +invented"))
    plane(card, "true", "said")
    for name, (*_, true, said) in found.items():
        card.dot(0.3 + 3 * said, 0.48 + 1.6 * true, GREY if name in CONTROLS else BLUE)
    card.words(2.75, 1.0, "models", BLUE)
    card.words(1.3, 0.72, "controls", MUTED, align="left")


figures.style()
CARDS = (gru, window, reward, page, pupils, lora, voices, distillation, words_of_cells, claims)
for number, idea in enumerate(CARDS, 1):
    idea(card := Card())
    card.save(f"{number:02}")
