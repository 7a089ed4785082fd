"""Draws 03_self_critical.png: one step of self-critical training with the shape of what flows along each arrow."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from captioning.plots import figures

FREE, LEARNED, JUDGE = "#eef1f4", "#e3f0f8", "#fbe6d6"


def box(axes, x, y, width, text, colour, height=0.8):
    style = "round,pad=0.02,rounding_size=0.1"
    axes.add_patch(
        FancyBboxPatch((x - width / 2, y - height / 2), width, height, style, fc=colour, ec=figures.GREY, lw=0.9)
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=9, linespacing=1.25)


def arrow(axes, start, end, shape="", offset=(0, 0.17), align="center"):
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=figures.INK, lw=1.1))
    x, y = (start[0] + end[0]) / 2 + offset[0], (start[1] + end[1]) / 2 + offset[1]
    axes.text(x, y, shape, ha=align, va="center", fontsize=8, color=figures.BLUE, family="monospace")


figures.style()
figure, [[axes]] = figures.blank(9.6, 3.6)
axes.set(xlim=(0, 12.4), ylim=(-0.5, 4.1), aspect="equal")
axes.set_axis_off()

box(axes, 0.85, 2.0, 1.4, "features of\na picture", "white")
arrow(axes, (1.58, 2.2), (2.42, 3.1), "(B,N,C)", (-0.5, 0.25))
arrow(axes, (1.58, 1.8), (2.42, 0.9))
box(axes, 3.45, 3.2, 2.0, "captioner\ndraws n captions", FREE)
arrow(axes, (4.48, 3.2), (5.72, 3.2), "(B·n,T)")
box(axes, 6.6, 3.2, 1.7, "reward\nCIDEr-D", JUDGE)
arrow(axes, (7.48, 3.2), (8.42, 3.2), "(B,n)")
box(axes, 9.5, 3.2, 2.1, "minus the mean\nof the others", JUDGE)
arrow(axes, (3.45, 2.77), (3.45, 1.23), "the same captions", (0.1, 0), "left")
box(axes, 3.45, 0.8, 2.0, "captioner\nreads them", LEARNED)
arrow(axes, (4.48, 0.8), (5.72, 0.8), "(B·n,T,V)")
box(axes, 6.6, 0.8, 1.7, "log p of\neach caption", LEARNED)
arrow(axes, (7.48, 0.8), (9.5, 1.62), "(B,n)", (0, 0.2))
arrow(axes, (9.5, 2.77), (9.5, 2.38), "(B,n)", (0.1, 0), "left")
box(axes, 9.5, 2.0, 2.1, "multiply, mean", "white", height=0.7)
arrow(axes, (10.58, 2.0), (11.3, 2.0))
axes.text(11.4, 2.0, "loss", va="center", fontsize=9, fontweight="bold")
axes.text(
    0.15, -0.45, "B pictures · N cells · C channels · n samples a picture · T words · V vocabulary\n"
    "grey: no gradient · orange: no gradient, and no part of the network · blue: the gradient comes back this way",
    fontsize=8, color=figures.GREY, linespacing=1.4,
)  # fmt: skip
figure.savefig(Path(__file__).with_suffix(".png"), dpi=96, bbox_inches="tight")
plt.close("all")
