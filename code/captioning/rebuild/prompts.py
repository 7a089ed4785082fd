"""The prompts of the writers, with names and versions, so that every sentence of a data set can be traced back.

A prompt that has given a data set is never changed: a better one gets a new version. Those of an earlier course
(SamuraiBUPT/Image-Caption-nndl-2023) stand here verbatim, with the settings that it published.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, TypedDict, get_type_hints

Topic = Literal["clothes", "background"]


@dataclass(frozen=True)
class Sampling:
    """How a writer chooses its words; the names are those of `transformers`' generation settings."""

    samples: int = 1  # sentences for each picture: if the first is thrown away there are others
    sample: bool = True  # draw from the nucleus; False: the likeliest words
    top_p: float = 0.9  # draw from the likeliest words that have this probability together
    temperature: float = 1.0  # below 1 sharper, above 1 flatter
    beams: int = 1  # sentences that are searched side by side
    repetition_penalty: float = 1.0  # above 1: words that were said are less likely
    max_tokens: int = 96  # of an answer


# Some of the settings, in place of the prompt's own.
SamplingChanges = TypedDict("SamplingChanges", get_type_hints(Sampling), total=False)


@dataclass(frozen=True)
class Prompt:
    name: str
    version: int
    topic: Topic
    text: str
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def label(self) -> str:
        return f"{self.name}-v{self.version}"


# Nucleus sampling on top of LAVIS' defaults (5 beams, repetition penalty 1.5), as published.
PUBLISHED = Sampling(beams=5, repetition_penalty=1.5, max_tokens=256)

PROMPTS = {
    prompt.label: prompt
    for prompt in (
        Prompt("clothes", 1, "clothes", "Just describe the man's clothes as specifically as you can.", PUBLISHED),
        Prompt(
            "background",
            1,
            "background",
            "Describe the background of the image, without details of the person's clothing or appearance",
            PUBLISHED,
        ),
        Prompt(
            "warm-up",
            1,
            "background",
            "Only describe the background of this image around this man, as much as possible.",
            PUBLISHED,
        ),
        # Nobody is taken for a man, one sentence is asked for, and several are drawn to choose from.
        Prompt("clothes", 2, "clothes", "Describe the clothes of the person in one or two sentences."),
        Prompt(
            "background",
            2,
            "background",
            "Describe the place behind the person in one or two sentences. Do not mention the person or the clothes.",
            Sampling(samples=3),
        ),
        # What is wrong can be cut out where every claim has a sentence of its own.
        Prompt(
            "background",
            3,
            "background",
            "Describe the place behind the person. Give the place and each thing a sentence of its own. Say on which "
            "side the thing is. Do not mention the person or the clothes.",
            Sampling(samples=5),
        ),
    )
}


def prompt(label: str) -> Prompt:
    """The prompt of this label ("background-v2"). Raises ValueError naming the nearest ones."""
    if label not in PROMPTS:
        near = get_close_matches(label, PROMPTS, n=2, cutoff=0.3) or list(PROMPTS)
        raise ValueError(f"no prompt {label!r}; did you mean {' or '.join(near)}? There are: {', '.join(PROMPTS)}")
    return PROMPTS[label]
