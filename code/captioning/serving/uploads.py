"""Pictures that strangers send: single files and archives, of bounded number and size, read by name and never run."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from captioning.data.pictures import is_picture

PICTURE_BYTES = 20_000_000  # of one picture
PICTURES = 5_000  # of one archive
BYTES = 2_000_000_000  # of one archive, unpacked

ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")


class Refused(ValueError):
    """An upload that is not looked at; the message says why, for the one who sent it."""


def pictures(uploads: Iterable[Path], folder: Path) -> dict[str, str]:
    """{file: name to show} of all pictures among the uploads and in their archives, which are unpacked into `folder`.

    A file is called by a number, so that no name in an archive can lead out of the folder. Raises Refused for an
    archive that cannot be read or is too large, and where there is no picture at all.
    """
    found: dict[str, str] = {}
    for upload in uploads:
        if upload.name.lower().endswith(ARCHIVES):
            for name, content in entries(upload):
                file = folder / f"{len(found):05}{PurePosixPath(name).suffix.lower()}"
                file.write_bytes(content)
                found[str(file)] = name
        elif is_picture(PurePosixPath(upload.name)):
            found[str(upload)] = upload.name
    if not found:
        raise Refused("no picture there; send pictures (.jpg, .png, .webp, ...), or a .zip or .tar with such files")
    return found


def entries(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each picture in a zip or tar archive, in the order in which they are stored."""
    number = total = 0
    try:
        for name, size, open_entry in members(archive):
            if not is_picture(PurePosixPath(name)):
                continue
            number, total = number + 1, total + size
            if number > PICTURES or size > PICTURE_BYTES or total > BYTES:
                raise Refused(
                    f"{archive.name}: {name} is picture {number} and has {size / 1e6:.0f} MB; expected at most "
                    f"{PICTURES} pictures of {PICTURE_BYTES / 1e6:.0f} MB, {BYTES / 1e9:.0f} GB together; "
                    "send the rest in another archive"
                )
            with open_entry() as file:
                yield name, read(file, size)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise Refused(f"{archive.name}: cannot be unpacked ({error}); pack it again as .zip or .tar") from error


def members(archive: Path) -> Iterator[tuple[str, int, object]]:
    """(name, bytes, a function that opens it) of each ordinary file: no links, no devices."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16):
                    yield info.filename, info.file_size, lambda info=info: packed.open(info)
    else:
        with tarfile.open(archive) as packed:
            for info in packed:
                if info.isfile():
                    yield info.name, info.size, lambda info=info: packed.extractfile(info)


def read(file: BinaryIO, size: int) -> bytes:
    """The content, and not more of it than its archive says that there is."""
    content = file.read(size + 1)
    if len(content) != size:
        raise tarfile.TarError(f"an entry has not the {size} bytes that it is said to have")
    return content
