"""EfficientNet-Lite written out: the eyes of a captioner that is to start quickly, for timm is slow to load.

The modules have the names that timm's `tf_efficientnet_lite0` to 4 give them, so that the weights of one fit the other,
and the features are timm's to the last bit (EfficientNet: Tan and Le 2019; Lite: ReLU6, no squeeze-and-excitation).
Shapes: B pictures, C channels, H x W pixels or cells.
"""

from __future__ import annotations

import math
import re

import torch.nn.functional as F
from torch import Tensor, nn

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
            return F.conv2d(x, self.weight, self.bias, self.stride, rows[0], 1, self.groups)
        return F.conv2d(F.pad(x, (*columns, *rows)), self.weight, self.bias, self.stride, 0, 1, self.groups)


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

    def forward(self, x: Tensor) -> Tensor:
        modules, y = list(self.children()), x
        for convolution, norm in zip(modules[:-2:2], modules[1:-2:2], strict=True):
            y = F.relu6(norm(convolution(y)), inplace=True)
        y = modules[-1](modules[-2](y))
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

    def norms(self) -> dict[str, str]:
        """The names of the norms, each with that of the convolution before it."""
        names = [name for name, module in self.named_modules() if isinstance(module, SameConv | nn.BatchNorm2d)]
        return dict(zip(names[1::2], names[::2], strict=True))

    def forward_features(self, x: Tensor) -> Tensor:
        x = F.relu6(self.bn1(self.conv_stem(x)), inplace=True)
        return F.relu6(self.bn2(self.conv_head(self.blocks(x))), inplace=True)
