"""Fixtures shared by several test files: tiny models and data."""

import shutil
import string
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from captioning.models.base import CaptionModel
from captioning.models.config import EncoderConfig
from captioning.models.saved import CAPTIONERS
from captioning.text import WordTokenizer


def write_program(path: Path, body: str) -> None:
    """An executable that runs Python code; a script's first line could not name a Python whose path has a blank."""
    code = path.with_suffix(".py")
    code.write_text(body)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{code}" "$@"\n')
    path.chmod(0o755)


def same_in_every_type(tensor: torch.Tensor) -> torch.Tensor:
    """Numbers near those of `tensor` that bfloat16, float16 and float32 can all hold."""
    return tensor.bfloat16().half().float() if tensor.is_floating_point() else tensor


TINY_ENCODER = EncoderConfig("test_resnet", args={"zero_init_last": False}, weights=None, image_size=64)
TINY_DECODERS = {
    "gru": {"picture": 12, "embedding": 8, "hidden": 16},
    "attention": {"width": 16, "attention": 12, "heads": 2},
    "transformer": {"width": 16, "heads": 2, "encoder_layers": 1, "layers": 2},
}


@pytest.fixture(autouse=True)
def plain_arithmetic(monkeypatch):
    """What `--weights auto` chooses is the same on all machines, and no trial is made."""
    monkeypatch.setattr("captioning.serving.machine.precision", lambda encoder: torch.float32)
    monkeypatch.setattr("captioning.serving.machine.packing_pays", lambda model: False)


@pytest.fixture(scope="session")
def tokenizer() -> WordTokenizer:
    """26 words and the 4 special ids."""
    return WordTokenizer.train([" ".join(string.ascii_lowercase)])


@pytest.fixture
def make_model(tokenizer) -> Callable[..., CaptionModel]:
    """`make_model(kind, encoder, **decoder)`: a tiny captioner with random weights, in evaluation mode."""

    def make(kind: str, encoder: EncoderConfig = TINY_ENCODER, tokenizer=tokenizer, **decoder) -> CaptionModel:
        torch.manual_seed(0)
        model_class, config_class = CAPTIONERS[kind]
        return model_class(config_class(**TINY_DECODERS[kind] | decoder), encoder, tokenizer).eval()

    return make


@pytest.fixture(scope="module")
def browser():
    """A Chromium, for the tests that look at a page."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not program:
        pytest.skip("needs a Chromium (Debian, Ubuntu: apt install chromium)")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()
