"""EfficientNet-Lite written out: the eyes of a captioner that is to start quickly, for timm is slow to load.

The modules have the names that timm's `tf_efficientnet_lite0` to 4 give them, so that the weights of one fit the other,
and the features are timm's to the last bit (EfficientNet: Tan and Le 2019; Lite: ReLU6, no squeeze-and-excitation).
Shapes: B pictures, C channels, H x W pixels or cells.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8))  # of width and depth, Lite0 to Lite4
STAGES = (  # blocks, kernel, stride, expansion, channels; the first and the last are never deeper
    *((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112)),
    *((4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)
STEM, HEAD = 32, 1280


def variant(name: str) -> int | None:
    """The number of the Lite that a name of timm means; None for other models."""
    found = re.fullmatch(r"tf_efficientnet_lite([0-4])(\.in1k)?", name)
    return int(found[1]) if found else None


def depths(number: int) -> list[int]:
    """Blocks of each stage."""
    scaled = [math.ceil(blocks * SCALES[number][1]) for blocks, *_ in STAGES]
    return [1, *scaled[1:-1], 1]


def channels(number: int, width: int) -> int:
    """A scaled width: the nearest multiple of 8, but not more than a tenth below."""
    scaled = width * SCALES[number][0]
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after a side, as TensorFlow pads: the larger half comes after."""
    missing = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
    return missing // 2, missing - missing // 2


class SameConv(nn.Conv2d):
    """A convolution without bias whose output is ceil(size / stride) a side."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def reset_parameters(self) -> None:
        fan_out = self.kernel_size[0] ** 2 * self.out_channels // self.groups
        nn.init.normal_(self.weight, std=math.sqrt(2 / fan_out))

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (same(size, self.kernel_size[0], self.stride[0]) for size in x.shape[2:])
        if rows == columns and rows[0] == rows[1]:
            return F.conv2d(x, self.weight, None, self.stride, rows[0], 1, self.groups)
        return F.conv2d(F.pad(x, (*columns, *rows)), self.weight, None, self.stride, 0, 1, self.groups)


def norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)


class Block(nn.Module):
    """Expansion (but where `expansion` is 1), depthwise convolution, projection; a residual where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner, self.residual = inputs * expansion, stride == 1 and inputs == outputs
        names = ("conv_pw", "conv_dw", "conv_pwl") if expansion > 1 else ("conv_dw", "conv_pw")
        shapes = {"conv_pw": (inputs, inner, 1), "conv_dw": (inner, inner, kernel, stride, inner)}
        shapes[names[-1]] = inner, outputs, 1
        for i, name in enumerate(names, 1):
            self.add_module(name, SameConv(*shapes[name]))
            self.add_module(f"bn{i}", norm(shapes[name][1]))

    def pairs(self) -> list[tuple[SameConv, nn.BatchNorm2d]]:
        """The convolutions, each with its norm."""
        modules = list(self.children())
        return list(zip(modules[::2], modules[1::2], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        *first, (project, last) = self.pairs()
        y = x
        for convolution, norm in first:
            y = F.relu6(norm(convolution(y)), inplace=True)
        y = last(project(y))
        return y + x if self.residual else y


class EfficientNetLite(nn.Module):
    """The backbone without classifier: pictures (B, 3, H, W), normed, to a map (B, 1280, H / 32, W / 32)."""

    pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    num_features = HEAD

    def __init__(self, number: int):
        super().__init__()
        self.conv_stem, self.bn1 = SameConv(3, STEM, 3, 2), norm(STEM)
        stages, inputs = [], STEM
        for depth, (_, kernel, stride, expansion, width) in zip(depths(number), STAGES, strict=True):
            outputs = channels(number, width)
            first = Block(inputs, outputs, kernel, stride, expansion)
            rest = (Block(outputs, outputs, kernel, 1, expansion) for _ in range(depth - 1))
            stages.append(nn.Sequential(first, *rest))
            inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.conv_head, self.bn2 = SameConv(inputs, HEAD, 1), norm(HEAD)

    def stages(self) -> list[list[nn.Parameter]]:
        """The parameters stage by stage: the stem, then each stage of blocks; the head belongs to the last."""
        groups = [(self.conv_stem, self.bn1), *((stage,) for stage in self.blocks)]
        groups[-1] += (self.conv_head, self.bn2)
        return [[p for module in group for p in module.parameters()] for group in groups]

    def forward_features(self, x: Tensor) -> Tensor:
        x = F.relu6(self.bn1(self.conv_stem(x)), inplace=True)
        return F.relu6(self.bn2(self.conv_head(self.blocks(x))), inplace=True)


class FoldedConv(nn.Module):
    """A convolution with its norm in it, for inputs of `size` a side; `uneven` zeros are to be there already."""

    def __init__(self, convolution: SameConv, norm: nn.BatchNorm2d, size: int, dtype: torch.dtype):
        super().__init__()
        statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        weight, bias = fuse_conv_bn_weights(convolution.weight, None, *statistics)
        self.weight = nn.Parameter(weight.to(dtype, memory_format=torch.channels_last), requires_grad=False)
        self.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
        kernel, self.stride, self.groups = convolution.kernel_size[0], convolution.stride[0], convolution.groups
        before, after = same(size, kernel, self.stride)
        self.even, self.uneven = (before, (0, 0)) if before == after else (0, (before, after))
        self.size = math.ceil(size / self.stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.even, 1, self.groups)


def relu6(x: Tensor, zeros: tuple[int, int]) -> Tensor:
    """ReLU6 of x (B, C, H, W), which it may overwrite, with `zeros` before and after its rows and columns."""
    if not any(zeros):
        return x.clamp_(0, 6)
    (before, after), (rows, columns) = zeros, x.shape[2:]
    padded = x.new_empty(*x.shape[:2], rows + before + after, columns + before + after)
    padded = padded.contiguous(memory_format=torch.channels_last)
    for side in (padded, padded.mT):
        side[:, :, :before], side[:, :, -after:] = 0, 0
    torch.clamp(x, 0, 6, out=padded[:, :, before : before + rows, before : before + columns])
    return padded


class FoldedBlock(nn.Module):
    def __init__(self, block: Block, size: int, dtype: torch.dtype):
        super().__init__()
        self.residual, self.convolutions = block.residual, nn.ModuleList()
        for pair in block.pairs():
            self.convolutions.append(FoldedConv(*pair, size, dtype))
            size = self.convolutions[-1].size
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for convolution, after in pairwise(self.convolutions):
            y = relu6(convolution(y), after.uneven)
        y = self.convolutions[-1](y)
        return y.add_(x) if self.residual else y


class FoldedLite(nn.Module):
    """The same for pictures of one size, for use alone: norms in the convolutions, zeros worked out, in `dtype`.

    In single precision the map is that of folded norms to the last bit.
    """

    num_features = HEAD

    def __init__(self, model: EfficientNetLite, size: int, dtype: torch.dtype):
        super().__init__()
        self.stem, blocks = FoldedConv(model.conv_stem, model.bn1, size, dtype), []
        size = self.stem.size
        for block in (block for stage in model.blocks for block in stage):
            blocks.append(FoldedBlock(block, size, dtype))
            size = blocks[-1].size
        self.blocks = nn.Sequential(*blocks)
        self.head = FoldedConv(model.conv_head, model.bn2, size, dtype)

    def forward_features(self, x: Tensor) -> Tensor:
        x = F.pad(x.to(self.stem.weight.dtype), self.stem.uneven * 2)
        return self.head(self.blocks(self.stem(x).clamp_(0, 6))).clamp_(0, 6)
