"""Pictures that lie inside another file, each named by a path with the bytes that are its own.

shards/00000.tar/1536+40960/000000012.jpg is the picture 000000012.jpg: 40,960 bytes of the archive, from byte 1,536
on. So a shard is neither unpacked nor looked through again, whatever the order in which its pictures are read. Of a
.tsv the bytes are base64, as MUGE has its pictures.
"""

from __future__ import annotations

import base64
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from captioning.data.files import BrokenSource

WITHIN = re.compile(r"(.+)[/\\](\d+)\+(\d+)[/\\][^/\\]+")


class Member(NamedTuple):
    """A file of an archive."""

    name: str  # its path there
    offset: int  # of its first byte
    size: int  # bytes


def members(archive: Path) -> Iterator[Member]:
    """The files of a tar archive that is not compressed, in their order; only their headers are read.

    Raises BrokenSource for one that is compressed, cut off or none.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            for entry in tar:
                if entry.isreg():
                    yield Member(entry.name.removeprefix("./"), entry.offset_data, entry.size)
                tar.members = []  # else all of them are kept
            if archive.stat().st_size < tar.offset + tarfile.BLOCKSIZE:  # no block of zeros, in which each ends
                raise tarfile.ReadError(f"cut off at byte {archive.stat().st_size:,}")
    except tarfile.TarError as error:
        raise BrokenSource(
            f"{archive}: no whole, uncompressed tar archive ({error}); get it again, or unpack it"
        ) from error


def within(archive: Path, member: Member) -> str:
    """The path that names a member."""
    return f"{archive}{os.sep}{member.offset}+{member.size}{os.sep}{os.path.basename(member.name)}"


def file_of(source: str | Path) -> str:
    """The file on the disk that holds a picture: the picture's own, or the archive that its path leads into."""
    found = WITHIN.fullmatch(str(source))
    return found[1] if found and os.path.isfile(found[1]) else str(source)


def content(source: str | Path) -> bytes:
    """The bytes of a picture, wherever it lies. Raises OSError where it cannot be read."""
    holder = file_of(source)
    if holder == str(source):
        return Path(source).read_bytes()
    _, offset, size = WITHIN.fullmatch(str(source)).groups()
    with open(holder, "rb") as file:
        file.seek(int(offset))
        data = file.read(int(size))
    return base64.urlsafe_b64decode(data) if holder.endswith(".tsv") else data


def size(source: str | Path) -> int:
    """The bytes of a picture as it is stored."""
    held = file_of(source) != str(source)
    return int(WITHIN.fullmatch(str(source))[3]) if held else os.stat(source).st_size
