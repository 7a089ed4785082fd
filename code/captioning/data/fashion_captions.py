"""Captions in the grammar of DeepFashion-MultiModal, and the checker that reads attributes out of any caption.

`describe` tells every visible attribute of `minifashion.ATTRIBUTES`. `read_attributes` goes the other way and is made
for captions of any origin: a model's broken sentences, other words for the same thing ("no sleeves" is sleeveless).
`attribute_accuracy` compares the two: the truth that n-gram metrics cannot see.
"""

import functools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

CONFLICT = "conflict"  # what a caption claims that says two things at once; never equal to a truth

# ---- writing --------------------------------------------------------------------------------------------------------

WEARERS = {"woman": ("lady", "woman", "female"), "man": ("man", "gentleman", "guy")}
SYNONYMS = {"solid color": ("solid color", "pure color"), "lattice": ("lattice", "plaid")}
ACCESSORIES = {  # attribute -> (a sentence of its own, a noun for a list)
    "hat": ("there is a hat on {her} head", "a hat"),
    "belt": ("there is a belt", "a belt"),
    "ring": ("there is a ring on {her} finger", "a ring"),
    "wrist": ("there is an accessory on {her} wrist", "an accessory on {her} wrist"),
    "neckwear": ("{the_lady} has neckwear", "neckwear"),
    "socks": ("{the_lady} is in socks", "socks"),
}


def describe(attributes: Mapping[str, str | None], rng: random.Random) -> str:
    """One caption that tells all of the attributes; what is "no" or missing is not mentioned.

    Lower case, with spaces around ` . ` and ` , `, some 30 to 60 words as in the data set that it imitates.
    """
    seen = {name: value for name, value in attributes.items() if value is not None}
    return _Writer(seen, rng).caption()


