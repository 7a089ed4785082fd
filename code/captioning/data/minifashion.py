"""Mini-fashion: people drawn from sampled attributes, captioned from the same attributes. No download, known truth.

The captions follow the grammar of DeepFashion-MultiModal (Jiang et al., Text2Human, 2022); `fashion_captions` writes
them and reads the attributes back out of any caption. Colour, pose, skin, hair and place vary and are never named.

The variant *street* stands the people in front of `scenes`: their captions describe the clothes alone, as those of a
fashion data set do; what else can be seen is in `attributes` and, as a sentence, in the column `background`. In
*personality* the plain pictures are captioned in the voices of `personalities`, named in the column `style`.
"""

import json
import os
import random
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from captioning.data import drawing
from captioning.data.drawing import Box, draw
from captioning.data.fashion_captions import attribute_accuracy, describe, mark, read_attributes
from captioning.data.personalities import voiced
from captioning.data.scenes import SCENE, describe_scene, mark_scene, sample_scene, scene_claims, scene_facts
from captioning.data.workers import forked
from captioning.disk import alone
from captioning.writing import replaced

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datasets import DatasetDict

__all__ = [
    "ATTRIBUTES",
    "SCENE",
    "SIZES",
    "attribute_accuracy",
    "boxes",
    "build",
    "claims",
    "describe",
    "draw",
    "facts",
    "mark",
    "mark_all",
    "read_attributes",
    "sample_attributes",
]

FABRICS = ("cotton", "denim", "leather", "chiffon", "knitting", "furry")
PATTERNS = ("solid color", "striped", "lattice", "floral", "graphic", "color block")
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "gender": ("woman", "man"),
    "garment": ("tank top", "t-shirt", "shirt", "sweater"),
    "sleeve": ("sleeveless", "short", "medium", "long"),
    "neckline": ("round", "v-shape", "square", "suspenders", "lapel", "stand"),
    "fabric": FABRICS,
    "pattern": PATTERNS,
    "lower": ("trousers", "shorts", "skirt"),
    "length": ("three-point", "medium", "three-quarter", "long"),
    "lower_fabric": FABRICS,
    "lower_pattern": PATTERNS,
    "outer": ("no", "yes"),
    "outer_fabric": FABRICS,
    "outer_pattern": ("solid color", "striped", "lattice", "floral", "color block"),
    "hat": ("no", "yes"),
    "glasses": ("no", "glasses", "sunglasses"),
    "belt": ("no", "yes"),
    "ring": ("no", "yes"),
    "wrist": ("no", "yes"),
    "neckwear": ("no", "yes"),
    "socks": ("no", "yes"),
}
# The patterns that can be made out on a fabric. Some stand twice, so that all patterns are about equally frequent.
WOVEN = {
    "cotton": ("solid color", "striped", "lattice", "lattice", "floral", "floral", "graphic", "graphic"),
    "denim": ("solid color", "striped", "floral", "graphic", "color block"),
    "leather": ("solid color", "striped", "graphic", "color block"),
    "chiffon": ("solid color", "striped", "lattice", "lattice", "floral", "floral", "color block"),
    "knitting": ("solid color", "striped", "graphic", "color block"),
    "furry": ("solid color", "striped", "color block"),
}
# What goes with what: the sleeves and necklines of a garment, the lengths of a lower garment.
SLEEVES = {
    "tank top": ("sleeveless",),
    "t-shirt": ("short", "short", "medium", "long"),
    "shirt": ("short", "medium", "long"),
    "sweater": ("medium", "long"),
}
NECKLINES = {
    "tank top": ("round", "v-shape", "square", "suspenders", "suspenders"),
    "t-shirt": ("round", "v-shape", "square"),
    "shirt": ("lapel", "lapel", "stand"),
    "sweater": ("round", "v-shape", "stand"),
}
LENGTHS = {
    "trousers": ("three-quarter", "long", "long"),
    "shorts": ("three-point", "medium"),
    "skirt": ("three-point", "medium", "three-quarter"),
}
CATEGORIES = {  # the garment's name in a DeepFashion file name, for women and for men
    "tank top": ("Tees_Tanks", "Tees_Tanks"),
    "t-shirt": ("Tees_Tanks", "Tees_Tanks"),
    "shirt": ("Blouses_Shirts", "Shirts_Polos"),
    "sweater": ("Sweaters", "Sweaters"),
}
SIZES = {"train": 3000, "val": 300, "test": 300}
DRAWING = 7  # raise it with every change of the pictures or captions, so that older folders are not taken for new
VARIANTS = ("plain", "street", "personality")
ALONE = 100  # up to so many pictures are drawn faster than worker processes start


