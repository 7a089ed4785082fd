"""Pictures to features: any `timm` model as a grid of cells, or the strongest regions of a `torchvision` detector.

Shapes: B pictures, N cells or regions, H x W pixels, C channels.
A feature row is C - 4 channels of what is there and, in its last four, where: the box x0, y0, x1, y1 in parts of the
picture. So grids and regions of any number look alike to every decoder and to every cache, and a plot of attention
knows where each row lies.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn

from captioning.models.config import EncoderConfig


def cell_boxes(rows: int, columns: int) -> Tensor:
    """Boxes x0, y0, x1, y1 (rows*columns, 4) of a grid's cells in parts of the picture, row by row."""
    y, x = torch.meshgrid(torch.arange(rows) / rows, torch.arange(columns) / columns, indexing="ij")
    return torch.stack([x, y, x + 1 / columns, y + 1 / rows], dim=-1).flatten(0, 1)


class Encoder(nn.Module):
    """Grid features (B, N, C) of uint8 pictures (B, 3, H, W); normalisation happens here and nowhere else."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        self.backbone = backbone(config)
        self.channels = self.backbone.num_features + 4
        for name in ("mean", "std"):
            colour = getattr(config, name) or self.backbone.pretrained_cfg[name]
            self.register_buffer(name, torch.tensor(colour).view(3, 1, 1) * 255, persistent=False)
        self.requires_grad_(config.trained_stages == "all")
        if config.trained_stages not in (0, "all"):
            for parameter in chain(*stages(self.backbone)[-config.trained_stages :]):
                parameter.requires_grad_(True)

    @property
    def frozen(self) -> bool:
        return not any(p.requires_grad for p in self.parameters())

    def train(self, mode: bool = True) -> Encoder:
        """What is frozen stays in evaluation mode: its batch norms do not move."""
        super().train(mode)
        for module in self.backbone.modules():
            parameters = list(module.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        x = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            x = self.backbone.forward_features(x)
        if x.dim() == 3:  # a vision transformer: class and register tokens first, then a square of patches
            x = x[:, self.backbone.num_prefix_tokens :]
            rows = columns = int(x.shape[1] ** 0.5)
        else:
            if x.shape[1] != self.backbone.num_features:  # Swin and its kin are channels-last
                x = x.permute(0, 3, 1, 2)
            rows, columns = x.shape[2:]
            x = x.flatten(2).transpose(1, 2)  # (B, C-4, rows, columns) -> (B, N, C-4)
        boxes = cell_boxes(rows, columns).to(x).expand(len(x), -1, -1)
        return torch.cat([x, boxes], dim=-1)


def stages(model: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of a timm model stage by stage, as timm groups them: the stem, then each stage (a vision
    transformer's are its blocks); a norm or convolution after the last stage belongs to it."""
    matcher = model.group_matcher(coarse=True) | {"rest": [("", (99999,))]}  # timm's mark for "with those before"
    return list(group_parameters(model, matcher, return_values=True).values())


def backbone(config: EncoderConfig) -> nn.Module:
    """The timm model without its head, with the weights that `config` names.

    Raises FileNotFoundError for a weight file that is not there, RuntimeError (from torch) for keys that do not fit.
    """
    if config.weights not in (None, "hub") and not Path(config.weights).is_file():
        raise FileNotFoundError(
            f"encoder weights {config.weights!r}: no such file. Give a .safetensors or .pth file for timm's "
            f"{config.name}, 'hub' to download them, or null to start from random weights."
        )
    model = timm.create_model(config.name, pretrained=config.weights == "hub", num_classes=0, **config.args)
    if config.weights not in (None, "hub"):
        head = model.pretrained_cfg.get("classifier", "head")
        timm.models.load_checkpoint(
            model,
            config.weights,
            filter_fn=lambda weights, _: {k: v for k, v in weights.items() if not k.startswith(head)},
        )
    return model.to(memory_format=torch.channels_last)
