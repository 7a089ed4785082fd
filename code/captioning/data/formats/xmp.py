"""XMP sidecars, as photo programs have them: a.xmp (Lightroom) or a.jpg.xmp (darktable, digiKam).

The caption is `dc:description` in one language. All else in the file stays, in the order and spelling of exiv2, with
which darktable and digiKam write it, too. Reads and writes through pyexiv2 (`pip install 'captioning[xmp]'`).
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path, PurePath

from captioning.data.config import Beside
from captioning.data.files import BrokenSource
from captioning.data.formats import sidecars
from captioning.data.formats.tree import Tree, split_of
from captioning.data.readers import Row, Rows, new_row
from captioning.writing import write as write_file

KEY = "Xmp.dc.description"
LANGUAGE = re.compile("[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})?")  # of RFC 3066 what exiv2 writes: one hyphen at most
EMPTY = b"""<?xml version="1.0" encoding="UTF-8"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>"""


def require() -> None:
    """Raises ValueError, which says how to get it, where pyexiv2 is not installed."""
    if not find_spec("pyexiv2"):
        raise ValueError("xmp needs pyexiv2: pip install 'captioning[xmp]'")


def check_language(language: str) -> None:
    """Raises ValueError for what is no tag of a language, which exiv2 would not write."""
    if not LANGUAGE.fullmatch(language):
        raise ValueError(
            f"--language {language}: expected a tag as RFC 3066 has it, with one hyphen at most, such as en or en-GB; "
            "leave it out for x-default"
        )


def beside(picture: PurePath, files: set[PurePath]) -> PurePath | None:
    names = (PurePath(f"{picture}.xmp"), picture.with_suffix(".xmp"))
    return next((path for path in names if path in files), None)


def find(tree: Tree) -> list[PurePath]:
    """Those with a description, where pyexiv2 is there to read it; most such files say other things. Damaged ones may
    have one, too."""
    if not find_spec("pyexiv2"):
        return []
    files = set(tree.files)
    found = [path for picture in tree.pictures if (path := beside(picture, files))]
    return [path for path in found if any(_seen(tree.folder / path))]


def read(tree: Tree, found: list[PurePath], split: str) -> Rows:
    """A row a picture; its caption is the description in the default language, or the only one. Of a damaged file the
    row says so."""
    files = set(found)
    for picture in tree.pictures:
        path = beside(picture, files)
        texts, wrong = _seen(tree.folder / path) if path else ({}, "")
        said = texts.get("x-default", next(iter(texts.values()), None))
        row = new_row(tree.folder, picture.as_posix(), said and [said], tree.folder)
        yield split_of(picture, split), row | ({"unread": wrong} if wrong else {})


def _seen(path: Path) -> tuple[dict[str, str], str]:
    """The descriptions in a file, and what is wrong with it."""
    try:
        return descriptions(path.read_bytes(), path), ""
    except BrokenSource as error:
        return {}, str(error)


def descriptions(data: bytes, path: Path) -> dict[str, str]:
    """{language: description}; of an empty file there is none."""
    import pyexiv2

    try:
        with pyexiv2.ImageData(data or EMPTY) as image:
            found = image.read_xmp().get(KEY, {})
    except RuntimeError as error:
        raise BrokenSource(f"{path}: no XMP ({error}); repair or remove it") from error
    return (
        {name.removeprefix('lang="').rstrip('"'): text for name, text in found.items()}
        if isinstance(found, dict)
        else {}
    )


def merged(old: bytes | None, text: str, options: Beside, place: Path) -> bytes | None:
    """What is to be in the file; None: it is left as it is. Raises BrokenSource where it cannot be read or written."""
    import pyexiv2

    data, joint = old or EMPTY, " " if options.joint is None else options.joint
    known = descriptions(data, place)
    said = sidecars.combined(known.get(options.language, ""), text, options.existing, joint)
    if said is None:
        return None
    texts = {"x-default": said} | known | {options.language: said}
    try:
        with pyexiv2.ImageData(data) as image:
            image.modify_xmp({KEY: {f'lang="{language}"': each for language, each in texts.items()}})
            return image.get_bytes()
    except RuntimeError as error:  # a language that another program has put there and exiv2 does not write
        raise BrokenSource(f"{place}: cannot be written ({error}), left as it is; mend the tag in it") from error


def write(rows: list[Row], folder: Path) -> None:
    """A new a.xmp beside each picture that has captions, one text. Raises ValueError where two would share one."""
    require()
    sidecars.check_apart([row["file"] for row in rows], ".xmp")
    for row in rows:
        if row["captions"]:
            place = (folder / row["file"]).with_suffix(".xmp")
            write_file(place, merged(None, " ".join(row["captions"]), Beside(), place))
