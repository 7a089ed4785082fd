"""Packed eyes see what the others see: in 32 bits but for the order of summation."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from captioning.models.config import EncoderConfig
from captioning.models.encoder import Encoder
from captioning.models.inference import Eyes


def eyes(number: int, size: int, mirrored: bool = False) -> tuple[Encoder, torch.Tensor]:
    torch.manual_seed(0)
    config = EncoderConfig(f"tf_efficientnet_lite{number}", weights=None, image_size=size, mirrored=mirrored)
    encoder = Encoder(config).eval()
    for norm in (module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 2)
    return encoder, torch.randint(0, 256, (5, 3, size, size), dtype=torch.uint8)


@pytest.mark.parametrize(("number", "size", "mirrored"), [(0, 64, False), (2, 75, True), (4, 64, False)])
def test_packed_eyes_differ_by_rounding(number, size, mirrored):
    encoder, images = eyes(number, size, mirrored)
    with torch.inference_mode():
        torch.testing.assert_close(Eyes(encoder, few=2, packed=True)(images), encoder(images), atol=1e-4, rtol=1e-4)


def test_the_encoder_itself_stays_as_it_is():
    encoder, images = eyes(0, 64)
    expected = encoder(images)
    Eyes(encoder, torch.bfloat16, packed=True)
    assert torch.equal(encoder(images), expected)


def test_in_bfloat16_they_see_nearly_the_same():
    encoder, images = eyes(0, 64)
    seen, expected = Eyes(encoder, torch.bfloat16, packed=True)(images), encoder(images)
    assert seen.dtype == torch.float32
    assert cosine_similarity(seen[..., :-4], expected[..., :-4], dim=-1).mean() > 0.99
