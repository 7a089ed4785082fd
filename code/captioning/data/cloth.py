"""Cloth for the drawn people of mini-fashion: a pattern, and over it a fabric that can be recognised by its texture.

Lengths are in units: a picture is 128 units wide at any size, and `k` is pixels per unit. Patterns repeat every 8
units or more and textures every 4 or more, so that both survive at 128 px.
"""

import math
import random
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]

VIVID = (
    (206, 62, 66),
    (236, 128, 72),
    (242, 192, 72),
    (92, 156, 98),
    (38, 122, 122),
    (66, 124, 198),
    (124, 92, 178),
    (226, 110, 152),
    (246, 238, 224),
    (62, 66, 88),
    (150, 104, 76),
    (126, 32, 62),
    (158, 206, 188),
)
COLOURS = {
    "cotton": VIVID,
    "knitting": VIVID,
    "denim": ((52, 84, 134), (80, 120, 170), (40, 58, 98), (112, 146, 186)),
    "leather": ((34, 30, 38), (84, 46, 30), (104, 24, 38), (26, 56, 50), (132, 76, 38)),
    "chiffon": ((250, 206, 216), (204, 226, 250), (222, 210, 248), (250, 230, 190), (206, 240, 222)),
    "furry": ((198, 160, 118), (242, 232, 220), (146, 128, 126), (238, 172, 192), (112, 84, 66), (150, 190, 216)),
}
WHITE, BLACK, GOLD = (255, 255, 255), (0, 0, 0), (236, 186, 66)
SLEEVE = 10  # the parts of a garment: 0 is one of a piece, 1 and 2 are right and left, from 10 on they are sleeves
OPACITY = {"chiffon": 190}  # of 255: limbs show through


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with `share` of `b` stirred in."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))


def light(colour: Colour) -> float:
    """Luma of a colour, 0 to 255."""
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def contrasting(base: Colour, rng: random.Random, least: float = 75) -> Colour:
    """A vivid colour whose luma is at least `least` away from that of `base`."""
    return rng.choice([colour for colour in VIVID if abs(light(colour) - light(base)) >= least])


@dataclass(frozen=True)
class Cloth:
    """One material: what the caption says (fabric, pattern) and what only the eye sees (colours, stripe direction)."""

    fabric: str
    pattern: str
    base: Colour
    accent: Colour
    third: Colour
    upright: bool
    emblem: str
    seed: int

    @property
    def edge(self) -> Colour:
        """The colour of its seams and outline."""
        return mix(self.base, (24, 20, 36), 0.55)

    @property
    def opacity(self) -> int:
        return OPACITY.get(self.fabric, 255)


def sample_cloth(fabric: str, pattern: str, rng: random.Random) -> Cloth:
    """Colours that suit the fabric and stand apart from each other."""
    base = rng.choice(COLOURS[fabric])
    accent = contrasting(base, rng)
    if fabric == "chiffon":
        accent = mix(accent, WHITE, 0.15)
    third = rng.choice([colour for colour in VIVID if colour not in (base, accent)])
    emblem = rng.choice(("star", "heart", "smile", "bolt"))
    return Cloth(fabric, pattern, base, accent, third, rng.random() < 0.3, emblem, rng.randrange(2**31))


def weave(cloth: Cloth, width: int, height: int, k: float, part: int = 0) -> Image.Image:
    """An RGB piece of the cloth, width x height pixels; `part` tells the pieces of one garment apart."""
    rng = random.Random(cloth.seed + part)
    piece = Image.new("RGB", (width, height), cloth.base)
    pen = ImageDraw.Draw(piece)
    if cloth.pattern in PATTERNS:
        PATTERNS[cloth.pattern](pen, cloth, width, height, k, rng, part)
    if cloth.fabric in TEXTURES:
        _lay_texture(piece, cloth.fabric, k, rng)
    if cloth.pattern == "graphic" and part < SLEEVE:  # a print on top of the texture
        _graphic(pen, cloth, width, height, k, rng, part)
    return piece


def _lay_texture(piece: Image.Image, fabric: str, k: float, rng: random.Random) -> None:
    bright, dark = texture(fabric, k)
    x, y = (rng.randrange(bright.width - piece.width + 1), rng.randrange(bright.height - piece.height + 1))
    window = (x, y, x + piece.width, y + piece.height)
    piece.paste(BLACK, (0, 0), dark.crop(window))
    piece.paste(WHITE, (0, 0), bright.crop(window))


# ---- patterns: drawn on the bare cloth ------------------------------------------------------------------------


