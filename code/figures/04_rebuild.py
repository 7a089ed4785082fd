"""Draws 04_rebuild.png: how pictures become a new data set, and 05_two_by_two.png: who is tested on what."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from captioning.plots import figures

WRITER, FILTER = "#e3f0f8", "#fbe6d6"
HERE = Path(__file__).parent


def box(axes, x, y, width, text, colour, height=0.8):
    style = "round,pad=0.02,rounding_size=0.1"
    axes.add_patch(
        FancyBboxPatch((x - width / 2, y - height / 2), width, height, style, fc=colour, ec=figures.GREY, lw=0.9)
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=9, linespacing=1.25)


def arrow(axes, start, end, text="", offset=(0, 0.18), align="center"):
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=figures.INK, lw=1.1))
    x, y = (start[0] + end[0]) / 2 + offset[0], (start[1] + end[1]) / 2 + offset[1]
    axes.text(x, y, text, ha=align, va="center", fontsize=8, color=figures.BLUE, family="monospace")


figures.style()
figure, [[axes]] = figures.blank(9.6, 3.2)
axes.set(xlim=(0, 13.6), ylim=(0.2, 4.2), aspect="equal")
axes.set_axis_off()
box(axes, 0.9, 2.2, 1.5, "P pictures", "white")
arrow(axes, (1.7, 2.4), (3.05, 3.4))
arrow(axes, (1.7, 2.0), (3.05, 1.0), "prompts", (-0.25, -0.25))
box(axes, 4.2, 3.5, 2.2, "own captioner\nknows the clothes", WRITER)
box(axes, 4.2, 0.9, 2.2, "InstructBLIP\nsees the place", WRITER)
arrow(axes, (5.35, 3.5), (6.95, 2.5), "P·1 texts", (0.7, 0.35))
arrow(axes, (5.35, 0.9), (6.95, 1.9), "P·1 texts\nP·3 texts", (0.85, -0.35))
box(axes, 8.0, 2.2, 2.0, "sentence filters\nanswer filters", FILTER)
arrow(axes, (9.05, 2.2), (10.55, 2.2), "verdicts")
box(axes, 11.6, 2.2, 2.0, "one clothes +\none background", "white")
arrow(axes, (8.0, 1.75), (8.0, 0.95))
box(axes, 8.0, 0.6, 2.5, "removed", "white", 0.55)
arrow(axes, (12.65, 2.2), (13.3, 2.2))
figure.savefig(HERE / "04_rebuild.png", dpi=96, bbox_inches="tight")

figure, [[axes]] = figures.blank(7.6, 2.9)
axes.set(xlim=(0, 10.6), ylim=(0.1, 4.1), aspect="equal")
axes.set_axis_off()
for y, name, train, colour in (
    (3.3, "old", "old captions\n(clothes)", WRITER),
    (0.9, "new", "rebuilt captions\n(clothes, place)", FILTER),
):
    box(axes, 1.2, y, 2.2, train, "white")
    arrow(axes, (2.35, y), (3.75, y), "train")
    box(axes, 4.9, y, 2.2, f"the {name} model", colour)
    for end in (3.3, 0.9):
        arrow(axes, (6.05, y), (8.05, end + (y - end) * 0.06))
box(axes, 9.2, 3.3, 2.2, "test: old\ncaptions", "white")
box(axes, 9.2, 0.9, 2.2, "test: rebuilt\ncaptions", "white")
axes.text(9.2, 2.1, "and the truth\nof the drawing", ha="center", va="center", fontsize=9, color=figures.RED)
figure.savefig(HERE / "05_two_by_two.png", dpi=96, bbox_inches="tight")
plt.close("all")
