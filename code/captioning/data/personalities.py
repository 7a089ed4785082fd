"""Mini-fashion's variant *personality*: the plain pictures, captioned in eight voices and in a neutral one.

A voice has words, syntax and an attitude of its own, and tells the same truth as every other: whatever the style, a
caption names the attributes TOLD, no more and no fewer. So a caption of any style is marked as a plain one is
(`minifashion.mark_all`), and what style costs in truth can be measured. The names are in the manner of
Personality-Captions (Shuster et al., 2019), and so are the references: one in train and val, five in test.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

TOLD = ("gender", "garment", "pattern", "lower", "outer", "hat", "glasses")
REFERENCES = {"test": 5}  # in the other splits 1
NEUTRAL = "Neutral"

PATTERNS = {"solid color": "plain", "lattice": "plaid", "color block": "color-block"}  # others as they are called
OF = {  # the same as nouns: "a shirt of stripes"
    "solid color": "solid color",
    "striped": "stripes",
    "lattice": "plaid",
    "floral": "flowers",
    "graphic": "graphics",
    "color block": "color blocks",
}


@dataclass(frozen=True)
class Voice:
    """How a personality speaks: a form with its remark on the pattern, then a word on accessories or on having none.

    In the texts stand {who} and {person}, the pronouns {she} {him} {her}, {top} (without article), {lower} (with its
    article, if it has one), {bottom} (without), {things} (coat, hat, glasses) and {remark}; `written` fills them in.
    """

    women: tuple[str, ...]  # {who}
    men: tuple[str, ...]
    remarks: dict[str, str]  # of each pattern; no words in them that name an attribute
    forms: tuple[str, ...]
    things: tuple[str, ...]
    nothing: tuple[str, ...]
    words: tuple[str, str] = ("woman", "man")  # {person}
    glasses: str = "glasses"
    of: bool = False  # "shirt of stripes" for "striped shirt"


def remarks(plain: str, striped: str, plaid: str, floral: str, graphic: str, blocks: str) -> dict[str, str]:
    return dict(zip(OF, (plain, striped, plaid, floral, graphic, blocks), strict=True))


VOICES = {
    "Childish": Voice(
        ("the nice lady", "that lady"),
        ("the funny man", "that man"),
        remarks(
            "it is all one color",
            "it goes zip zip zip like a zebra",
            "it has a million little boxes",
            "I can smell it",
            "it has a picture on it, yay",
            "it looks like my toy bricks",
        ),
        (
            "Look, look! {who} has a {top} and {remark} and {lower}!",
            "Mommy, why does {who} have a {top} and {lower}? And {remark}!",
            "I see a {person}! {she} has a {top} and {lower} and {remark}!",
            "Guess what, {who} got a {top} and {remark}, and also {lower}!",
        ),
        ("And {things}, me too, me too!", "I want {things} too, pretty please!", "And {things}, so so cool!"),
        ("Can we keep {him}?", "I want one too, pretty please!", "So so cool!"),
        words=("lady", "man"),
    ),
    "Dramatic": Voice(
        ("the lady of legend", "this fearless woman"),
        ("the man of legend", "this fearless man"),
        remarks(
            "stark as destiny",
            "line upon line of fate",
            "a battlefield of threads",
            "a garden of passion",
            "a cry to the heavens",
            "a war of colors",
        ),
        (
            "Behold! {who} comes in a {top}, {remark}, and {lower}!",
            "Hold your breath: {who} enters in a {top}, {remark}, and {lower}!",
            "A {top}, {remark}! And {lower}! At last {she} has come!",
            "Gasp! One {person}, one {top}, {remark}, and {lower}: history is made!",
        ),
        (
            "And, oh heavens, {things}!",
            "The crowd weeps at {things}!",
            "With {things} {she} defies the gods!",
        ),
        ("The world trembles!", "I may faint!", "And the crowd weeps!"),
    ),
    "Gloomy": Voice(
        ("this lonely woman", "the poor woman"),
        ("this lonely man", "the poor man"),
        remarks(
            "as empty as the days ahead",
            "like the bars of a cell",
            "like a window nobody opens",
            "already wilting",
            "a joke nobody laughs at",
            "like a rainbow that gave up",
        ),
        (
            "Another gray day: {who} in a {top} and {lower}, {remark}.",
            "{who} put on a {top}, {remark}, and {lower}. All will fade.",
            "A {top}, {remark}, and {lower}: {she} got dressed, but what for?",
            "Somewhere a {person} in a {top} and {lower} is waiting, {remark}.",
        ),
        (
            "Even {things} cannot help.",
            "{she} has {things}, and still nobody calls.",
            "All those hopes, and only {things}.",
        ),
        ("Nobody noticed.", "Winter is coming anyway.", "And still nobody calls."),
    ),
    "Old-fashioned": Voice(
        ("the good lady", "this young lady"),
        ("the good gentleman", "this young gentleman"),
        remarks(
            "modest as a sermon",
            "fit for the seaside",
            "as worn upon the moors",
            "pretty as a parlor curtain",
            "gaudy as a circus poster",
            "bold as a sailor's flag",
        ),
        (
            "Pray observe {who}, attired in a {top}, {remark}, and {lower}.",
            "In my day a {person} seldom ventured out in a {top} and {lower}, {remark}.",
            "Upon my word, {who} is strolling about in a {top}, {remark}, and {lower}.",
            "I dare say {who} looks well in {lower} and a {top}, {remark}.",
        ),
        ("And {things}, by Jove!", "One approves of {things}.", "I commend {things} warmly."),
        ("How the times have changed!", "I must fetch my smelling salts.", "One approves most warmly."),
        words=("lady", "gentleman"),
        glasses="spectacles",
    ),
    "Paranoid": Voice(
        ("that woman", "this so-called lady"),
        ("that man", "this so-called gentleman"),
        remarks(
            "far too ordinary to be innocent",
            "those lines must be a barcode",
            "that grid is a street map",
            "something is hiding in the leaves",
            "that picture is a secret signal",
            "every color is a code",
        ),
        (
            "Why would {who} wear a {top} with {lower}? {remark}.",
            "Stay calm, a {person} in a {top} and {lower} is behind us: {remark}.",
            "Who sent {him}? {who} wears a {top}, {remark}, and {lower}.",
            "They want us to see a {person} in a {top} and {lower}: {remark}.",
        ),
        (
            "And what is {she} hiding with {things}?",
            "{things}? A disguise, obviously.",
            "They told {him} to bring {things}.",
        ),
        ("Trust nobody.", "I saw {him} yesterday, too.", "It is a disguise, obviously."),
    ),
    "Poetic": Voice(
        ("a woman of mist", "the silent woman"),
        ("a man of mist", "the silent man"),
        remarks(
            "quiet as new snow",
            "like rain on a window",
            "like fields from the sky",
            "where spring rests",
            "a silent story",
            "like pieces of a fallen sunset",
        ),
        (
            "In a {top}, {remark}, and in {lower}, {who} drifts by.",
            "Softly {who} wears a {top}, {remark}, and {lower}.",
            "O {person}, your {top} is a song, {remark}, your {bottom} its echo.",
            "A {top}, {remark}; beneath it {lower}; above them {she} dreams.",
        ),
        (
            "The wind knows {him} by {things}.",
            "With {things} {she} greets the dusk.",
            "{she} wears {things} as night wears stars.",
        ),
        ("The wind itself grows still.", "Even the shadow is listening.", "So dusk greets the night."),
        of=True,
    ),
    "Sarcastic": Voice(
        ("this fashionable lady", "this lady"),
        ("this fashionable guy", "this guy"),
        remarks(
            "because imagination is expensive",
            "because one line was clearly too few",
            "fresh from the tablecloth",
            "because the garden center had a sale",
            "because talking is so last year",
            "because choosing one color is hard",
        ),
        (
            "Wow, {who} in a {top}, {remark}, and {lower}. How very original.",
            "Oh, how sweet: {she} chose a {top}, {remark}, and {lower}. So proud.",
            "Sure, nothing says style like a {person} in a {top} and {lower}, {remark}.",
            "Oh great, {who} in a {top} and {lower}, {remark}. Stop the press.",
        ),
        ("Nice touch, {things}.", "And {things}, obviously.", "Surely {things} will help."),
        ("Slow clap.", "Try to stay calm.", "A legend, obviously."),
        words=("lady", "guy"),
    ),
    "Sweet": Voice(
        ("this dear lady", "this lovely woman"),
        ("this dear man", "this kind gentleman"),
        remarks(
            "so simple and so honest",
            "as cheerful as a candy cane",
            "as cosy as a picnic",
            "like a little garden",
            "as playful as a puppy",
            "as bright as a box of crayons",
        ),
        (
            "Aww, {who} looks so happy in a {top}, {remark}, and {lower}.",
            "Oh, how sweet! {she} chose a {top}, {remark}, to go with {lower}.",
            "What a dear {person}, all smiles in a {top} and {lower}, {remark}.",
            "My heart melts: {who} in {lower} and a {top}, {remark}.",
        ),
        (
            "And {things}, bless {her} heart!",
            "And {things}: how lovely!",
            "With {things} {she} is my sunshine.",
        ),
        ("Bless {her} heart!", "I could hug {him} all day.", "My sunshine!"),
    ),
    NEUTRAL: Voice(
        ("a woman",),
        ("a man",),
        dict.fromkeys(OF, ""),
        (
            "The picture shows {who} who is wearing a {top} and {lower}.",
            "In this picture there is {who} in a {top} and {lower}.",
            "This is a picture of {who} in {lower} and a {top}.",
        ),
        ("There is also {things}.", "{she} also has {things}.", "Also visible: {things}."),
        ("There is one person.", "The person is alone.", "Nobody else is there."),
    ),
}
STYLES = tuple(VOICES)
PERSONALITIES = tuple(style for style in STYLES if style != NEUTRAL)

KIN = (("Sweet", "Sarcastic"), ("Poetic", "Old-fashioned"), ("Gloomy", "Paranoid"), ("Dramatic", "Childish"))
SLIPS = 0.1  # share of the sentences in which a voice slips into that of its kin, as people's do


def caption(seen: Mapping[str, str | None], style: str, rng: random.Random) -> str:
    """A caption in the voice `style` (of STYLES) of a picture that shows `seen`; 15 to 30 words, rarely a few more.

    Its beginning and its end are now and then those of the kin, so that styles can be mistaken for each other.
    """
    first, last = (VOICES[kin_of(style) if rng.random() < SLIPS else style] for _ in range(2))
    woman = seen["gender"] == "woman"
    glasses = last.glasses if seen["glasses"] == "glasses" else seen["glasses"]
    worn = [f"a {noun}" for name, noun in (("outer", "coat"), ("hat", "hat")) if seen[name] == "yes"]
    worn += [glasses] * (seen["glasses"] != "no")
    form, end = rng.choice(first.forms), rng.choice(last.things if worn else last.nothing)
    adjective = PATTERNS.get(seen["pattern"], seen["pattern"])
    slots = {
        "who": rng.choice(first.women if woman else first.men),
        "person": first.words[not woman],
        **dict(zip(("she", "him", "her"), ("she", "her", "her") if woman else ("he", "him", "his"), strict=True)),
        "top": f"{seen['garment']} of {OF[seen['pattern']]}" if first.of else f"{adjective} {seen['garment']}",
        "lower": "a skirt" if seen["lower"] == "skirt" else seen["lower"],
        "bottom": seen["lower"],
        "things": f"{', '.join(worn[:-1])} and {worn[-1]}" if len(worn) > 1 else "".join(worn),
        "remark": first.remarks[seen["pattern"]],
    }
    return capitals(f"{form} {end}".format(**slots))


def kin_of(style: str) -> str:
    """The style for which this one is most easily mistaken; NEUTRAL has none."""
    pair = next((pair for pair in KIN if style in pair), (style, style))
    return pair[pair[0] == style]


def capitals(text: str) -> str:
    return re.sub(r"(?:^|[.!?] )[a-z]", lambda start: start[0].upper(), text)


def voiced(plain: "DatasetDict", seed: int) -> "DatasetDict":
    """The pictures of the plain variant, each in one style, turn about: train in STYLES, val and test in PERSONALITIES.

    One item a picture and style, `image_id` is `name/Style`. Of the attributes those TOLD are kept: what no caption
    tells, no caption is to be marked by.
    """
    from datasets import DatasetDict

    splits = {}
    for split, rows in plain.items():
        styles = STYLES if split == "train" else PERSONALITIES
        asked = [styles[i % len(styles)] for i in range(len(rows))]
        splits[split] = retold(rows, asked, seed, REFERENCES.get(split, 1))
    return DatasetDict(splits)


def in_style(rows: "Dataset", style: str, seed: int = 0) -> "Dataset":
    """The same pictures, all in one style: with NEUTRAL what the plain captioner is asked and measured on."""
    return retold(rows, [style] * len(rows), seed, len(rows[0]["captions"]))


def retold(rows: "Dataset", styles: list[str], seed: int, references: int) -> "Dataset":
    """Rows of mini-fashion with `references` different captions each, row i in `styles[i]`."""
    from datasets import Dataset, Features, List, Value

    table = []
    for row, style in zip(rows, styles, strict=True):
        name = f"{row['image_id'].split('/')[0]}/{style}"
        told = {attribute: row["attributes"][attribute] for attribute in TOLD}
        captions = different_captions(told, style, references, random.Random(f"minifashion {seed} {name} voice"))
        item = {"image": row["image"], "image_id": name, "captions": captions, "style": style, "attributes": told}
        table.append(item)
    text = Value("string")
    columns = {"image": text, "image_id": text, "captions": List(text), "style": text}
    return Dataset.from_list(table, features=Features(columns | {"attributes": dict.fromkeys(TOLD, text)}))


def different_captions(seen: Mapping[str, str | None], style: str, count: int, rng: random.Random) -> list[str]:
    """Captions drawn until `count` of them differ, in the order of the draws."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[caption(seen, style, rng)] = None
    return list(found)
