"""CIDEr-D and CIDEr (Vedantam et al. 2015, section 4). What coco-caption calls "CIDEr" is CIDEr-D without stemming."""

import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from captioning.metrics.ngrams import N, Overlap, References, Sentence, pairs_of, split_groups, split_words
from captioning.writing import dumps, write

SIGMA = 6.0  # of the length penalty, in words


def score(candidates: Sequence[Sentence], references: Sequence[Sequence[Sentence]]) -> tuple[float, np.ndarray]:
    """CIDEr-D of P tokenized candidates: the mean, and per picture (P,). 0 by construction if P is 1."""
    scores = CiderD(split_groups(references))(split_words(candidates))
    return float(scores.mean()), scores


class CiderD:
    """CIDEr-D against fixed references: built once, then scores batches, so that it can be a reward.

    `references`: for each of P pictures its tokenized sentences (words or token ids; with or without an end token, but
    then candidates alike). `document_frequency`: in how many of `documents` pictures each n-gram (a tuple of 1..4
    words) occurs; counted from the references if not given. Raises ValueError if only one of the two is given.
    """

    def __init__(
        self,
        references: Sequence[Sequence[Sentence]],
        document_frequency: Mapping[tuple[Hashable, ...], float] | None = None,
        documents: float | None = None,
    ):
        if (document_frequency is None) != (documents is None):
            raise ValueError("give document_frequency and documents together, or neither")
        self.references = refs = References(references, also=list(document_frequency or ()))
        if document_frequency is None:
            frequency, documents = refs.document_frequency(), len(refs)
        else:
            frequency = np.zeros(refs.table.size)
            frequency[refs.table.ids_of_last(len(document_frequency))] = list(document_frequency.values())
        # the last entry is for n-grams that the table does not know: index -1
        self.idf = np.log(documents) - np.log(np.maximum(1, np.append(frequency, 0)))  # (G + 1,)
        self.weight = refs.count * self.idf[refs.gram]  # (E,)
        self.norm = _norms(refs.sentence, refs.order, self.weight, len(refs.length))  # (R, 4)

    def __call__(self, candidates: Sequence[Sentence], picture: np.ndarray | None = None) -> np.ndarray:
        """Scores (S,) of S candidates; candidate i describes picture i, or picture[i] (S,) where that is given."""
        return self.from_overlap(self.references.overlap(candidates, picture))

    def from_overlap(self, overlap: Overlap) -> np.ndarray:
        """Scores (S,) from an overlap already computed (BLEU uses the same)."""
        rows, refs = overlap.candidates, self.references
        weight = rows.count * self.idf[rows.gram]
        norm = _norms(rows.sentence, rows.order, weight, len(rows.length))
        candidate, reference, start = pairs_of(refs, overlap)
        number = start[rows.sentence[overlap.row]] + refs.sentence[overlap.reference_row]  # pair of each shared n-gram
        number -= refs.first_reference[overlap.picture[rows.sentence[overlap.row]]]
        shared = self._shared(weight[overlap.row], self.weight[overlap.reference_row])
        dot = np.bincount(number * N + rows.order[overlap.row], shared, len(candidate) * N).reshape(-1, N)
        product = norm[candidate] * self.norm[reference]
        cosine = np.divide(dot, product, out=np.zeros(dot.shape), where=product > 0).mean(1)
        cosine *= self._penalty(rows.length[candidate], refs.length[reference])
        return 10 * np.add.reduceat(cosine, start) / refs.reference_count[overlap.picture]

    def _shared(self, candidate: np.ndarray, reference: np.ndarray) -> np.ndarray:
        return np.minimum(candidate, reference) * reference

    def _penalty(self, candidate: np.ndarray, reference: np.ndarray) -> np.ndarray:
        # the official code counts bigrams for length, so sentences of no word and of one word are equally long
        apart = np.maximum(candidate - 1, 0) - np.maximum(reference - 1, 0)
        return np.exp(-(apart**2) / (2 * SIGMA**2))


class Cider(CiderD):
    """Plain CIDEr: the cosine without CIDEr-D's clipping and length penalty. Easily gamed: quote CIDEr-D."""

    def _shared(self, candidate: np.ndarray, reference: np.ndarray) -> np.ndarray:
        return candidate * reference

    def _penalty(self, candidate: np.ndarray, reference: np.ndarray) -> np.ndarray:
        return np.ones(len(candidate))


def count_documents(references: Sequence[Sequence[Sentence]]) -> dict[tuple[Hashable, ...], int]:
    """In how many pictures' references each n-gram of 1..4 words occurs: `CiderD`'s `document_frequency`, of P
    pictures, to be stored with `write_frequency` and used where the references are others or few."""
    grams = (
        {tuple(s[i : i + n]) for s in picture for n in range(1, N + 1) for i in range(len(s) - n + 1)}
        for picture in references
    )
    return dict(Counter(chain.from_iterable(grams)))


def write_frequency(frequency: Mapping[tuple[str, ...], float], documents: float, path: Path) -> None:
    """A table of words as JSON: {"documents": P, "frequency": {"a man": 17, ...}}."""
    table = {" ".join(gram): count for gram, count in frequency.items()}
    write(path, dumps({"documents": documents, "frequency": table}))


def read_frequency(path: Path) -> tuple[dict[tuple[str, ...], float], float]:
    """The table that `write_frequency` wrote: document_frequency and documents of `CiderD`."""
    stored = json.loads(path.read_text())
    return {tuple(gram.split(" ")): count for gram, count in stored["frequency"].items()}, stored["documents"]


def _norms(sentence: np.ndarray, order: np.ndarray, weight: np.ndarray, sentences: int) -> np.ndarray:
    return np.sqrt(np.bincount(sentence * N + order, weight**2, sentences * N)).reshape(-1, N)
