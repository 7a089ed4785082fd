"""The places of `scenes.SCENE`, drawn behind a person. Lengths are in units: a picture is 128 wide and high."""

import random
from collections.abc import Mapping

from PIL import ImageDraw

from captioning.data.cloth import BLACK, WHITE, Colour, mix
from captioning.data.scenes import INDOORS

PAINT: dict[str, Colour] = {
    "red": (205, 52, 50),
    "blue": (52, 96, 200),
    "green": (52, 150, 84),
    "yellow": (244, 200, 52),
    "purple": (136, 72, 172),
    "white": (246, 246, 242),
}
SKY: dict[str, Colour] = {"day": (178, 216, 244), "evening": (246, 164, 120), "night": (34, 40, 84)}
GROUND: dict[str, Colour] = {
    "street": (138, 138, 144),
    "beach": (236, 214, 164),
    "park": (132, 186, 104),
    "mountains": (230, 236, 242),
    "room": (176, 132, 92),
    "shop": (208, 206, 214),
}
HORIZON = 74  # y where the ground begins


class Backdrop:
    """One place on the pen of a canvas with `k` pixels a unit."""

    def __init__(self, pen: ImageDraw.ImageDraw, k: float, seen: Mapping[str, str], rng: random.Random):
        self.pen, self.k, self.seen, self.rng = pen, k, seen, rng
        light = seen.get("light")
        self.dusk = {"evening": 0.12, "night": 0.4}.get(light, 0.0)  # how much darker everything is
        if seen["scene"] in INDOORS:
            self.back = mix(PAINT[seen["wall"]], WHITE, 0.45)
        else:
            self.back = SKY[light]

    def tint(self, colour: Colour) -> Colour:
        return mix(colour, (24, 24, 56), self.dusk)

    def box(self, x: float, y: float, width: float, height: float, colour: Colour, edge: bool = False) -> None:
        """A rectangle with its middle at x and its foot at y."""
        k = self.k
        corners = ((x - width / 2) * k, (y - height) * k, (x + width / 2) * k, y * k)
        self.pen.rectangle(corners, self.tint(colour), self.tint(mix(colour, BLACK, 0.5)) if edge else None, round(k))

    def disc(self, x: float, y: float, rx: float, ry: float, colour: Colour, start: int = 0, end: int = 360) -> None:
        k, colour = self.k, self.tint(colour)
        corners = ((x - rx) * k, (y - ry) * k, (x + rx) * k, (y + ry) * k)
        self.pen.pieslice(corners, start, end, colour, mix(colour, BLACK, 0.4), round(k * 0.7))

    def shape(self, points: list[tuple[float, float]], colour: Colour, edge: bool = True) -> None:
        pixels, colour = [(x * self.k, y * self.k) for x, y in points], self.tint(colour)
        self.pen.polygon(pixels, colour, mix(colour, BLACK, 0.4) if edge else None, round(self.k * 0.7))

    def draw(self) -> None:
        """From the sky or wall to the two things at the sides."""
        k = self.k
        self.pen.rectangle((0, 0, 128 * k, HORIZON * k), self.back)
        self.pen.rectangle((0, HORIZON * k, 128 * k, 128 * k), self.tint(GROUND[self.seen["scene"]]))
        if self.seen["scene"] not in INDOORS:
            self.lamp_of_the_sky()
        getattr(self, f"far_{self.seen['scene']}")()
        for side, x in (("left", 19), ("right", 109)):
            paint = PAINT[self.seen[f"{side}_color"]]
            x, y = x + self.rng.uniform(-3, 3), 104 + self.rng.uniform(-5, 5)
            getattr(self, self.seen[side])(x, y, paint, mix(paint, BLACK, 0.45))

    def lamp_of_the_sky(self) -> None:
        """Sun or moon, and stars at night."""
        night, x = self.seen["light"] == "night", self.rng.choice((20, 34, 96, 110))
        colour, y = ((240, 240, 216), 16) if night else ((255, 226, 120), 16 if self.seen["light"] == "day" else 58)
        k, r = self.k, 6
        self.pen.ellipse(((x - r) * k, (y - r) * k, (x + r) * k, (y + r) * k), colour)
        for _ in range(14 if night else 0):
            x, y = self.rng.uniform(2, 126) * k, self.rng.uniform(2, 46) * k
            self.pen.ellipse((x - k * 0.7, y - k * 0.7, x + k * 0.7, y + k * 0.7), colour)

    # ---- what is far away ---------------------------------------------------------------------------------------

    def far_street(self) -> None:
        for i, x in enumerate((8, 27, 45, 64, 83, 101, 120)):
            height = self.rng.uniform(28, 54)
            self.box(x, HORIZON, 19, height, ((150, 110, 96), (172, 158, 140), (118, 118, 132))[i % 3])
            lit = (250, 226, 140) if self.seen["light"] != "day" else (206, 226, 236)
            for row in range(int(height // 11)):
                for dx in (-4, 4):
                    self.box(x + dx, HORIZON - 4 - 11 * row, 4, 5, lit)

    def far_beach(self) -> None:
        self.box(64, HORIZON + 9, 128, 23, (70, 150, 190))
        for y in (58, 64, 71, 78):
            self.box(64 + self.rng.uniform(-30, 30), y, 36, 0.8, (214, 236, 244))

    def far_park(self) -> None:
        for x in (6, 30, 56, 78, 102, 124):
            self.box(x, HORIZON + 2, 4, 18, (110, 78, 52))
            self.disc(x, 52 + self.rng.uniform(-4, 4), 13, 13, (66, 128, 70))

    def far_mountains(self) -> None:
        for x, top in ((18, 26), (62, 16), (106, 24)):
            top += self.rng.uniform(-5, 5)
            self.shape([(x - 36, HORIZON), (x, top), (x + 36, HORIZON)], (122, 130, 152))
            self.shape([(x - 9, top + 12), (x, top), (x + 9, top + 12), (x, top + 9)], (250, 250, 252), edge=False)

    def far_room(self) -> None:
        self.box(64, HORIZON, 128, 3, (250, 246, 238))
        for x in (22, 106):
            self.box(x, 44, 22, 20, (238, 226, 196), edge=True)  # pictures on the wall
            self.shape([(x - 9, 43), (x - 2, 30), (x + 3, 37), (x + 9, 43)], (140, 160, 150))

    def far_shop(self) -> None:
        self.box(64, 15, 128, 7, (70, 70, 84))
        for x in (10, 37, 64, 91, 118):
            self.disc(x, 19, 4, 4, (255, 246, 206))  # a row of lamps
        for y in (36, 50):
            self.box(64, y, 128, 1.6, (122, 96, 74))

    # ---- things: their foot at (x, y) -----------------------------------------------------------------------------

    def car(self, x, y, paint, dark) -> None:
        self.shape([(x - 10, y - 12), (x - 6, y - 21), (x + 7, y - 21), (x + 11, y - 12)], mix(paint, WHITE, 0.55))
        self.box(x, y - 3, 34, 10, paint, edge=True)
        for dx in (-9, 9):
            self.disc(x + dx, y - 3, 4.4, 4.4, (44, 44, 50))

    def bus(self, x, y, paint, dark) -> None:
        self.box(x, y - 3, 34, 42, paint, edge=True)
        for dy in (20, 34):
            for dx in (-11, 0, 11):
                self.box(x + dx, y - dy, 8, 8, (206, 228, 240))
        for dx in (-10, 10):
            self.disc(x + dx, y - 3, 4, 4, (44, 44, 50))

    def kiosk(self, x, y, paint, dark) -> None:
        self.box(x, y, 25, 30, paint, edge=True)
        self.box(x, y - 12, 17, 10, (70, 60, 56))
        self.shape([(x - 17, y - 29), (x, y - 42), (x + 17, y - 29)], dark)

    def umbrella(self, x, y, paint, dark) -> None:
        self.box(x, y, 2.2, 42, (120, 92, 70))
        self.disc(x, y - 32, 18, 15, paint, 180, 360)

    def boat(self, x, y, paint, dark) -> None:
        self.shape([(x - 17, y - 9), (x + 17, y - 9), (x + 11, y), (x - 11, y)], (124, 84, 56))
        self.shape([(x, y - 46), (x, y - 11), (x + 15, y - 11)], paint)
        self.shape([(x - 2, y - 40), (x - 2, y - 11), (x - 14, y - 11)], paint)

    def ball(self, x, y, paint, dark) -> None:
        self.disc(x, y - 11, 12, 12, paint)
        self.disc(x, y - 11, 4, 12, mix(paint, WHITE, 0.6))

    def bench(self, x, y, paint, dark) -> None:
        for dy in (8, 14, 20):
            self.box(x, y - dy, 34, 4, paint, edge=True)
        for dx in (-13, 13):
            self.box(x + dx, y, 3, 10, (60, 56, 60))

    def kite(self, x, y, paint, dark) -> None:
        self.shape([(x, y - 90), (x + 12, y - 75), (x, y - 54), (x - 12, y - 75)], paint)
        for i in range(5):
            self.box(x + (i % 2) * 3, y - 48 + i * 6, 3.4, 2.6, dark)

    def fountain(self, x, y, paint, dark) -> None:
        for dx in (-7, 0, 7):
            self.box(x + dx, y - 10, 2.2, 26 - abs(dx), (190, 226, 246))
        self.disc(x, y - 10, 17, 9, paint, 0, 180)
        self.box(x, y, 8, 4, dark)

    def tent(self, x, y, paint, dark) -> None:
        self.shape([(x - 18, y), (x, y - 28), (x + 18, y)], paint)
        self.shape([(x - 5, y), (x, y - 16), (x + 5, y)], (50, 46, 54))

    def cabin(self, x, y, paint, dark) -> None:
        self.box(x, y, 27, 20, (128, 88, 58), edge=True)
        self.box(x, y - 4, 7, 10, (70, 48, 36))
        self.shape([(x - 18, y - 19), (x, y - 36), (x + 18, y - 19)], paint)

    def flag(self, x, y, paint, dark) -> None:
        self.box(x - 10, y, 2.2, 58, (90, 90, 100))
        self.shape([(x - 9, y - 57), (x + 14, y - 54), (x + 14, y - 38), (x - 9, y - 38)], paint)

    def sofa(self, x, y, paint, dark) -> None:
        self.box(x, y - 8, 32, 20, paint, edge=True)
        self.box(x, y - 3, 26, 11, mix(paint, WHITE, 0.3), edge=True)
        for dx in (-15, 15):
            self.box(x + dx, y, 7, 18, paint, edge=True)

    def lamp(self, x, y, paint, dark) -> None:
        self.box(x, y, 14, 2.4, (60, 56, 60))
        self.box(x, y, 2, 40, (60, 56, 60))
        self.shape([(x - 13, y - 36), (x - 7, y - 56), (x + 7, y - 56), (x + 13, y - 36)], paint)

    def curtain(self, x, y, paint, dark) -> None:
        for i in range(4):
            self.box(x - 12 + 8 * i, y, 8, 92, (paint, mix(paint, BLACK, 0.16))[i % 2])

    def shelf(self, x, y, paint, dark) -> None:
        self.box(x, y, 30, 62, paint, edge=True)
        for i in range(4):
            self.box(x, y - 4 - 15 * i, 24, 10, (84, 66, 58))

    def counter(self, x, y, paint, dark) -> None:
        self.box(x, y, 32, 24, paint, edge=True)
        self.box(x, y - 23, 37, 4, (90, 80, 80))
        self.box(x + 5, y - 27, 11, 8, (60, 60, 70))

    def mirror(self, x, y, paint, dark) -> None:
        self.disc(x, y - 32, 15, 31, paint)
        self.disc(x, y - 32, 11, 26, (208, 232, 240))
        self.box(x, y, 16, 3, dark)
