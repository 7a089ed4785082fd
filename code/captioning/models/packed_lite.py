"""An EfficientNet-Lite for use alone on a CPU: what oneDNN can do in one pass over memory is done in one.

Norms are folded, ReLU6 and the residual's sum are part of their convolution, and the weights lie as the kernels read
them. Shapes: B pictures, C channels, H x W pixels or cells.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioning.models.lite import Block, EfficientNetLite, SameConv, same

RELU6 = ("hardtanh", [0.0, 6.0], "")
LINEAR = ("none", [], "")


class PackedConv(nn.Module):
    """A folded SameConv for pictures of `size` pixels a side, with ReLU6 after it or, of two inputs, their sum."""

    def __init__(self, convolution: SameConv, size: int, dtype: torch.dtype, after: tuple):
        super().__init__()
        [kernel, _], [stride, _], self.groups = convolution.kernel_size, convolution.stride, convolution.groups
        before, behind = same(size, kernel, stride)
        self.margin = None if before == behind else (before, behind, before, behind)
        self.how = [0 if self.margin else before] * 2, [stride] * 2, [1, 1], self.groups
        self.dtype, self.after, self.out_size = dtype, after, -(-size // stride)
        weight = convolution.weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        side = size + (before + behind if self.margin else 0)
        shape = [1, convolution.in_channels, side, side]
        self.register_buffer("weight", torch.ops.mkldnn._reorder_convolution_weight(weight, *self.how, shape))
        self.bias = nn.Parameter(convolution.bias.detach().to(dtype), requires_grad=False)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        x = x.to(self.dtype)
        x = F.pad(x, self.margin) if self.margin else x
        if other is None:
            return torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *self.how, *self.after)
        both = "add", 1.0, None, [], None
        return torch.ops.mkldnn._convolution_pointwise.binary(x, other, self.weight, self.bias, *self.how, *both)


class PackedBlock(nn.Module):
    def __init__(self, block: Block, size: int, dtype: torch.dtype):
        super().__init__()
        self.residual, self.convolutions = block.residual, nn.ModuleList()
        *inner, last = (module for module in block.children() if isinstance(module, SameConv))
        for convolution, after in [*((each, RELU6) for each in inner), (last, LINEAR)]:
            self.convolutions.append(PackedConv(convolution, size, dtype, after))
            size = self.convolutions[-1].out_size
        self.out_size = size

    def forward(self, x: Tensor) -> Tensor:
        *inner, last = self.convolutions
        y = x
        for convolution in inner:
            y = convolution(y)
        return last(y, x) if self.residual else last(y)


class PackedLite(nn.Module):
    """What `network`, whose norms are folded, makes of pictures of `size` pixels: 32 bits in stem and first block,
    whose depthwise convolution alone would bring in more than half of the error, `dtype` after them."""

    def __init__(self, network: EfficientNetLite, size: int, dtype: torch.dtype):
        super().__init__()
        self.stem = PackedConv(network.conv_stem, size, torch.float32, RELU6)
        size, blocks = self.stem.out_size, []
        for block in (block for stage in network.blocks for block in stage):
            blocks.append(PackedBlock(block, size, dtype if blocks else torch.float32))
            size = blocks[-1].out_size
        self.blocks = nn.Sequential(*blocks)
        self.head = PackedConv(network.conv_head, size, dtype, RELU6)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))
