"""The necklines of drawn people: each opens, or closes, the upper garment at the neck.

A neckline is a function of the person, the paper and x, where the middle of the neck is turned to; units as in
`drawing.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from captioning.data.canvas import Canvas, Point, mirrored
from captioning.data.cloth import BLACK, WHITE, mix

if TYPE_CHECKING:
    from captioning.data.drawing import Person


def _opening(person: Person, paper: Canvas, points: list[Point]) -> None:
    trim = mix(person.upper.edge, BLACK, 0.2)
    paper.polygon(points, person.skin)
    paper.line(points, trim, 2.2)


def _v_shape(person: Person, paper: Canvas, x: float) -> None:
    _opening(person, paper, [(-9.5, 32), (x, 52), (9.5, 32)])


def _round(person: Person, paper: Canvas, x: float) -> None:
    arc = [(x * 0.5 + 8 * math.cos(t * math.pi / 10), 32 + 7 * math.sin(t * math.pi / 10)) for t in range(11)]
    _opening(person, paper, arc)


def _square(person: Person, paper: Canvas, x: float) -> None:
    _opening(person, paper, [(x - 9.5, 32), (x - 9.5, 44), (x + 9.5, 44), (x + 9.5, 32)])


def _suspenders(person: Person, paper: Canvas, x: float) -> None:
    paper.line([(-14, 43), (14, 43)], person.upper.edge, 1.6)


def _lapel(person: Person, paper: Canvas, x: float) -> None:
    paper.polygon([(-6, 31), (x, 42), (6, 31)], person.skin)
    for side in (-1, 1):
        flap = [(side * 5, 29), (x, 42), (x + side * 7, 47.5), (side * 13, 35)]
        paper.polygon(flap, WHITE, person.upper.edge)


def _stand(person: Person, paper: Canvas, x: float) -> None:
    collar = mix(person.upper.base, WHITE, 0.25)
    paper.polygon(mirrored([(7, 25.4), (9, 35.5), (3, 37.5)]), collar, person.upper.edge)
    paper.line([(-7.6, 30.5), (7.6, 30.5)], person.upper.edge, 1.2)


NECKLINES = {
    "v-shape": _v_shape,
    "round": _round,
    "square": _square,
    "suspenders": _suspenders,
    "lapel": _lapel,
    "stand": _stand,
}
