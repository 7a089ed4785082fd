"""The figures about styles: what a style gains and costs, which styles are mistaken for which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from captioning.plots.figures import INK, PALE, PALETTE, blank, name_points

if TYPE_CHECKING:
    import pandas as pd


def style_scatter(systems: Mapping[str, pd.DataFrame], plain: float | None = None) -> Figure:
    """Style recognised (right) against truth kept (up): a dot a style of each system, a line a style from one system to
    the next, its name at the last.

    systems: {name: `StyleScores.by_style`}. plain: the truth of plain captions, a dashed line: what lies below it is
    what the style costs.
    """
    figure, [[axes]] = blank(8.6, 4.8, layout="constrained")
    for (name, table), colour in zip(systems.items(), PALETTE, strict=False):
        axes.scatter(table["style"], table["attributes"], s=38, color=colour, label=name, zorder=3)
    for style in next(iter(systems.values())).index:
        path = [table.loc[style, ["style", "attributes"]] for table in systems.values()]
        axes.plot(*zip(*path, strict=True), color=PALE, lw=1.2, zorder=1)
    if plain is not None:
        axes.axhline(plain, color=INK, lw=1, ls="--", zorder=1)
        place = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "fontsize": 8}
        axes.annotate(f"plain captions {plain:.2f}", (0, plain), (4, 3), **place)
    axes.margins(0.12)
    axes.set(xlabel="style recognised", ylabel="truth kept (share of attributes right)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)
    last = list(systems.values())[-1]
    points = {style: (row["style"], row["attributes"]) for style, row in last.iterrows()}
    name_points(axes, points, dict.fromkeys(points, 6))
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
