"""The figures of the course, in one style: a training curve that moves, captions under their pictures, scores.

Every function returns a figure that pyplot does not know, so a notebook shows it once: as the value of its cell.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import cycle, islice, repeat, zip_longest
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from PIL.Image import Image, fromarray
from PIL.ImageFilter import GaussianBlur

from captioning.plots.names import GREY, name_points

if TYPE_CHECKING:
    import pandas as pd

    from captioning.data.drawing import Box
    from captioning.metrics.score import Scores

# Okabe and Ito 2008, "Color Universal Design": told apart with every kind of colour vision.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
PALETTE = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
INK, PALE = "#22262e", "#d9dce1"
STYLE = {
    "font.size": 9, "font.family": "sans-serif", "text.color": INK,
    "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.labelcolor": INK, "axes.edgecolor": PALE, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "axes.prop_cycle": mpl.cycler(color=PALETTE),
    "grid.color": "#eceef1", "grid.linewidth": 0.8, "xtick.color": GREY, "ytick.color": GREY,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "xtick.major.size": 0, "ytick.major.size": 0,
    "legend.frameon": False, "lines.linewidth": 1.8, "figure.dpi": 90, "figure.facecolor": "white",
}  # fmt: skip


def style() -> None:
    """Make matplotlib draw everything after this in the style of the course."""
    mpl.rcParams.update(STYLE)


def blank(width: float, height: float, rows: int = 1, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """A figure of `width` x `height` inches and its axes (rows, columns)."""
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, **options)
    plt.close(figure)  # else a notebook would show it twice, at the end of the cell and as its value
    return figure, axes


class LiveCurve:
    """A `watch` for training: loss (or another number of the log) and validation score in one figure of the notebook,
    redrawn as training goes on."""

    def __init__(
        self,
        score: str = "CIDEr-D on val",
        number: str = "loss",
        every: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.score, self.number, self.every, self.clock = score, number, every, clock
        self.drawn, self.handle = -np.inf, None

    def __call__(self, log: list[dict[str, float]]) -> None:
        """Redraw if `every` seconds have passed, and at the end of an epoch: so the last figure is complete."""
        if self.clock() - self.drawn < self.every and "val/score" not in log[-1]:
            return
        from IPython.display import display

        figure, self.drawn = training_curve(log, self.score, self.number), self.clock()
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)


def training_curve(log: list[dict[str, float]], score: str = "CIDEr-D on val", number: str = "loss") -> Figure:
    """A number of each step and the validation score over the epochs of a log of `loop.train`."""
    figure, [[left, right]] = blank(8.4, 2.7, 1, 2, layout="constrained")
    for axes, name, title, marker in ((left, number, f"training {number}", ""), (right, "val/score", score, "o")):
        points = [(record["epoch"], record[name]) for record in log if name in record]
        axes.plot(*zip(*points, strict=True) if points else ([], []), marker=marker, ms=4)
        axes.set(title=title, xlabel="epoch", xlim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if points:
            axes.annotate(f"{points[-1][1]:.2f}", points[-1], xytext=(4, 4), textcoords="offset points", color=BLUE)
    best = max((record["val/score"] for record in log if "val/score" in record), default=0)
    right.set(xlim=left.get_xlim(), ylim=(0, 1.08 * best if best > 0 else None))  # room for the highest dot
    return figure


def caption_grid(
    images: Sequence[Image],
    captions: Sequence[str] = (),
    marks: Sequence[Mapping[str, bool]] = (),
    columns: int = 4,
    width: float = 9.6,
) -> Figure:
    """Pictures, with their captions below if there are any; what comes after a line break begins on a new line.

    `marks[i]`, if given, says of each attribute whether caption i has it right (`minifashion.mark`): their number is
    written in green, the names of the wrong ones in red.
    """
    side, size = width / columns, 8.0  # inches of a column, points of a letter
    letters = int(side * 72 / size * 1.75)
    blocks = [caption_lines(*each, letters) for each in zip_longest(captions, marks, fillvalue={})]
    tallest = max((sum(len(lines) for lines, _ in block) for block in blocks), default=0)
    below = (tallest + 1.5) * size * 1.3 / 72 if blocks else 0.05 * side  # inches between rows of pictures
    rows = -(-len(images) // columns)
    height = rows * (0.94 * side + below)
    figure, axes = blank(width, height, rows, columns)
    figure.subplots_adjust(0, below / height, 1, 1, 0.06, below / (0.94 * side))
    shown = 0.94 * side * figure.dpi  # pixels of a picture's side
    for place in axes.flat:
        place.set_axis_off()
    for place, image, block in zip_longest(axes.flat, images, blocks, fillvalue=()):
        if image:
            place.imshow(image, interpolation="nearest" if image.width < shown else "auto")
            write_below(place, block, size)
    return figure


def caption_lines(caption: str, marks: Mapping[str, bool], letters: int) -> list[tuple[list[str], str]]:
    """What stands below a picture: blocks of lines of so many letters, each block with its colour. A caption keeps its
    line breaks."""
    lines = [line for part in caption.splitlines() for line in textwrap.wrap(part, letters)]
    blocks = [(lines or ["(empty)"], INK)]
    if marks:
        wrong = [name.replace("_", " ") for name, right in marks.items() if not right]
        blocks.append(([f"{len(marks) - len(wrong)} of {len(marks)} attributes right"], "#007a58"))
        blocks.append((textwrap.wrap(f"wrong: {', '.join(wrong)}", letters) if wrong else [], "#b84f00"))
    return blocks


def write_below(axes: Axes, blocks: list[tuple[list[str], str]], size: float) -> None:
    """Lines of `size` points below axes, block by block."""
    down = 4.0
    for lines, colour in blocks:
        axes.annotate(
            "\n".join(lines), (0, 0), (0, -down), "axes fraction", "offset points",
            color=colour, fontsize=size, va="top", linespacing=1.2, annotation_clip=False,
        )  # fmt: skip
        down += len(lines) * size * 1.3


def coloured(models: Collection[str]) -> dict[str, str]:
    """A colour for each model; one for all where there are more of them than colours."""
    return dict(zip(models, PALETTE if len(models) <= len(PALETTE) else repeat(BLUE), strict=False))


def score_bars(
    scores: Mapping[str, Scores],
    models: Collection[str],
    metrics: Sequence[str] = ("BLEU-4", "ROUGE-L", "CIDEr-D", "attributes"),
) -> Figure:
    """A panel a metric and a bar a system, with 95 % intervals; `models` are in colour, the controls grey."""
    tables = {name: found.table()[["score", "low", "high"]] for name, found in scores.items()}
    known = [metric for metric in metrics if metric in next(iter(scores.values())).names]
    return interval_bars({metric: {name: tables[name].loc[metric] for name in scores} for metric in known}, models)


def interval_bars(panels: Mapping[str, Mapping[str, Sequence[float]]], models: Collection[str]) -> Figure:
    """A panel a key and a bar a system, as long as its value, with a line from low to high where the two differ.

    panels: {title: {system: (value, low, high)}}. `models` are in colour, other systems grey.
    """
    names = list(next(iter(panels.values())))[::-1]  # the first system at the top
    colours = coloured(models)
    figure, [places] = blank(9.6, 0.7 + 0.32 * len(names), 1, len(panels), sharey=True, layout="constrained")
    for axes, (title, found) in zip(places, panels.items(), strict=True):
        values, low, high = np.array([found[name] for name in names], dtype=float).T
        axes.barh(names, values, color=[colours.get(name, PALE) for name in names], height=0.62)
        ends = np.where(high > low, [values - low, high - values], np.nan).clip(0)
        axes.errorbar(values, names, xerr=ends, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
        axes.set(title=title, xlim=(0, None))
        axes.grid(axis="y", visible=False)
    return figure


def panel_bars(table: pd.DataFrame, models: Collection[str] = ()) -> Figure:
    """A panel a column and a bar a row of a table of shares; `models` are in colour, other rows grey."""
    rows = table.iloc[::-1]  # the first row at the top
    colours = coloured(models)
    figure, [panels] = blank(9.6, 0.7 + 0.26 * len(rows), 1, len(rows.columns), sharey=True, layout="constrained")
    for axes, (name, values) in zip(panels, rows.items(), strict=True):
        bars = axes.barh(rows.index, values, color=[colours.get(row, PALE) for row in rows.index], height=0.66)
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=7)
        axes.set(title=name, xlim=(0, 1.2), xticks=[0, 0.5, 1])
        axes.grid(axis="y", visible=False)
    return figure


def matrix(values: pd.DataFrame, texts: pd.DataFrame, limits: tuple[float, float], colours: str, title: str) -> Figure:
    """A square of coloured cells (S, S) with a text in each, rows against columns."""
    side = 0.72 + 0.5 * len(values)
    figure, [[axes]] = blank(side + 1.6, side + 0.4, layout="constrained")
    axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1])
    for (row, column), text in np.ndenumerate(texts.to_numpy()):
        axes.text(column, row, text, ha="center", va="center", fontsize=7.5)
    axes.set_title(title, pad=10)
    axes.set_xticks(range(len(values.columns)), values.columns, rotation=35, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(values)), values.index)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xticks(np.arange(len(values.columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(values) + 1) - 0.5, minor=True)
    axes.grid(visible=False, which="major")
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    return figure


def trade_off(table: pd.DataFrame, x: str, score: str, size: str = "parameters") -> Figure:
    """A bubble a row: `x` (logarithmic) against `score` with its interval (columns low, high), as large as `size`.

    Where the table has columns quickest and slowest, those are the ends of an interval of `x`.
    """
    figure, [[axes]] = blank(9.4, 4.6, layout="constrained")
    least, most = (table[end if end in table else x] for end in ("quickest", "slowest"))
    ends = [table[score] - table["low"], table["high"] - table[score]]
    spread = [table[x] - least, most - table[x]] if "quickest" in table else None
    axes.errorbar(table[x], table[score], ends, spread, fmt="none", ecolor=INK, elinewidth=0.8, zorder=3)
    area = 500 * table[size] / table[size].max() + 20  # points^2
    colours = list(islice(cycle(PALETTE), len(table)))
    axes.scatter(table[x], table[score], s=area, c=colours, alpha=0.75, linewidths=0, zorder=2)
    axes.set(xscale="log", xlabel=x, ylabel=score, title=f"{score} against {x}; areas: {size}")
    short = most.max() < 10 * least.min()  # where 1, 2 and 5 would be one tick or two
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)) if short else LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    room = max(1.15, (most.max() / least.min()) ** 0.2)  # for names, on both sides
    axes.set_xlim(least.min() / room, most.max() * room)
    axes.margins(y=0.1)
    lines = [((least[n], row[score]), (most[n], row[score])) for n, row in table.iterrows()]
    lines += [((row[x], row["low"]), (row[x], row["high"])) for _, row in table.iterrows()]
    points = {name: (row[x], row[score]) for name, row in table.iterrows()}
    name_points(axes, points, np.sqrt(area / np.pi) + 3, lines)
    return figure


def said_and_true(table: pd.DataFrame, models: Collection[str]) -> Figure:
    """A point a row of `comparison.claims`: how much of what is there it says, and how much of what it says is true."""
    figure, [[axes]] = blank(7.2, 5.2, layout="constrained")
    x, y = table["share of facts"], table["share true"]
    colours = [BLUE if name in models else GREY for name in table.index]
    axes.scatter(x, y, s=46, c=colours, zorder=3)
    axes.set(xlabel="of what is there, the share that is said", ylabel="of what is said, the share that is true")
    axes.set(xlim=(-0.02, 1.2), xticks=np.linspace(0, 1, 6), ylim=(y.min() - 0.06, 1.03))  # room for names at the right
    name_points(axes, {name: (x[name], y[name]) for name in table.index}, dict.fromkeys(table.index, 6.0))
    return figure


def attribute_chart(accuracies: Mapping[str, Mapping[str, float]], models: Collection[str]) -> Figure:
    """A row an attribute, a dot a system: the share of pictures it gets right (`minifashion.attribute_accuracy`).

    Sorted by what the first of `models` gains on the best of the other systems, which are grey.
    """
    first, *_ = models
    others = [name for name in accuracies if name not in models]
    names = sorted(
        (name for name in accuracies[first] if name != "overall"),
        key=lambda name: accuracies[first][name] - max(accuracies[other][name] for other in others),
    )
    figure, [[axes]] = blank(7.6, 0.8 + 0.22 * len(names), layout="constrained")
    best = [max(accuracies[other][name] for other in others) for name in names]
    axes.hlines(names, best, [accuracies[first][name] for name in names], color=PALE, lw=3, zorder=1)
    colours = dict(zip(models, PALETTE, strict=False))
    for system, values in accuracies.items():
        shape = {"marker": "o", "s": 42} if system in colours else {"marker": "|", "s": 90, "lw": 2}
        colour = colours.get(system, GREY)
        axes.scatter([values[name] for name in names], names, label=system, color=colour, zorder=2, **shape)
    axes.set(xlim=(0, 1.02), xlabel="share of test pictures with this attribute right", ylim=(-0.7, len(names) - 0.3))
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(accuracies))
    return figure


def attention_panels(
    picture: Image,
    words: Sequence[str],
    weights: np.ndarray,
    boxes: np.ndarray,
    show: Collection[str] = (),
    columns: int = 5,
    frames: Sequence[Box | None] = (),
) -> Figure:
    """A picture, and word by word what the model looked at to choose the word: the brighter, the more attention.

    weights (T, N): where each of the T `words` looked. boxes (N, 4): x0, y0, x1, y1 of what there is to look at, in
    parts of the picture (the last four channels of the features). `show` names the words to draw, each where it stands
    first; all by default. `frames`, one a word, are boxes to draw around what the word means, where that is known.
    Raises ValueError when words, weights and boxes do not go together.
    """
    if np.shape(weights) != (len(words), len(boxes)):
        raise ValueError(f"weights of shape {np.shape(weights)}, expected {len(words)} words x {len(boxes)} boxes")
    chosen = [t for t, word in enumerate(words) if not show or (word in show and word not in words[:t])]
    panels = [("", np.asarray(picture) / 255)]
    panels += [(words[t], spotlight(picture, np.asarray(weights[t]), np.asarray(boxes))) for t in chosen]
    rows = -(-len(panels) // columns)
    side = 9.6 / columns  # inches
    figure, axes = blank(9.6, (side + 0.2) * rows, rows, columns, layout="constrained")
    for place in axes.flat:
        place.set_axis_off()
    for place, (word, pixels) in zip(axes.flat, panels, strict=False):
        place.imshow(pixels)
        place.set_title(word, loc="center", fontsize=9)
    for place, box in zip(axes.flat[1:], (frames[t] for t in chosen) if frames else (), strict=False):
        if box:
            frame(place, box, picture.size)
    return figure


def frame(axes: Axes, box: Box, size: tuple[int, int]) -> None:
    """An orange frame around a box, which is in parts of the picture of this size (width, height) that axes show."""
    (x0, y0, x1, y1), (width, height) = box, size
    corners = (x0 * width, y0 * height), (x1 - x0) * width, (y1 - y0) * height
    axes.add_patch(Rectangle(*corners, fill=False, edgecolor=ORANGE, linewidth=1.5))


def spotlight(picture: Image, weights: np.ndarray, boxes: np.ndarray, dark: float = 0.2) -> np.ndarray:
    """The picture (H, W, 3), 0 to 1, full of light where the weights (N,) are largest and `dark` where they are 0."""
    heat = np.zeros((picture.height, picture.width))
    sides = np.array([picture.width, picture.height] * 2)
    for weight, (left, top, right, bottom) in zip(weights, np.rint(boxes * sides).astype(int), strict=True):
        heat[top:bottom, left:right] += weight / max(1, (bottom - top) * (right - left))
    sides_in_pixels = np.sqrt(np.prod((boxes[:, 2:] - boxes[:, :2]) * sides[:2], axis=1))
    smooth = fromarray((255 * heat / heat.max()).astype(np.uint8)).filter(
        GaussianBlur(0.3 * float(sides_in_pixels.mean()))
    )
    light = np.asarray(smooth, dtype=float) / max(1, np.max(smooth))
    return np.asarray(picture) / 255 * (dark + (1 - dark) * light[..., None])
