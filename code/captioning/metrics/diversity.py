"""How varied captions are: over all pictures, and among several captions of one picture.

P pictures, n captions of a picture. Captions are compared as PTB tokens: lower case, without punctuation.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

from captioning.metrics import bleu
from captioning.metrics.cider import CiderD, count_documents
from captioning.metrics.ngrams import NgramTable, Sentence, group, split_words
from captioning.metrics.ptb import tokenize


def diversity(captions: Sequence[str], train_captions: Iterable[str] | None = None) -> dict[str, float]:
    """Of one caption a picture:

    distinct-1, distinct-2: share of different ones among all words and among all bigrams (after Li et al. 2016,
    section 5, who divide both by the number of words); it falls as captions are added, so compare equal numbers.
    vocabulary: different words. length: words of a caption, mean.
    unique: share of different captions. novel: share of captions that are not among the training captions, if given.
    Raises ValueError if there are no captions.
    """
    if not captions:
        raise ValueError("no captions to judge the diversity of; give at least one")
    words = _words(captions)
    table, said = NgramTable(words), list(map(tuple, words))
    length, different = table.rows.length, list(map(len, table.codes))
    found = {
        "distinct-1": different[0] / max(1, length.sum()),
        "distinct-2": different[1] / max(1, np.maximum(length - 1, 0).sum()),
        "vocabulary": different[0],
        "length": length.mean(),
        "unique": len(set(said)) / len(said),
    }
    if train_captions is not None:
        known = set(map(tuple, _words(train_captions)))
        found["novel"] = np.mean([caption not in known for caption in said])
    return {name: float(value) for name, value in found.items()}


def self_cider(groups: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> np.ndarray:
    """(P,) self-CIDEr of each picture's captions: 0 if all are equal, 1 if they, of 4 words or more, share no word.

    -log_n of the largest among the square roots of the eigenvalues of the captions' CIDEr with one another, as a share
    of their sum (Wang and Chan 2019, section 3.2). As in the authors' code CIDEr is CIDEr-D, caption i is scored
    against caption j > i, and of an eigenvalue below 0 (CIDEr-D is no kernel) the size counts.
    groups: at least two captions of each picture, else ValueError. references: those of any pictures, to count in how
    many of them an n-gram occurs; of one picture only they tell nothing, and all is 0.
    """
    words = _words_of_groups(_several(groups))
    start = np.cumsum([0, *map(len, words)])
    among = count_documents(_words_of_groups(references))
    cider = CiderD([[caption] for caption in chain.from_iterable(words)], among, len(references))
    return np.array([_spread(_kernel(cider, captions, k)) for captions, k in zip(words, start, strict=False)])


def mbleu4(groups: Sequence[Sequence[str]]) -> np.ndarray:
    """(P,) mean BLEU-4 of each of a picture's captions against its others (as in the code of Wang and Chan 2019).

    The lower, the more varied. groups: at least two captions of each picture, else ValueError.
    """
    words = _words_of_groups(_several(groups))
    others = [captions[:i] + captions[i + 1 :] for captions in words for i in range(len(captions))]
    each = bleu.score(list(chain.from_iterable(words)), others)[1][:, -1]
    count = np.fromiter(map(len, words), np.int64)
    return np.add.reduceat(each, np.cumsum(count) - count) / count


def _several(groups: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    too_few = sum(len(captions) < 2 for captions in groups)
    if too_few or not groups:
        raise ValueError(f"{too_few} of {len(groups)} pictures have fewer than two captions; diversity needs several")
    return groups


def _words(captions: Iterable[str]) -> list[list[str]]:
    return split_words(tokenize(list(captions)))


def _words_of_groups(groups: Sequence[Sequence[str]]) -> list[list[Sentence]]:
    return group(_words(chain.from_iterable(groups)), like=groups)


def _kernel(cider: CiderD, captions: Sequence[Sentence], first: int) -> np.ndarray:
    """(n, n) CIDEr of caption i against caption j; `first` is the number of caption 0 among all that `cider` knows."""
    i, j = np.indices((len(captions), len(captions))).reshape(2, -1)
    return cider([captions[k] for k in i], first + j).reshape(len(captions), -1)


def _spread(kernel: np.ndarray) -> float:
    values = np.sqrt(np.abs(np.linalg.eigvalsh(kernel, UPLO="U")))
    if not values.any():  # no n-gram of any weight
        return 0.0
    return float(np.log(values.sum() / values.max()) / np.log(len(values)))
