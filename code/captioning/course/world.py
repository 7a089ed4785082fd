"""What the chapters say of photographs: the captioner that ships with the package, and what its training remembers.

`python -m captioning.course.world output/flickr8k_photos` writes photographs.json beside the shipped model: for each
photograph that is free to show, its caption, the caption after cross-entropy alone, and the captions of the training
pictures that look most like it. The training pictures themselves are not free to show.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import torch
from IPython.display import display

from captioning.data.batches import picture_tensor
from captioning.data.pictures import PHOTOGRAPHS, read_picture
from captioning.evaluation.runs import load_data, read_run
from captioning.evaluation.splits import mean_features, split_features
from captioning.models.base import CaptionModel
from captioning.models.inference import for_inference
from captioning.models.saved import load
from captioning.serving.inference import PHOTO_CAPTIONER, caption_picture
from captioning.writing import write_json

RECORD = PHOTO_CAPTIONER / "photographs.json"


def photograph_features(model: CaptionModel, files: list[Path] = PHOTOGRAPHS) -> torch.Tensor:
    """What the model sees of photographs, (files, N, C)."""
    size = model.encoder.config.image_size
    return for_inference(model)(torch.stack([picture_tensor(file, size) for file in files]))


def upload_button(model: CaptionModel) -> widgets.VBox:
    """A button for a notebook: below it each picture that is chosen appears with the model's caption."""
    button, place = widgets.FileUpload(accept="image/*", description="a picture"), widgets.Output()

    def show(change: dict) -> None:
        for upload in change["new"]:
            data = bytes(upload.content)
            with place:
                display(read_picture(data), caption_picture(data, model))

    button.observe(show, names="value")
    return widgets.VBox([button, place])


def nearest(model: CaptionModel, run: Path, count: int = 3) -> list[list[tuple[float, str]]]:
    """Of each photograph the `count` most similar training pictures of a run: cosine of the mean features, and the
    first caption."""
    described = read_run(run)
    train = load_data(run, described, "train")["train"]
    ours, theirs = mean_features(photograph_features(model).numpy()), mean_features(split_features(model, train))
    ours, theirs = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (ours, theirs))
    similar = ours @ theirs.T
    rows = similar.argsort(axis=1)[:, ::-1][:, :count]
    return [
        [(round(float(similar[i, row]), 3), train[int(row)]["captions"][0]) for row in found]
        for i, found in enumerate(rows)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("start", type=Path, help="the run that was trained with cross-entropy")
    start = parser.parse_args().start
    before, shipped = load(start), load(PHOTO_CAPTIONER)
    said = {"shipped": shipped, "cross-entropy": before}
    said = {name: model.generate(photograph_features(model), model.usual).best for name, model in said.items()}
    rows = zip(*said.values(), nearest(shipped, start), strict=True)
    record = {
        file.stem: dict(zip((*said, "nearest"), row, strict=True)) for file, row in zip(PHOTOGRAPHS, rows, strict=True)
    }
    write_json(RECORD, record)


if __name__ == "__main__":
    main()
