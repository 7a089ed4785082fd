"""Pictures to features: any `timm` model as a grid of cells, or the strongest regions of a `torchvision` detector.

Shapes: B pictures, N cells or regions, H x W pixels, C channels.
A feature row is C - 4 channels of what is there and, in its last four, where: the box x0, y0, x1, y1 in parts of the
picture. So grids and regions of any number look alike to every decoder and to every cache, and a plot of attention
knows where each row lies.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import NamedTuple

import timm
import torch
from timm.models import group_parameters, load_state_dict, resolve_model_input_args
from torch import Tensor, nn

from captioning.models import packaged
from captioning.models.config import EncoderConfig


def cell_boxes(rows: int, columns: int) -> Tensor:
    """Boxes x0, y0, x1, y1 (rows*columns, 4) of a grid's cells in parts of the picture, row by row."""
    y, x = torch.meshgrid(torch.arange(rows) / rows, torch.arange(columns) / columns, indexing="ij")
    return torch.stack([x, y, x + 1 / columns, y + 1 / rows], dim=-1).flatten(0, 1)


class Encoder(nn.Module):
    """Grid features (B, N, C) of uint8 pictures (B, 3, H, W); normalisation happens here and nowhere else.

    Raises ValueError for a model that makes no grid of such pictures, before its weights are fetched.
    """

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        self.layout = layout(config)
        self.backbone = backbone(config, self.layout.args)
        if self.layout.between:
            self.backbone.prune_intermediate_layers(1)  # what comes after the last map is neither run nor trained
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
        boxes = self.boxes(rows, columns, images.shape[-1]).to(self.mean).expand(len(x), -1, -1)
        return torch.cat([x, boxes], dim=-1)

    def boxes(self, rows: int, columns: int, size: int) -> Tensor:
        """The cells' boxes (N, 4) in a picture of `size` pixels: equal parts of it, or of what whole patches cover."""
        boxes, patch = cell_boxes(rows, columns), self.layout.patch
        if patch is None or columns * patch == size:
            return boxes
        return (boxes * (columns * patch / size)).clamp(max=1)  # padded patches end with the picture


class Layout(NamedTuple):
    """How a timm model makes a grid."""

    args: dict  # of timm.create_model
    channels: int
    between: bool  # its last map is taken from between its layers: what it ends in is no grid
    patch: int | None  # pixels a side of a cell, where the model cuts the picture into patches and keeps them


def layout(config: EncoderConfig) -> Layout:
    """How the model makes a grid of pictures of `image_size`: as it is, or else made for this size where timm can.

    Raises ValueError with timm's reason for a model that makes none; no weights are needed to know.
    """
    args, size, own = config.args, config.image_size, ""
    try:
        return layout_with(config, args)
    except Exception as error:  # of whatever kind: these are other people's models
        reason = error
    try:
        weights = resolve_model_input_args(config.name)["pretrained_cfg"]
        own = f", its own are {weights['input_size'][-2]} x {weights['input_size'][-1]}"
        if weights["fixed_input_size"] and "img_size" not in args:
            return layout_for(config, args | {"img_size": size})
    except Exception as error:
        reason = error
    raise ValueError(
        f"encoder {config.name!r} with args {args}: no grid of cells from pictures of {size} x {size} pixels{own} "
        f"({(str(reason) or type(reason).__name__).splitlines()[0]})"
    ) from reason


def layout_for(config: EncoderConfig, args: dict) -> Layout:
    """The layout of a model that is made for another size than its weights, if timm can fit these to it."""
    found = layout_with(config, args)
    if config.weights == "hub":
        with torch.device("meta"):
            theirs = timm.create_model(config.name, num_classes=0, **config.args).state_dict()
            try:
                with_weights(config.name, args, theirs)
            except RuntimeError as error:
                raise ValueError("timm does not fit its weights to another size") from error
    return found


