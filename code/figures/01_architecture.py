"""Draws 01_architecture.png: the captioner of notebook 01 with the shape of what flows along each arrow."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from captioning.plots import figures

FROZEN, LEARNED = "#eef1f4", "#e3f0f8"


def box(axes, x, y, width, text, colour=LEARNED, height=0.62):
    style = "round,pad=0.02,rounding_size=0.1"
    axes.add_patch(
        FancyBboxPatch((x - width / 2, y - height / 2), width, height, style, fc=colour, ec=figures.GREY, lw=0.9)
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=9)


def arrow(axes, start, end, shape="", offset=(0, 0.13), colour=figures.INK, align="center"):
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=colour, lw=1.1))
    x, y = (start[0] + end[0]) / 2 + offset[0], (start[1] + end[1]) / 2 + offset[1]
    axes.text(x, y, shape, ha=align, va="center", fontsize=8, color=figures.BLUE, family="monospace")


figures.style()
figure, [[axes]] = figures.blank(9.6, 4.5)
axes.set(xlim=(0, 12), ylim=(-0.7, 5.4), aspect="equal")
axes.set_axis_off()

# the encoder, at the left
axes.text(0.1, 5.2, "ENCODER", fontsize=8, color=figures.GREY)
box(axes, 1.1, 4.35, 1.5, "picture", "white")
arrow(axes, (1.1, 4.02), (1.1, 3.32), "(B,3,H,W)", (0.1, 0), align="left")
box(axes, 1.1, 3.0, 1.9, "CNN (frozen)", FROZEN)
arrow(axes, (1.1, 2.67), (1.1, 1.97), "(B,N,C)", (0.1, 0), align="left")
box(axes, 1.1, 1.65, 2.1, "mean over N cells", "#fbe6d6")
arrow(axes, (1.1, 1.32), (1.1, 0.62), "(B,C)", (0.1, 0), align="left")
box(axes, 1.1, 0.3, 1.5, "linear")

# the decoder, unrolled over three words
axes.text(2.3, 5.2, "DECODER, unrolled over the words", fontsize=8, color=figures.GREY)
words, following = ("<bos>", "the", "lady"), ("the", "lady", "wears")
places = (4.85, 7.4, 9.95)
axes.plot([1.87, places[-1] + 0.4], [0.3, 0.3], color=figures.INK, lw=1.1)
box(axes, 2.75, 2.75, 0.95, "linear")
arrow(axes, (2.75, 0.3), (2.75, 2.42), "(B,P)", (0.08, 0), align="left")
arrow(axes, (3.25, 2.75), (4.18, 2.75), "h (B,D)")
for place, word, after in zip(places, words, following, strict=True):
    axes.text(place - 0.4, 0.55, word, ha="center", va="center", fontsize=9, style="italic")
    arrow(axes, (place - 0.4, 0.68), (place - 0.4, 1.1))
    box(axes, place - 0.4, 1.38, 1.25, "embedding", height=0.5)
    arrow(axes, (place - 0.4, 1.66), (place - 0.4, 2.42), "(B,E)", (-0.08, 0), align="right")
    arrow(axes, (place + 0.4, 0.3), (place + 0.4, 2.42), "(B,P)", (0.08, 0.68), align="left")
    box(axes, place, 2.75, 1.3, "GRU step")
    arrow(axes, (place, 3.08), (place, 3.52), "(B,D)", (0.08, 0), align="left")
    box(axes, place, 3.8, 1.1, "linear", height=0.5)
    arrow(axes, (place, 4.07), (place, 4.55), "(B,V)", (0.08, 0), align="left")
    axes.text(place, 4.75, f"p(“{after}” | …)", ha="center", fontsize=9, style="italic")
    arrow(axes, (place + 0.67, 2.75), (place + 1.88, 2.75), "h (B,D)")
axes.text(
    0.15, -0.65, "B pictures · N cells of the grid · C channels · P picture vector · E word vector · D memory h · "
    "V vocabulary\nblue: trained · grey: frozen · orange: nothing to train",
    fontsize=8, color=figures.GREY, linespacing=1.4,
)  # fmt: skip
figure.savefig(Path(__file__).with_suffix(".png"), dpi=96, bbox_inches="tight")
plt.close("all")
