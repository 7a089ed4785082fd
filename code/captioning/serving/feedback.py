"""What people say about captions, kept as a data set that can be trained on.

FOLDER/images/         the pictures, upright JPEG without the camera's notes (place, time, serial number)
FOLDER/votes.jsonl     every vote, in order: picture, model, caption, good or not, correction
FOLDER/metadata.jsonl  the data set, in the layout of `--data folder`: for each picture the captions that people wrote
                       or called good; a tenth of the pictures is val

`metadata.jsonl` follows from the votes and is written anew with each.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock
from PIL import Image

from captioning.disk import left_over
from captioning.writing import dumps, refuse_others, write

LONGEST = 1000  # letters of a correction


@dataclass(frozen=True)
class Vote:
    model: str
    caption: str  # what the model said
    good: bool
    correction: str = ""  # what it should have said
    style: str = ""  # that was asked for


def save(folder: Path, picture: Image.Image, vote: Vote) -> Path:
    """Add a vote on a picture (upright RGB); the path of the picture's file. Safe for several processes at once.

    Raises ValueError for a correction of over `LONGEST` letters.
    """
    if len(vote.correction) > LONGEST:
        raise ValueError(f"the caption has {len(vote.correction)} letters, expected at most {LONGEST}")
    style = quote(vote.style, safe="")  # a picture and style is an item
    name = f"images/{hashlib.sha256(picture.tobytes()).hexdigest()[:20]}{style and '-' + style}.jpg"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not (folder / name).exists():
            written = io.BytesIO()
            picture.save(written, "JPEG", quality=95)
            write(folder / name, written.getvalue())
        votes = read_votes(folder)
        votes.append({"picture": name} | asdict(vote))
        write(folder / "votes.jsonl", lines(votes))
        write(folder / "metadata.jsonl", lines(rows(votes)))
    return folder / name


def claim(folder: Path) -> None:
    """Make sure that votes may go into a folder: a new one, an empty one, or one that has votes.

    Raises FileExistsError for a folder with other files, whose `metadata.jsonl` could be somebody's captions, and for a
    `votes.jsonl` of other lines.
    """
    names = [path.name for path in folder.iterdir() if not left_over(path)] if folder.exists() else []
    if not {"votes.jsonl", ".lock"} & {*names}:
        refuse_others(folder, names)
    elif not all({"picture", "model", "caption", "good"} <= vote.keys() for vote in read_votes(folder)):
        refuse_others(folder, ["votes.jsonl"])


def read_votes(folder: Path) -> list[dict]:
    path = folder / "votes.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def rows(votes: list[dict]) -> list[dict]:
    """A row a picture (and style) that has a caption from which a model may learn."""
    captions: dict[tuple[str, str], dict[str, None]] = {}
    for vote in votes:
        caption = " ".join(vote["correction"].split()) or (vote["caption"] if vote["good"] else "")
        if caption:
            captions.setdefault((vote["picture"], vote["style"]), {})[caption] = None
    return [
        {"file_name": picture, "captions": list(texts), "split": split(picture), "provenance": "human feedback"}
        | ({"style": style} if style else {})
        for (picture, style), texts in captions.items()
    ]


def split(picture: str) -> str:
    """A tenth of all pictures, by their content, are for validation."""
    return "val" if int(Path(picture).stem[:8], 16) % 10 == 0 else "train"


def lines(entries: list[dict]) -> bytes:
    return "".join(dumps(entry, ensure_ascii=False) + "\n" for entry in entries).encode()
