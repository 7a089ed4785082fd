"""A run in one archive: weights, configuration and table of styles; and back.

An archive from elsewhere is not trusted: what would leave the folder is refused before anything is written.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from contextlib import ExitStack
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from captioning.disk import alone, hidden, require_room
from captioning.models.folders import saved_folder
from captioning.sharing.portable import export_model, without_paths
from captioning.writing import aside, claim_file, dumps, new_folder

END = bytes(2 * tarfile.BLOCKSIZE)  # of an archive: two empty blocks
KEPT = ("config.json", "experiment.json", "log.jsonl", "scores_*.json")  # of a run, beside its best model


def backup(run: Path, archive: Path, data_paths: bool = True) -> list[str]:
    """Write the model of a run, its configuration and its scores to a .tar archive; the names of the files in it.

    Without `data_paths`, for publishing, the model is made to load on any machine (`portable.export_model`), and every
    path in the settings is cut to its last name. Written aside and renamed. Raises FileNotFoundError where
    there is no saved model, FileExistsError for an archive that is there, BlockingIOError when another process writes
    it, DiskFull.
    """
    claim_file(archive)
    with alone(archive), ExitStack() as stack:
        best = saved_folder(run)
        files = {path.name: path for pattern in KEPT for path in sorted(run.glob(pattern)) if run != best}
        if not data_paths:
            best = hidden(archive.resolve(), "gone")  # there is room, and what a kill leaves there is cleared away
            stack.callback(shutil.rmtree, best, ignore_errors=True)
            export_model(run, best)
        files |= {f"best/{path.name}": path for path in sorted(best.iterdir()) if path.is_file()}
        require_room(archive, sum(path.stat().st_size for path in files.values()))
        with aside(archive) as partial, tarfile.open(partial, "w") as packed:
            for name, path in files.items():
                add(packed, name, path, data_paths)
    return list(files)


def add(packed: tarfile.TarFile, name: str, path: Path, data_paths: bool) -> None:
    if data_paths or "/" in name or path.suffix != ".json":
        packed.add(path, name, filter=anonymous)
        return
    content = dumps(without_paths(json.loads(path.read_text(encoding="utf-8"))), indent=2).encode()
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    packed.addfile(anonymous(entry), io.BytesIO(content))


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without who wrote the file, on which machine."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o644
    return entry


def restore(archive: Path, folder: Path) -> list[str]:
    """Unpack an archive of `backup` into a new folder; the names of its files.

    Raises ValueError, before anything is written, for an archive that is cut, with names that leave the folder, with
    links or devices, or without a saved model; FileExistsError where the folder holds something already; DiskFull.
    """
    try:
        with new_folder(folder) as made:
            names = unpack(archive, made)
            saved_folder(made)
    except FileNotFoundError as error:
        raise ValueError(f"{archive}: {str(error).replace(str(made), 'the archive')}") from error
    return names


def unpack(archive: Path, folder: Path) -> list[str]:
    """Extract into `folder`. Raises ValueError listing what must not be in an archive."""
    try:
        with tarfile.open(archive) as packed:
            members = packed.getmembers()
            packed.fileobj.seek(packed.offset)
            if packed.fileobj.read(len(END)) != END:  # between two files nothing else tells that one is missing
                raise tarfile.ReadError("it is cut: there is no end")
            bad = [f"{member.name} ({why})" for member in members if (why := refused(member))]
            if bad:
                raise ValueError(f"{archive} is refused, nothing was written: {'; '.join(bad[:10])}")
            require_room(folder, sum(member.size for member in members))
            packed.extractall(folder, members, filter="data")
            return [member.name for member in members if member.isfile()]
    except tarfile.TarError as error:
        raise ValueError(
            f"{archive}: cannot be unpacked ({error}); expected an archive of `captioning backup`"
        ) from error


def refused(member: tarfile.TarInfo) -> str:
    """Why an entry must not be unpacked; empty where it may be."""
    parts = PureWindowsPath(member.name)  # knows both kinds of slashes
    if parts.root or parts.drive or PurePosixPath(member.name).is_absolute():
        return "an absolute path"
    if ".." in parts.parts:
        return "climbs out of the folder"
    if not (member.isfile() or member.isdir()):
        return f"a link to {member.linkname}" if member.issym() or member.islnk() else "neither a file nor a folder"
    return ""


def summary(folder: Path) -> str:
    """What a saved model is, in a line."""
    config: dict[str, Any] = json.loads((saved_folder(folder) / "config.json").read_text())
    styles = config.get("decoder", {}).get("styles") or ()
    return (
        f"{config.get('kind', config.get('model_type', 'adapters'))}{f' with {len(styles)} styles' if styles else ''}"
    )
