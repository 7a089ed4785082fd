"""Draws 06_lora.png: BLIP with the shapes of what flows along each arrow, and a linear layer with its adapter."""

from pathlib import Path

from matplotlib.colors import to_rgba
from matplotlib.patches import FancyBboxPatch, Polygon
from PIL import Image

from captioning.plots import figures
from captioning.plots.figures import BLUE, GREY, INK, ORANGE, RED

MUTED = "#6b717c"


def box(x, y, text, width, height, colour, share=0.22):
    style = "round,pad=0,rounding_size=0.07"
    place = (x - width / 2, y - height / 2)
    axes.add_patch(FancyBboxPatch(place, width, height, style, fc=to_rgba(colour, share), ec=colour, lw=1.2))
    axes.text(x, y, text, ha="center", va="center", fontsize=9, linespacing=1.2)


def arrow(*points, colour=INK):
    axes.plot(*zip(*points[:-1], strict=True), color=colour, lw=1.2)
    head = {"arrowstyle": "-|>", "color": colour, "lw": 1.2, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 10}
    axes.annotate("", points[-1], points[-2], arrowprops=head)


def shape(x, y, text, align="center"):
    axes.text(x, y, text, ha=align, va="center", fontsize=8, color=MUTED, family="monospace")


def trapezium(x, y, wide, narrow, height, text):
    """A matrix that narrows (upwards) or widens."""
    corners = [
        (x - wide / 2, y - height / 2), (x + wide / 2, y - height / 2),
        (x + narrow / 2, y + height / 2), (x - narrow / 2, y + height / 2),
    ]  # fmt: skip
    axes.add_patch(Polygon(corners, fc=to_rgba(RED, 0.22), ec=RED, lw=1.2))
    axes.text(x, y, text, ha="center", va="center", fontsize=10)


figures.style()
figure, [[axes]] = figures.blank(9.8, 3.7)
axes.set_position([0, 0, 1, 1])
axes.set(xlim=(0, 9.8), ylim=(0, 3.7))
axes.set_axis_off()

box(0.75, 1.0, "picture", 0.95, 0.5, GREY)
arrow((1.23, 1.0), (1.85, 1.0))
shape(1.53, 1.18, "(B,3,S,S)")
box(2.65, 1.0, "vision transformer\n12 layers", 1.6, 0.75, BLUE)
arrow((3.45, 1.0), (4.3, 1.0))
shape(3.87, 1.18, "(B,N+1,D)")
box(0.95, 2.75, "[DEC] a picture of\nwords so far", 1.55, 0.7, GREY)
arrow((1.73, 2.75), (2.25, 2.75), (2.25, 2.2), (4.3, 2.2))
shape(3.2, 2.38, "(B·n,T)")
axes.add_patch(FancyBboxPatch((4.3, 0.55), 1.75, 2.2, "round,pad=0,rounding_size=0.07", fc="white", ec=ORANGE, lw=1.2))
axes.text(5.17, 2.92, "BERT, 12 layers", ha="center", fontsize=9)
box(5.17, 2.3, "self-attention", 1.45, 0.42, ORANGE)
box(5.17, 1.65, "cross-attention", 1.45, 0.42, ORANGE)
box(5.17, 1.0, "feed-forward", 1.45, 0.42, ORANGE)
arrow((5.17, 2.08), (5.17, 1.87))
arrow((5.17, 1.43), (5.17, 1.22))
arrow((4.3, 1.0), (4.37, 1.0), (4.37, 1.65), (4.44, 1.65))
arrow((5.17, 0.55), (5.17, 0.22))
shape(5.27, 0.3, "(B·n,T,V)", "left")

axes.plot([6.05, 6.75], [2.75, 3.3], color=GREY, lw=0.8, ls=":")
axes.plot([6.05, 6.75], [0.55, 0.3], color=GREY, lw=0.8, ls=":")
axes.text(8.2, 3.45, "one linear layer, adapted", ha="center", fontsize=9.5, fontweight="bold")
box(8.2, 0.42, "$x$", 0.6, 0.36, GREY)
box(7.35, 1.65, "$W$\nfrozen", 1.05, 1.05, GREY, 0.3)
trapezium(9.05, 1.25, 1.05, 0.35, 0.5, "$A$")
trapezium(9.05, 2.05, 0.35, 1.05, 0.5, "$B$")
arrow((8.2, 0.6), (8.2, 0.78), (7.35, 0.78), (7.35, 1.12))
arrow((8.2, 0.6), (8.2, 0.78), (9.05, 0.78), (9.05, 1.0))
arrow((9.05, 1.5), (9.05, 1.8))
shape(9.25, 1.65, "rank", "left")
box(8.2, 2.72, "+", 0.42, 0.34, GREY)
arrow((7.35, 2.18), (7.35, 2.72), (7.99, 2.72))
arrow((9.05, 2.3), (9.05, 2.72), (8.41, 2.72))
axes.text(9.15, 2.52, "$\\times\\,\\alpha/\\mathrm{rank}$", fontsize=9, color=MUTED)
arrow((8.2, 2.89), (8.2, 3.2))
axes.text(
    0.28, 0.22, "B pictures · n captions · N patches · D width · T tokens · V vocabulary", fontsize=8, color=MUTED
)
path = Path(__file__).with_suffix(".png")
figure.savefig(path, dpi=110)
Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)
