"""Is a style recognised? A small classifier reads it out of a caption; a metric, a confusion matrix, how much changes.

S styles, F features (words and pairs of words), P captions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from captioning.metrics.base import Captioned, Measured
from captioning.metrics.words import CHARACTER

if TYPE_CHECKING:
    import pandas as pd

STYLE = "style"  # the metric's name
TOKEN = re.compile(rf"(?:{CHARACTER}|['’-])+|[.!?,:;]")  # an exclamation mark tells much of a style


class StyleClassifier:
    """Logistic regression on the words and pairs of words of a caption, each counted once.

    Learned from training captions with AdamW in 10 rounds of batches of 64 (3,000 captions: a second). Its
    own accuracy, on captions that people wrote and it has not seen, is the ceiling for that of any model's captions.
    Raises ValueError for fewer than two styles.
    """

    def __init__(
        self, captions: Sequence[str], styles: Sequence[str], rounds: int = 10, largest: int = 100_000, seed: int = 0
    ):
        self.styles = tuple(sorted(set(styles)))
        if len(self.styles) < 2:
            raise ValueError(f"a classifier of styles needs captions of two or more, found {len(self.styles)}")
        seen = Counter(chain.from_iterable(map(features_of, captions)))
        known = [feature for feature, count in seen.most_common(largest) if count > 1]
        self.features = {feature: i for i, feature in enumerate(known)}
        self.weights = nn.EmbeddingBag(len(self.features) + 1, len(self.styles), mode="mean")  # one row as the bias
        nn.init.zeros_(self.weights.weight)
        self.fit(captions, torch.tensor([self.styles.index(style) for style in styles]), rounds, seed)

    def fit(self, captions: Sequence[str], wanted: Tensor, rounds: int, seed: int) -> None:
        bags, random = [self.bag(caption) for caption in captions], torch.Generator().manual_seed(seed)
        optimizer = torch.optim.AdamW(self.weights.parameters(), lr=0.3, weight_decay=1e-3)
        with torch.enable_grad():
            for _ in range(rounds):
                for rows in torch.randperm(len(bags), generator=random).split(64):
                    loss = nn.functional.cross_entropy(self.logits([bags[i] for i in rows]), wanted[rows])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()

    def bag(self, caption: str) -> Tensor:
        """Indices of the features of a caption that are known, and the bias."""
        known = sorted({self.features[f] for f in features_of(caption) if f in self.features})
        return torch.tensor([*known, len(self.features)])

    def logits(self, bags: Sequence[Tensor]) -> Tensor:
        """(P, S)"""
        starts = torch.tensor([0, *map(len, bags[:-1])]).cumsum(0)
        return self.weights(torch.cat(list(bags)), starts)

    @torch.inference_mode()
    def recognise(self, captions: Iterable[str]) -> list[str]:
        """The likeliest style of each caption."""
        bags = [self.bag(caption) for caption in captions]
        return [self.styles[i] for i in self.logits(bags).argmax(1)] if bags else []

    def confusion(self, captions: Mapping[str, str], asked: Mapping[str, str]) -> pd.DataFrame:
        """Rows: the style asked for; columns: the one recognised; the shares of a row sum to 1.

        captions and asked: {image_id: caption} and {image_id: style}.
        """
        import pandas as pd

        recognised = self.recognise(captions[i] for i in captions)
        rows = pd.Series([asked[i] for i in captions], name="asked")
        table = pd.crosstab(rows, pd.Series(recognised, name="recognised"), normalize="index")
        return table.reindex(columns=self.styles, fill_value=0.0)


def features_of(caption: str) -> set[str]:
    """The words of a caption, its punctuation, and what stands side by side."""
    words = TOKEN.findall(caption.lower())
    return {*words, *(f"{one} {two}" for one, two in pairwise(words))}


class StyleRecognised:
    """The metric "style": the share of captions in which the classifier finds the style that was asked for.

    asked: {image_id: style}. Styles that no training caption has are never found.
    """

    def __init__(self, classifier: StyleClassifier, asked: Mapping[str, str]):
        self.classifier, self.asked = classifier, asked

    def __call__(self, captioned: Captioned) -> Measured:
        recognised = self.classifier.recognise(captioned.captions)
        right = [style == self.asked[i] for i, style in zip(captioned.ids, recognised, strict=True)]
        return Measured.mean(STYLE, np.array(right, dtype=float))


def style_distances(voices: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """How far apart the captions of one picture are, by pair of styles: 1 - shared words / all words, mean of pictures.

    voices: {style: {image_id: caption}}, all of the same pictures. 0 where the style changes nothing.
    Raises ValueError when the pictures are not the same.
    """
    import pandas as pd

    words = {style: {i: set(TOKEN.findall(text.lower())) for i, text in told.items()} for style, told in voices.items()}
    check_same_pictures(voices)
    table = pd.DataFrame(0.0, index=list(voices), columns=list(voices))
    for one, two in combinations(voices, 2):
        pairs = [(words[one][i], words[two][i]) for i in words[one]]
        table.loc[one, two] = table.loc[two, one] = float(
            np.mean([1 - len(a & b) / max(1, len(a | b)) for a, b in pairs])
        )
    return table


def style_change(voices: Mapping[str, Mapping[str, str]]) -> dict[str, float]:
    """What becomes of a caption when another style is asked for, over all pictures and pairs of styles.

    changed: share of pairs whose captions differ at all. distance: mean of `style_distances`. voices: mean number of
    different captions of a picture.
    """
    distances = style_distances(voices).to_numpy()
    pairs = list(combinations(voices, 2))
    ids = list(next(iter(voices.values())))
    return {
        "changed": float(np.mean([voices[one][i] != voices[two][i] for one, two in pairs for i in ids])),
        "distance": float(distances[np.triu_indices(len(distances), 1)].mean()),
        "voices": float(np.mean([len({told[i] for told in voices.values()}) for i in ids])),
    }


def check_same_pictures(voices: Mapping[str, Mapping[str, str]]) -> None:
    first, *others = voices
    different = [style for style in others if voices[style].keys() != voices[first].keys()]
    if different or not others or not voices[first]:
        raise ValueError(
            f"{len(voices)} styles, of which {', '.join(different) or 'none'} tell other pictures than {first}: "
            "expected two styles or more, and captions of the same pictures in each"
        )
