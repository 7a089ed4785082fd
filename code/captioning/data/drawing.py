"""People in garments, drawn with Pillow at twice the size and reduced.

Lengths are in units: a picture is 128 units wide and high, the person's middle is x = 0, her or his crown is near
y = 0 and the soles are near y = 122. `attributes` are those of `minifashion.ATTRIBUTES`. What no caption tells
(colours, skin, hair, pose, place) is drawn from the generator, in an order that does not depend on the size.
"""

import random
from collections.abc import Iterator

from PIL import Image, ImageChops

from captioning.data.backdrops import Backdrop
from captioning.data.canvas import Canvas, Point, along, mirrored, upto
from captioning.data.cloth import BLACK, GOLD, SLEEVE, VIVID, WHITE, Cloth, contrasting, mix, sample_cloth
from captioning.data.necklines import NECKLINES

Box = tuple[float, float, float, float]

SKINS = ((252, 224, 200), (244, 204, 172), (228, 180, 140), (196, 142, 104), (150, 100, 70), (106, 70, 50))
HAIRS = ((34, 28, 34), (82, 52, 36), (142, 88, 48), (224, 180, 100), (176, 66, 40), (120, 112, 120))
BACKGROUNDS = (
    (250, 240, 226),
    (226, 238, 244),
    (240, 226, 234),
    (228, 240, 226),
    (244, 232, 204),
    (218, 222, 238),
    (236, 236, 236),
    (196, 214, 216),
    (214, 196, 188),
)
HEM = {"three-point": 86, "medium": 96, "three-quarter": 106, "long": 117}  # y where the lower garment ends
ARM_END = {"sleeveless": 0.0, "short": 0.32, "medium": 0.6, "long": 0.88}  # share of the arm that the sleeve covers
ARMS = {  # elbow and hand of the right arm, shoulder at (17, 38)
    "down": ((26, 54), (28, 71)),
    "hip": ((35, 53), (24, 67)),
    "out": ((32, 49), (41, 63)),
    "up": ((34, 47), (39, 28)),
}


