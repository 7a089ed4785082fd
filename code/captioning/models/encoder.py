"""Pictures to features: any `timm` model as a grid of cells, or the strongest regions of a `torchvision` detector.

Shapes: B pictures, N cells or regions, H x W pixels, C channels.
A feature row is C - 4 channels of what is there and, in its last four, where: the box x0, y0, x1, y1 in parts of the
picture. So grids and regions of any number look alike to every decoder and to every cache, and a plot of attention
knows where each row lies.
"""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn

from captioning.models import lite, packaged
from captioning.models.config import EncoderConfig, PictureConfig, RegionConfig
from captioning.models.grids import Layout, cell_boxes, last_map, prefix_tokens
from captioning.models.ofa.config import ResNetConfig


class Encoder(nn.Module):
    """Grid features (B, N, C) of uint8 pictures (B, 3, H, W); normalisation happens here and nowhere else.

    Raises ValueError for a model that makes no grid of such pictures, before its weights are fetched.
    """

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        self.layout, self.backbone = written_out(config) or of_timm(config)
        self.backbone.to(memory_format=torch.channels_last)
        self.channels = self.layout.channels + 4
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
        """(B, N, C), and where the encoder is `mirrored` (B, 2 N, C): the cells of the mirrored picture come after."""
        views = [images, images.flip(-1)] if self.config.mirrored else [images]
        return torch.cat([self.view(each) for each in views], dim=1)

    def view(self, images: Tensor) -> Tensor:
        x = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            x = last_map(self.backbone, x) if self.layout.between else self.backbone.forward_features(x)
        if x.dim() == 3:  # a vision transformer: class and register tokens first, then a square of patches
            x = x[:, prefix_tokens(self.backbone) :]
            rows = columns = int(x.shape[1] ** 0.5)
        else:
            if x.shape[1] != self.layout.channels:  # Swin and its kin are channels-last
                x = x.permute(0, 3, 1, 2)
            rows, columns = x.shape[2:]
            x = x.flatten(2).transpose(1, 2)  # (B, C-4, rows, columns) -> (B, N, C-4)
        # not len(x), which would fix the number of pictures of an exported graph
        boxes = self.boxes(rows, columns, images.shape[-1]).to(self.mean).expand(x.shape[0], -1, -1)
        return torch.cat([x, boxes], dim=-1)

    def boxes(self, rows: int, columns: int, size: int) -> Tensor:
        """The cells' boxes (N, 4) in a picture of `size` pixels: equal parts of it, or of what whole patches cover."""
        boxes, patch = cell_boxes(rows, columns), self.layout.patch
        if patch is None or columns * patch == size:
            return boxes
        return (boxes * (columns * patch / size)).clamp(max=1)  # padded patches end with the picture


def written_out(config: EncoderConfig) -> tuple[Layout, nn.Module] | None:
    """The model, if it is one that needs no timm: an EfficientNet-Lite as it is, with weights that lie here."""
    number = lite.variant(config.name)
    if number is None or config.args or config.weights not in (None, "package"):
        return None
    model = lite.EfficientNetLite(number)
    if config.weights:
        model.load_state_dict(packaged.weights(config.name))
    return Layout({}, model.num_features, between=False, patch=None), model


def of_timm(config: EncoderConfig) -> tuple[Layout, nn.Module]:
    """Any model of timm. Raises what `timm_models.layout` and `backbone` raise."""
    from captioning.models import timm_models  # slow to load

    layout = timm_models.layout(config)
    model = timm_models.backbone(config, layout.args)
    if layout.between:
        model.prune_intermediate_layers(1)  # what comes after the last map is neither run nor trained
    return layout, model


def stages(backbone: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters stage by stage, the stem first; what comes after the last stage belongs to it."""
    if isinstance(backbone, lite.EfficientNetLite):
        return backbone.stages()
    from captioning.models import timm_models

    return timm_models.stages(backbone)


def picture_encoder(config: PictureConfig) -> nn.Module:
    """The encoder that a configuration describes. Each is imported only where it is wanted: torchvision is slow to
    load. Raises what it raises."""
    if isinstance(config, RegionConfig):
        from captioning.models.regions import RegionEncoder

        return RegionEncoder(config)
    if isinstance(config, ResNetConfig):
        from captioning.models.ofa.pictures import ResNetEncoder

        return ResNetEncoder(config)
    return Encoder(config)
