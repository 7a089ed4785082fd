"""OFA's own picture encoder. Shapes: B pictures, H x W pixels, N = H/16 * W/16 cells."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from captioning.models.grids import cell_boxes
from captioning.models.ofa.config import CELL_CHANNELS, ResNetConfig


class ResNetStem(nn.Module):
    """The stem and first three stages of a ResNet: (B, 3, S, S) to (B, 1024, S / 16, S / 16)."""

    def __init__(self, blocks: tuple[int, int, int]):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1, self.layer2, self.layer3 = (stage(i, n) for i, n in enumerate(blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        return self.layer3(self.layer2(self.layer1(x)))


def stage(index: int, blocks: int) -> nn.Sequential:
    """Stage 0, 1 or 2: `blocks` bottlenecks, the first of which changes the width (and, after stage 0, the size)."""
    planes, stride = 64 * 2**index, 1 if index == 0 else 2
    inputs = 64 if index == 0 else 2 * planes
    shortcut = nn.Sequential(nn.Conv2d(inputs, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes))
    rest = (Bottleneck(4 * planes, planes) for _ in range(blocks - 1))
    return nn.Sequential(Bottleneck(inputs, planes, stride, shortcut), *rest)


class ResNetEncoder(nn.Module):
    """Features (B, N, 1024 + 4) of uint8 pictures (B, 3, H, W): the cells of the third stage, with their boxes."""

    def __init__(self, config: ResNetConfig):
        super().__init__()
        self.config, self.channels = config, CELL_CHANNELS + 4
        self.resnet = ResNetStem(config.blocks).requires_grad_(config.trained)

    @property
    def frozen(self) -> bool:
        return not any(p.requires_grad for p in self.parameters())

    def train(self, mode: bool = True) -> ResNetEncoder:
        """What is frozen stays in evaluation mode: its batch norms do not move."""
        return super().train(mode and not self.frozen)

    def forward(self, images: Tensor) -> Tensor:
        x = ((images - 127.5) / 127.5).contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            grid = self.resnet(x)  # (B, 1024, H / 16, W / 16)
        cells = grid.flatten(2).transpose(1, 2)
        return torch.cat([cells, cell_boxes(*grid.shape[2:]).to(cells).expand(len(cells), -1, -1)], dim=-1)
