"""XMP sidecars, as photo programs have them: a.xmp (Lightroom) or a.jpg.xmp (darktable, digiKam).

The caption is `dc:description` in one language. All else in the file stays, in the order and spelling of exiv2, with
which darktable and digiKam write it, too. Reads and writes through pyexiv2 (`pip install 'captioning[xmp]'`).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path, PurePath

from captioning.data.config import Beside
from captioning.data.files import BrokenSource
from captioning.data.formats import sidecars
from captioning.data.formats.tree import Tree, split_of
from captioning.data.readers import Row, Rows, new_row
from captioning.writing import write as write_file

KEY = "Xmp.dc.description"
EMPTY = b"""<?xml version="1.0" encoding="UTF-8"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>"""


def require() -> None:
    """Raises ValueError, which says how to get it, where pyexiv2 is not installed."""
    if not find_spec("pyexiv2"):
        raise ValueError("xmp needs pyexiv2: pip install 'captioning[xmp]'")


def beside(picture: PurePath, files: set[PurePath]) -> PurePath | None:
    names = (PurePath(f"{picture}.xmp"), picture.with_suffix(".xmp"))
    return next((path for path in names if path in files), None)


def find(tree: Tree) -> list[PurePath]:
    """Those with a description, where pyexiv2 is there to read it; most such files say other things."""
    if not find_spec("pyexiv2"):
        return []
    files = set(tree.files)
    found = [path for picture in tree.pictures if (path := beside(picture, files))]
    return [path for path in found if descriptions((tree.folder / path).read_bytes(), tree.folder / path)]


def read(tree: Tree, found: list[PurePath], split: str) -> Rows:
    """A row a picture; its caption is the description in the default language, or the only one."""
    files = set(found)
    for picture in tree.pictures:
        path = beside(picture, files)
        texts = descriptions((tree.folder / path).read_bytes(), tree.folder / path) if path else {}
        said = texts.get("x-default", next(iter(texts.values()), None))
        yield split_of(picture, split), new_row(tree.folder, picture.as_posix(), said and [said], tree.folder)


def descriptions(data: bytes, path: Path) -> dict[str, str]:
    """{language: description}."""
    import pyexiv2

    try:
        with pyexiv2.ImageData(data) as image:
            found = image.read_xmp().get(KEY, {})
    except RuntimeError as error:
        raise BrokenSource(f"{path}: no XMP ({error}); repair or remove it") from error
    return (
        {name.removeprefix('lang="').rstrip('"'): text for name, text in found.items()}
        if isinstance(found, dict)
        else {}
    )


def merged(old: bytes | None, text: str, options: Beside, place: Path) -> bytes | None:
    """What is to be in the file; None: it is left as it is."""
    import pyexiv2

    data = old or EMPTY
    known = descriptions(data, place)
    said = sidecars.combined(known.get(options.language, ""), text, options.existing, options.joint or " ")
    if said is None:
        return None
    texts = {"x-default": said} | known | {options.language: said}
    with pyexiv2.ImageData(data) as image:
        image.modify_xmp({KEY: {f'lang="{language}"': each for language, each in texts.items()}})
        return image.get_bytes()


def write(rows: list[Row], folder: Path) -> None:
    """A new a.xmp beside each picture that has captions, one text. Raises ValueError where two would share one."""
    require()
    sidecars.check_apart([row["file"] for row in rows], ".xmp")
    for row in rows:
        if row["captions"]:
            place = (folder / row["file"]).with_suffix(".xmp")
            write_file(place, merged(None, " ".join(row["captions"]), Beside(), place))
