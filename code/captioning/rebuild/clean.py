"""Filters between what the writers wrote and a new data set. Every filter keeps what it removed, and is named with it.

First sentence by sentence within an answer: broken beginnings and ends, repetitions, sentences off the topic. Then
answer by answer: length, language, contradictions to what an earlier caption knows, disagreement with the writer's
other answers, and answers that another picture has already been given.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from captioning.data.fashion_captions import CONFLICT, GARMENTS, THINGS, read_attributes
from captioning.data.scenes import read_scene
from captioning.metrics.words import MARKS, WORD
from captioning.rebuild.prompts import Topic

SENTENCE_FILTERS = ("beginning", "cut off", "repeated", "clothes", "background")
ANSWER_FILTERS = ("empty", "length", "language", "no place", "contradicts", "disagrees", "duplicate")
FILTERS = {
    "beginning": "punctuation before the first word",
    "cut off": "an unfinished last sentence",
    "repeated": "a sentence that the answer has already",
    "clothes": "a sentence about the place that speaks of clothes",
    "background": "a sentence about the clothes that speaks of the place",
    "empty": "nothing is left of the answer",
    "length": "too few or too many words",
    "language": "no language: loops, or hardly a letter",
    "no place": "an answer about the place that names none",
    "contradicts": "claims that the picture's earlier caption denies",
    "disagrees": "another place than most answers of this writer name",
    "duplicate": "the words of another picture",
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
LOOP = re.compile(r"\b(\w[\w'-]*(?: \w[\w'-]*){0,5})(?: \1\b){2,}")
SMALL = frozenset(
    ("a", "an", "the", "and", "or", "of", "on", "in", "at", "is", "are", "there", "it", "its", "with", "to", "this")
    + ("that", "one", "can", "be", "see", "seen", "by")
)


@dataclass(frozen=True)
class Rules:
    """How long an answer may be."""

    shortest: int = 4  # words of an answer
    longest: int = 90  # words of an answer


@dataclass(frozen=True)
class Verdict:
    """What became of one sentence or answer; `filter` is empty where it was kept."""

    image_id: str
    writer: str
    topic: Topic
    unit: str  # "sentence" or "answer"
    text: str
    filter: str


@dataclass(frozen=True)
class Answer:
    """One answer of a writer to a prompt about a picture."""

    image_id: str
    writer: str
    topic: Topic
    text: str


def words(text: str) -> list[str]:
    return re.findall(WORD, text.lower())


def content(text: str) -> tuple[str, ...]:
    """The words that carry something: two texts with the same ones are duplicates, whatever stands between."""
    return tuple(word for word in words(text) if word not in SMALL)


def mentions_clothes(sentence: str) -> bool:
    """By the words for clothes, or because the attribute checker reads an attribute out of it."""
    return bool(CLOTHES.search(sentence.lower())) or bool(read_attributes(sentence).keys() - {"gender"})


def mentions_place(sentence: str) -> bool:
    return bool(PLACE.search(sentence.lower())) or bool(read_scene(sentence).keys())


def tidy(answer: Answer) -> tuple[str, list[Verdict]]:
    """The sentences of an answer that may stay, and a verdict on each piece of it."""
    verdicts: list[Verdict] = []

    def judge(text: str, found: str) -> bool:
        verdicts.append(Verdict(answer.image_id, answer.writer, answer.topic, "sentence", text, found))
        return not found

    text = " ".join(answer.text.split())
    begun = re.sub(r"^[^\w\"(]+", "", text)
    if begun != text:
        judge(text[: len(text) - len(begun)], "beginning")
    *whole, rest = re.split(r"(?<=[.!?])\s+", begun + " ")  # the last piece is empty if the text ends a sentence
    if rest.strip():
        judge(rest.strip(), "cut off")
    kept: list[str] = []
    seen = set()
    for sentence in whole:
        if not words(sentence):
            continue
        found = "repeated" if content(sentence) in seen else off_topic(sentence, answer.topic)
        seen.add(content(sentence))
        if judge(sentence, found):
            kept.append(sentence)
    return " ".join(kept), verdicts


def off_topic(sentence: str, topic: Topic) -> str:
    if topic == "background":
        return "clothes" if mentions_clothes(sentence) else ""
    return "background" if mentions_place(sentence) and not about_garment(sentence) else ""


def about_garment(sentence: str) -> bool:
    """A sentence about clothes that names a place in passing ("a shirt with a beach on it") stays."""
    return bool(read_attributes(sentence).keys() & {*GARMENTS, "garment"}) and not read_scene(sentence)


def no_language(text: str) -> bool:
    """Loops (the same words three times in a row, or few different words) or text that is hardly letters."""
    said = words(text)
    letters = len(re.findall(rf"[^\W\d_]|[{MARKS}]", text)) / max(1, len(text.replace(" ", "")))
    return bool(LOOP.search(" ".join(said))) or len(set(said)) < 0.3 * len(said) or letters < 0.7


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


class Cleaner:
    """Cleans the answers about one picture after another, and remembers which backgrounds have been given away."""

    def __init__(self, rules: Rules = Rules()):
        self.rules, self.given, self.verdicts = rules, set(), []

    def choose(self, answers: Iterable[Answer], order: Sequence[str], caption: str = "") -> str:
        """The best answer that passes, "" for none: writers in `order`, and of each the one that agrees most with its
        others.

        All answers are of one picture and topic; `caption` is what was known of the picture before.
        """
        known, passed = known_from(caption), ""
        answers = sorted(answers, key=lambda answer: order.index(answer.writer))
        for writer in order:
            own = [answer for answer in answers if answer.writer == writer]
            for answer, text, outvoted in self.ranked(own):
                found = self.verdict(text, answer.topic, outvoted, known)
                self.verdicts.append(Verdict(answer.image_id, writer, answer.topic, "answer", text, found))
                if not found and not passed:
                    passed = text
        if passed and answers[0].topic == "background":
            self.given.add(content(passed))
        return passed

    def ranked(self, answers: list[Answer]) -> list[tuple[Answer, str, bool]]:
        """The answers of one writer, tidied, with what their fellows say of them; those that agree most come first."""
        if not answers:
            return []
        texts = []
        for answer in answers:
            text, verdicts = tidy(answer)
            texts.append(text)
            self.verdicts += verdicts
        agree, outvoted = agreement(texts), other_place(texts)
        places = sorted(range(len(texts)), key=lambda i: -agree[i])
        return [(answers[i], texts[i], outvoted[i]) for i in places]

    def verdict(self, text: str, topic: Topic, outvoted: bool, known: Mapping[str, str]) -> str:
        """The first filter that an answer does not pass, "" for none."""
        count = len(words(text))
        checks = {
            "empty": count == 0,
            "length": not self.rules.shortest <= count <= self.rules.longest,
            "language": no_language(text),
            "no place": topic == "background" and not NAMED_PLACE.search(text.lower()),
            "contradicts": topic == "clothes" and bool(contradictions(text, known)),
            "disagrees": topic == "background" and outvoted,
            "duplicate": topic == "background" and content(text) in self.given,
        }
        return next((name for name, fails in checks.items() if fails), "")