def _striped(pen, cloth, width, height, k, rng, part) -> None:
    period = 9 * k
    at = rng.random() * period - period
    while at < max(width, height):
        band = (at, 0, at + period * 0.5, height) if cloth.upright else (0, at, width, at + period * 0.5)
        pen.rectangle(band, fill=cloth.accent)
        at += period


def _lattice(pen, cloth, width, height, k, rng, part) -> None:
    period, half = 11 * k, mix(cloth.base, cloth.accent, 0.55)
    start_x, start_y = rng.random() * period - period, rng.random() * period - period
    columns = [start_x + i * period for i in range(int(width / period) + 3)]
    rows = [start_y + i * period for i in range(int(height / period) + 3)]
    for x in columns:
        pen.rectangle((x, 0, x + 4.5 * k, height), fill=half)
    for y in rows:
        pen.rectangle((0, y, width, y + 4.5 * k), fill=half)
    for x in columns:
        for y in rows:
            pen.rectangle((x, y, x + 4.5 * k, y + 4.5 * k), fill=cloth.accent)
    for at in columns:
        pen.line((at + 8 * k, 0, at + 8 * k, height), fill=cloth.third, width=round(k))
    for at in rows:
        pen.line((0, at + 8 * k, width, at + 8 * k), fill=cloth.third, width=round(k))


def _floral(pen, cloth, width, height, k, rng, part) -> None:
    step = 10.5 * k
    turn = rng.random() * 6
    for row in range(int(height / step) + 2):
        for column in range(int(width / step) + 2):
            x = (column - 0.25 + 0.5 * (row % 2)) * step + rng.uniform(-1, 1) * k
            y = (row + 0.15) * step + rng.uniform(-1, 1) * k
            _flower(pen, x, y, k, turn + row + 2 * column, cloth)


def _flower(pen, x, y, k, turn, cloth) -> None:
    leaf = (74, 150, 84) if abs(light(cloth.base) - 118) > 30 else (36, 74, 50)
    _disc(pen, x + 3.8 * k, y + 3.4 * k, 1.7 * k, leaf)
    for petal in range(5):
        angle = turn + petal * 2 * math.pi / 5
        _disc(pen, x + 2.5 * k * math.cos(angle), y + 2.5 * k * math.sin(angle), 1.9 * k, cloth.accent)
    heart = GOLD if abs(light(cloth.accent) - light(GOLD)) > 50 else (196, 70, 40)
    _disc(pen, x, y, 1.6 * k, heart)


def _disc(pen, x, y, r, fill) -> None:
    pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def _color_block(pen, cloth, width, height, k, rng, part) -> None:
    top, bottom = (cloth.accent, cloth.third) if part % 2 else (cloth.base, cloth.accent)
    pen.rectangle((0, 0, width, height * 0.5), fill=top)
    pen.rectangle((0, height * 0.5, width, height), fill=bottom)


def _graphic(pen, cloth, width, height, k, rng, part) -> None:
    """One big emblem on a disc in the middle of the piece."""
    r = min(11.5 * k, width * 0.46)
    x, y = width * 0.5, max(height * (0.42 if part else 0.56), 16 * k)  # never under the upper garment's hem
    _disc(pen, x, y, r, cloth.accent)
    ink = contrasting(cloth.accent, rng)
    pen.ellipse((x - r, y - r, x + r, y + r), outline=ink, width=max(1, round(k)))
    EMBLEMS[cloth.emblem](pen, x, y, r * 0.68, ink)


def _star(pen, x, y, r, ink) -> None:
    turns = [(i * math.pi / 5, r if i % 2 == 0 else r * 0.45) for i in range(10)]
    pen.polygon([(x + d * math.sin(a), y - d * math.cos(a)) for a, d in turns], fill=ink)


def _heart(pen, x, y, r, ink) -> None:
    _disc(pen, x - r * 0.45, y - r * 0.3, r * 0.5, ink)
    _disc(pen, x + r * 0.45, y - r * 0.3, r * 0.5, ink)
    pen.polygon([(x - r * 0.9, y - r * 0.05), (x + r * 0.9, y - r * 0.05), (x, y + r)], fill=ink)


def _smile(pen, x, y, r, ink) -> None:
    _disc(pen, x - r * 0.42, y - r * 0.35, r * 0.24, ink)
    _disc(pen, x + r * 0.42, y - r * 0.35, r * 0.24, ink)
    pen.chord((x - r * 0.75, y - r * 0.6, x + r * 0.75, y + r * 0.8), 20, 160, fill=ink)


