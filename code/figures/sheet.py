"""Boxes and arrows, with the shape of what flows along each arrow: what the drawings of the models are made of."""

from pathlib import Path

from matplotlib.colors import to_rgba
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from captioning.plots import figures
from captioning.plots.figures import INK

MUTED = "#6b717c"


class Sheet:
    """A drawing of so many inches; places are in inches from the bottom left."""

    letters, line, head = 9.5, 1.2, 10  # points: letters in a box, lines, heads of arrows

    def __init__(self, width, height):
        self.figure, [[self.axes]] = figures.blank(width, height)
        self.axes.set_position([0, 0, 1, 1])
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.set_axis_off()

    def frame(self, left, bottom, width, height, fill, edge):
        shape = "round,pad=0,rounding_size=0.08"
        self.axes.add_patch(FancyBboxPatch((left, bottom), width, height, boxstyle=shape, fc=fill, ec=edge, lw=1.3))

    def box(self, x, y, text, width, height, colour):
        self.frame(x - width / 2, y - height / 2, width, height, to_rgba(colour, 0.25), colour)
        self.axes.text(x, y, text, ha="center", va="center", fontsize=self.letters, linespacing=1.15)

    def arrow(self, points, colour=INK, line="-"):
        self.axes.plot(*zip(*points[:-1], strict=True), color=colour, lw=self.line, ls=line)
        head = {"arrowstyle": "-|>", "color": colour, "lw": self.line, "ls": line, "shrinkA": 0, "shrinkB": 0}
        self.axes.annotate("", points[-1], points[-2], arrowprops=head | {"mutation_scale": self.head})

    def shape(self, x, y, text, align="center"):
        self.axes.text(x, y, text, ha=align, va="center", fontsize=8, color=MUTED, family="monospace")

    def note(self, x, y, text, colour=MUTED, align="center"):
        self.axes.text(x, y, text, ha=align, va="center", fontsize=8.5, color=colour)

    def save(self, name):
        path = Path(__file__).with_name(f"{name}.png")
        self.figure.savefig(path, dpi=110)
        Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)  # a third of the bytes
