"""What several commands do alike."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import DatasetDict

    from captioning.decoding.config import Decoding
    from captioning.learning.config import Recipe
    from captioning.learning.loop import Record
    from captioning.models.base import CaptionModel
    from captioning.models.config import Precision
    from captioning.models.vlm import VisionLanguageModel


def readable(dataset: DatasetDict) -> DatasetDict:
    """The data set without the pictures and captions that would stop an epoch; they are listed."""
    from captioning.data import sources

    findings = sources.check(dataset)
    if len(findings):
        print(f"left out {len(findings)}:\n{findings.to_string(index=False)}", file=sys.stderr)
    return sources.healthy(dataset, findings)


def load_model(name: str | Path) -> CaptionModel:
    """The saved captioner, on the GPU if there is one.

    Raises FileNotFoundError when `name` is no folder and no hub repository that can be had, and what `load` raises.
    """
    from captioning.models.inference import device
    from captioning.models.saved import load

    with there(name):
        return load(name).to(device())


def load_speaker(
    name: str | Path, prompt: str | None, system: str | None, precision: Precision, side: int | None
) -> CaptionModel | VisionLanguageModel:
    """The saved captioner, or the vision-language model, which is asked with `prompt` and `system` about pictures of
    `side` pixels; on the GPU if there is one.

    Raises what `load_model` raises, and ValueError for a captioner that is to be asked something.
    """
    from captioning.data.prompt_fields import prompt_of
    from captioning.models import vlm

    text = "" if prompt is None else prompt_of(prompt)  # before anything is loaded
    if asks(name):
        with there(name):
            return vlm.load(name, text, system, precision, side)
    if (prompt, system, precision, side) != (None, None, "auto", None):
        raise ValueError(
            f"{name}: --prompt, --system, --precision and --side are for vision-language models, and this captioner "
            "knows one way to speak; leave them out"
        )
    return load_model(name)


def asks(name: str | Path) -> bool:
    """Whether it is a vision-language model. Raises FileNotFoundError as `load_model` does."""
    from captioning.models.vlm import is_vlm

    with there(name):
        return is_vlm(name)


@contextmanager
def there(name: str | Path) -> Iterator[None]:
    """What the hub says of a model that cannot be had, as a FileNotFoundError."""
    if Path(name).exists():
        yield
        return
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # slow to load

    try:
        yield
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise FileNotFoundError(
            f"{name}: no such folder, and no hub repository of this name can be had ({type(error).__name__}). "
            "Give the folder of a run or of a saved model, or OWNER/NAME on the hub."
        ) from error


def command() -> str:
    """This command line, to be repeated by others."""
    return shlex.join(["python", "-m", "captioning", *sys.argv[1:]])


def finish(run: Path, log: list[Record], recipe: Recipe, decoding: Decoding, data: str, folder: Path) -> None:
    """Note what `evaluate` needs to know of a run, and print its best score."""
    from captioning.evaluation.runs import describe_run

    facts = {"data": data, "folder": Path(folder).absolute(), "minutes": log[-1]["minutes"], "command": command()}
    describe_run(run, **facts, recipe=asdict(recipe), decoding=asdict(decoding))
    best = max((record for record in log if "val/score" in record), key=lambda record: record["val/score"])
    print(f"{run}: best {recipe.choose} on val {best['val/score']:.4f} after epoch {best['epoch']:.0f}")


def require_ray() -> None:
    """Raises ValueError, which says how to get it, where Ray Data is not installed."""
    if not find_spec("ray"):
        raise ValueError("--engine ray needs Ray Data: pip install 'captioning[ray]'")
