"""Exact n-gram counting with numpy: what BLEU and CIDEr share.

P pictures, S sentences, E rows (one for each distinct n-gram of a sentence), G n-grams known to a table.

An n-gram is the pair (rank of the (n-1)-gram it starts with, last word), packed in 64 bits, so no hash can collide and
no tuple is ever built. Words may be strings or integers (token ids).
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat

import numpy as np

N = 4  # longest n-gram of BLEU-4 and CIDEr
WORD_BITS = 31  # 2**31 words and 2**32 n-grams of one order fit in the 63 bits of a code

Sentence = Sequence[Hashable]


@dataclass(frozen=True)
class Rows:
    """The distinct n-grams of S sentences. `gram` is -1 where the table does not know the n-gram."""

    sentence: np.ndarray  # (E,) which sentence
    order: np.ndarray  # (E,) 0 for words .. 3 for 4-grams
    gram: np.ndarray  # (E,) id in the table, 0..G-1, or -1
    count: np.ndarray  # (E,) how often in this sentence
    length: np.ndarray  # (S,) words in each sentence


@dataclass(frozen=True)
class Overlap:
    """Every (row of a candidate, row of one of its picture's references) with the same n-gram."""

    candidates: Rows
    picture: np.ndarray  # (S,) the picture each candidate describes
    row: np.ndarray  # (M,) index into the candidate rows, ascending
    reference_row: np.ndarray  # (M,) index into the reference rows


def split_words(sentences: Iterable[Sequence[str]]) -> list[list[str]]:
    """Split tokens at white space inside them, as coco-caption's BLEU and CIDEr do (`1 1/2` is one PTB token)."""
    sentences = list(sentences)
    broken = {word for word in set().union(*sentences) if isinstance(word, str) and word.split() != [word]}
    if not broken:
        return sentences
    return [s if broken.isdisjoint(s) else " ".join(s).split() for s in sentences]


def group(flat: Iterable[Sentence], like: Sequence[Sequence]) -> list[list[Sentence]]:
    """Put flattened sentences back into groups as long as those of `like`."""
    flat = iter(flat)
    return [list(islice(flat, len(of_picture))) for of_picture in like]


def split_groups(groups: Sequence[Sequence[Sentence]]) -> list[list[Sentence]]:
    """`split_words` for the references of many pictures."""
    return group(split_words(chain.from_iterable(groups)), like=groups)


class NgramTable:
    """Numbers the n-grams of a corpus, n = 1..4, and finds them again in other sentences."""

    def __init__(self, sentences: Sequence[Sentence]):
        words = dict.fromkeys(chain.from_iterable(sentences))
        self.words: dict[Hashable, int] = {word: k for k, word in enumerate(words)}
        self.codes: list[np.ndarray] = []  # per order, sorted
        self.first: list[int] = []  # per order, the id of its first n-gram
        self.size = 0  # G
        self.rows = self._count(sentences, learn=True)

    def count(self, sentences: Sequence[Sentence]) -> Rows:
        """The n-grams of other sentences; those the table does not know are counted too, as gram -1."""
        return self._count(sentences, learn=False)

    def ids_of_last(self, how_many: int) -> np.ndarray:
        """Ids of the last sentences it was built from, each taken as one n-gram."""
        rows, first = self.rows, len(self.rows.length) - how_many
        whole = (rows.sentence >= first) & (rows.order == rows.length[rows.sentence] - 1)
        return rows.gram[whole][np.argsort(rows.sentence[whole])]

    def _count(self, sentences: Sequence[Sentence], learn: bool) -> Rows:
        length = np.fromiter(map(len, sentences), np.int64, len(sentences))
        sentence = np.repeat(np.arange(len(sentences)), length)
        words = self._word_ids(sentences, int(length.sum()))
        parts, start, rank = [], np.arange(len(words)), np.zeros(len(words), np.int64)
        for n in range(N):
            if n:
                room = start + n < len(words)
                room[room] = sentence[start[room] + n] == sentence[start[room]]
                start, rank = start[room], rank[room]
            code = (rank << WORD_BITS) | words[start + n]
            if learn:
                known, rank = np.unique(code, return_inverse=True)
                self._learn(known)
            else:
                rank = self._rank(code, self.codes[n])
            parts.append(self._distinct(n, sentence[start], rank))
        order = np.repeat(np.arange(N), [len(p[0]) for p in parts])
        row_sentence, gram, count = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Rows(row_sentence, order, gram, count, length)

    def _word_ids(self, sentences: Sequence[Sentence], total: int) -> np.ndarray:
        ids = np.fromiter(map(self.words.get, chain.from_iterable(sentences), repeat(-1)), np.int64, total)
        unknown = np.flatnonzero(ids < 0)
        if len(unknown):
            flat, new = list(chain.from_iterable(sentences)), {}
            ids[unknown] = [new.setdefault(flat[i], len(self.words) + len(new)) for i in unknown]
        return ids

    def _learn(self, codes: np.ndarray) -> None:
        self.codes.append(codes)
        self.first.append(self.size)
        self.size += len(codes)

    @staticmethod
    def _rank(code: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Rank of each code among the known ones; unknown codes are ranked after the last, equal codes equally."""
        rank = np.searchsorted(known, code)
        unknown = rank == len(known)
        unknown[~unknown] = known[rank[~unknown]] != code[~unknown]
        if unknown.any():
            rank[unknown] = len(known) + np.unique(code[unknown], return_inverse=True)[1]
        return rank

    def _distinct(self, n: int, sentence: np.ndarray, rank: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        span = int(rank.max(initial=0)) + 1
        key, count = np.unique(sentence * span + rank, return_counts=True)
        sentence, rank = np.divmod(key, span)
        return sentence, np.where(rank < len(self.codes[n]), self.first[n] + rank, -1), count


class References:
    """The n-grams of every picture's references, counted once and sorted by (picture, n-gram).

    `references`: for each of P pictures its reference sentences, at least one.
    """

    def __init__(self, references: Sequence[Sequence[Sentence]], also: Sequence[Sentence] = ()):
        counts = np.fromiter(map(len, references), np.int64, len(references))
        if not len(counts) or not counts.all():
            raise ValueError(f"every picture needs a reference: {(counts == 0).sum()} of {len(counts)} have none")
        sentences = list(chain.from_iterable(references))
        self.table = NgramTable([*sentences, *also])
        rows = self.table.rows
        own = rows.sentence < len(sentences)
        picture_of = np.repeat(np.arange(len(counts)), counts)
        self.reference_count = counts  # (P,)
        self.first_reference = np.cumsum(counts) - counts  # (P,)
        self.length = rows.length[: len(sentences)]  # (S,)
        key = picture_of[rows.sentence[own]] * self.table.size + rows.gram[own]
        sort = np.argsort(key, kind="stable")
        self.key = key[sort]  # (E,) picture * G + gram
        self.sentence, self.order, self.gram, self.count = (
            column[own][sort] for column in (rows.sentence, rows.order, rows.gram, rows.count)
        )

    def __len__(self) -> int:
        return len(self.reference_count)

    def overlap(self, candidates: Sequence[Sentence], picture: np.ndarray | None = None) -> Overlap:
        """Match candidates with the references of their pictures: candidate i with picture i, or with picture[i]."""
        picture = np.arange(len(self)) if picture is None else np.asarray(picture)
        if len(candidates) != len(picture):
            raise ValueError(f"{len(candidates)} candidates for {len(picture)} pictures; expected one for each")
        rows = self.table.count(candidates)
        known = np.flatnonzero(rows.gram >= 0)
        key = picture[rows.sentence[known]] * self.table.size + rows.gram[known]
        low, high = np.searchsorted(self.key, key, "left"), np.searchsorted(self.key, key, "right")
        return Overlap(rows, picture, np.repeat(known, high - low), ranges(low, high))

    def document_frequency(self) -> np.ndarray:
        """(G,) in how many pictures' references each n-gram occurs."""
        first = np.diff(self.key, prepend=-1) > 0
        return np.bincount(self.gram[first], minlength=self.table.size)


def pairs_of(references: References, overlap: Overlap) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each candidate with each of its references: candidate (Q,), reference (Q,), first pair of each candidate (S,)."""
    low, how_many = references.first_reference[overlap.picture], references.reference_count[overlap.picture]
    candidate = np.repeat(np.arange(len(how_many)), how_many)
    return candidate, ranges(low, low + how_many), np.cumsum(how_many) - how_many


def ranges(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """low[0]..high[0]-1, low[1]..high[1]-1, ... in one array."""
    length = high - low
    return np.arange(length.sum()) + np.repeat(low - (np.cumsum(length) - length), length)
