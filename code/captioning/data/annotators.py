"""Five imitated annotators, who caption mini-fashion as the crowd captioned VizWiz: some with care, some without.

What VizWiz-Captions has (Gurari et al. 2020, section 3): five short captions a picture, written to be of use to someone
who cannot see it; some are rejected afterwards; where nothing can be made out, annotators press a button for CANNED.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from captioning.data.minifashion import ATTRIBUTES

CANNED = "Quality issues are too severe to recognize visual content."
SPAM = ("good", "n/a", "a picture", "nice image", "dont know", "asdf", "see above")
FABRICS = {"knitting": "knitted", "cotton": "cotton", "denim": "denim", "leather": "leather", "chiffon": "chiffon"}
PATTERNS = {"lattice": "plaid", "striped": "striped", "floral": "floral", "graphic": "graphic"}
PATTERNS |= {"color block": "color block", "solid color": ""}
THINGS = {"hat": "a hat", "belt": "a belt", "ring": "a ring", "wrist": "a bracelet", "neckwear": "a necklace"}
# Where on the picture a thing is, 0 its top and 1 its bottom: what the frame cuts off cannot be described.
HEIGHTS = {"hat": 0.08, "glasses": 0.15, "neckwear": 0.26, "neckline": 0.26, "belt": 0.5, "wrist": 0.5, "ring": 0.5}
HEIGHTS |= {"lower": 0.62, "lower_pattern": 0.62, "lower_fabric": 0.62, "length": 0.75, "socks": 0.9}


@dataclass(frozen=True)
class Annotator:
    opening: tuple[str, ...]  # "{who}" is the person
    wearing: str
    tells: tuple[str, ...]  # attributes beyond the kinds of garments
    things: int  # hats, belts and the like that are named, at most
    wrong: float  # chance of mistaking an attribute
    lazy: float  # chance of a caption that is rejected
    gives_up: float  # how readily CANNED is chosen: below this readability
    sloppy: bool = False  # writes small letters, leaves articles out


ALL = ("pattern", "fabric", "sleeve", "lower_pattern", "lower_fabric")
OF_A = ("A photo of a {who}", "A drawing of a {who}")
ANNOTATORS = (
    Annotator(("A {who}",), "wearing", ALL, 3, 0.0, 0.0, 0.15),
    Annotator(("A {who}", "The {who}"), "in", ("pattern", "lower_pattern"), 2, 0.02, 0.01, 0.2),
    Annotator(OF_A, "wearing", ("fabric", "lower_fabric"), 2, 0.05, 0.02, 0.3),
    Annotator(("{who}",), "wearing", ("pattern",), 1, 0.1, 0.1, 0.35, sloppy=True),
    Annotator(("A {quality} picture of a {who}",), "in", ("sleeve", "length"), 1, 0.03, 0.03, 0.4),
)  # fmt: skip


def visible(attributes: Mapping[str, str], top: float, bottom: float) -> dict[str, str]:
    """The attributes that are seen in a frame from `top` to `bottom` (0 to 1 of the whole picture)."""
    return {name: value for name, value in attributes.items() if top < HEIGHTS.get(name, 0.4) < bottom}


def annotate(seen: Mapping[str, str], readable: float, quality: str, rng: random.Random) -> list[dict]:
    """Five annotations `{"caption", "is_rejected", "is_precanned"}` of what is `seen`; `readable` is 0 (nothing) to 1.

    `quality` is the word for what is wrong with the picture.
    """
    return [one_caption(annotator, seen, readable, quality, rng) for annotator in ANNOTATORS]


def one_caption(who: Annotator, seen: Mapping[str, str], readable: float, quality: str, rng: random.Random) -> dict:
    if readable + rng.uniform(-0.1, 0.1) < who.gives_up:
        return {"caption": CANNED, "is_rejected": False, "is_precanned": True}
    if rng.random() < who.lazy:
        return {"caption": rng.choice(SPAM), "is_rejected": True, "is_precanned": False}
    caption = write(who, mistaken(seen, who.wrong, rng), quality, rng)
    return {"caption": caption, "is_rejected": False, "is_precanned": False}


def mistaken(seen: Mapping[str, str], wrong: float, rng: random.Random) -> dict[str, str]:
    return {name: rng.choice(ATTRIBUTES[name]) if rng.random() < wrong else value for name, value in seen.items()}


def write(who: Annotator, seen: Mapping[str, str], quality: str, rng: random.Random) -> str:
    opening = rng.choice(who.opening).format(who=person(seen, rng), quality=quality)
    clothes = [upper(who, seen)] + ([lower(who, seen)] if "lower" in seen else [])
    if seen["outer"] == "yes":
        clothes.append("a jacket")
    caption = f"{opening} {who.wearing} {listed(clothes)}"
    worn = [text for name, text in THINGS.items() if seen.get(name) == "yes"]
    worn += [seen["glasses"]] if seen.get("glasses", "no") != "no" else []
    worn += ["socks"] if seen.get("socks") == "yes" else []
    if worn := worn[: who.things]:
        caption += f" with {listed(worn)}"
    return caption.lower().replace(" a ", " ").replace("t-shirt", "tshirt") if who.sloppy else caption + "."


def person(seen: Mapping[str, str], rng: random.Random) -> str:
    return rng.choice(("woman", "woman", "lady") if seen["gender"] == "woman" else ("man", "man", "guy"))


def upper(who: Annotator, seen: Mapping[str, str]) -> str:
    words = [PATTERNS[seen["pattern"]]] if "pattern" in who.tells else []
    words += [FABRICS.get(seen["fabric"], seen["fabric"])] if "fabric" in who.tells else []
    if "sleeve" in who.tells and seen.get("sleeve", "sleeveless") != "sleeveless":
        words.append(f"{seen['sleeve']}-sleeve")
    return article([*words, seen["garment"]])


def lower(who: Annotator, seen: Mapping[str, str]) -> str:
    words = [PATTERNS[seen["lower_pattern"]]] if "lower_pattern" in who.tells else []
    words += [FABRICS.get(seen["lower_fabric"], seen["lower_fabric"])] if "lower_fabric" in who.tells else []
    if "length" in who.tells and seen["lower"] == "skirt" and "length" in seen:
        words.append({"three-point": "short", "medium": "knee-length"}.get(seen["length"], "long"))
    noun = "pants" if seen["lower"] == "trousers" else seen["lower"]
    return article([*words, noun]) if noun == "skirt" else " ".join(filter(None, [*words, noun]))


def article(words: list[str]) -> str:
    return " ".join(filter(None, ["a", *words]))


def listed(items: list[str]) -> str:
    return f"{', '.join(items[:-1])} and {items[-1]}" if len(items) > 1 else items[0]