class _Writer:
    """The sentence forms; each method returns sentences without their full stop."""

    def __init__(self, seen: dict[str, str], rng: random.Random):
        self.seen, self.rng = seen, rng
        self.her = "her" if seen["gender"] == "woman" else "his"
        self.top, self.bottom = seen["garment"], seen["lower"]
        if self.bottom == "trousers":
            self.bottom = rng.choice(("trousers", "pants"))

    def caption(self) -> str:
        both = self.rng.random() < 0.5
        clothes = self.top_with_bottom() if both else self.upper() + self.lower()
        return " . ".join([*clothes, *self.outer(), *self.accessories()]) + " ."

    def the_lady(self) -> str:
        return f"{self.rng.choice(('the', 'this'))} {self.rng.choice(WEARERS[self.seen['gender']])}"

    def wears(self) -> str:
        return self.rng.choice(("wears", "is wearing"))

    def pattern(self, name: str) -> str:
        value = self.seen[name]
        return f"{self.rng.choice(SYNONYMS.get(value, (value,)))} patterns"

    def cloth(self, prefix: str = "") -> str:
        return f"{self.seen[prefix + 'fabric']} fabric and {self.pattern(prefix + 'pattern')}"

    def sleeves(self) -> list[str]:
        sleeve = self.seen.get("sleeve")
        return [] if sleeve is None else ["no sleeves" if sleeve == "sleeveless" else f"{sleeve} sleeves"]

    def sleeved_top(self) -> str:
        sleeve = self.seen.get("sleeve")
        if sleeve is None:
            return f"a {self.top}"
        return f"a {sleeve if sleeve == 'sleeveless' else sleeve + '-sleeve'} {self.top}"

    def neckline(self) -> str:
        neck = self.seen["neckline"]
        return self.rng.choice(
            (f"its neckline is {neck}", f"the neckline of it is {neck}", f"it has a {neck} neckline")
        )

    def upper(self) -> list[str]:
        form = self.rng.randrange(3)
        if form == 0:
            parts = [*self.sleeves(), self.cloth()]
            return [f"{self.her} {self.top} has {' , '.join(parts)}", self.neckline()]
        if form == 1:
            worn = f"{self.the_lady()} {self.wears()} {self.sleeved_top()} with {self.pattern('pattern')}"
            neck = f"its neckline is {self.seen['neckline']}"
            return [worn, f"the {self.top} is with {self.seen['fabric']} fabric and {neck}"]
        facts = [f"its fabric is {self.seen['fabric']}", f"and it has {self.pattern('pattern')}"]
        sleeves = [f"has {part}" for part in self.sleeves()]
        return [" , ".join([" ".join([f"the {self.top} {self.the_lady()} wears", *sleeves]), *facts]), self.neckline()]

    def lower(self) -> list[str]:
        length, plural = self.seen["length"], self.bottom != "skirt"
        form = self.rng.randrange(3)
        if form == 0:
            worn = f"{self.the_lady()} {self.wears()} a {length} {self.bottom}"
            return [worn, f"the {self.bottom} {'are' if plural else 'is'} with {self.cloth('lower_')}"]
        if form == 1:
            worn = f"the {self.bottom} {self.the_lady()} wears is of {length} length"
            return [worn, f"the fabric is {self.seen['lower_fabric']} and it has {self.pattern('lower_pattern')}"]
        return [f"{self.her} {self.bottom} {'have' if plural else 'has'} {length} length , {self.cloth('lower_')}"]

    def top_with_bottom(self) -> list[str]:
        worn = f"{self.the_lady()} {self.wears()} {self.sleeved_top()} with {self.pattern('pattern')}"
        return [
            f"{worn} and a {self.seen['length']} {self.bottom}",
            f"the {self.top} is with {self.seen['fabric']} fabric and its neckline is {self.seen['neckline']}",
            f"the {self.bottom} {'is' if self.bottom == 'skirt' else 'are'} with {self.cloth('lower_')}",
        ]

    def outer(self) -> list[str]:
        if self.seen["outer"] == "no":
            return []
        return [f"{self.the_lady()} also wears an outer clothing , with {self.cloth('outer_')}"]

    def accessories(self) -> list[str]:
        worn = [name for name in ACCESSORIES if self.seen[name] == "yes"]
        glasses = [] if self.seen["glasses"] == "no" else [self.seen["glasses"]]
        if self.rng.random() < 0.8:
            items = [ACCESSORIES[name][1].format(her=self.her) for name in worn] + glasses
            self.rng.shuffle(items)
            return self._list(items)
        alone = [ACCESSORIES[name][0].format(her=self.her, the_lady=self.the_lady()) for name in worn]
        return alone + [f"{self.the_lady()} {self.wears()} {item}" for item in glasses]

    def _list(self, items: list[str]) -> list[str]:
        if not items:
            return []
        head, last = " , ".join(items[:-1]), items[-1]
        return [f"{self.the_lady()} {self.wears()} {f'{head} and {last}' if head else last}"]


# ---- reading --------------------------------------------------------------------------------------------------------

