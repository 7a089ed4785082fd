"""The places behind the people of mini-fashion's *street*: drawn by lot, described, and recognised in any text.

Clothes and places share no word but function words and colours' names, so that who speaks of what can be known.
"""

import random
import re
from collections.abc import Mapping

from captioning.data.fashion_captions import CONFLICT

COLOURS = ("red", "blue", "green", "yellow", "purple", "white")
THINGS_OF = {  # what stands left and right of the person
    "street": ("car", "bus", "kiosk"),
    "beach": ("umbrella", "boat", "ball"),
    "park": ("bench", "kite", "fountain"),
    "mountains": ("tent", "cabin", "flag"),
    "room": ("sofa", "lamp", "curtain"),
    "shop": ("shelf", "counter", "mirror"),
}
INDOORS = ("room", "shop")  # they have a wall where the other scenes have a sky
THINGS = tuple(thing for things in THINGS_OF.values() for thing in things)
SCENE: dict[str, tuple[str, ...]] = {
    "scene": tuple(THINGS_OF),
    "light": ("day", "evening", "night"),
    "wall": COLOURS,
    "left": THINGS,
    "left_color": COLOURS,
    "right": THINGS,
    "right_color": COLOURS,
}
NAMES = {
    "street": ("a street", "a city street", "a busy street"),
    "beach": ("a beach", "a sandy beach", "a beach by the sea"),
    "park": ("a park", "a grassy park", "a quiet park"),
    "mountains": ("the mountains", "snowy mountains", "mountains in the distance"),
    "room": ("a room", "a living room", "a tidy room"),
    "shop": ("a shop", "a small shop", "a bright shop"),
}
LIGHTS = {
    "day": ("by day", "in daylight"),
    "evening": ("in the evening", "at sunset"),
    "night": ("at night", "after dark"),
}


def sample_scene(rng: random.Random) -> dict[str, str]:
    """The attributes of a place, in the order of SCENE: a light outdoors, a wall indoors, two different things."""
    scene = rng.choice(SCENE["scene"])
    left, right = rng.sample(THINGS_OF[scene], 2)
    where = {"wall": rng.choice(COLOURS)} if scene in INDOORS else {"light": rng.choice(SCENE["light"])}
    colours = {"left_color": rng.choice(COLOURS), "right_color": rng.choice(COLOURS)}
    chosen = {"scene": scene, "left": left, "right": right, **where, **colours}
    return {name: chosen[name] for name in SCENE if name in chosen}


def describe_scene(seen: Mapping[str, str | None], rng: random.Random) -> str:
    """One or two sentences that tell all of the place, in the style of the clothes' captions."""
    place = name_place(seen, rng)
    left, right = (f"a {seen[f'{side}_color']} {seen[side]}" for side in ("left", "right"))
    both = rng.choice((f"{left} on the left and {right} on the right", f"{right} on the right and {left} on the left"))
    return rng.choice(
        (
            f"the background is {place} . there is {both} .",
            f"the photo is taken in front of {place} , with {both} .",
            f"{place} can be seen in the background . on the left there is {left} and on the right {right} .",
            f"in the background there is {place} , {both} .",
            f"behind is {place} . one can see {both} .",
        )
    )


def name_place(seen: Mapping[str, str | None], rng: random.Random) -> str:
    """The scene and its light or wall, in a few words."""
    place = rng.choice(NAMES[seen["scene"]])
    return place + (f" with a {seen['wall']} wall" if seen.get("wall") else f" {rng.choice(LIGHTS[seen['light']])}")


COLOUR = "|".join(COLOURS)
MARKS = re.compile(
    rf"\b(?:(?:({COLOUR}) )?({'|'.join(THINGS)})|(?:on|to|at) the (left|right)|({COLOUR}) walls?"
    r"|(street|beach|park|mountains|room|shop)|(daylight|by day|evening|sunset|night|dark))\b"
)
NO_COLOUR = "some"  # stands for the colour of a thing that is named without one
SAID_OF_LIGHT = {"daylight": "day", "by day": "day", "sunset": "evening", "dark": "night"}


def read_scene(text: str) -> dict[str, str]:
    """The attributes of SCENE that a text claims, CONFLICT for one claimed with two values; nothing is guessed.

    A thing belongs to the side that is named after it, or before it in a sentence that names the side first.
    """
    found: dict[str, str] = {}
    for name, value in _said(text):
        if name in SCENE:
            found[name] = value if found.get(name, value) == value else CONFLICT
    return found


def scene_claims(text: str) -> set[tuple[str, str]]:
    """Every claim of a text about the place by itself, as `scene_facts` has them; a text may claim two scenes."""
    claims = set()
    for name, value in _said(text):
        if name == "thing":
            colour, thing = value.split()
            claims |= {("object", thing)} | ({("colour", value)} if colour != NO_COLOUR else set())
        elif name in ("left", "right"):
            claims.add(("side", f"{value} {name}"))
        elif name in ("scene", "light", "wall"):
            claims.add((name, value))
    return claims


def scene_facts(seen: Mapping[str, str | None]) -> set[tuple[str, str]]:
    """What is true of a place, claim by claim: the scene, its light or wall, and of each thing that it is there
    ("object", wherever it stands), on which side, and in which colour."""
    facts = {(name, seen[name]) for name in ("scene", "light", "wall") if seen.get(name)}
    for side in ("left", "right"):
        thing = seen[side]
        facts |= {("object", thing), ("side", f"{thing} {side}"), ("colour", f"{seen[f'{side}_color']} {thing}")}
    return facts


def _said(text: str) -> list[tuple[str, str]]:
    """What a text says in turn: the values of SCENE, and ("thing", "red car") for each thing, whatever its side."""
    claims: list[tuple[str, str]] = []
    for sentence in re.split(r"[.!?;\n]", text.lower()):
        _read_sentence(sentence, claims)
    return claims


def _read_sentence(sentence: str, claims: list[tuple[str, str]]) -> None:
    things, sides, side_first = [], [], False
    for colour, thing, side, wall, scene, light in (match.groups() for match in MARKS.finditer(sentence)):
        if thing:
            things.append((colour, thing))
            claims.append(("thing", f"{colour or NO_COLOUR} {thing}"))
        elif side:
            side_first |= not things
            sides.append((side, len(things)))
        for name, value in (("wall", wall), ("scene", scene), ("light", SAID_OF_LIGHT.get(light, light))):
            claims += [(name, value)] if value else []
    for side, passed in sides:
        at = passed if side_first else passed - 1
        if 0 <= at < len(things):
            colour, thing = things[at]
            claims += [(side, thing), *([(f"{side}_color", colour)] if colour else [])]


def mark_scene(text: str, truth: Mapping[str, str | None]) -> dict[str, bool]:
    """Right or wrong for each attribute of the place: silence is wrong, and so is a claim of what is not there."""
    claimed, shown = read_scene(text), {name: truth[name] for name in SCENE if truth.get(name) is not None}
    marks = {name: claimed.get(name) == value for name, value in shown.items()}
    return marks | dict.fromkeys(claimed.keys() - shown.keys(), False)
