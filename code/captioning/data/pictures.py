"""Which files are pictures, and reading one of any kind as 8-bit RGB."""

from __future__ import annotations

import functools
import io
import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import NoReturn

import numpy as np
from PIL import ExifTags, Image, features

from captioning.data import archives

MAX_PIXELS = 89_000_000  # decoded, where Pillow begins to warn; a 20,000 x 20,000 bomb has 400 million
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}  # Pillow knows them and leaves their pixels to others
CODECS = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}  # of formats that a Pillow may be built without
JPEG = "export it as JPEG or PNG"
UNREAD = {  # pictures that Pillow alone does not read, and what to do about them
    **dict.fromkeys((".heic", ".heif", ".hif"), f"install the package pillow-heif, or {JPEG}"),
    ".jxl": f"install the package pillow-jxl-plugin, or {JPEG}",
    **dict.fromkeys((".avif", ".avifs"), f"install a newer Pillow (11.3 or later), or {JPEG}"),
    **dict.fromkeys((".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"), f"a camera's raw file: {JPEG}"),
    **dict.fromkeys((".eps", ".svg"), f"a drawing: {JPEG}"),
}
PHOTOGRAPHS = sorted(Path(__file__).with_name("photographs").glob("*.jpg"))  # free to show: README.md there says whose
TURNS = {  # EXIF orientation: what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BrokenPicture(ValueError):
    """A picture that cannot be used. The message names the file, what was found in it and what to do."""


def hidden(path: PurePath) -> bool:
    """Whether a file (its path in a folder or an archive) is none of a person's: .ipynb_checkpoints/, ._a.jpg, ..."""
    return any(part.startswith(".") and part != ".." or part == "__MACOSX" for part in path.parts)


def files_in(folder: Path) -> list[Path]:
    """The files of a folder, in any depth and in order, as paths from there; `hidden` ones are not looked at.

    Raises PermissionError for a folder in it that nobody may look into: what is in there would be missed in silence.
    """

    def closed(error: OSError) -> NoReturn:
        raise PermissionError(
            f"{error.filename}: {error.strerror}, so what is in it cannot be seen; allow it (chmod u+rx), or name the "
            "other folders one by one"
        ) from error

    found = []
    for place, folders, names in os.walk(folder, onerror=closed):
        here = Path(place).relative_to(folder)
        folders[:] = [name for name in folders if not hidden(here / name)]
        found += [here / name for name in names if not hidden(here / name)]
    return sorted(found)


def is_picture(path: PurePath) -> bool:
    """Whether a file (its path in a folder or an archive) is a picture by its name.

    Those of `UNREAD` are too, so that they are named by `read_picture` and not passed over.
    """
    return (path.suffix.lower() in suffixes() or path.suffix.lower() in UNREAD) and not hidden(path)


@functools.cache
def formats() -> tuple[str, ...]:
    """The formats that this Pillow decodes itself, with its plugins: none that it would start another program for."""
    _plugins()
    missing = {format for format, codec in CODECS.items() if not features.check(codec)}
    return tuple(format for format in Image.OPEN if format not in NOT_DECODED | missing)


@functools.cache
def suffixes() -> frozenset[str]:
    """The suffixes (".jpg", ...) of `formats`."""
    readable = {*formats(), "MPO"}  # its JPEG plugin opens MPO
    return frozenset(suffix for suffix, format in Image.registered_extensions().items() if format in readable)


@functools.cache
def _plugins() -> None:
    """Pillow's own, and those of the packages that `UNREAD` names, where they are installed."""
    Image.init()
    if find_spec("pillow_heif"):
        import_module("pillow_heif").register_heif_opener()
    if find_spec("pillow_jxl"):
        import_module("pillow_jxl")  # registers itself


def read_picture(source: str | Path | bytes, size: int | None = None) -> Image.Image:
    """Decode a picture file (a path) or its content (bytes) to an upright RGB image.

    EXIF rotation is applied and the rest of the EXIF not looked at; transparency is laid over white, 16-bit grey is
    scaled to 8 bits; CMYK, palette and other modes are converted. With `size` (pixels) a JPEG may come back smaller
    than it is stored, no side below `size`: the decoder skips detail that a later resize would throw away, several
    times faster on large photographs, so that one of twice `MAX_PIXELS` (Pillow's own limit) can be read as well.

    Raises `BrokenPicture` for a file that is missing, empty, cut off, no picture, or of over `MAX_PIXELS`.
    """
    name, data = _content(source)
    cure = UNREAD.get(Path(name).suffix.lower(), "replace the file")
    try:
        with Image.open(io.BytesIO(data), formats=formats()) as picture:
            stored = f"{picture.width} x {picture.height} pixels"
            large = picture.width * picture.height > MAX_PIXELS
            # a progressive JPEG is held whole, and only then made smaller
            if size is not None and not (large and picture.info.get("progressive")):
                picture.draft(None, (size, size))
            if picture.width * picture.height <= MAX_PIXELS:
                return _to_rgb(_upright(picture))
            found, cure = f"{stored}, over the limit of {MAX_PIXELS:,}", "scale it down"
    except Image.DecompressionBombError as error:
        found, cure = f"over the limit of {MAX_PIXELS:,} pixels ({error})", "scale it down"
    except Image.UnidentifiedImageError:
        found = f"{len(data):,} bytes in no known picture format, the first are {data[:12]!r}"
    except Exception as error:  # damage makes decoders raise almost anything: OSError, SyntaxError, struct.error, ...
        found = f"damaged picture of {len(data):,} bytes ({type(error).__name__}: {error})"
    raise BrokenPicture(f"{name}: {found}; {cure}, or leave it out")


def problem(source: str | Path | bytes) -> str | None:
    """What is wrong with a picture, which is decoded in full; None where nothing is."""
    try:
        read_picture(source)
    except BrokenPicture as error:
        return str(error)
    return None


def _content(source: str | Path | bytes) -> tuple[str, bytes]:
    """A name for messages, and the bytes."""
    name, data = f"picture of {len(source):,} bytes" if isinstance(source, bytes) else str(source), source
    if not isinstance(data, bytes):
        try:
            data = archives.content(source)
        except OSError as error:
            raise BrokenPicture(
                f"{name}: cannot be read ({error.strerror}); restore the file, or leave it out"
            ) from error
    if not data:
        raise BrokenPicture(f"{name}: 0 bytes, expected a picture; get it again, or leave it out")
    return name, data


def _upright(picture: Image.Image) -> Image.Image:
    picture.load()  # here, so that what fails below is not the pixels
    try:
        turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # an odd entry makes the parser raise almost anything, and says nothing of the pixels
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        picture = _scaled_to_8_bits(picture)
    elif picture.mode == "F":
        raise ValueError("floating-point pixels, whose white is not known; store it with 8 or 16 bits")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def _scaled_to_8_bits(picture: Image.Image) -> Image.Image:
    """Grey levels 0..65535 to 0..255. Pillow's own conversion clips at 255, which turns such pictures white."""
    grey = np.asarray(picture).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError(f"grey levels {grey.min()} to {grey.max()}, expected 16 bits (0 to 65535)")
    return Image.fromarray(((grey + 128) // 257).astype(np.uint8))  # 65535 / 255 = 257, rounded
