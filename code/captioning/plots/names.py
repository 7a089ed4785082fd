"""Names beside the points of a figure, where they cover least."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

GREY = "#8b919c"  # of what explains a figure: ticks, and lines that lead to a name
Point = tuple[float, float]
AROUND = (  # where a name may stand beside its point: right, left, then obliquely, above and below
    *((1, 0), (-1, 0), (0.9, 0.6), (0.9, -0.6), (-0.9, 0.6), (-0.9, -0.6)),
    *((0.4, 1), (0.4, -1), (-0.4, 1), (-0.4, -1), (0, 1), (0, -1)),
)


def name_points(
    axes: Axes, points: Mapping[str, Point], beside: Mapping[str, float], lines: Collection[tuple[Point, Point]] = ()
) -> None:
    """Write names `beside` points from the middle of their points of the plot, where each covers least of other names,
    points, `lines` (level or upright) and the edge; a thin line leads to a name that has to stand further off."""
    axes.figure.draw_without_rendering()
    scale = 72 / axes.figure.dpi
    places = {name: axes.transData.transform(point) * scale for name, point in points.items()}
    taken = [box_around(*place, 0.8 * beside[name], 0.8 * beside[name]) for name, place in places.items()]
    taken += [spanned(*(axes.transData.transform(end) * scale for end in line)) for line in lines]
    inside = [float(edge) * scale for edge in axes.get_window_extent().extents]
    for name, (x, y) in sorted(places.items(), key=lambda item: -item[1][1]):
        width, height = text_size(axes, name)
        found = []
        for far in (0, 8, 16, 26, 38):
            for right, up in AROUND:
                across = x + right * (beside[name] + far) + np.sign(right) * width / 2
                level = y + up * (beside[name] + far + 5)
                box = box_around(across, level, width / 2, height / 2)
                outside = width * height - covered(box, inside)
                covers = sum(covered(box, other) for other in taken) + 9 * outside
                found.append((covers + 3 * far, far, box, level))
        _, far, box, level = min(found, key=lambda each: each[0])
        taken.append(box)
        axes.annotate(
            name, points[name], (box[0] - x, level - y), textcoords="offset points", va="center", fontsize=8,
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.7, "shrinkA": 1, "shrinkB": 3} if far else None,
            path_effects=[withStroke(linewidth=2, foreground="white")], zorder=4,
        ).set_in_layout(False)  # fmt: skip


Box4 = Sequence[float]  # left, bottom, right, top in points


def box_around(x: float, y: float, half_width: float, half_height: float) -> Box4:
    return (x - half_width, y - half_height, x + half_width, y + half_height)


def spanned(start: Sequence[float], end: Sequence[float], thick: float = 4.0) -> Box4:
    """A level or upright line, so thick that a name keeps away from it."""
    low, high = np.minimum(start, end) - thick / 2, np.maximum(start, end) + thick / 2
    return (*low, *high)


def covered(one: Box4, other: Box4) -> float:
    """The area that two boxes have in common, in points^2."""
    width, height = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    return max(0.0, width) * max(0.0, height)


def text_size(axes: Axes, text: str, size: float = 8.0) -> tuple[float, float]:
    """Width and height in points of a line of the plot."""
    drawn = axes.text(0, 0, text, fontsize=size)
    extent = drawn.get_window_extent()
    drawn.remove()
    return (extent.width * 72 / axes.figure.dpi + 2, size + 3)
