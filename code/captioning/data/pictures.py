"""Reading one picture of any kind as 8-bit RGB."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 89_000_000  # where Pillow begins to warn; a 20,000 x 20,000 bomb has 400 million


class BrokenPicture(ValueError):
    """A picture that cannot be used. The message names the file, what was found in it and what to do."""


def read_picture(source: str | Path | bytes, size: int | None = None) -> Image.Image:
    """Decode a picture file (a path) or its content (bytes) to an upright RGB image.

    EXIF rotation is applied, transparency is laid over white, 16-bit grey is scaled to 8 bits; CMYK, palette and
    other modes are converted. With `size` (pixels) a JPEG may come back smaller than it is stored, no side below
    `size`: the decoder skips detail that a later resize would throw away, several times faster on large photographs.

    Raises `BrokenPicture` for a file that is missing, empty, cut off, no picture, or of over `MAX_PIXELS`.
    """
    name, data = _content(source)
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height <= MAX_PIXELS:
                if size is not None:
                    picture.draft(None, (size, size))
                return _to_rgb(ImageOps.exif_transpose(picture))
            found = f"{picture.width} x {picture.height} pixels, over the limit of {MAX_PIXELS:,}"
    except Image.DecompressionBombError as error:
        found = f"over the limit of {MAX_PIXELS:,} pixels ({error})"
    except Image.UnidentifiedImageError:
        found = f"{len(data):,} bytes in no known picture format, the first are {data[:12]!r}"
    except Exception as error:  # damage makes decoders raise almost anything: OSError, SyntaxError, struct.error, ...
        found = f"damaged picture of {len(data):,} bytes ({type(error).__name__}: {error})"
    raise BrokenPicture(f"{name}: {found}; replace the file, or drop its row (sources.check, then sources.healthy)")


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
            data = Path(source).read_bytes()
        except OSError as error:
            raise BrokenPicture(
                f"{name}: cannot be read ({error.strerror}); restore the file or drop its row"
            ) from error
    if not data:
        raise BrokenPicture(f"{name}: 0 bytes, expected a picture; download it again or drop its row")
    return name, data


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