# kind of word -> what it stands for -> how it is written. At one place of a caption the first match in this order
# counts, so the longer expressions stand before the words in them.
LEXICON: dict[str, dict[str, str]] = {
    "sleeve": {
        "sleeveless": r"sleeveless|(?:no|without|without any) sleeves?|sleeves? (?:is |are )?cut off",
        "short": r"short[- ]sleeve[ds]?|short-sleeves|sleeves? (?:is |are )short",
        "medium": r"(?:medium|half|three-quarter)[- ]sleeve[ds]?|sleeves? (?:is |are )medium",
        "long": r"long[- ]sleeve[ds]?|sleeves? (?:is |are )long",
    },
    "upper": {
        "tank top": r"tank[- ]?(?:top|shirt)s?|camisoles?",
        "t-shirt": r"t[- ]?shirts?|tees?",
        "sweater": r"sweaters?|pullovers?|jumpers?",
        "shirt": r"shirts?|blouses?",
        "": r"upper (?:clothing|garment)|tops?",  # named without its kind
    },
    "outer": {"yes": r"outer clothing|outer garment|outerwear|outer|coats?|jackets?|cardigans?"},
    "lower": {
        "shorts": r"shorts",
        "skirt": r"skirts?",
        "trousers": r"trousers|pants|jeans",
        "": r"lower (?:clothing|garment)|bottoms",
    },
    "neckwear": {
        "yes": r"neckwear|necklaces?|scarf|scarves|accessor(?:y|ies) (?:in|on|around)(?= (?:her|his|the) neck)"
    },
    "hat": {"yes": r"hats?|caps?|beanies?"},
    "glasses": {"sunglasses": r"sun ?glasses", "glasses": r"(?:eye)?glasses|spectacles"},
    "belt": {"yes": r"belts?"},
    "ring": {"yes": r"rings?"},
    "wrist": {"yes": r"wrists?|bracelets?|watch|watches|wristbands?"},
    "socks": {"yes": r"socks?|stockings"},
    "fabric": {
        "cotton": r"cotton",
        "denim": r"denim",
        "leather": r"leather",
        "chiffon": r"chiffon",
        "knitting": r"knitting|knitted|knit",
        "furry": r"furry|fur",
    },
    "pattern": {
        "color block": r"colou?r[- ]?block(?:ed|s)?|block",
        "solid color": r"(?:solid|pure)(?: colou?r)?|plain|no patterns?",
        "striped": r"striped?|stripes",
        "lattice": r"lattice|plaid|check(?:ed|ered)",
        "floral": r"floral|flowers?|flowery",
        "graphic": r"graphics?",
    },
    "length": {
        "three-point": r"three-point|short(?= (?:skirt|pants|trousers))",
        "medium": r"medium|knee-length",
        "three-quarter": r"three-quarter",
        "long": r"long",
    },
    "neckline": {
        "v-shape": r"v-shaped?|v[- ]neck",
        "round": r"round|crew",
        "square": r"square",
        "suspenders": r"suspenders?",
        "lapel": r"lapels?",
        "stand": r"stand(?:ing|-up)?|turtleneck",
    },
    "gender": {
        "woman": r"lady|woman|women|female|girl|she|her|hers",
        "man": r"man|men|gentleman|male|guy|boy|he|his|him",
    },
    "no": {"no": r"no|not|without|never|neither|nor|(?:is|are|do|does|has)n't"},
    "but": {"but": r"and|but|with"},  # what is denied before it is not denied after it
    "word": {"word": r"[\w'-]+"},
}
MEANINGS = [(kind, value) for kind, values in LEXICON.items() for value in values]
SCANNER = re.compile(
    "|".join(rf"((?:{form})(?![\w-]))" for values in LEXICON.values() for form in values.values()) + r"|[^\w\s]"
)
NECK = re.compile(r"\b(?:neckline|necklines|neck|collar|turtleneck|lapels?)\b")
GARMENTS = {"upper": "", "lower": "lower_", "outer": "outer_"}  # kind of noun -> what its fabric's name begins with
THINGS = ("hat", "glasses", "belt", "ring", "wrist", "neckwear", "socks")
MODIFIERS = ("sleeve", "fabric", "pattern", "length")


def read_attributes(caption: str) -> dict[str, str]:
    """The attributes that a caption claims, in the names and values of `minifashion.ATTRIBUTES`; nothing is guessed.

    A fabric, pattern or length belongs to the garment right after it ("a denim skirt"), else to the last one named
    ("the skirt is short . the fabric is denim"). Pants of three-point or medium length are shorts, as in
    DeepFashion-MultiModal. A presence is "no" only where the caption says so ("without a hat"). An attribute that
    is claimed with two values is CONFLICT.
    """
    claims: list[tuple[str, str]] = []
    garment = None
    for sentence in re.split(r"[.!?;\n]", caption.lower()):
        garment = _read_sentence(sentence, garment, claims)
    found: dict[str, str] = {}
    for name, value in claims:
        found[name] = value if found.get(name, value) == value else CONFLICT
    if found.get("lower") == "trousers" and found.get("length") in ("three-point", "medium"):
        found["lower"] = "shorts"
    return found


