"""`captioning backup` and `restore`."""

from __future__ import annotations

from pathlib import Path


def backup(run: Path, out: Path | None = None, no_data_paths: bool = False) -> None:
    """Put a run into one archive: its best weights, tokenizer, configuration with the table of styles, and scores.

    Args:
        run: folder of a run or of a saved model
        out: the archive to write; RUN.tar by default. One that is there is not replaced
        no_data_paths: for publishing: cut every path in its settings to the last name, and merge adapters
            whose model lies on this machine into it, so that it loads on any other
    """
    from captioning.models.folders import saved_folder
    from captioning.sharing import backup as archives
    from captioning.sharing.portable import local_base

    out = out or run.with_name(f"{run.name}.tar")
    names = archives.backup(run, out, data_paths=not no_data_paths)
    print(f"{out}: {archives.summary(run)}, {len(names)} files, {out.stat().st_size / 1e6:.1f} MB")
    if not no_data_paths and (base := local_base(saved_folder(run))):
        print(f"they are adapters of {base}, which is not in it; with --no-data-paths they would be merged into that")


def restore(archive: Path, folder: Path) -> None:
    """Unpack an archive of `backup`; one that would write outside of the folder is refused.

    Args:
        archive: what `backup` wrote
        folder: a new or empty folder; the run is then in it
    """
    from captioning.sharing import backup as archives

    names = archives.restore(archive, folder)
    print(f"{folder}: {archives.summary(folder)}, {len(names)} files")


COMMANDS = {"backup": backup, "restore": restore}
