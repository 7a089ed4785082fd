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
}
ANSWER_FILTERS = {
    "no place": "an answer about the place that names none",
    "contradicts": "claims that the picture's earlier caption denies",
    "disagrees": "another place than most answers of this writer name",
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


def agreement(texts: Sequence[str]) -> list[float]:
    """For each text the share of its claims about the place that the others make too (their mean; 0 without claims)."""
    claims = [set(read_scene(text).items()) for text in texts]
    return [
        sum(len(own & other) for j, other in enumerate(claims) if j != i) / max(1, len(own) * (len(claims) - 1))
        for i, own in enumerate(claims)
    ]


def other_place(texts: Sequence[str]) -> list[bool]:
    """Which texts name another scene than most of them do; nobody is outvoted where there is no majority."""
    scenes = [read_scene(text).get("scene", "") for text in texts]
    [(most, votes)] = Counter(scenes).most_common(1)
    return [bool(most) and votes > len(texts) / 2 and scene != most for scene in scenes]
