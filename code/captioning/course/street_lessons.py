"""What the small InstructBLIP of chapter 04 is taught: questions about pictures of *street*, with untidy answers."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from datasets import Dataset

from captioning.data.scenes import name_place
from captioning.rebuild.prompts import PROMPTS

UNTIDY = 0.3  # share of the answers about the place that have more in them than was asked, as people's and models' do
OPENINGS = ("sure ! here is a description of the place :", "certainly ! here is the description :")
CLOSINGS = ("let me know if you need more details .", "i hope this helps .")


@dataclass(frozen=True)
class Pair:
    """One picture (by its row), what is asked of it, and the answer."""

    row: int
    prompt: str
    answer: str


def instruction_pairs(rows: Dataset, seed: int = 0, untidy: float = UNTIDY) -> list[Pair]:
    """Pairs of *street*: the place of every picture, and of every other one the clothes, in a vague first sentence.

    Every other time the place is asked for by the newest prompt, which wants a sentence for each thing. `untidy` of the
    answers about the place talk to the reader, or have a sentence about the clothes.
    """
    asked = {topic: [p.text for p in PROMPTS.values() if p.topic == topic] for topic in ("clothes", "background")}
    *earlier, newest = asked["background"]
    pairs = []
    for row, each in enumerate(rows):
        rng = random.Random(f"pairs {seed} {row}")
        clothes = [f"{sentence} ." for sentence in each["captions"][0].removesuffix(" .").split(" . ")]
        if rng.random() < 0.5:
            question, answer = newest, one_by_one(each["attributes"], rng)
        else:
            question, answer = rng.choice(earlier), each["background"]
        pairs.append(Pair(row, question, with_more(answer, clothes, rng) if rng.random() < untidy else answer))
        if row % 2:
            pairs.append(Pair(row, rng.choice(asked["clothes"]), clothes[0]))
    return pairs


def one_by_one(seen: Mapping[str, str], rng: random.Random) -> str:
    """The place, with a sentence for each thing."""
    where = rng.choice(("the background is {} .", "behind is {} .")).format(name_place(seen, rng))
    things = [f"on the {side} there is a {seen[f'{side}_color']} {seen[side]} ." for side in ("left", "right")]
    rng.shuffle(things)
    return " ".join([where, *things])


def with_more(answer: str, clothes: list[str], rng: random.Random) -> str:
    """An answer in which there is more than was asked for: a sentence about the clothes, or words to the reader."""
    extra = rng.choice(clothes)
    return rng.choice(
        (
            f"{answer} {extra}",
            f"{extra} {answer}",
            f"{rng.choice(OPENINGS)} {answer}",
            f"{answer} {rng.choice(CLOSINGS)}",
        )
    )