def sample_attributes(rng: random.Random) -> dict[str, str]:
    """The attributes that can be seen in one picture, in the order of ATTRIBUTES; those that cannot are left out.

    An outer garment hides the sleeves of the upper one, and long trousers hide socks (which are then "no": what
    cannot be seen is not there).
    """
    garment, outer = rng.choice(ATTRIBUTES["garment"]), _presence(rng, 0.35)
    necklines = NECKLINES[garment]
    if outer == "yes" and garment == "tank top":  # without its straps it could be a t-shirt
        necklines = ("suspenders",)
    lower = rng.choice(ATTRIBUTES["lower"])
    length = rng.choice(LENGTHS[lower])
    chosen = {
        "gender": "man" if lower != "skirt" and rng.random() < 0.62 else "woman",
        "garment": garment,
        "sleeve": rng.choice(SLEEVES[garment]),
        "neckline": rng.choice(necklines),
        "lower": lower,
        "length": length,
        "outer": outer,
        "glasses": rng.choice(ATTRIBUTES["glasses"]),
        **{name: _presence(rng, 0.42) for name in ("hat", "belt", "ring", "wrist", "neckwear")},
        "socks": _presence(rng, 0.6 if length != "long" else 0),
    }
    for prefix in ("", "lower_", "outer_"):
        fabric = rng.choice(FABRICS)
        pattern = rng.choice([name for name in WOVEN[fabric] if name in ATTRIBUTES[f"{prefix}pattern"]])
        chosen |= {f"{prefix}fabric": fabric, f"{prefix}pattern": pattern}
    hidden = ("sleeve",) if chosen["outer"] == "yes" else ("outer_fabric", "outer_pattern")
    return {name: chosen[name] for name in ATTRIBUTES if name not in hidden}


def _presence(rng: random.Random, share: float) -> str:
    return "yes" if rng.random() < share else "no"


