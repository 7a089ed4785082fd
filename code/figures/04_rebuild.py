"""Draws 04_rebuild.png: how pictures become a new data set, and 05_four_pupils.png: who learns from what."""

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
figure, [[axes]] = figures.blank(9.6, 3.4)
axes.set(xlim=(0, 13.8), ylim=(0.2, 4.7), aspect="equal")
axes.set_axis_off()
box(axes, 1.2, 4.0, 2.0, "lessons", "white", 0.7)
box(axes, 1.2, 2.4, 2.0, "train, val\n(old captions)", "white")
box(axes, 1.2, 0.7, 2.0, "test\n(held out)", "white")
box(axes, 4.7, 2.4, 2.2, "InstructBLIP\n(the writer)", WRITER)
arrow(axes, (2.3, 4.0), (4.2, 2.9), "learns", (0.55, 0.22))
arrow(axes, (2.3, 2.4), (3.5, 2.4), "prompt")
box(axes, 8.2, 2.4, 2.1, "sentence filters\nanswer filters", FILTER)
arrow(axes, (5.9, 2.4), (7.05, 2.4), "5 texts")
box(axes, 8.2, 0.7, 2.1, "removed", "white", 0.7)
arrow(axes, (8.2, 1.95), (8.2, 1.1), "why", (0.4, 0))
arrow(axes, (9.35, 2.4), (10.75, 2.4), "1 text")
box(axes, 12.0, 2.4, 2.3, "old caption +\nits place", "white")
arrow(axes, (12.0, 1.95), (12.0, 1.25))
axes.text(12.0, 0.7, "captioners learn\n(chapter 05)", ha="center", va="center", fontsize=9)
axes.text(
    4.7,
    0.7,
    "no model learns from these\nor writes about them",
    ha="center",
    va="center",
    fontsize=9,
    color=figures.RED,
)
figure.savefig(HERE / "04_rebuild.png", dpi=96, bbox_inches="tight")

figure, [[axes]] = figures.blank(8.6, 3.6)
axes.set(xlim=(0, 11.8), ylim=(0.1, 5.1), aspect="equal")
axes.set_axis_off()
for y, train in ((4.5, "old: clothes"), (3.3, "+ unfiltered place"), (2.1, "+ filtered place"), (0.9, "+ true place")):
    box(axes, 1.6, y, 2.9, train, "white", 0.75)
    arrow(axes, (3.1, y), (4.7, y), "3 seeds" if y == 4.5 else "")
    box(axes, 5.9, y, 2.2, "a captioner", WRITER, 0.75)
    arrow(axes, (7.05, y), (9.0, 2.7 + (y - 2.7) * 0.25))
box(axes, 10.3, 2.7, 2.4, "the same test,\nclaims counted", FILTER, 1.2)
figure.savefig(HERE / "05_four_pupils.png", dpi=96, bbox_inches="tight")
plt.close("all")
