"""Every module of timm, by its smallest model with random weights: works, or is refused with a reason.

`python tests/models/test_timm_models.py` (with the package on the path) writes the table of docs/encoders.md anew.
"""

import re
import warnings
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from captioning.models.config import EncoderConfig
from captioning.models.encoder import Encoder

PAGE = Path(__file__).resolve().parents[2] / "docs" / "encoders.md"
SIZE = 128  # pixels a side, where a model makes at least 4 x 4 cells of them
# Of the others: what they take, or what makes enough cells. Random convolutions mix all cells of a 4 x 4 map, so that
# a patch may change its neighbour most: such models were given 8 x 8 cells.
SIZES = {
    "byoanet": 256,
    "cpubone": 256,
    "cspnext": 256,
    "crossvit": 240,
    "csatv2": 256,
    "deepseek_vit": 56,
    "efficientformer": 224,
    "efficientvim": 256,
    "efficientvit_mit": 256,
    "efficientvit_msra": 256,
    "gemma4_vit": 96,
    "ghostnet": 256,
    "hardcorenas": 256,
    "inception_resnet_v2": 192,
    "inception_v3": 192,
    "inception_v4": 192,
    "levit": 256,
    "mobilenetv5": 64,
    "repghost": 256,
    "rexnet": 256,
    "selecsls": 256,
    "sequencer": 56,
    "shvit": 256,
}
DEEP = ("beit", "deepseek_vit", "gemma4_vit", "naflexvit", "qwen3_vit", "vision_transformer_sam")
ARGS = dict.fromkeys(DEEP, {"depth": 1})
COLUMNS = ("module", "smallest model", "pixels", "grid", "channels", "result")


def smallest(module: str) -> str:
    """The model with the fewest parameters."""

    def parameters(name):
        with torch.device("meta"):
            return sum(p.numel() for p in timm.create_model(name, num_classes=0).parameters())

    return min(timm.list_models(module=module), key=parameters)


def config(module: str, model: str) -> EncoderConfig:
    return EncoderConfig(
        model, ARGS.get(module, {}), weights=None, trained_stages=1, image_size=SIZES.get(module, SIZE)
    )


def pictures(size: int) -> torch.Tensor:
    """A picture of noise, and two with a patch on it: top right and bottom left (3, 3, H, W)."""
    images = torch.randint(100, 156, (1, 3, size, size), dtype=torch.uint8).repeat(3, 1, 1, 1)
    low, high = (slice(middle - size // 16, middle + size // 16) for middle in (size // 4, size - size // 4))
    images[1, :, low, high] = images[2, :, high, low] = 255
    return images


def walk(module: str, model: str) -> tuple[str, list[tuple[bool, bool]]]:
    """A model's row of the table, and in which half (lower, right) the cell lies that each patch changes most."""
    settings = config(module, model)
    row = [module, f"`{model}`", str(settings.image_size)]
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings(action="ignore"):
            encoder = Encoder(settings)
    except ValueError as error:
        return line([*row, "", "", f"refused: {error}"]), []
    assert {parameter.requires_grad for parameter in encoder.parameters()} == {True, False}  # the last stage alone
    features = run(encoder, pictures(settings.image_size))
    assert features.isfinite().all() and features.shape[2] == encoder.channels
    columns, rows = (features[0, :, i].unique().numel() for i in (-4, -3))
    assert features.shape[1] == rows * columns and rows >= 4 and columns >= 4
    changed = (features[1:] - features[:1])[..., :-4].double().abs().sum(dim=-1)  # (2, N)
    x0, y0, x1, y1 = features[0, changed.argmax(dim=1), -4:].T
    halves = zip((y0 + y1 > 1).tolist(), (x0 + x1 > 1).tolist(), strict=True)
    return line([*row, f"{rows} x {columns}", str(encoder.channels - 4), "works"]), list(halves)


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


@torch.no_grad()
def run(encoder: Encoder, images: torch.Tensor) -> torch.Tensor:
    """Features of a model whose random weights do as trained ones: batch norms keep activations from fading, and
    convolutions look at the middle most."""
    for module in encoder.eval().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
        if isinstance(module, nn.Conv2d) and module.stride == (1, 1) and module.kernel_size[0] % 2:
            middle = module.weight[..., module.kernel_size[0] // 2, module.kernel_size[1] // 2]
            others = middle.clone()
            module.weight *= 0.1
            middle.copy_(others)
    return encoder(images)


def table() -> dict[str, str]:
    """The rows of the page, by module."""
    rows = [row for row in PAGE.read_text(encoding="utf-8").splitlines() if row.startswith("| ") and "`" in row]
    return {row.split(" | ")[0].removeprefix("| "): row for row in rows}


def test_every_module_has_its_row():
    assert list(table()) == timm.list_modules(), "python tests/models/test_timm_models.py writes the table anew"


@pytest.mark.parametrize("module", timm.list_modules())
def test_a_module_works_or_is_refused(module):
    row, halves = walk(module, re.search(r"`(\w+)`", table()[module])[1])
    assert row == table()[module]
    assert halves == ([] if "refused" in row else [(False, True), (True, False)])


def write_page() -> None:
    before = PAGE.read_text(encoding="utf-8").split("| module")[0]
    rows = [walk(module, smallest(module))[0] for module in timm.list_modules()]
    PAGE.write_text(
        "\n".join([before + line(list(COLUMNS)), "|---" * len(COLUMNS) + "|", *rows]) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    write_page()