def _bolt(pen, x, y, r, ink) -> None:
    shape = ((0.25, -1), (-0.6, 0.2), (-0.05, 0.2), (-0.25, 1), (0.6, -0.25), (0.05, -0.25))
    pen.polygon([(x + a * r, y + b * r) for a, b in shape], fill=ink)


EMBLEMS = {"star": _star, "heart": _heart, "smile": _smile, "bolt": _bolt}
PATTERNS = {
    "striped": _striped,
    "lattice": _lattice,
    "floral": _floral,
    "color block": _color_block,
}


# ---- textures: two masks, where the cloth is lit and where it is shaded -----------------------------------------


@lru_cache(maxsize=32)
def texture(fabric: str, k: float) -> tuple[Image.Image, Image.Image]:
    """Masks (L) of 160 x 160 units: how far towards white, and how far towards black, each pixel goes."""
    side = math.ceil(160 * k)
    bright, dark = Image.new("L", (side, side), 0), Image.new("L", (side, side), 0)
    TEXTURES[fabric](ImageDraw.Draw(bright), ImageDraw.Draw(dark), side, k, random.Random(fabric))
    blur = {"leather": 0.4, "chiffon": 1.0}.get(fabric)
    if blur:
        bright, dark = (mask.filter(ImageFilter.GaussianBlur(blur * k)) for mask in (bright, dark))
    return bright, dark


def _denim(bright, dark, side, k, rng) -> None:
    """Steep twill lines, and the speckle of the white weft."""
    for start in range(-side, side, max(2, round(4.5 * k))):
        bright.line((start, side, start + side, 0), fill=72, width=max(1, round(1.3 * k)))
        dark.line((start + 2 * k, side, start + 2 * k + side, 0), fill=48, width=max(1, round(1.2 * k)))
    for _ in range(2600):
        x, y = rng.random() * side, rng.random() * side
        bright.line((x, y, x + 0.9 * k, y - 0.9 * k), fill=190, width=max(1, round(0.8 * k)))


def _leather(bright, dark, side, k, rng) -> None:
    """Short glossy gleams, each beside a fold in shadow."""
    step = 13 * k
    for row in range(int(side / step) + 1):
        for column in range(int(side / step) + 1):
            x = (column + 0.5 * (row % 2)) * step + rng.uniform(-1.5, 1.5) * k
            y = row * step + rng.uniform(-1.5, 1.5) * k
            reach = rng.uniform(3.5, 5) * k
            for pen, over, strength, thick in ((dark, 4, 110, 3), (bright, 0, 110, 4), (bright, 0, 255, 1.7)):
                left = x + over * k - 0.4 * reach
                pen.line((left, y - reach, left + 0.8 * reach, y + reach), fill=strength, width=round(thick * k))


def _knitting(bright, dark, side, k, rng) -> None:
    """Columns of chunky V stitches."""
    across, down = 7 * k, 4.6 * k
    for column in range(int(side / across) + 1):
        x = column * across
        dark.line((x, 0, x, side), fill=110, width=max(1, round(1.2 * k)))
        for row in range(-1, int(side / down) + 1):
            y = row * down
            for lean in (-1, 1):
                foot, tip = (x + across / 2, y + 3.6 * k), (x + across / 2 + lean * 3 * k, y)
                dark.line((*foot, *tip), fill=105, width=max(1, round(1.4 * k)))
                lifted = tuple(value - 1.6 * k if i % 2 else value for i, value in enumerate((*foot, *tip)))
                bright.line(lifted, fill=110, width=max(1, round(1.3 * k)))


def _chiffon(bright, dark, side, k, rng) -> None:
    """Soft hanging folds."""
    for start in range(0, side, round(8 * k)):
        wave = [(start + 1.3 * k * math.sin(y / (7 * k) + start), y) for y in range(0, side + 1, max(1, round(2 * k)))]
        bright.line(wave, fill=210, width=max(1, round(2.4 * k)), joint="curve")
        dark.line([(x + 4 * k, y) for x, y in wave], fill=50, width=max(1, round(1.8 * k)), joint="curve")


def _furry(bright, dark, side, k, rng) -> None:
    """Tufts of short hair, mostly hanging."""
    for i in range(4200):
        x, y = rng.random() * side, rng.random() * side
        angle = rng.gauss(math.pi / 2, 0.55)
        tip = (x + 5 * k * math.cos(angle), y + 5 * k * math.sin(angle))
        pen, strength = ((bright, 140), (dark, 90))[i % 2]
        pen.line((x, y, *tip), fill=strength, width=max(1, round(1.1 * k)))


TEXTURES = {"denim": _denim, "leather": _leather, "knitting": _knitting, "chiffon": _chiffon, "furry": _furry}
