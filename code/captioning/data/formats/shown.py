"""What a folder is seen to be: its format, splits, pictures and captions, and what is left out of it and why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from captioning.data import sources
from captioning.data.formats.table import FORMATS, detect
from captioning.data.formats.tree import Tree

SAMPLES = 5
FILES = 3  # of captions, and of what is left out, that are named


def look(folder: Path, name: str = "folder") -> dict[str, Any]:
    """What is seen, as it can be written as JSON, of a folder or of a file of captions in it.

    Raises FileNotFoundError where there is none, BrokenSource where nothing can be read.
    """
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such file or folder; correct --show")
    tree = Tree.of(folder)
    found, files, _ = (name, FORMATS[name].find(tree), {}) if name in FORMATS else detect(tree)
    dataset, left_out = sources.read(name, folder)
    splits = {
        split: {
            "pictures": len(table),
            "captions": sum(map(len, table["captions"])),
            "captions a picture": {str(n): k for n, k in sorted(Counter(map(len, table["captions"])).items())},
        }
        for split, table in dataset.items()
    }
    rows = [row for table in dataset.values() for row in table.select(range(min(SAMPLES, len(table))))][:SAMPLES]
    return {
        "folder": str(folder),
        "format": found,
        "files": [path.as_posix() for path in files],
        "splits": splits,
        "samples": [{"image_id": row["image_id"], "captions": row["captions"]} for row in rows],
        "left out": left_out.to_dict("records"),
    }


def told(facts: dict[str, Any]) -> str:
    """For a person to read."""
    files, left = facts["files"], facts["left out"]
    named = f": {', '.join(files[:FILES])}" + (f" and {len(files) - FILES:,} more" if len(files) > FILES else "")
    lines = [f"{facts['folder']}: {facts['format']}{named if files else ''}"]
    for split, found in facts["splits"].items():
        each = ", ".join(f"{k:,} with {n}" for n, k in found["captions a picture"].items())
        lines.append(f"  {split}: {found['pictures']:,} pictures, {found['captions']:,} captions ({each})")
    lines += [f"  {row['image_id']}: {' | '.join(row['captions']) or 'no caption'}" for row in facts["samples"]]
    lines.append(f"left out: {len(left):,}" if left else "left out: nothing")
    for kind, count in Counter(row["kind"] for row in left).items():
        some = [row for row in left if row["kind"] == kind][:FILES]
        lines.append(f"  {count:,} x {kind}")
        lines += [f"    {row['split']} {row['image_id']}: {row['detail']}".replace("  ", " ") for row in some]
    return "\n".join(lines)
