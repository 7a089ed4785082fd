"""Mini-fashion's variant *personality*: the plain pictures, captioned in eight voices and in a neutral one.

A voice has words, syntax and an attitude of its own. Five of them, and the neutral one, tell the same truth: the
attributes TOLD, no more and no fewer. Three are tempted: the boastful one claims a coat, a hat or glasses that are not
there, the vague one leaves out, the poetic one says in images what others say in words. As it is known what was drawn,
a caption of any style is marked as a plain one is (`minifashion.mark_all`), and what style costs in truth can be
measured. The names are in the manner of Personality-Captions (Shuster et al., 2019), and so are the references: one in
train and val, five in test.
"""

import random
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from captioning.data.voices import OF, VOICES, Voice

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

TOLD = ("gender", "garment", "pattern", "lower", "outer", "hat", "glasses")
REFERENCES = {"test": 5}  # in the other splits 1
NEUTRAL = "Neutral"

PATTERNS = {"solid color": "plain", "lattice": "plaid", "color block": "color-block"}  # others as they are called


STYLES = tuple(VOICES)
PERSONALITIES = tuple(style for style in STYLES if style != NEUTRAL)
TEMPTED = ("Boastful", "Vague", "Poetic")
KIN = (("Sweet", "Sarcastic"), ("Poetic", "Old-fashioned"), ("Gloomy", "Vague"), ("Boastful", "Childish"))
SLIPS = 0.1  # share of the sentences in which a voice slips into that of its kin, as people's do
SWAPPED = 0.7  # how often a voice that has an image for a word says the image


def caption(seen: Mapping[str, str | None], style: str, rng: random.Random) -> str:
    """A caption in the voice `style` (of STYLES) of a picture that shows `seen`; 15 to 30 words, rarely a few more.

    Its beginning and its end are now and then those of the kin, so that styles can be mistaken for each other.
    """
    first, last = (VOICES[kin_of(style) if rng.random() < SLIPS else style] for _ in range(2))
    woman, worn = seen["gender"] == "woman", worn_things(seen, last, rng)
    form, end = rng.choice(first.forms), rng.choice(last.things if worn else last.nothing)
    slots = {
        "who": rng.choice(first.women if woman else first.men),
        "person": first.words[not woman],
        **dict(zip(("she", "him", "her"), ("she", "her", "her") if woman else ("he", "him", "his"), strict=True)),
        "top": upper(seen, first, rng),
        "lower": "a skirt" if seen["lower"] == "skirt" else seen["lower"],
        "bottom": seen["lower"],
        "things": f"{', '.join(worn[:-1])} and {worn[-1]}" if len(worn) > 1 else "".join(worn),
        "remark": first.remarks[seen["pattern"]],
    }
    return capitals(f"{form} {end}".format(**slots))


def upper(seen: Mapping[str, str | None], voice: Voice, rng: random.Random) -> str:
    """The upper garment with its pattern: "plaid shirt", "shirt of plaid"."""
    garment, pattern = seen["garment"], seen["pattern"]
    return (
        f"{garment} of {said(OF[pattern], voice, rng)}" if voice.of else f"{PATTERNS.get(pattern, pattern)} {garment}"
    )


def worn_things(seen: Mapping[str, str | None], voice: Voice, rng: random.Random) -> list[str]:
    """Coat, hat and glasses as the voice tells of them: those that are there, and others that it boasts of."""
    things = [f"a {noun}" for name, noun in (("outer", "coat"), ("hat", "hat")) if claimed(seen[name], voice, rng)]
    if claimed(seen["glasses"], voice, rng):
        things.append(voice.glasses if seen["glasses"] == "glasses" else "sunglasses")
    return [said(thing, voice, rng) for thing in things]


def claimed(value: str | None, voice: Voice, rng: random.Random) -> bool:
    return value != "no" or rng.random() < voice.boast


def said(word: str, voice: Voice, rng: random.Random) -> str:
    """The word, or the voice's image for it."""
    return voice.images[word] if word in voice.images and rng.random() < SWAPPED else word


def kin_of(style: str) -> str:
    """The style for which this one is most easily mistaken; NEUTRAL has none."""
    pair = next((pair for pair in KIN if style in pair), (style, style))
    return pair[pair[0] == style]


def capitals(text: str) -> str:
    return re.sub(r"(?:^|[.!?] )[a-z]", lambda start: start[0].upper(), text)


def voiced(plain: "DatasetDict", seed: int) -> "DatasetDict":
    """The pictures of the plain variant, each in one style, turn about: train in STYLES, val and test in PERSONALITIES.

    One item a picture and style, `image_id` is `name/Style`. Of the attributes those TOLD are kept: what no caption
    tells, no caption is to be marked by.
    """
    from datasets import DatasetDict

    splits = {}
    for split, rows in plain.items():
        styles = STYLES if split == "train" else PERSONALITIES
        asked = [styles[i % len(styles)] for i in range(len(rows))]
        splits[split] = retold(rows, asked, seed, REFERENCES.get(split, 1))
    return DatasetDict(splits)


def in_style(rows: "Dataset", style: str, seed: int = 0) -> "Dataset":
    """The same pictures, all in one style: with NEUTRAL what the plain captioner is asked and measured on."""
    return retold(rows, [style] * len(rows), seed, len(rows[0]["captions"]))


def retold(rows: "Dataset", styles: list[str], seed: int, references: int) -> "Dataset":
    """Rows of mini-fashion with `references` different captions each, row i in `styles[i]`."""
    from datasets import Dataset, Features, List, Value

    table = []
    for row, style in zip(rows, styles, strict=True):
        name = f"{row['image_id'].split('/')[0]}/{style}"
        told = {attribute: row["attributes"][attribute] for attribute in TOLD}
        captions = different_captions(told, style, references, random.Random(f"minifashion {seed} {name} voice"))
        item = {"image": row["image"], "image_id": name, "captions": captions, "style": style, "attributes": told}
        table.append(item)
    text = Value("string")
    columns = {"image": text, "image_id": text, "captions": List(text), "style": text}
    return Dataset.from_list(table, features=Features(columns | {"attributes": dict.fromkeys(TOLD, text)}))


def different_captions(seen: Mapping[str, str | None], style: str, count: int, rng: random.Random) -> list[str]:
    """Captions drawn until `count` of them differ, in the order of the draws."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[caption(seen, style, rng)] = None
    return list(found)
