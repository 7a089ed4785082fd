"""`captioning data` and `prepare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from captioning import paths
from captioning.writing import dumps


def data(
    names: list[str],
    *,
    folder: Path | None = None,
    check: bool = False,
    show: Path | None = None,
    json: bool = False,
) -> None:
    """Download a data set into dataset/NAME, or say which files to put where; --check verifies a folder, --show FOLDER
    says what is seen in it.

    captioning data convert A B --to FORMAT writes a folder of one format in another.

    Args:
        names: flickr8k, flickr30k, coco, vizwiz, deepfashion, personality, OWNER/NAME of the Hugging Face hub, or
            folder: one of your own, which is checked; with --show also a format, where the folder could be of several
        folder: another folder than dataset/NAME
        check: only check what is there: counts, missing and unreadable pictures
        show: a folder, of which is said what would be read: format, splits, pictures, captions, five samples, and what
            is left out and why
        json: print what is wrong (--show: all that is seen) as JSON
    """
    if show:
        from captioning.data.formats.shown import look, told

        facts = look(show, *names[:1])
        print(dumps(facts, ensure_ascii=False) if json else told(facts))
        return
    if not names:
        raise ValueError("name a data set, or give --show FOLDER; captioning data --help lists them")
    for name in names:
        get(name, folder or paths.DATASET / name, check, json)


def get(name: str, folder: Path, check: bool, json: bool) -> None:
    from captioning.data import download, sources
    from captioning.data.styles import listed_styles, style_table, unlisted

    if not check:
        try:
            download.fetch(name, folder)
        except download.ByHand as message:
            sys.exit(str(message))
    findings = download.verify(name, folder)
    if json:
        print(findings.to_json(orient="records"))
        sys.exit(int(len(findings) > 0))
    if len(findings):
        print(findings.to_string(index=False))
        sys.exit(f"{folder}: {len(findings)} findings (above)")
    print(f"{folder}: complete")
    if name == "personality":
        print(unlisted(style_table(sources.load(name, folder), listed_styles(folder))))


def convert(source: Path, out: Path, *, to: str, data: str = "folder", link: bool = False) -> None:
    """Write the data set of a folder in another format.

    What the format has no place for (a second caption, a style) is said.

    Args:
        source: a folder of any format; captioning data --show FOLDER says what is seen in it
        out: a new folder, which gets the pictures, too; or a new file of captions beside the pictures
        to: the format: imagefolder, csv, sidecars, sidecar-lines, webdataset, ...; dataset/README.md shows each
        data: the format of the source, where the folder could be of several; or the name of a data set
        link: links to the pictures in place of copies
    """
    from captioning.data import sources
    from captioning.data.formats.convert import convert as write

    dataset = sources.load(data, source)
    for sentence in write(dataset, source, out, to, link):
        print(sentence, file=sys.stderr)
    print(f"{out}: {sum(map(len, dataset.values())):,} pictures as {to}")


def prepare(part: Literal["all", "fashion", "writer", "street", "vizwiz"] = "all") -> None:
    """Draw the embedded data sets and train the small models that several notebooks share (CAPTIONING_PROFILE).

    Args:
        part: fashion is for all chapters, writer and street for 04 and 05, vizwiz for 06
    """
    from captioning.course.fashion import fashion_data, fashion_encoder
    from captioning.course.street import street_rebuilt, street_writer
    from captioning.course.vizwiz import vizwiz_blip, vizwiz_data

    profile = paths.profile()
    if part in ("all", "fashion"):
        print(fashion_data(profile))
        print(f"encoder: {fashion_encoder(profile)}")
    if part in ("all", "writer"):
        print(f"writer: {street_writer(profile)}")
    if part in ("all", "street") and profile != "full":  # what the writers write; chapter 04 asks them in full
        print(f"street: {street_rebuilt(profile)}")
    if part in ("all", "vizwiz"):
        print(vizwiz_data(profile))
        print(f"BLIP: {vizwiz_blip(profile)}")


COMMANDS = {"data": data, "data convert": convert, "prepare": prepare}
