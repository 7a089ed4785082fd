"""Settings of decoding: how the words of a caption are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict, get_type_hints


@dataclass(frozen=True)
class Decoding:
    """How captions are chosen. The defaults are greedy decoding.

    Lengths are those of the whole caption, prefix and end token included. Log-probabilities are the model's own, of
    the tokens after the prefix; what a caption is ranked by also has the penalties for repetition and for what other
    groups said, and is divided by (tokens after the prefix) ** length_penalty.
    """

    beams: int = 1  # hypotheses kept by beam search; 1 is greedy decoding, or plain sampling
    sample: bool = False  # draw each token instead of taking the likeliest; with beams, draw the beams
    captions: int = 1  # captions a picture: the n best of the beams, or n samples
    groups: int = 1  # diverse beam search: so many searches of beams / groups, each unlike those before it
    diversity: float = 0.5  # diverse beam search: taken off a word for each time that earlier groups say it just now
    max_length: int = 100  # tokens, the end token included
    min_length: int = 0  # tokens before the end token is allowed
    forced_end: bool = False  # a caption of max_length tokens has the end as its last, as in fairseq and OFA
    early_stopping: bool = False  # a search is done with its first `beams` finished captions, as in fairseq and OFA
    length_penalty: float = 1.0  # captions are ranked by log-probability / tokens ** length_penalty
    no_repeat_ngram: int = 0  # no n-gram of this size occurs twice (0: free)
    repetition_penalty: float = 1.0  # above 1: words that were said are less likely (Keskar et al. 2019)
    prefix: str = ""  # how every caption begins
    forbidden: str = ""  # words that may not occur, with blanks between them
    required: str = ""  # words that must occur, each of one token: constrained beam search
    bad_endings: str = ""  # words that neither the end nor a full stop may follow, such as "a an the of with"
    temperature: float = 1.0  # sampling: below 1 sharper, above 1 flatter
    top_k: int = 0  # sampling: only the k likeliest tokens (0: all)
    # sampling: only the smallest set of tokens with this probability (Holtzman et al. 2020), of those that top_k left
    top_p: float = 1.0
    seed: int = 0  # sampling: the same seed gives a picture the same captions, alone or in any batch

    def __post_init__(self):
        self.check_numbers()
        self.check_combinations()

    def check_numbers(self):
        if not 0 <= self.min_length < self.max_length:
            raise ValueError(f"min_length={self.min_length}, max_length={self.max_length}: need 0 <= min < max")
        if self.beams < 1 or self.captions < 1:
            raise ValueError(f"beams={self.beams}, captions={self.captions}: need at least 1 of each")
        if self.top_k < 0 or self.no_repeat_ngram < 0:
            raise ValueError(f"top_k={self.top_k}, no_repeat_ngram={self.no_repeat_ngram}: need 0 (off) or more")
        if self.repetition_penalty <= 0 or self.diversity < 0:
            raise ValueError(
                f"repetition_penalty={self.repetition_penalty}, diversity={self.diversity}: need more than 0, 0 or more"
            )
        if self.temperature <= 0 or not 0 < self.top_p <= 1:
            raise ValueError(
                f"temperature={self.temperature}, top_p={self.top_p}: need temperature > 0, 0 < top_p <= 1"
            )

    def check_combinations(self):
        required = set(self.required.split())
        if self.captions > self.beams and not (self.sample and self.beams == 1):
            raise ValueError(f"captions={self.captions} of beams={self.beams}: needs at least as many beams")
        if self.groups < 1 or self.beams % self.groups:
            raise ValueError(f"groups={self.groups} of beams={self.beams}: the groups must share the beams evenly")
        if self.sample and (self.groups > 1 or required):
            raise ValueError("sample=True with groups or required words: these are forms of beam search, drop one")
        if self.forced_end and self.bad_endings:
            raise ValueError(f"forced_end=True with bad_endings={self.bad_endings!r}: the last word may be one of them")
        if self.groups > 1 and required:
            raise ValueError(f"groups={self.groups} with required={self.required!r}: choose one")
        if required and not len(required) < min(self.beams, self.max_length):
            raise ValueError(
                f"required={self.required!r} with beams={self.beams}, max_length={self.max_length}: "
                f"{len(required)} words need at least {len(required) + 1} of each"
            )
        if both := required & set(self.forbidden.split()):
            raise ValueError(f"both required and forbidden: {', '.join(sorted(both))}")


# Some of the settings, in place of those that are usual for a model: what a command line says of decoding.
DecodingChanges = TypedDict("DecodingChanges", get_type_hints(Decoding), total=False)