class Person:
    """One drawing: everything that is sampled once and used by several strokes."""

    def __init__(self, attributes: dict[str, str], size: int, rng: random.Random):
        self.is_ = attributes
        self.rng = rng
        self.woman = attributes["gender"] == "woman"
        self.skin, self.hair = rng.choice(SKINS), rng.choice(HAIRS)
        self.shade = mix(self.skin, (120, 50, 40), 0.35)
        self.turn = rng.choice((-1, 0, 0, 1)) * rng.uniform(0.6, 1)  # three-quarter views look aside
        zoom = rng.uniform(0.9, 0.98)
        shift = (rng.uniform(-6, 6), rng.uniform(3.2, 4.8) + (0.98 - zoom) * 60)
        background = rng.choice(BACKGROUNDS)
        self.paper = Canvas(size, background, zoom, shift)
        self.arms = [self._arm(side) for side in (-1, 1)]
        self.upper = self._cloth("", rng)
        self.lower = self._cloth("lower_", rng)
        self.outer = self._cloth("outer_", rng) if attributes["outer"] == "yes" else None
        self.trinket = rng.choice(VIVID[:8])  # the colour of accessories
        untucked = rng.random() < 0.6 and self.upper.fabric != "chiffon"  # which would show the waist below
        self.tucked = attributes["belt"] == "yes" or not untucked
        self.hair_style = rng.choice(("long", "bob", "bun") if self.woman else ("quiff", "beard", "beard"))
        if self.hair_style == "bun" and attributes["hat"] == "yes":  # a hat would cover it
            self.hair_style = "long"

    def _cloth(self, prefix: str, rng: random.Random) -> Cloth:
        return sample_cloth(self.is_[f"{prefix}fabric"], self.is_[f"{prefix}pattern"], rng)

    def _arm(self, side: int) -> list[Point]:
        elbow, hand = ARMS[self.rng.choice(("down", "down", "hip", "out", "up"))]
        jitter = [self.rng.uniform(-1.5, 1.5) for _ in range(4)]
        points = (17.5, 38.5), (elbow[0] + jitter[0], elbow[1] + jitter[1]), (hand[0] + jitter[2], hand[1] + jitter[3])
        return [(side * x, y) for x, y in points]

    def place(self) -> None:
        """The scene behind, where the attributes name one (it has a generator of its own), else a plain floor."""
        paper = self.paper
        if "scene" not in self.is_:
            self.floor()
            return
        Backdrop(paper.pen, paper.k, self.is_, random.Random(f"backdrop {sorted(self.is_.items())}")).draw()
        paper.ellipse(0, 121, 30, 3.6, mix(paper.image.getpixel((1, paper.image.height - 2)), (30, 20, 40), 0.3))

    def floor(self) -> None:
        paper, shadow = self.paper, mix(self.paper.image.getpixel((0, 0)), (60, 50, 70), 0.14)
        k, top = paper.k, paper.at([(0, 112)])[0][1]
        paper.pen.rectangle((0, top, 128 * k, 128 * k), fill=mix(shadow, WHITE, 0.25))
        paper.ellipse(0, 121, 30, 3.6, shadow)

    def hair_behind(self) -> None:
        if self.woman and self.hair_style != "bun":
            bottom = 37 if self.hair_style == "long" else 29
            self.paper.ellipse(0, 16, 14, 14, self.hair)
            self.paper.polygon(mirrored([(13.5, 14), (15, bottom - 3), (12, bottom)]), self.hair)

    def legs(self) -> None:
        for side in (-1, 1):
            self.paper.line([(side * 10.5, 66), (side * 10.5, 117)], self.skin, 11)
            self.paper.line([(side * 4.6, 84), (side * 4.9, 116)], self.shade, 0.8)

    def socks(self) -> None:
        sock = contrasting(self.skin, self.rng, 60)
        for side in (-1, 1) if self.is_["socks"] == "yes" else ():
            self.paper.line([(side * 10.5, 108), (side * 10.5, 118)], sock, 12.4, round_ends=False)
            for y in (107.6, 110.6):
                self.paper.line([(side * 4.2, y), (side * 16.8, y)], WHITE, 1.4, round_ends=False)

    def shoes(self) -> None:
        shoe = mix(self.trinket, (40, 30, 40), 0.55)
        for side in (-1, 1):
            self.paper.ellipse(side * 12, 120.3, 7.6, 3.4, shoe, mix(shoe, BLACK, 0.4))

    def lower_garment(self) -> None:
        end = HEM[self.is_["length"]] + self.rng.uniform(-1, 1)
        if self.is_["lower"] == "skirt":
            flare = 22 + (end - 83) * 0.1
            pieces = [mirrored([(16.5, 61), (20.5, 73), (flare, end - 1), (flare * 0.5, end + 1)])]
        else:
            wide = 20.5 if self.is_["lower"] == "shorts" else 19.5
            leg = [(0, 61), (16.5, 61), (20.5, 73), (wide, end), (1.8, end), (1, 80), (0, 77)]
            pieces = [leg, [(-x, y) for x, y in leg]]
        for part, piece in enumerate(pieces, start=len(pieces) - 1):
            self.paper.panel(piece, self.lower, part)
        if self.is_["lower"] != "skirt":
            self.paper.line([(0, 63), (0, 78)], self.lower.edge, 1)
        if self.lower.fabric == "denim":
            self.paper.stitches([(2, end - 3), (18, end - 3)], [(-18, end - 3), (-2, end - 3)], [(3, 66), (3, 77)])
            self.paper.stitches([(16.5, 67), (12, 73)], [(-16.5, 67), (-12, 73)])

    def body(self) -> None:
        self.paper.polygon(mirrored([(4.6, 26), (5, 32), (17, 36), (19, 42), (16.5, 50), (15.5, 66)]), self.skin)
        self.paper.line([(-4, 30), (3, 31)], self.shade, 1.2)

    def upper_garment(self) -> None:
        hem = 63 if self.tucked else 70
        side = (16.6, hem) if self.tucked else (18.6, hem)
        if self.is_["neckline"] == "suspenders":
            outline = [(14, 43), (16.5, 48), (16.3, 57), side]
            for strap in (-5.6, 5.6) if self.outer else (-7, 7):
                self.paper.line([(strap, 33), (strap, 44)], self.upper.edge, 3.6, round_ends=False)
                self.paper.line([(strap, 33), (strap, 44)], self.upper.base, 2, round_ends=False)
        elif self.is_["garment"] == "tank top":
            outline = [(6, 32.6), (12.5, 33.6), (13, 41), (16.8, 46), (16.3, 56), side]
        else:
            broad = 20.5 if self.is_["garment"] == "sweater" else 19
            outline = [(6, 32.6), (broad - 2, 35.2), (broad, 40), (17.4, 48), (16.6, 57), side]
        bottom = [(side[0] * 0.5, hem + 2.5)] if self.is_["garment"] == "shirt" else []
        self.paper.panel(mirrored([*outline, *bottom]), self.upper, 0)
        if self.upper.fabric == "denim":
            self.paper.stitches([(-13, hem - 3), (13, hem - 3)], [(-14, 45), (-6, 45)], [(6, 45), (14, 45)])
        self._garment_marks(hem)

    def _garment_marks(self, hem: float) -> None:
        """What tells a shirt (buttons) and a sweater (ribbed band) from a t-shirt."""
        x, edge = self.turn * 2, self.upper.edge
        if self.is_["garment"] == "shirt":
            placket = [(x - 2.4, 36), (x + 2.4, 36), (x + 2.4, hem + 1), (x - 2.4, hem + 1)]
            self.paper.polygon(placket, WHITE, edge)
            for y in range(42, int(hem), 7):
                self.paper.ellipse(x, y, 1.6, 2, mix(edge, BLACK, 0.6))
        if self.is_["garment"] == "sweater":
            half = 16.6 if self.tucked else 18.4
            self.paper.rib([(-half, hem - 3), (half, hem - 3)], 7, self.upper)

    def neckline(self) -> None:
        NECKLINES[self.is_["neckline"]](self, self.paper, self.turn * 2)

    def belt(self) -> None:
        if self.is_["belt"] == "yes":
            strap = contrasting(self.lower.base, self.rng, 60)
            self.paper.polygon(mirrored([(17.2, 60), (17.8, 66)]), strap, mix(strap, BLACK, 0.55))
            x = self.turn * 2
            self.paper.polygon([(x - 4, 59), (x + 4, 59), (x + 4, 67), (x - 4, 67)], GOLD, (110, 76, 20))
            self.paper.polygon([(x - 1.8, 61.2), (x + 1.8, 61.2), (x + 1.8, 64.8), (x - 1.8, 64.8)], strap)

    def outer_garment(self) -> None:
        if self.outer:
            end = 74
            for part, side in enumerate((-1, 1), start=1):
                half = [(8, 31.5), (18.5, 35), (21.5, 41), (21.5, 58), (24.5, end), (13.8, end + 1.5), (12.4, 50)]
                self.paper.panel([(side * x, y) for x, y in half], self.outer, part)
                lapel = [(7.6, 31.5), (12.5, 35), (15.2, 44), (12, 50), (10.8, 42)]
                shadow = mix(self.outer.base, BLACK, 0.22)
                self.paper.polygon([(side * x, y) for x, y in lapel], shadow, self.outer.edge)
                if self.outer.fabric == "denim":
                    self.paper.stitches([(side * 14.5, end - 2), (side * 23.5, end - 2)])

    def both_arms(self) -> None:
        for side, path in zip((-1, 1), self.arms, strict=True):
            self.arm(path, side)

    def arm(self, path: list[Point], side: int) -> None:
        paper, cloth = self.paper, self.outer or self.upper
        sleeve = "long" if self.outer else self.is_["sleeve"]
        paper.line(path, mix(self.skin, self.shade, 0.5), 8.8)
        paper.line(path, self.skin, 7.6)
        if sleeve != "sleeveless":
            cut = upto(path, ARM_END[sleeve])
            thick = 13.5 if self.is_["garment"] == "sweater" else 12
            paper.tube(cut, thick, cloth, SLEEVE + (side > 0))
            if self.is_["garment"] == "sweater" and not self.outer:
                paper.rib([along(cut, 1.0, -3.2), cut[-1]], thick, cloth)
            self._cuff(cut, thick, cloth)
        paper.ellipse(*path[2], 5, 5, self.skin, mix(self.skin, self.shade, 0.5))

    def _cuff(self, cut: list[Point], thick: float, cloth: Cloth) -> None:
        """The end of a sleeve: a dark seam, and on denim a stitched one above it."""
        (ax, ay), (bx, by) = along(cut, 1.0, -3), cut[-1]
        nx, ny = -(by - ay) / 3 * thick * 0.45, (bx - ax) / 3 * thick * 0.45
        self.paper.line([(bx - nx, by - ny), (bx + nx, by + ny)], cloth.edge, 1.8)
        if cloth.fabric == "denim":
            self.paper.stitches([(ax - nx, ay - ny), (ax + nx, ay + ny)])

    def wrist(self) -> None:
        """An accessory on the second arm; a ring is on the first."""
        self.arms = self.rng.sample(self.arms, 2)
        wrist_arm = self.arms[1]
        if self.is_["wrist"] == "yes":
            near, far = along(wrist_arm, 0.81), along(wrist_arm, 0.95)
            self.paper.line([near, far], mix(self.trinket, BLACK, 0.6), 12.6, round_ends=False)
            self.paper.line([along(wrist_arm, 0.83), along(wrist_arm, 0.93)], self.trinket, 11, round_ends=False)
            self.paper.ellipse(*along(wrist_arm, 0.88), 3.2, 3.2, WHITE, BLACK)

    def ring(self) -> None:
        if self.is_["ring"] == "yes":
            x, y = self.arms[0][2]
            self.paper.ellipse(x, y + 3, 3.4, 3.4, None, (196, 136, 16), 2)
            self.paper.ellipse(x, y - 0.6, 3.7, 3.5, (36, 206, 232), (12, 66, 120), 1.2)
            self.paper.ellipse(x - 1.1, y - 1.6, 1.2, 1.2, WHITE)

    def neckwear(self) -> None:
        if self.is_["neckwear"] == "yes":
            for i in range(-2, 3):
                x, y = i * 2.5, 34 - 0.9 * i * i
                self.paper.ellipse(x, y, 2, 2.3, GOLD if i % 2 else WHITE, (96, 60, 20), 0.7)

    def head(self) -> None:
        paper, look = self.paper, self.turn * 3
        for side in (-1, 1):
            paper.ellipse(side * 10.6 + look * 0.2, 18, 2, 2.6, self.skin)
        paper.ellipse(0, 17, 10.5, 11.6, self.skin)
        for side in (-1, 1):
            paper.ellipse(look + side * 4, 17.5, 1.1, 1.5, (40, 30, 40))
            if self.woman:
                paper.ellipse(look + side * 6, 21.6, 1.7, 1.2, mix(self.skin, (236, 90, 90), 0.4))
        self._mouth_and_hair(look)

    def _mouth_and_hair(self, look: float) -> None:
        paper, hair = self.paper, self.hair
        (left, top), (right, bottom) = paper.at([(-11.2, 4.5), (11.2, 27)])
        paper.pen.chord((left, top, right, bottom), 196, 344, fill=hair)
        if self.woman:
            paper.ellipse(look, 23.6, 2.4, 1.3, (206, 48, 72))
            paper.polygon([(-11, 9), (-2, 5), (2, 11), (-8, 14), (-11.5, 19)], hair)
            if self.hair_style == "bun":
                paper.ellipse(0, 2.5, 5.5, 4.5, hair, mix(hair, BLACK, 0.3))
        else:
            if self.hair_style == "beard":
                (left, top), (right, bottom) = paper.at([(-10.6, 8), (10.6, 29)])
                paper.pen.chord((left, top, right, bottom), 28, 152, fill=hair)
            if self.hair_style == "quiff":
                paper.polygon([(-10, 10), (-6, 3), (4, 1.5), (10.5, 5), (9, 11)], hair)
            paper.line([(look - 2.2, 23.2), (look + 2.2, 23.2)], (150, 64, 60), 1.2)
            for side in (-1, 1):
                paper.line([(look + side * 2.6, 14.3), (look + side * 5.4, 14.1)], mix(hair, BLACK, 0.3), 1.2)

    def glasses(self) -> None:
        kind, look, paper = self.is_["glasses"], self.turn * 3, self.paper
        if kind == "no":
            return
        ink = (24, 22, 30) if kind == "sunglasses" else contrasting(self.skin, self.rng, 70)
        for side in (-1, 1):
            fill = ink if kind == "sunglasses" else mix(self.skin, WHITE, 0.7)
            paper.ellipse(look + side * 4.6, 17.4, 4, 3.7, fill, ink, 1.3)
            if kind == "glasses":
                paper.ellipse(look + side * 4.4, 17.5, 1.1, 1.5, (40, 30, 40))
            else:
                paper.line([(look + side * 4.6 - 1.8, 16.8), (look + side * 4.6 - 0.2, 15.4)], WHITE, 0.9)
            paper.line([(look + side * 8.4, 16.8), (side * 10.6, 16.2)], ink, 1.2)
        paper.line([(look - 1, 16.8), (look + 1, 16.8)], ink, 1.2)

    def hat(self) -> None:
        if self.is_["hat"] == "no":
            return
        paper, felt = self.paper, contrasting(self.hair, self.rng, 70)
        edge, band = mix(felt, BLACK, 0.5), contrasting(felt, self.rng, 60)
        style = self.rng.choice(("brim", "beanie", "cap"))
        (left, top), (right, bottom) = paper.at([(-11.6, -3), (11.6, 22)])
        paper.pen.chord((left, top, right, bottom), 180, 360, fill=felt, outline=edge, width=paper.width(1))
        if style == "brim":
            paper.polygon(mirrored([(11.6, 6.4), (11.6, 9.6)]), band)
            paper.ellipse(0, 10.4, 18, 2.7, felt, edge)
        elif style == "beanie":
            paper.polygon(mirrored([(12.2, 6.6), (12.2, 11.4)]), band, edge)
            paper.ellipse(0, -2.6, 3.4, 3.4, band, edge)
        else:
            side = 1 if self.turn >= 0 else -1
            peak = [(-11, 9), (10, 7.6), (20, 10.4), (19, 12), (-10, 11.4)]
            paper.polygon([(side * x, y) for x, y in peak], band, edge)

    def layers(self) -> Iterator[tuple[str, Image.Image]]:
        """The picture (at twice the size) after each layer, from the ground up and from the back to the front."""
        back = (self.place, self.hair_behind, self.legs, self.socks, self.shoes, self.body)
        clothes = (self.lower_garment, self.upper_garment, self.neckline, self.belt, self.outer_garment, self.both_arms)
        front = (self.head, self.glasses, self.hat, self.neckwear, self.wrist, self.ring)
        for layer in (*back, *clothes, *front):
            layer()
            yield layer.__name__, self.paper.image


def draw(attributes: dict[str, str], size: int, rng: random.Random) -> Image.Image:
    """A person with these attributes: an RGB picture of size x size pixels."""
    *_, (_, image) = Person(attributes, size, rng).layers()
    return image.reduce(2)


def boxes(attributes: dict[str, str], size: int, rng: random.Random) -> dict[str, Box]:
    """Where each layer that left a trace changed this picture: {layer: (x0, y0, x1, y1)} in parts of the picture."""
    person, found = Person(attributes, size, rng), {}
    before = person.paper.image.copy()
    for name, image in person.layers():
        if changed := ImageChops.difference(before, image).getbbox():
            found[name] = tuple(edge / image.width for edge in changed)
        before = image.copy()
    return found
