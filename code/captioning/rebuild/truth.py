"""How true captions of the drawn *street* are: every claim counted, against the drawing.

A claim is one thing that a caption says (`minifashion.claims`): the scene, its light or wall, that an object is there,
on which side, in which colour, and each attribute of the clothes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from captioning.data.minifashion import ATTRIBUTES, claims, facts

Truth = Mapping[str, str | None]
KINDS = ("clothes", "scene", "light or wall", "object", "side", "colour")
PLACE = KINDS[1:]
# The precision of a guess by who knows the scene: two of its three things are there, on two sides, in six colours.
CHANCE = {"object": 2 / 3, "side": 2 / 3 / 2, "colour": 2 / 3 / 6}


def kind(claim: tuple[str, str]) -> str:
    """Which of `KINDS` a claim or fact is of."""
    name = claim[0]
    return "clothes" if name in ATTRIBUTES else "light or wall" if name in ("light", "wall") else name


def false_claims(text: str, truth: Truth) -> set[tuple[str, str]]:
    return claims(text) - facts(truth)


def count_claims(texts: Iterable[str], truths: Iterable[Truth]) -> pd.DataFrame:
    """Of each of `KINDS`: how much is claimed, how much of that is true, and how much there is to be said.

    Raises ValueError when there are not as many texts as truths.
    """
    counts = {name: Counter() for name in ("claimed", "true", "to be said")}
    for text, truth in zip(texts, truths, strict=True):
        claimed, known = claims(text), facts(truth)
        for name, found in zip(counts, (claimed, claimed & known, known), strict=True):
            counts[name].update(map(kind, found))
    return pd.DataFrame(counts, index=list(KINDS)).fillna(0).astype(int)


def how_true(texts: Sequence[str], truths: Sequence[Truth], kinds: Sequence[str] = KINDS) -> pd.Series:
    """Claims a text, true claims a text, precision (of the claims: true) and recall (of the truth: said), of these
    kinds. Of no claims the precision is nan."""
    claimed, true, known = count_claims(texts, truths).loc[list(kinds)].sum()
    return pd.Series(
        {
            "claims": claimed / len(texts),
            "true claims": true / len(texts),
            "precision": true / claimed if claimed else float("nan"),
            "recall": true / known if known else float("nan"),
        }
    )
