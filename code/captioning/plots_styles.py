"""The figures about styles: whether they show and stay true, and which are taken for which."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from captioning.plots import INK, PALETTE, blank


def style_scatter(systems: Mapping[str, pd.DataFrame], truth: str = "attributes") -> Figure:
    """How often a style is recognised (metric "style") against `truth`, a small dot a style and a large one their mean.

    `systems`: name to scores by style (`styles.scores_by`).
    """
    figure, [[axes]] = blank(7.6, 3.6, layout="constrained")
    for colour, (name, table) in zip(PALETTE, systems.items(), strict=False):
        axes.scatter(table["style"], table[truth], s=22, color=colour, alpha=0.45, linewidths=0)
        axes.scatter(table["style"].mean(), table[truth].mean(), s=130, color=colour, edgecolor="white", label=name)
    axes.set(xlabel="the style asked for is recognised", ylabel=f"{truth} that are right", xlim=(-0.03, 1.03))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def confusion(table: pd.DataFrame) -> Figure:
    """Shares (rows: asked for, columns: recognised; the rows sum to 1) as shades of blue, with numbers in percent."""
    rows, columns = table.shape
    figure, [[axes]] = blank(1.8 + 0.5 * columns, 1.4 + 0.36 * rows, layout="constrained")
    axes.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(table.to_numpy()):
        if share >= 0.005:
            colour = "white" if share > 0.5 else INK
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(columns), table.columns, rotation=35, ha="right")
    axes.set_yticks(range(rows), table.index)
    axes.set(xlabel="recognised, %", ylabel="asked for")
    axes.grid(visible=False)
    return figure