@torch.no_grad()
def layout_with(config: EncoderConfig, args: dict) -> Layout:
    """What a run on PyTorch's device without storage shows; whatever timm raises."""
    with torch.device("meta"):
        model = timm.create_model(config.name, num_classes=0, **args).eval()
        picture = torch.zeros(1, 3, config.image_size, config.image_size)
        x = model.forward_features(picture)
        between = not is_grid(model, x, config.image_size)
        channels = last_map(model, picture).shape[1] if between else model.num_features
    reductions = {stage["reduction"] for stage in model.feature_info}
    return Layout(args, channels, between, reductions.pop() if len(reductions) == 1 else None)


def is_grid(model: nn.Module, x: Tensor | list[Tensor], size: int) -> bool:
    """Whether what a model ends in is a map, or tokens that are the cells of one and nothing else."""
    if not isinstance(x, Tensor) or x.dim() == 4:
        return isinstance(x, Tensor) and model.num_features in (x.shape[1], x.shape[3])
    cells, reduction = x.shape[1] - prefix_tokens(model), model.feature_info[-1]["reduction"]
    side = round(cells**0.5)
    return side**2 == cells and abs(side * reduction - size) < reduction


def prefix_tokens(model: nn.Module) -> int:
    """How many class and register tokens come before a vision transformer's patches."""
    return getattr(model, "num_prefix_tokens", 0)


def last_map(model: nn.Module, x: Tensor) -> Tensor:
    """The last map (B, C, rows, columns) between the layers of a timm model, normed."""
    return model.forward_intermediates(x, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True)[0]


def stages(model: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of a timm model stage by stage, as timm groups them: the stem, then each stage (a vision
    transformer's are its blocks); a norm or convolution after the last stage belongs to it."""
    try:
        groups = model.group_matcher(coarse=True)
    except (AttributeError, AssertionError):  # a model without groups, or with fine ones only
        return stages_of_features(model)
    last = 99999  # timm's mark for "with those before"
    matcher = (lambda name: (min(groups(name), last),)) if callable(groups) else groups | {"rest": [("", (last,))]}
    return list(group_parameters(model, matcher, return_values=True).values())


def stages_of_features(model: nn.Module) -> list[list[nn.Parameter]]:
    """The same by the modules that give timm's features: a stage begins where one of them begins."""
    found, ahead = [[]], [stage["module"] + "." for stage in model.feature_info]
    for name, parameter in model.named_parameters():
        if begun := [module for module in ahead if name.startswith(module)]:
            ahead.remove(begun[0])
            found.append([])
        found[-1].append(parameter)
    return [stage for stage in found if stage]


def backbone(config: EncoderConfig, args: dict) -> nn.Module:
    """The timm model without its head, with `args` of timm.create_model and the weights that `config` names.

    Raises FileNotFoundError for a weight file that is not there, ValueError for weights that no package has,
    RuntimeError (from torch) for keys that do not fit.
    """
    if config.weights in (None, "hub"):
        model = timm.create_model(config.name, pretrained=config.weights == "hub", num_classes=0, **args)
    else:
        weights = packaged.weights(config.name) if config.weights == "package" else file_weights(config)
        model = with_weights(config.name, args, weights)
    return model.to(memory_format=torch.channels_last)


def file_weights(config: EncoderConfig) -> dict[str, Tensor]:
    if not Path(config.weights).is_file():
        raise FileNotFoundError(
            f"encoder weights {config.weights!r}: no such file. Give a .safetensors or .pth file for timm's "
            f"{config.name}, 'hub' to download them, 'package' for those of an installed package, or null to start "
            "from random weights."
        )
    return load_state_dict(config.weights)


def with_weights(name: str, args: dict, weights: dict[str, Tensor]) -> nn.Module:
    """The model with these weights, fitted to its size as timm fits its own; a classifier's head is left out."""
    head = resolve_model_input_args(name)["pretrained_cfg"].get("classifier") or "head"
    heads = head if isinstance(head, str) else tuple(head)
    weights = {key: tensor for key, tensor in weights.items() if not key.startswith(heads)}
    # With no classes on either side timm wants every key to fit.
    source = {"state_dict": weights, "source": None, "num_classes": 0, "label_offset": None}
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=source, num_classes=0, **args)
    del model.pretrained_cfg["state_dict"]
    return model
