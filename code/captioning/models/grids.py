"""How what a picture model ends in becomes a grid of cells, and where the cells lie."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


def cell_boxes(rows: int, columns: int) -> Tensor:
    """Boxes x0, y0, x1, y1 (rows*columns, 4) of a grid's cells in parts of the picture, row by row."""
    y, x = torch.meshgrid(torch.arange(rows) / rows, torch.arange(columns) / columns, indexing="ij")
    return torch.stack([x, y, x + 1 / columns, y + 1 / rows], dim=-1).flatten(0, 1)


def grid_shape(boxes: Tensor) -> tuple[int, int]:
    """Rows and columns of a grid's cells with boxes (N, 4), row by row, which need not cover the picture; empty boxes
    are those of no cell."""
    boxes = boxes[boxes[:, 2] > boxes[:, 0]]
    columns = int((boxes[:, 1] == boxes[0, 1]).sum())
    return len(boxes) // columns, columns


class Layout(NamedTuple):
    """How a timm model makes a grid."""

    args: dict  # of timm.create_model
    channels: int
    between: bool  # its last map is taken from between its layers: what it ends in is no grid
    patch: int | None  # pixels a side of a cell, where the model cuts the picture into patches and keeps them


def prefix_tokens(model: nn.Module) -> int:
    """How many class and register tokens come before a vision transformer's patches."""
    return getattr(model, "num_prefix_tokens", 0)


def last_map(model: nn.Module, x: Tensor) -> Tensor:
    """The last map (B, C, rows, columns) between the layers of a timm model, normed."""
    return model.forward_intermediates(x, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True)[0]
