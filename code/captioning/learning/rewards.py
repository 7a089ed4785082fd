"""Rewards for reinforcement learning: caption metrics of samples against the references of their pictures.

P pictures with references, S samples. Whether the end of a sentence is a word of its n-grams must be chosen: with it
a sample that breaks off ("a man on a") loses more of its reward than without. Public self-critical code differs in
just this, so the choice is part of what a `Reward` says of itself. METEOR and ROUGE-L hear the words alone: in a
longest common sequence the end would be a word that every caption has, and saying nothing would earn .46 beside
"a dog".
"""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from captioning.learning.config import REWARDED, RewardConfig
from captioning.metrics import bleu, rouge
from captioning.metrics.cider import CiderD
from captioning.metrics.meteor import Meteor, SentenceMeteor
from captioning.metrics.ngrams import Sentence, split_words
from captioning.metrics.ptb import tokenize
from captioning.metrics.score import ATTRIBUTES, Mark
from captioning.metrics.words import for_scoring
from captioning.text import WordTokenizer

END = "<end>"


class Reward:
    """A weighted sum of sentence metrics, with its references counted once.

    `references`: for each of P pictures its sentences, words or token ids, without an end token. `weights`: of
    "CIDEr-D", "BLEU-4", "ROUGE-L" and "METEOR" (of words, not ids; it needs Java). `end`: the token that ends a
    sentence, counted as a word of the n-grams of CIDEr-D and BLEU-4 (it is put after each reference, and a sample
    that ended has it last), or None to leave it out: then samples have none either. CIDEr's document frequencies are
    those of the references, or those given, as in `CiderD`.

    Raises ValueError for a metric of another name, and for no weight at all; Unavailable for METEOR without Java.
    """

    METRICS = tuple(name for name in REWARDED if name != ATTRIBUTES)

    def __init__(
        self,
        references: Sequence[Sequence[Sentence]],
        weights: Mapping[str, float] | None = None,
        end: Hashable | None = END,
        document_frequency: Mapping[tuple[Hashable, ...], float] | None = None,
        documents: float | None = None,
    ):
        weights = {"CIDEr-D": 1.0} if weights is None else weights
        self.weights, self.end = {name: weight for name, weight in weights.items() if weight}, end
        if not set(weights) <= set(self.METRICS) or not self.weights:
            raise ValueError(f"weights {dict(weights)}: expected numbers for some of {', '.join(self.METRICS)}")
        self.meteor = SentenceMeteor(references, Meteor()) if "METEOR" in self.weights else None
        self.references = references
        if end is not None:
            references = [[[*sentence, end] for sentence in sentences] for sentences in references]
        self.cider = CiderD(references, document_frequency, documents)

    def __repr__(self) -> str:
        mixture = " + ".join(f"{weight:g} {name}" for name, weight in self.weights.items())
        return f"{mixture}, end of sentence {'not counted' if self.end is None else 'counted'}"

    def __call__(self, samples: Sequence[Sentence], picture: np.ndarray) -> np.ndarray:
        """Rewards (S,) of S samples; sample i describes picture `picture[i]`."""
        overlap, total = self.cider.references.overlap(samples, picture), np.zeros(len(samples))
        spoken = [[word for word in sentence if word != self.end] for sentence in samples]
        for name, weight in self.weights.items():
            if name == "CIDEr-D":
                total += weight * self.cider.from_overlap(overlap)
            elif name == "BLEU-4":
                total += weight * bleu.from_statistics(bleu.statistics(self.cider.references, overlap))[:, 3]
            elif name == "METEOR":
                total += weight * self.meteor(spoken, picture)
            else:
                total += weight * rouge.score(spoken, [self.references[p] for p in picture])[1]
        return total


def ptb_words(captions: Sequence[str], end: str | None = None) -> list[list[str]]:
    """Captions as the words that coco-caption scores, with `end` after each where it is given: samples for `Reward`."""
    words = split_words(tokenize(list(captions)))
    return words if end is None else [[*sentence, end] for sentence in words]


class SampleReward:
    """Rewards of token ids drawn for training pictures, as `losses.SelfCritical` asks for them.

    Ids become text and PTB words first, so that what is rewarded is what is scored. `references`: {image_id: captions}
    in the order of the training rows. `mark` judges attributes (as in `score.Scorer`); it is needed for a weight on
    "attributes" only, and ValueError says so.
    """

    def __init__(
        self,
        references: Mapping[str, Sequence[str]],
        tokenizer: WordTokenizer,
        config: RewardConfig = RewardConfig(),
        mark: Mark | None = None,
    ):
        self.ids, self.tokenizer, self.mark = list(references), tokenizer, mark
        self.apart = for_scoring(tokenizer)
        weights = dict(config.weights)
        self.truth = weights.pop(ATTRIBUTES, 0.0)
        if self.truth and mark is None:
            raise ValueError(f"weights {config.weights}: the attributes of this data set are not known; leave them out")
        self.end = END if config.end else None
        words = [ptb_words(list(map(self.apart, captions))) for captions in references.values()]
        self.known = {tuple(sentence) for sentences in words for sentence in sentences}
        self.reward = Reward(words, weights, self.end) if any(weights.values()) else None

    def said(self, samples: Sequence[Sequence[int]]) -> list[list[str]]:
        """PTB words of token ids."""
        return ptb_words([self.apart(self.tokenizer.decode(ids)) for ids in samples])

    def words(self, samples: Sequence[Sequence[int]]) -> list[list[str]]:
        """PTB words of token ids, with END where a sample ended and the end counts."""
        words = self.said(samples)
        if self.end is None:
            return words
        ended = [len(ids) > 0 and ids[-1] == self.tokenizer.eos_id for ids in samples]
        return [[*sentence, END] if end else sentence for sentence, end in zip(words, ended, strict=True)]

    def __call__(self, samples: Sequence[Sequence[int]], rows: np.ndarray) -> np.ndarray:
        """Rewards (S,) of S samples of the training pictures `rows` (S,)."""
        total = self.reward(self.words(samples), rows) if self.reward else np.zeros(len(samples))
        if self.truth:
            texts = zip(rows, map(self.tokenizer.decode, samples), strict=True)
            marks = [self.mark(self.ids[row], text) for row, text in texts]
            total += self.truth * np.array([sum(m) / max(1, len(m)) for m in marks])
        return total

    def novel(self, samples: Sequence[Sequence[int]]) -> float:
        """Share of samples that are no training caption."""
        words = self.said(samples)
        return float(np.mean([tuple(sentence) not in self.known for sentence in words]))
