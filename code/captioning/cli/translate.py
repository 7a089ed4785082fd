"""`captioning translate`: the configuration of an earlier stylised-captioning project (OFA with ModelScope) as ours."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from captioning.data.files import read_json, unique

KEYS = {
    "model_name": str,
    "model_revision": str,
    "tokenize_style": bool,
    "img_addr": str,
    "dataset_path": str,
    "file_attr": str,
    "train_json": str,
    "test_json": str,
    "val_json": str,
    "work_dir": str,
    "prompt": str,
}
FIXED = {
    "file_attr": ".jpg",
    "train_json": "train.json",
    "val_json": "val.json",
    "test_json": "test.json",
    "prompt": "",
}
FOLDERS = {"dataset_path": ("personality_captions",), "img_addr": ("yfcc_images", "images")}
NEEDED = ("model_name", "dataset_path", "img_addr", "work_dir")
# What the earlier command did when its options said nothing: -e 3 -b 4 --lr 5e-5 --warm_up 0.01 ...
DEFAULTS = {
    "recipe": {"max_length": 17, "smoothing": 0.1},
    "training": {
        "epochs": 3,
        "batch_size": 4,
        "lr": 5e-5,
        "warmup": 0.01,
        "decay": "linear",
        "weight_decay": 0.001,
        "clip": 1.0,
    },
    "decoding": {"beams": 5, "max_length": 17, "no_repeat_ngram": 3},
}


def translate(old: Path) -> None:
    """Print an old JSON configuration (model_name, tokenize_style, img_addr, ...) as one for `captioning train ofa`.

    captioning translate trainer_config.json > new.yaml, and then captioning train ofa --config new.yaml

    Args:
        old: a configuration file of the earlier stylised-captioning project
    """
    new = yaml.safe_dump(translated(old), sort_keys=False)  # before anything is printed, into a file as a rule
    print(f"# {old.name} for `captioning train ofa --config`\n{new}", end="")


def translated(path: Path) -> dict[str, Any]:
    """The options of `captioning train ofa` that say what an old JSON configuration says.

    Where captions and pictures lie, and what the files are called, is for us a matter of layout (dataset/README.md);
    what does not follow it is an error that says what was found. Raises ValueError for that, and for keys that are
    unknown, missing or of another type.
    """
    old = read_json(path, dict, object_pairs_hook=lambda pairs: unique(path, pairs))
    complaints = [unknown(key, value) for key, value in old.items() if key not in KEYS]
    complaints += [f"{key} is missing" for key in NEEDED if key not in old]
    complaints += [
        f"{key} is {old[key]!r}, expected a {kind.__name__}"
        for key, kind in KEYS.items()
        if key in old and not isinstance(old[key], kind)
    ]
    complaints += [
        f"{key} is {old[key]!r}, expected {value!r}: there is no other here"
        for key, value in FIXED.items()
        if old.get(key, value) != value
    ]
    if complaints:
        raise ValueError(f"{path}: {'; '.join(complaints)}")
    folder = data_folder(old, path)
    style_by = "token" if old.get("tokenize_style") else "words"
    places = {"data": "personality", "folder": folder, "run": old["work_dir"].rstrip("/")}
    return {"start": {"weights": weights(old), "style_by": style_by, "trained_resnet": True}} | places | DEFAULTS


def weights(old: dict[str, Any]) -> str:
    """The model to go on from: a folder, if there is one of its name, else ModelScope's."""
    if Path(old["model_name"]).is_dir():
        return old["model_name"]
    from captioning.models.folders import MODELSCOPE

    revision = old.get("model_revision")
    return f"{MODELSCOPE}{old['model_name']}{f'@{revision}' if revision else ''}"


def unknown(key: str, value: Any) -> str:
    near = get_close_matches(key, KEYS, 1)
    return f"unknown key {key!r} with the value {value!r}{f', did you mean {near[0]!r}?' if near else ''}"


def data_folder(old: dict[str, Any], path: Path) -> str:
    """The folder in which captions and pictures lie, each in a folder that our reader looks in."""
    places = {key: Path(old[key]) for key in FOLDERS}
    wrong = [
        f"{key} is {old[key]!r}, expected a folder called {' or '.join(names)}"
        for key, names in FOLDERS.items()
        if places[key].name not in names
    ]
    if len({place.parent for place in places.values()}) > 1:
        wrong.append(f"{' and '.join(map(str, places.values()))} are not in one folder")
    if wrong:
        raise ValueError(f"{path}: {'; '.join(wrong)}; put both, or links to them, into one folder under such names")
    return str(places["dataset_path"].parent)


COMMANDS = {"translate": translate}
