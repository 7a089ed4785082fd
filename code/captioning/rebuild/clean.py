"""Filters between what the writers wrote and a new data set. Every filter keeps what it removed, and is named with it.

First what stands around an answer (chatter.py). Then sentence by sentence: broken beginnings and ends, repetitions,
sentences off the topic, claims on which the writer's answers are not at one. Then answer by answer: length, loops,
language, contradictions to what an earlier caption knows, and answers that other pictures have already been given.
What knows clothes and places is in fashion.py; all else holds for answers about anything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from captioning.metrics.words import MARKS, WORD
from captioning.rebuild import chatter, fashion

FILTERS = {
    **chatter.FILTERS,
    "beginning": "punctuation before the first word",
    "cut off": "an unfinished sentence, or the last one of an answer that was broken off",
    "repeated": "a sentence that the answer has already",
    **fashion.SENTENCE_FILTERS,
    "empty": "nothing is left of the answer",
    "length": "too few or too many words",
    "loop": "the same words three times running",
    "language": "no language: few different words, or hardly a letter",
    **fashion.ANSWER_FILTERS,
    "duplicate": "words that enough other pictures have already",
}

SMALL = frozenset(
    ("a", "an", "the", "and", "or", "of", "on", "in", "at", "is", "are", "there", "it", "its", "with", "to", "this")
    + ("that", "one", "can", "be", "see", "seen", "by")
)


@dataclass(frozen=True)
class Rules:
    """What an answer must be like to stay."""

    shortest: int = 4  # words of an answer
    longest: int = 90  # words of an answer
    agree: float = 0.5  # a claim stays that most of a writer's answers that speak of it make, if more than this share
    copies: int = 1  # pictures that may have the same words about their places


@dataclass(frozen=True)
class Verdict:
    """What became of one sentence (or lesser piece) or answer; `filter` is empty where it was kept."""

    image_id: str
    writer: str
    topic: str
    unit: str  # "sentence" or "answer"
    text: str
    filter: str


@dataclass(frozen=True)
class Answer:
    """One answer of a writer to a prompt about a picture."""

    image_id: str
    writer: str
    topic: str
    text: str


def words(text: str) -> list[str]:
    return re.findall(WORD, text.lower())


def content(text: str) -> tuple[str, ...]:
    """The words that carry something: two texts with the same ones are duplicates, whatever stands between."""
    return tuple(word for word in words(text) if word not in SMALL)


def tidy(answer: Answer, question: str = "", thinker: bool = False) -> tuple[str, list[Verdict]]:
    """The sentences of an answer that may stay, and a verdict on each piece of it.

    question: what was asked, which an answer may repeat. thinker: as in `chatter.strip`.
    """
    paragraphs, around = chatter.strip(answer.text, question, thinker)
    found = [(piece, name) for name, piece in around]
    kept: list[str] = []
    seen = set()
    for text in paragraphs:
        begun = re.sub(r"^[^\w\"(]+", "", text)
        if begun != text:
            found.append((text[: len(text) - len(begun)], "beginning"))
        for sentence, finished in chatter.sentences(begun):
            name = "" if finished else "cut off"
            name = chatter.beside_the_point(sentence) or name
            name = name or ("repeated" if content(sentence) in seen else fashion.off_topic(sentence, answer.topic))
            seen.add(content(sentence))
            if words(sentence) or name:
                found.append((sentence, name))
            if words(sentence) and not name:
                kept.append(sentence)
    verdicts = [Verdict(answer.image_id, answer.writer, answer.topic, "sentence", *each) for each in found]
    return " ".join(kept), verdicts


def no_language(text: str) -> bool:
    """Few different words, or text that is hardly letters."""
    said = words(text)
    letters = len(re.findall(rf"[^\W\d_]|[{MARKS}]", text)) / max(1, len(text.replace(" ", "")))
    return len(set(said)) < 0.3 * len(said) or letters < 0.7


def loops(text: str) -> bool:
    """Whether a phrase, of one word or many, stands three times running."""
    said = words(text)
    for size in range(1, len(said) // 3 + 1):
        run = 0  # of words that stand again `size` words later
        for one, other in zip(said, said[size:], strict=False):
            run = run + 1 if one == other else 0
            if run == 2 * size:
                return True
    return False


class Cleaner:
    """Cleans the answers about one picture after another, and remembers how often a background has been given away.

    questions: {writer: what it was asked}. thinkers: writers that end their thoughts by a mark (`chatter.thinks`).
    """

    def __init__(
        self, rules: Rules = Rules(), questions: Mapping[str, str] | None = None, thinkers: Collection[str] = ()
    ):
        self.rules, self.questions, self.thinkers = rules, questions or {}, thinkers
        self.given, self.verdicts = Counter(), []

    def choose(self, answers: Iterable[Answer], order: Sequence[str], caption: str = "") -> str:
        """The best answer that passes, "" for none: writers in `order`, and of each the one that shares most claims
        with its others.

        All answers are of one picture and topic; `caption` is what was known of the picture before.
        """
        known, passed = fashion.known_from(caption), ""
        answers = sorted(answers, key=lambda answer: order.index(answer.writer))
        for writer in order:
            own = [answer for answer in answers if answer.writer == writer]
            for answer, text in self.ranked(own):
                found = self.verdict(text, answer.topic, known)
                self.verdicts.append(Verdict(answer.image_id, writer, answer.topic, "answer", text, found))
                if not found and not passed:
                    passed = text
        if passed and answers[0].topic == "background":
            self.given[content(passed)] += 1
        return passed

    def ranked(self, answers: list[Answer]) -> list[tuple[Answer, str]]:
        """The answers of one writer with the sentences that stay; those that share most claims come first."""
        tidied = [
            tidy(answer, self.questions.get(answer.writer, ""), answer.writer in self.thinkers) for answer in answers
        ]
        believed = fashion.agreed([text for text, _ in tidied], self.rules.agree)
        texts = []
        for _, verdicts in tidied:
            judged = [doubted(verdict, believed) for verdict in verdicts]
            texts.append(" ".join(verdict.text for verdict in judged if not verdict.filter))
            self.verdicts += judged
        shared = fashion.shared_claims(texts)
        return [(answers[i], texts[i]) for i in sorted(range(len(texts)), key=lambda i: -shared[i])]

    def verdict(self, text: str, topic: str, known: Mapping[str, str]) -> str:
        """The first filter that an answer does not pass, "" for none."""
        count = len(words(text))
        checks = {
            "empty": count == 0,
            "length": not self.rules.shortest <= count <= self.rules.longest,
            "loop": loops(text),
            "language": no_language(text),
            "no place": topic == "background" and not fashion.NAMED_PLACE.search(text.lower()),
            "contradicts": topic == "clothes" and bool(fashion.contradictions(text, known)),
            "duplicate": topic == "background" and self.given[content(text)] >= self.rules.copies,
        }
        return next((name for name, fails in checks.items() if fails), "")


def doubted(verdict: Verdict, believed: Mapping[str, str]) -> Verdict:
    """The verdict on a sentence once it is known what the writer's answers are at one about."""
    if verdict.filter or verdict.topic != "background" or not fashion.disagrees(verdict.text, believed):
        return verdict
    return replace(verdict, filter="disagrees")
