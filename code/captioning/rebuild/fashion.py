"""What answers about clothes and places may not say: the other topic, what an earlier caption denies, another place.

These filters know clothes and places; those for any topic are in clean.py and chatter.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from captioning.data.fashion_captions import CONFLICT, GARMENTS, THINGS, read_attributes
from captioning.data.scenes import read_scene

SENTENCE_FILTERS = {
    "clothes": "a sentence about the place that speaks of clothes",
    "background": "a sentence about the clothes that speaks of the place",
    "disagrees": "a sentence about the place with a claim on which this writer's answers are not at one",
}
ANSWER_FILTERS = {
    "no place": "an answer about the place that names none",
    "contradicts": "claims that the picture's earlier caption denies",
}

CLOTHES = re.compile(
    r"\b(?:cloth(?:es|ing)?|outfits?|attire|garments?|dress(?:es|ed)?|wears?|wearing|worn"
    r"|shirts?|t-?shirts?|tees?"
    r"|tank tops?|blouses?|sweaters?|hoodies?|jackets?|coats?|blazers?|suits?|cardigans?|vests?|pants|trousers|jeans"
    r"|leggings|shorts"
    r"|skirts?|shoes?|sneakers|boots|heels|sandals|socks|stockings|hats?|caps?|beanies?|scarf|scarves|ties?|neckwear"
    r"|necklaces?|necklines?|sleeves?|sleeveless|collars?|lapels?|belts?|gloves|(?:sun)?glasses|rings?|bracelets?|watch"
    r"|wrist|denim|cotton|leather|chiffon|knit(?:ted|ting)?|fabrics?)\b"
)
PLACE = re.compile(
    r"\b(?:background|behind|scene|street|road|sidewalk|city|buildings?|walls?|floor|ground|sky|sea|ocean|beach|sand"
    r"|mountains?|hills?|parks?|trees?|grass|garden|forest|room|shop|store|window|doors?|indoors|outdoors|daylight|sunset)\b"
)
NAMED_PLACE = re.compile(
    r"\b(?:streets?|road|sidewalk|city|buildings?|walls?|beach|sea|ocean|mountains?|hills?|parks?|garden|forest|field"
    r"|rooms?|shops?|stores?|studio|kitchen|office|hall|cafe|restaurant|station|bridge|background is)\b"
)
PERSON = re.compile(
    r"\b(?:he|she|his|her|him|man|men|woman|women|lady|gentleman|guy|girl|boy|male|female|person|people|model)\b"
)


def mentions_clothes(sentence: str) -> bool:
    """By the words for clothes, or because the attribute checker reads an attribute out of it."""
    return bool(CLOTHES.search(sentence.lower())) or bool(read_attributes(sentence).keys() - {"gender"})


def mentions_place(sentence: str) -> bool:
    return bool(PLACE.search(sentence.lower())) or bool(read_scene(sentence).keys())


def off_topic(sentence: str, topic: str) -> str:
    """The filter that a sentence does not pass, "" for none; of other topics nothing is known."""
    if topic == "background" and mentions_clothes(sentence):
        return "clothes"
    return "background" if topic == "clothes" and mentions_place(sentence) and not about_garment(sentence) else ""


def about_garment(sentence: str) -> bool:
    """A sentence about clothes that names a place in passing ("a shirt with a beach on it") stays."""
    return bool(read_attributes(sentence).keys() & {*GARMENTS, "garment"}) and not read_scene(sentence)


def known_from(caption: str) -> dict[str, str]:
    """What an earlier caption knows: its claims, and that what it does not mention is not there."""
    return dict.fromkeys((*THINGS, "outer"), "no") | read_attributes(caption) if caption else {}


def contradictions(text: str, known: Mapping[str, str]) -> list[str]:
    """The attributes of which the text claims something else than is known."""
    claimed = read_attributes(text)
    return [name for name, value in claimed.items() if known.get(name, value) not in (value, CONFLICT)]


def agreed(texts: Sequence[str], share: float = 0.5) -> dict[str, str]:
    """Of each attribute of the place the value that most of the texts that speak of it give, where these are more than
    `share` of them; of values that equally many give the one that was said first.

    Answers that were drawn independently rarely agree on what is invented (SelfCheckGPT, Manakul et al. 2023,
    section 3).
    """
    votes: dict[str, Counter[str]] = {}
    for text in texts:
        for name, value in read_scene(text).items():
            votes.setdefault(name, Counter())[value] += 1
    most = {name: given.most_common(1)[0] for name, given in votes.items()}
    return {name: value for name, (value, count) in most.items() if count > share * votes[name].total()}


def disagrees(sentence: str, believed: Mapping[str, str]) -> bool:
    """Whether a sentence claims anything about the place that is not `agreed`."""
    return any(believed.get(name) != value for name, value in read_scene(sentence).items())


def shared_claims(texts: Sequence[str]) -> list[float]:
    """For each text how many of its claims about the place another text makes too, on average."""
    claims = [set(read_scene(text).items()) for text in texts]
    return [
        sum(len(own & other) for j, other in enumerate(claims) if j != i) / max(1, len(claims) - 1)
        for i, own in enumerate(claims)
    ]
