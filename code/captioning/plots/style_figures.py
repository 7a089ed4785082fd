"""The figures about styles: what a style gains and costs, which styles are mistaken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from captioning.plots.figures import INK, PALE, PALETTE, blank

if TYPE_CHECKING:
    import pandas as pd


def style_panels(
    systems: Mapping[str, pd.DataFrame],
    again: Mapping[str, Sequence[pd.DataFrame]] | None = None,
    plain: float | None = None,
    columns: int = 4,
) -> Figure:
    """A panel a style: style recognised (right) against truth kept (up), a dot a system, a line from one to the next.

    systems: {name: `scores_by` style}. again: the same of the other seeds of some of them, hollow dots. plain: the
    truth of plain captions, a dashed line: what lies below it is what the style costs.
    """
    styles = list(next(iter(systems.values())).index)
    rows, colours = -(-len(styles) // columns), dict(zip(systems, PALETTE, strict=False))
    figure, axes = blank(9.6, 0.6 + 1.9 * rows, rows, columns, sharex=True, sharey=True, layout="constrained")
    for place in axes.flat[len(styles) :]:
        place.set_axis_off()
    for place, style in zip(axes.flat, styles, strict=False):
        points = {name: table.loc[style, ["style", "attributes"]] for name, table in systems.items()}
        place.plot(*zip(*points.values(), strict=True), color=PALE, zorder=1)
        # Where nothing changes the dots lie on each other: the first is the largest, so all are seen.
        for size, (name, point) in zip(np.linspace(70, 18, len(points)), points.items(), strict=True):
            place.scatter(*point, s=size, color=colours[name], label=name, clip_on=False, zorder=3)
            if others := [table.loc[style, ["style", "attributes"]] for table in (again or {}).get(name, ())]:
                ring = {"facecolors": "none", "edgecolors": colours[name], "label": f"{name}, other seeds"}
                place.scatter(*zip(*others, strict=True), s=26, clip_on=False, zorder=4, **ring)
        if plain is not None:
            place.axhline(plain, color=INK, lw=0.8, ls="--", zorder=0, label=f"plain captions {plain:.2f}")
        place.set(title=style, xlim=(-0.05, 1.05), xticks=[0, 0.5, 1])
    figure.supxlabel("style recognised", fontsize=9)
    figure.supylabel("truth kept (share of attributes right)", fontsize=9)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def confusion(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """For each system the matrix of `StyleClassifier.confusion`: a row asked for, a column recognised, in shares."""
    rows, columns = next(iter(tables.values())).shape
    figure, [panels] = blank(
        0.8 + 4.4 * len(tables), 0.9 + 0.36 * rows, 1, len(tables), sharey=True, layout="constrained"
    )
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        shares = table.to_numpy()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for row, column in np.argwhere(shares >= 0.005):
            dark = shares[row, column] > 0.5
            axes.text(
                column, row, f"{shares[row, column]:.2f}".lstrip("0"), ha="center", va="center", fontsize=8,
                color="white" if dark else INK,
            )  # fmt: skip
        axes.set_xticks(range(columns), table.columns, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(rows), table.index)
        axes.set(title=name, xlabel="style recognised", ylabel="style asked for" if axes is panels[0] else "")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    return figure