def build(
    folder: str | Path,
    variant: str = "plain",
    sizes: dict[str, int] = SIZES,
    size: int = 224,
    seed: int = 0,
    captions: int = 1,
    workers: int | None = None,
) -> "DatasetDict":
    """The data set, drawn below `folder` if it is not there yet, else read.

    sizes: pictures per split. size: their side in pixels, by default that of most encoders.
    captions: 1 to 5 paraphrases per picture; personality has 1 in train and val and 5 in test, as Personality-Captions,
    and takes no other number.
    workers: processes that draw, all cores by default; the files do not depend on it.
    Each choice of settings has a folder of its own, written aside and renamed, so that a kill or a second process
    leaves nothing half-made. No two pictures share a person id or a combination of attributes.
    Raises ValueError for an unknown variant or a number of captions that it does not have.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant is {variant!r}, expected one of {VARIANTS}")
    if not 1 <= captions <= 5:
        raise ValueError(f"captions is {captions}, expected 1 to 5 a picture")
    if variant == "personality":
        if captions != 1:
            raise ValueError(
                f"captions is {captions}, but personality has 1 in train and val and 5 in test: leave it out"
            )
        return voiced(build(folder, sizes=sizes, size=size, seed=seed, workers=workers), seed)
    counts = "-".join(f"{split}{count}" for split, count in sizes.items())
    home = Path(folder).absolute() / f"{variant}{DRAWING}_{counts}_{size}px_{captions}captions_seed{seed}"
    if not home.exists():
        with alone(home, wait=True):
            if not home.exists():  # no other process has drawn it while this one waited
                with replaced(home) as aside:
                    _write(aside, variant, sizes, size, seed, captions, workers)
    return _read(home, variant, sizes)


def mark_all(caption: str, truth: "Mapping[str, str | None]") -> dict[str, bool]:
    """Right or wrong for each attribute of the person (`mark`) and, where the truth has one, of the place."""
    person = {name: value for name, value in truth.items() if name in ATTRIBUTES}
    return mark(caption, person) | (mark_scene(caption, truth) if truth.get("scene") else {})


def boxes(image_id: str, attributes: "Mapping[str, str | None]", size: int = 224, seed: int = 0) -> dict[str, Box]:
    """Where what is worn was drawn in the picture of a row: {layer of `drawing.Person`: (x0, y0, x1, y1)}, in parts of
    the picture. What was covered later counts, too. `size` and `seed` are those of `build`."""
    seen = {name: value for name, value in attributes.items() if value is not None}
    return drawing.boxes(seen, size, _generator(seed, image_id))


def _generator(seed: int, image_id: str) -> random.Random:
    return random.Random(f"minifashion {seed} {image_id} drawing")


def claims(caption: str) -> set[tuple[str, str]]:
    """Every claim of a caption about the person, (attribute, value), and about the place (`scenes.scene_claims`)."""
    worn = {(name, value) for name, value in read_attributes(caption).items() if value != "no"}
    return worn | scene_claims(caption)


def facts(truth: "Mapping[str, str | None]") -> set[tuple[str, str]]:
    """What is to be said of a picture, as `claims` has it; of what is not there nothing is to be said."""
    worn = {(name, truth[name]) for name in ATTRIBUTES if truth.get(name) not in (None, "no")}
    return worn | (scene_facts(truth) if truth.get("scene") else set())


def _write(
    folder: Path, variant: str, sizes: dict[str, int], size: int, seed: int, captions: int, workers: int | None
) -> None:
    rows = _rows(sizes, seed, captions)
    if variant == "street":
        rows = {split: [_in_a_place(row, seed) for row in rows[split]] for split in rows}
    for split in sizes:
        (folder / "images" / split).mkdir(parents=True)
    paint = partial(_paint, folder, size, seed)
    pictures = [(row["image"], row["attributes"]) for split in sizes for row in rows[split]]
    workers = workers or os.cpu_count()
    if workers == 1 or len(pictures) <= ALONE:
        for picture in pictures:
            paint(picture)
    else:
        with ProcessPoolExecutor(workers, forked(workers)) as pool:
            for _ in tqdm(pool.map(paint, pictures, chunksize=32), "drawing", len(pictures), leave=False, disable=None):
                pass
    for split in sizes:
        lines = "".join(json.dumps(row) + "\n" for row in rows[split])
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")


def _rows(sizes: dict[str, int], seed: int, captions: int) -> dict[str, list[dict]]:
    """Everything but the pixels. Combinations of attributes are unique over all splits."""
    rng = random.Random(f"minifashion {seed}")
    seen, rows, number = set(), {split: [] for split in sizes}, 0
    for split, count in sizes.items():
        while len(rows[split]) < count:
            attributes = sample_attributes(rng)
            if tuple(attributes.items()) in seen:
                continue
            seen.add(tuple(attributes.items()))
            number += 1
            rows[split].append(_row(split, number, attributes, captions, seed))
    return rows


def _row(split: str, number: int, attributes: dict[str, str], captions: int, seed: int) -> dict:
    man = attributes["gender"] == "man"
    name = f"{'MEN' if man else 'WOMEN'}-{CATEGORIES[attributes['garment']][man]}-id_{number:08d}-01_1_front"
    rng = random.Random(f"minifashion {seed} {name} captions")
    texts = [describe(attributes, rng) for _ in range(captions)]
    return {"image": f"images/{split}/{name}.png", "image_id": name, "captions": texts, "attributes": attributes}


def _in_a_place(row: dict, seed: int) -> dict:
    """The row of the plain variant with a place behind the person."""
    rng = random.Random(f"minifashion {seed} {row['image_id']} place")
    scene = sample_scene(rng)
    return row | {"attributes": row["attributes"] | scene, "background": describe_scene(scene, rng)}


def _paint(folder: Path, size: int, seed: int, picture: tuple[str, dict[str, str]]) -> None:
    name, attributes = picture
    image = draw(attributes, size, _generator(seed, Path(name).stem))
    image.save(folder / name, compress_level=3)


def _read(home: Path, variant: str, sizes: dict[str, int]) -> "DatasetDict":
    from datasets import Dataset, DatasetDict, Features, List, Value

    text, names = Value("string"), (*ATTRIBUTES, *(SCENE if variant == "street" else ()))
    columns = {"image": text, "image_id": text, "captions": List(text), "attributes": dict.fromkeys(names, text)}
    features = Features(columns | ({"background": text} if variant == "street" else {}))
    splits = {}
    for split in sizes:
        rows = [json.loads(line) for line in (home / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
        for row in rows:
            row["image"] = str(home / row["image"])
            row["attributes"] = {name: row["attributes"].get(name) for name in names}
        splits[split] = Dataset.from_list(rows, features=features)
    return DatasetDict(splits)
