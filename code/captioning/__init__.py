"""Image captioning from a CNN+GRU to a language model that sees: the package under the course.

Importing `captioning` imports nothing heavy; each module is imported by its own name, and `caption` imports what it
needs when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from captioning.decoding.config import Decoding, DecodingChanges
    from captioning.models.base import CaptionModel

__all__ = ["caption"]


def caption(
    picture: str | Path | bytes,
    model: str | Path | CaptionModel | None = None,
    decoding: Decoding | DecodingChanges | None = None,
    style: str | None = None,
) -> str:
    """The caption of a picture: a file, or its content.

    picture: in a path `~` is your home.
    model: the folder of a run or of a saved model, OWNER/NAME on the Hugging Face hub, modelscope:OWNER/NAME, or a
    loaded model; a folder is read once, and again when it has changed. None: the small captioner of photographs that
    comes with the package (serving/photo_captioner/README.md says what it knows). decoding: by default what is usual
    for the model: OFA's and BLIP's own, else beam search with 3 beams; {"beams": 5} changes that alone. style: one of
    `model.styles`, for a model that has some.
    Raises `captioning.data.pictures.BrokenPicture` for a picture that cannot be read, IsADirectoryError for a folder,
    TypeError for what is neither file nor content, FileNotFoundError where there is no such model, ValueError for a
    style that the model has not.
    """
    from captioning.serving.inference import caption_picture

    return caption_picture(picture, model, decoding, style)
