"""The canvas of the drawn people: a picture addressed in units, and brushes for cloth, fur, stitches and ribs."""

import math
import random

from PIL import Image, ImageDraw

from captioning.data.cloth import BLACK, WHITE, Cloth, Colour, mix, weave

Point = tuple[float, float]

WIDEN = 1.22  # people a little stout: more cloth to see
THREAD = (244, 170, 70)


class Canvas:
    """A picture addressed in the person's units, and the pen that draws on it."""

    def __init__(self, size: int, background: Colour, zoom: float, shift: Point):
        self.k = 2 * size / 128
        self.image = Image.new("RGB", (2 * size, 2 * size), background)
        self.pen = ImageDraw.Draw(self.image)
        self.zoom, self.shift = zoom, shift

    @property
    def unit(self) -> float:
        """Pixels per unit of the person."""
        return self.k * self.zoom

    def at(self, points: list[Point]) -> list[Point]:
        """Units to pixels."""
        dx, dy = self.shift
        k, across = self.k, WIDEN * self.zoom
        return [((64 + dx + x * across) * k, (dy + y * self.zoom) * k) for x, y in points]

    def width(self, units: float) -> int:
        return max(1, round(units * self.unit))

    def polygon(self, points: list[Point], fill: Colour, edge: Colour | None = None) -> None:
        pixels = self.at(points)
        self.pen.polygon(pixels, fill=fill)
        if edge:
            self.pen.line([*pixels, pixels[0]], fill=edge, width=self.width(0.9), joint="curve")

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill=None, edge=None, thick: float = 0.9) -> None:
        (left, top), (right, bottom) = self.at([(x - rx, y - ry), (x + rx, y + ry)])
        self.pen.ellipse((left, top, right, bottom), fill=fill, outline=edge, width=self.width(thick) if edge else 0)

    def line(self, points: list[Point], fill: Colour, thick: float, round_ends: bool = True) -> None:
        self.pen.line(self.at(points), fill=fill, width=self.width(thick), joint="curve")
        if round_ends:
            for x, y in (points[0], points[-1]):
                self.ellipse(x, y, thick / 2, thick / 2, fill)

    def cloth(self, mask: Image.Image, cloth: Cloth, part: int) -> None:
        """The cloth wherever the mask (L, as large as the picture) is white."""
        box = mask.getbbox()
        piece = weave(cloth, box[2] - box[0], box[3] - box[1], self.k, part)
        shape = mask.crop(box)
        if cloth.opacity < 255:
            shape = shape.point([value * cloth.opacity // 255 for value in range(256)])
        self.image.paste(piece, box[:2], shape)

    def mask(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        mask = Image.new("L", self.image.size, 0)
        return mask, ImageDraw.Draw(mask)

    def panel(self, points: list[Point], cloth: Cloth, part: int) -> None:
        """A polygon of cloth with its outline; fur is ragged, denim stitched."""
        mask, pen = self.mask()
        pixels = self.at(points)
        pen.polygon(pixels, fill=255)
        if cloth.fabric == "furry":
            self.fur([*points, points[0]], cloth, part)
        self.cloth(mask, cloth, part)
        if cloth.fabric != "furry":
            self.pen.line([*pixels, pixels[0]], fill=cloth.edge, width=self.width(1), joint="curve")

    def tube(self, path: list[Point], thick: float, cloth: Cloth, part: int) -> None:
        """A sleeve along a path."""
        mask, pen = self.mask()
        pen.line(self.at(path), fill=255, width=self.width(thick), joint="curve")
        (x, y), r = self.at(path[:1])[0], thick / 2 * self.unit
        pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
        if cloth.fabric == "furry":
            for side in (-1, 1):
                self.fur([(x + side * thick * 0.42, y) for x, y in path], cloth, part)
        else:
            outline = [path[0], *path[1:-1], along(path, 1.0, 0.6)]
            self.line(outline[:1] * 2, cloth.edge, thick + 1.8)
            self.line(outline, cloth.edge, thick + 1.8, round_ends=False)
        self.cloth(mask, cloth, part)

    def fur(self, points: list[Point], cloth: Cloth, part: int) -> None:
        """Strands that stand out along a path."""
        rng, ring = random.Random(cloth.seed - part), self.at(points)
        tones = [mix(cloth.base, tone, share) for tone, share in ((BLACK, 0.35), (WHITE, 0.35), (BLACK, 0.1))]
        reach, thick = 4.2 * self.unit, self.width(1.1)
        for (ax, ay), (bx, by) in zip(ring, ring[1:], strict=False):
            for i in range(max(2, round(math.hypot(bx - ax, by - ay) / (1.1 * self.unit)))):
                t, angle = rng.random(), rng.random() * 2 * math.pi
                x, y = ax + (bx - ax) * t, ay + (by - ay) * t
                tip = (x + reach * math.cos(angle), y + reach * math.sin(angle))
                self.pen.line((x, y, *tip), fill=tones[i % 3], width=thick)

    def stitches(self, *seams: list[Point]) -> None:
        """Dashes of orange thread along each seam (two points)."""
        for (ax, ay), (bx, by) in seams:
            steps = max(2, round(math.hypot(bx - ax, by - ay) / 3.4))
            for i in range(steps):
                ends = [(ax + (bx - ax) * (i + t) / steps, ay + (by - ay) * (i + t) / steps) for t in (0, 0.6)]
                self.line(ends, THREAD, 1.3, round_ends=False)

    def rib(self, path: list[Point], thick: float, cloth: Cloth) -> None:
        """The ribbed band of a sweater, along two points."""
        self.line(path, mix(cloth.base, BLACK, 0.3), thick, round_ends=False)
        (ax, ay), (bx, by) = path
        length = math.hypot(bx - ax, by - ay)
        nx, ny = -(by - ay) / length * thick / 2, (bx - ax) / length * thick / 2
        for i in range(1, round(length / 2.4)):
            x, y = ax + (bx - ax) * i * 2.4 / length, ay + (by - ay) * i * 2.4 / length
            self.line([(x - nx, y - ny), (x + nx, y + ny)], mix(cloth.base, WHITE, 0.55), 1, round_ends=False)


def along(path: list[Point], share: float, beyond: float = 0.0) -> Point:
    """The point after `share` of the path (two segments taken as equally long), `beyond` units further."""
    i = min(int(share * (len(path) - 1)), len(path) - 2)
    (ax, ay), (bx, by) = path[i], path[i + 1]
    t = share * (len(path) - 1) - i + beyond / math.hypot(bx - ax, by - ay)
    return ax + (bx - ax) * t, ay + (by - ay) * t


def upto(path: list[Point], share: float) -> list[Point]:
    inner = [point for i, point in enumerate(path) if i < share * (len(path) - 1)]
    return [*inner, along(path, share)]


def mirrored(points: list[Point]) -> list[Point]:
    """The right half of an outline, completed by its mirror image."""
    return [*points, *((-x, y) for x, y in reversed(points))]
