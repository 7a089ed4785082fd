"""Prompts for models that are asked in words: by name, from a file or as they stand, with fields of the picture.

    Describe the picture in one sentence[, taken in {place}][ on {date}].

A part in square brackets that has fields is left out where the picture lacks one of them.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Mapping
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, IptcImagePlugin

from captioning.data import archives
from captioning.data.formats.sidecars import names

PROMPTS = {
    "sentence": "Describe the picture in one sentence.",
    "detailed": "Describe the picture in detail: what is seen, where it is, and what happens.",
    "alt-text": "Write an alternative text of the picture for who cannot see it, in at most 125 characters.",
    "better": 'Somebody described this picture as "{caption}". Correct and complete that, in one sentence.',
    "memory": "Describe the photograph[ taken in {place}][ on {date}] from the album {folder} in one sentence.",
}
FIELDS = {
    "name": "the file's name without its suffix",
    "folder": "the name of the folder that it lies in",
    "caption": "the text in the .txt or .caption beside it",
    "date": "the day on which it was taken, by its EXIF: 2026-05-31",
    "place": "where it was taken, by its IPTC (city, country), else degrees of latitude and longitude by its EXIF",
}
FIELD = re.compile(r"\{(\w*)\}")
OPTIONAL = re.compile(r"\[([^\[\]]*\{\w+\}[^\[\]]*)\]")
CITY, COUNTRY = (2, 90), (2, 101)  # of IPTC's application record
UNREADABLE = (SyntaxError, OSError, ValueError, TypeError, struct.error)  # by Pillow, of metadata not well formed


class MissingField(ValueError):
    """A picture lacks what its prompt says of it. The message names both."""


def prompt_of(asked: str) -> str:
    """The text of a prompt: of one that has a name, of a .txt file, or `asked` itself where it is no single word.

    Raises FileNotFoundError for a file that is not there, ValueError for an empty one, and for a name or a field that
    is not known.
    """
    if asked.endswith(".txt") and (os.path.isfile(asked) or len(asked.split()) == 1):
        text = Path(asked).read_text(encoding="utf-8").strip()
        if not text:
            raise ValueError(f"prompt {asked}: the file is empty, expected what the model is asked; write it there")
    elif asked not in PROMPTS and re.fullmatch(r"[\w-]+", asked):
        near = "".join(f"; did you mean {name!r}?" for name in get_close_matches(asked, PROMPTS, 1))
        raise ValueError(
            f"prompt {asked!r}: no prompt has this name{near or '; there are ' + ', '.join(PROMPTS)}. One of your own "
            "has several words, or stands in a .txt file"
        )
    else:
        text = PROMPTS.get(asked, asked)
    if unknown := sorted(set(FIELD.findall(text)) - FIELDS.keys()):
        known = ", ".join(f"{{{field}}} ({what})" for field, what in FIELDS.items())
        raise ValueError(f"prompt {text!r}: no field {{{unknown[0]}}}; there are {known}")
    return text


def fields_of(prompt: str) -> set[str]:
    return set(FIELD.findall(prompt))


def require_blind(prompt: str) -> None:
    """Raises ValueError for a prompt that tells the caption, where captions are learned or scored."""
    if "caption" in fields_of(prompt):
        raise ValueError(f"prompt {prompt!r}: tells the {{caption}} that is to be said; leave this field out")


def filled(prompt: str, picture: str | bytes) -> str:
    """The prompt with what its fields say of a picture. Raises MissingField where a field outside of brackets is not
    known of it."""
    known = {field: READERS[field](picture) for field in fields_of(prompt)}
    if not known:
        return prompt
    parts = OPTIONAL.split(prompt)  # what stands outside of brackets and, at odd places, inside
    return "".join(told(part, known, picture, optional=bool(i % 2)) for i, part in enumerate(parts))


def told(part: str, known: dict[str, str], picture: str | bytes, optional: bool) -> str:
    lacking = [field for field in FIELD.findall(part) if not known[field]]
    if lacking and optional:
        return ""
    if lacking:
        name = picture if isinstance(picture, str) else "this picture"
        raise MissingField(
            f"{name}: nothing is known for {{{lacking[0]}}} of the prompt ({FIELDS[lacking[0]]}); put that part of the "
            "prompt into [square brackets], which are left out then"
        )
    return FIELD.sub(lambda field: known[field[1]], part)


def name(picture: str | bytes) -> str:
    return "" if isinstance(picture, bytes) else Path(picture).stem


def folder(picture: str | bytes) -> str:
    return "" if isinstance(picture, bytes) else Path(picture).absolute().parent.name


def caption(picture: str | bytes) -> str:
    if isinstance(picture, bytes):
        return ""
    found = next((path for path in names(Path(picture)) if path.is_file()), None)
    return " ".join(found.read_text(encoding="utf-8", errors="replace").split()) if found else ""


def date(picture: str | bytes) -> str:
    with opened(picture) as image:
        exif = exif_of(image, ExifTags.IFD.Exif)
    said = (str(exif.get(tag)) for tag in (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized))
    found = (re.match(r"(?!0000)(\d{4}):(\d\d):(\d\d)", text) for text in said)
    return next(("-".join(day.groups()) for day in found if day), "")


def place(picture: str | bytes) -> str:
    with opened(picture) as image:
        written, gps = iptc_of(image), exif_of(image, ExifTags.IFD.GPSInfo)
    said = [written.get(key) for key in (CITY, COUNTRY)]
    names = [name.decode(errors="replace").strip() for name in said if isinstance(name, bytes)]  # none given twice
    if any(names):
        return ", ".join(filter(None, names))
    latitude = degrees(gps.get(ExifTags.GPS.GPSLatitude), gps.get(ExifTags.GPS.GPSLatitudeRef))
    longitude = degrees(gps.get(ExifTags.GPS.GPSLongitude), gps.get(ExifTags.GPS.GPSLongitudeRef))
    return f"{latitude}, {longitude}" if latitude and longitude else ""


def degrees(parts: object, towards: object) -> str:
    """48.8583 N, of degrees, minutes and seconds; "" for what is none of it."""
    if not isinstance(parts, tuple) or not parts or not towards:
        return ""
    try:
        whole = sum(float(Fraction(part)) / 60**i for i, part in enumerate(parts))
    except (ZeroDivisionError, OverflowError, ValueError, TypeError):  # 0/0, 1/0, words
        return ""
    return f"{whole:.4f} {towards}"


def exif_of(image: Image.Image, directory: ExifTags.IFD) -> Mapping[int, Any]:
    """What its EXIF says; nothing where that cannot be read."""
    try:
        return image.getexif().get_ifd(directory)
    except UNREADABLE:
        return {}


def iptc_of(image: Image.Image) -> Mapping[tuple[int, int], Any]:
    """What its IPTC says; nothing where that cannot be read."""
    try:
        return IptcImagePlugin.getiptcinfo(image) or {}
    except UNREADABLE:
        return {}


def opened(picture: str | bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture if isinstance(picture, bytes) else archives.content(picture)))


READERS = {"name": name, "folder": folder, "caption": caption, "date": date, "place": place}
