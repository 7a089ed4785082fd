"""Captions for picture files on Ray Data, on this machine or a cluster: `pip install 'captioning[ray]'`.

The files must be there under the same names on every machine, as on a shared disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import ray
import torch

from captioning.data.batches import picture_tensor
from captioning.data.pictures import BrokenPicture
from captioning.decoding.config import Decoding
from captioning.models.base import CaptionModel
from captioning.models.inference import device, for_inference
from captioning.serving.inference import Rows, caption_rows
from captioning.writing import dumps

# A captioner computes with one thread and leaves room for the readers, on a single core too.
CORES = {"read": 0.25, "caption": 0.75}


def captioned(
    model: CaptionModel,
    files: list[str],
    decoding: Decoding,
    batch_size: int,
    workers: int,
    style: str | None = None,
) -> Iterator[tuple[Rows, list[str]]]:
    """What `inference.captioned` gives, in the same order; Ray chooses the number of readers itself, not `workers`.

    A captioner runs on every GPU of the cluster, or where there is none on every core but one.
    """
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    if not ray.is_initialized():
        ray.init(include_dashboard=False)
    found = ray.cluster_resources()
    gpus, cores = int(found.get("GPU", 0)), int(found["CPU"])
    size, weights = model.encoder.config.image_size, ray.put(deepcopy(model).cpu())
    batches = (
        ray.data.from_items([{"image": file} for file in files])
        .map(read, fn_args=(size,), num_cpus=CORES["read"])
        .map_batches(
            Captioner,
            fn_constructor_args=(weights, decoding, style),
            batch_size=batch_size,
            concurrency=gpus or (1, max(1, cores - 1)),
            num_cpus=CORES["caption"],
            num_gpus=1 if gpus else 0,
        )
    )
    for batch in batches.iter_rows():
        yield json.loads(batch["rows"]), json.loads(batch["broken"])


def read(row: dict[str, str], size: int) -> dict:
    """The picture of a file: pixels (3, size, size) uint8, and what is wrong with it, or nothing."""
    try:
        return row | {"pixels": picture_tensor(row["image"], size).numpy(), "problem": ""}
    except BrokenPicture as error:
        return row | {"pixels": np.zeros((3, size, size), dtype=np.uint8), "problem": str(error)}


class Captioner:
    """A model in a process of its own."""

    def __init__(self, weights: ray.ObjectRef, decoding: Decoding, style: str | None):
        self.model = deepcopy(ray.get(weights)).to(device())  # Ray's own copy is read-only
        self.decoding, self.style = decoding, style
        self.encode = for_inference(self.model)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[str]]:
        """One row of JSON for a batch of pictures: a table has no place for rows of several captions."""
        whole = batch["problem"] == ""
        features = self.encode(torch.from_numpy(np.array(batch["pixels"][whole])))
        rows = caption_rows(self.model, batch["image"][whole].tolist(), features, self.decoding, self.style)
        return {"rows": [dumps(rows)], "broken": [dumps(batch["problem"][~whole].tolist())]}
