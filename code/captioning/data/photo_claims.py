"""What a caption of a photograph claims: who is there, which animal, what they do, where, with what, in which colour.

The counterpart of `fashion_captions` for pictures of which nobody knows the truth but the people who described them. As
CHAIR does (Rohrbach et al. 2018, "Object Hallucination in Image Captioning", section 3), words are looked up in lists,
and what the references say is the truth. The lists hold the words that are frequent in Flickr8k; what is not in them
is not looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from captioning.data import fashion_captions

COLOURS = ("black", "white", "red", "blue", "green", "yellow", "pink", "orange", "purple")
VALUES = {  # attribute: value: its words
    "person": {
        "man": "man men guy guys male males gentleman",
        "woman": "woman women lady ladies female females",
        "boy": "boy boys",
        "girl": "girl girls",
        "child": "child children kid kids baby babies toddler toddlers",
    },
    "animal": {
        "dog": "dog dogs puppy puppies greyhound greyhounds poodle terrier retriever",
        "horse": "horse horses",
        "bird": "bird birds duck ducks seagull seagulls",
        "cat": "cat cats kitten kittens",
        "cow": "cow cows bull bulls",
    },
    "action": {
        "run": "run runs running race races racing chase chases chasing sprint sprinting",
        "jump": "jump jumps jumping leap leaps leaping midair",
        "sit": "sit sits sitting seated",
        "stand": "stand stands standing",
        "walk": "walk walks walking hike hikes hiking hiker hikers",
        "ride": "ride rides riding rider riders biker bikers cyclist cyclists skateboarder surfer surfing surfs",
        "climb": "climb climbs climbing climber climbers",
        "swim": "swim swims swimming swimmer dive dives diving",
        "lie": "lay lays laying lie lies lying sleep sleeps sleeping",
        "ski": "ski skis skiing skier skiers snowboard snowboarder snowboarding snowboards sled sledding",
    },
    "place": {
        "water": "water pool ocean lake river sea wave waves pond stream",
        "snow": "snow snowy ice icy",
        "grass": "grass grassy field lawn meadow",
        "beach": "beach sand sandy shore",
        "street": "street sidewalk road city crosswalk",
        "rock": "rock rocks rocky cliff boulder",
        "mountain": "mountain mountains mountainside hill hillside",
        "forest": "woods forest trees",
        "indoors": "room kitchen couch sofa bed table restaurant bar",
    },
    "thing": {
        "ball": "ball balls football soccer basketball baseball tennis volleyball",
        "bike": "bike bikes bicycle bicycles motorcycle motorcycles motorbike",
        "board": "skateboard skateboards surfboard",
        "toy": "toy frisbee stick",
        "car": "car cars truck van bus",
        "boat": "boat boats canoe kayak raft",
        "swing": "swing swings slide playground",
    },
    "colour": {
        **dict(zip(COLOURS, COLOURS, strict=True)),
        "brown": "brown tan",
        "grey": "grey gray",
    },
}  # fmt: skip
MEANS = {
    word: (name, value) for name, values in VALUES.items() for value, words in values.items() for word in words.split()
}
PEOPLE = 2  # so many of those who described a picture must agree
AND = " + "  # between the values of an attribute, in the order of VALUES


def read_attributes(caption: str) -> dict[str, str]:
    """The attributes that a caption claims; one of several values has them all: {"person": "man + girl"}."""
    return joined(claims(caption))


def claims(caption: str) -> set[tuple[str, str]]:
    """Every claim of a caption, (attribute, value)."""
    return {MEANS[word] for word in re.findall(r"[a-z]+", caption.lower()) if word in MEANS}


def facts(truth: Mapping[str, str | None]) -> set[tuple[str, str]]:
    """What is to be said of a picture, as `claims` has it."""
    return {(name, value) for name, values in split(truth).items() for value in values}


def truth(captions: Sequence[str]) -> dict[str, str | None]:
    """What at least two of the captions of one picture claim, as `read_attributes` has it; None: nothing."""
    counts = Counter(claim for caption in captions for claim in claims(caption))
    return dict.fromkeys(VALUES) | joined(claim for claim, count in counts.items() if count >= PEOPLE)


def joined(claimed: Iterable[tuple[str, str]]) -> dict[str, str]:
    claimed = set(claimed)
    found = {name: [value for value in values if (name, value) in claimed] for name, values in VALUES.items()}
    return {name: AND.join(values) for name, values in found.items() if values}


def split(attributes: Mapping[str, str | None]) -> dict[str, set[str]]:
    return {name: set(value.split(AND)) for name, value in attributes.items() if value}


def mark(caption: str, attributes: Mapping[str, str | None]) -> dict[str, bool]:
    """Right or wrong for one caption against `truth`: an attribute is right when the caption names some of its values
    and no other. What the truth has and the caption is silent about is wrong, and so is what only the caption has."""
    claimed, known = split(read_attributes(caption)), split(attributes)
    names = [name for name in VALUES if name in known or name in claimed]
    return {name: bool(claimed.get(name)) and claimed[name] <= known.get(name, set()) for name in names}


def attribute_accuracy(captions: Iterable[str], attributes: Iterable[Mapping[str, str | None]]) -> dict[str, float]:
    """As `fashion_captions.attribute_accuracy`, with this module's `mark`."""
    return fashion_captions.attribute_accuracy(captions, attributes, mark)