@functools.lru_cache(maxsize=1 << 16)  # drawn and generated captions have the same sentences again and again
def _scan(sentence: str) -> list[tuple[str, str]]:
    """What the words of a sentence mean, (kind, value) in their order."""
    return [MEANINGS[m.lastindex - 1] if m.lastindex else (",", ",") for m in SCANNER.finditer(sentence)]


def _read_sentence(sentence: str, garment: str | None, claims: list[tuple[str, str]]) -> str | None:
    """Append the sentence's claims; `garment` is the one spoken of before, the return value the one after it."""
    marks = _scan(sentence)
    about_neck, denied = NECK.search(sentence) is not None, False
    for i, (kind, value) in enumerate(marks):
        if kind in (",", "but", "no"):
            denied = kind == "no"
        elif kind in GARMENTS and not denied:
            garment = kind
            claims += [("garment" if kind == "upper" else kind, value)] if value else []
        elif kind in THINGS or kind == "outer":
            claims.append((kind, "no" if denied else value))
        elif kind in MODIFIERS and not denied:
            claims += _modifier(kind, value, _owner(marks, i, garment))
        elif kind == "gender" or (kind == "neckline" and about_neck):
            claims.append((kind, value))
    return garment


def _owner(marks: list[tuple[str, str]], i: int, garment: str | None) -> str | None:
    """What the modifier at i belongs to: the noun after it if only modifiers stand between, else the last garment."""
    following = next((kind for kind, _ in marks[i + 1 :] if kind not in MODIFIERS), None)
    return following if following in GARMENTS or following in THINGS else garment


def _modifier(kind: str, value: str, owner: str | None) -> list[tuple[str, str]]:
    if kind == "sleeve":
        return [(kind, value)] if owner != "outer" else []
    if kind == "length":
        return [(kind, value)] if owner == "lower" else []
    return [(GARMENTS[owner] + kind, value)] if owner in GARMENTS else []


# ---- scoring --------------------------------------------------------------------------------------------------------


def mark(caption: str, attributes: Mapping[str, str | None]) -> dict[str, bool]:
    """Right or wrong for one caption against the truth of its picture, attribute by attribute.

    Every attribute that the picture shows is marked. Saying nothing of a hat, glasses, belt, ring, wrist accessory,
    neckwear, socks or outer garment means that there is none; saying nothing of any other attribute is wrong, and so
    is a contradiction. What the picture does not show (None or missing: the sleeves under a coat) is marked, as
    wrong, only if the caption claims it: silence about it earns nothing.
    """
    claimed = read_attributes(caption)
    truth = {name: value for name, value in attributes.items() if value is not None}
    silent = dict.fromkeys((*THINGS, "outer"), "no")
    marks = {name: claimed.get(name, silent.get(name)) == value for name, value in truth.items()}
    return marks | dict.fromkeys(claimed.keys() - truth.keys(), False)


def attribute_accuracy(
    captions: Iterable[str],
    attributes: Iterable[Mapping[str, str | None]],
    mark: Callable[[str, Mapping[str, str | None]], dict[str, bool]] = mark,
) -> dict[str, float]:
    """The share of right marks (see `mark`), 0 to 1, per attribute and, pooled over all marks, as "overall".

    Raises ValueError when there are not as many captions as truths.
    """
    right, total = Counter(), Counter()
    for caption, truth in zip(captions, attributes, strict=True):
        marks = mark(caption, truth)
        right.update(name for name, is_right in marks.items() if is_right)
        total.update(marks.keys())
    scores = {name: right[name] / count for name, count in total.items()}
    return {"overall": right.total() / total.total(), **scores}
