#!/usr/bin/env bash
# datasets 5.2.0: a metadata.jsonl at the root is not read where the pictures lie in folders of their splits.
#
# The list names every picture by its path (train/0.png), and the documentation shows both split folders and lists. One
# would expect the captions, or a word that the list is passed over. Seen: the pictures with a `label` and no `text`, and
# nothing said. A list in each split folder is read.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet datasets==5.2.0 pillow==12.3.0
HF_HOME="$place/hub" "$place/venv/bin/python" - "$place" <<'PYTHON'
import json
import sys
from pathlib import Path

from datasets import load_dataset
from PIL import Image

SPLITS = ("train", "validation")


def columns(folder, lists):
    """The columns of an image folder with two pictures, with these lists of captions."""
    for split in SPLITS:
        (folder / split).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / split / "0.png")
    for name, files in lists.items():
        entries = [{"file_name": file, "text": "a black square"} for file in files]
        (folder / name).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return load_dataset("imagefolder", data_dir=str(folder))["train"].column_names


place = Path(sys.argv[1])
root = columns(place / "root", {"metadata.jsonl": [f"{split}/0.png" for split in SPLITS]})
each = columns(place / "each", {f"{split}/metadata.jsonl": ["0.png"] for split in SPLITS})
print(f"a list at the root: {root}; a list in each split folder: {each}")
assert "text" not in root, "behaviour changed: a list at the root is read"
assert "text" in each, "behaviour changed: a list in a split folder is not read"
PYTHON
