"""Captions that need no understanding of the picture: a model that does not beat them has not learned to see.

`train` is {image_id: reference captions} of the training split, `ids` the pictures to caption. Each control returns
predictions {image_id: caption}, to be scored as a model's are.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from captioning.metrics import bleu
from captioning.metrics.ngrams import N, References, group, split_words
from captioning.metrics.ptb import tokenize

Train = Mapping[str, Sequence[str]]


def all_controls(
    predictions: Mapping[str, str], train: Train | None, features: tuple[np.ndarray, np.ndarray] | None = None
) -> dict[str, dict[str, str]]:
    """What every table of scores carries: {control: its predictions} for the pictures of a model's `predictions`.

    Without `train` only the shuffled pictures; with `features` of train (T, D) and of the pictures (P, D) also the
    nearest neighbour. None for a single picture, which cannot be shuffled.
    """
    ids = list(predictions)
    found = {}
    if train is not None:
        found["constant caption"] = constant_caption(train, ids)
        found["random training caption"] = random_captions(train, ids)
    if len(ids) > 1:
        found["shuffled pictures"] = shuffled(predictions)
    if features is not None:
        found["nearest neighbour"] = nearest_neighbours(train, features[0], ids, features[1])
    return found


def constant_caption(train: Train, ids: Iterable[str], sample: int = 5000, seed: int = 0) -> dict[str, str]:
    """The training caption that, said of every training picture, has the best corpus BLEU-4; said of every id.

    Chosen and judged on all of train, or on `sample` pictures of it drawn with `seed` if there are more.
    """
    pictures = [captions for captions in train.values() if captions]
    if len(pictures) > sample:
        drawn = np.random.default_rng(seed).choice(len(pictures), sample, replace=False)
        pictures = [pictures[i] for i in sorted(drawn)]
    captions = _all_captions(pictures)
    references = References(group(split_words(tokenize(captions)), like=pictures))
    best = captions[int(_bleu4_as_constant(references).argmax())]
    return dict.fromkeys(ids, best)


def random_captions(train: Train, ids: Iterable[str], seed: int = 0) -> dict[str, str]:
    """For each id a training caption drawn at random."""
    captions, ids = _all_captions(train.values()), list(ids)
    drawn = np.random.default_rng(seed).integers(len(captions), size=len(ids))
    return {i: captions[k] for i, k in zip(ids, drawn, strict=True)}


def shuffled(predictions: Mapping[str, str], seed: int = 0) -> dict[str, str]:
    """A model's captions, each given to another picture (no picture keeps its own, though captions may repeat).

    What remains of the score is the model's language and the data's monotony. Raises ValueError for fewer than two.
    """
    if len(predictions) < 2:
        raise ValueError(f"{len(predictions)} predictions cannot be shuffled; give at least 2")
    ids = [list(predictions)[k] for k in np.random.default_rng(seed).permutation(len(predictions))]
    moved = {i: predictions[j] for i, j in zip(ids, ids[1:] + ids[:1], strict=True)}  # one cycle: nothing stays
    return {i: moved[i] for i in predictions}


def nearest_neighbours(
    train: Train, train_features: np.ndarray, ids: Iterable[str], features: np.ndarray, chunk: int = 1024, seed: int = 0
) -> dict[str, str]:
    """A caption of the training picture whose features (T, D) are nearest to the picture's (P, D) by cosine.

    It is drawn at random from those of that picture: the first ones of a data set may be better than the others
    (Flickr8k's are). Rows are in the order of `train` and `ids`. Raises ValueError if there are not as many rows as
    pictures.
    """
    ids, captioned = list(ids), np.array([bool(captions) for captions in train.values()])
    for name, array, pictures in [("train_features", train_features, train), ("features", features, ids)]:
        if array.ndim != 2 or len(array) != len(pictures):
            raise ValueError(f"{name} has shape {array.shape}, expected ({len(pictures)}, D): one row a picture")
    told, there = list(filter(len, train.values())), _unit(train_features[captioned]).T
    nearest = [(_unit(features[k : k + chunk]) @ there).argmax(1) for k in range(0, len(ids), chunk)]
    groups = [told[k] for k in np.concatenate(nearest)]
    drawn = np.random.default_rng(seed).integers([len(captions) for captions in groups])
    return {i: captions[k] for i, captions, k in zip(ids, groups, drawn, strict=True)}


def _all_captions(pictures: Iterable[Sequence[str]]) -> list[str]:
    captions = [c for picture in pictures for c in picture]
    if not captions:
        raise ValueError("no training captions: expected {image_id: captions} with at least one caption")
    return captions


def _unit(features: np.ndarray) -> np.ndarray:
    features = features.astype(np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _bleu4_as_constant(references: References) -> np.ndarray:
    """(S,) corpus BLEU-4 of each reference sentence if it were the caption of all P pictures.

    An n-gram that a caption has c times is correct, over all pictures, as often as the sum over j = 1..c of the
    number of pictures that have it j times: so no caption is ever compared with a picture.
    """
    rows, length, pictures = references.table.rows, references.length, len(references)
    start = np.flatnonzero(np.diff(references.key, prepend=-1))  # one group a (picture, n-gram)
    most, gram = np.maximum.reduceat(references.count, start), references.gram[start]
    right = np.zeros(len(rows.count))
    for j in range(1, rows.count.max(initial=0) + 1):
        pictures_with = np.bincount(gram[most >= j], minlength=references.table.size)
        right += np.where(rows.count >= j, pictures_with[rows.gram], 0)
    correct = np.bincount(rows.sentence * N + rows.order, right, len(length) * N).reshape(-1, N)
    guess = np.maximum(length[:, None] - np.arange(N), 0) * pictures
    lengths, which = np.unique(length, return_inverse=True)
    closest = np.array([_closest_lengths(references, n).sum() for n in lengths])[which]
    return bleu.from_statistics(np.column_stack([correct, guess, length * pictures, closest]))[:, -1]


def _closest_lengths(references: References, length: int) -> np.ndarray:
    """(P,) each picture's reference length closest to this one."""
    return bleu.closest(references.length, np.full(len(references.length), length), references.first_reference)
