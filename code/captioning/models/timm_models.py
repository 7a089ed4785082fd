"""Any model of `timm` as the backbone of an encoder: how it makes a grid, its weights, its stages."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from timm.models import group_parameters, load_state_dict, resolve_model_input_args
from torch import Tensor, nn

from captioning.models import packaged
from captioning.models.config import EncoderConfig
from captioning.models.grids import Layout, last_map, prefix_tokens


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
        return timm.create_model(config.name, pretrained=config.weights == "hub", num_classes=0, **args)
    weights = packaged.weights(config.name) if config.weights == "package" else file_weights(config)
    return with_weights(config.name, args, weights)


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
