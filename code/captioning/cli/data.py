"""`captioning data` and `prepare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from captioning import paths
from captioning.data.config import Beside
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
        show: a folder, or a file of captions in it, of which is said what would be read: format, splits, pictures,
            captions, five samples, and what is left out and why
        json: print what is wrong (--show: all that is seen) as JSON
    """
    if show:
        from captioning.data.formats.shown import look, told

        facts = look(show, *names[:1])
        print(dumps(facts, ensure_ascii=False) if json else told(facts))
        return
    if len(names) != 1:
        raise ValueError(f"{' '.join(names) or 'nothing'} named, expected one data set, or --show FOLDER")
    from captioning.data import download, sources
    from captioning.data.styles import listed_styles, style_table, unlisted

    [name] = names
    folder = folder or paths.DATASET / name
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


def convert(
    source: Path,
    out: Path,
    *,
    to: str,
    data: str = "folder",
    link: bool = False,
    existing: Literal["skip", "overwrite", "append", "prepend"] = "skip",
    before: str = "",
    after: str = "",
    joint: str | None = None,
    naming: Literal["stem", "file"] = "stem",
    language: str = "x-default",
    dry_run: bool = False,
) -> None:
    """Write the data set of a folder in another format.

    What the format has no place for (a second caption, a style) is said. Where A and B are one folder, sidecars,
    sidecar-lines and xmp are put beside its pictures; captioning caption --undo FILE takes that back.

    Args:
        source: a folder of any format, or a file of captions in it; captioning data --show FOLDER says what is seen
        out: a new folder, which gets the pictures, too; or a new file of captions beside the pictures
        to: imagefolder, csv, karpathy, coco-captions, coco-results, kohya, chat, webdataset, parquet, sidecars,
            sidecar-lines, xmp or gallery; docs/formats.md shows each
        data: the format of the source, where the folder could be of several; or the name of a data set
        link: links to the pictures in place of copies
        existing: beside pictures that have a text: skip them, overwrite the text, append or prepend
        before: text before each caption beside a picture, such as 'sks person, '
        after: text after each
        joint: between the text that is there and the caption; ', ' by default, a new line for sidecar-lines, a blank
            for xmp
        naming: of new files beside pictures: stem for a.txt, file for a.jpg.txt
        language: of the description in XMP, such as en-GB
        dry_run: only list what would be changed beside the pictures
    """
    from captioning.data import sources
    from captioning.data.formats import beside
    from captioning.data.formats.convert import convert as write

    options = Beside(existing, before, after, joint, naming, language)
    in_place = to in beside.KINDS and out.resolve() == source.resolve()
    if not in_place and (dry_run or options != Beside()):
        raise ValueError("--existing and what belongs to it are for sidecars and xmp beside the pictures of one folder")
    dataset = sources.load(data, source)
    home = source if source.is_dir() else source.parent
    if in_place:
        rows, lost = beside.rows_in(dataset, home, to, options)
    else:
        lost = write(dataset, home, out, to, link)
    for sentence in lost:
        print(f"{to}: {sentence}", file=sys.stderr)
    if not in_place:
        print(f"{out}: {sum(map(len, dataset.values())):,} pictures as {to}")
    elif dry_run:
        for line in beside.would_put(rows, source, to, options):
            print(line)
    else:
        told, unread = beside.put(rows, source, to, options)
        print(told)
        for message in unread:
            print(message, file=sys.stderr)
        if unread:
            sys.exit(f"captioning: texts that could not be added to: {len(unread)} (above); all others are done")


def prepare(part: Literal["all", "fashion", "writer", "street", "pupils", "vizwiz"] = "all") -> None:
    """Draw the embedded data sets and train the small models that several notebooks share (CAPTIONING_PROFILE).

    Args:
        part: fashion is for all chapters, writer and street for 04 and 05, pupils for 05, vizwiz for 06
    """
    from captioning.course.fashion import fashion_data
    from captioning.course.pupils import SEEDS, street_captions, street_pupil
    from captioning.course.street import street_rebuilt, street_writer
    from captioning.course.vizwiz import vizwiz_blip, vizwiz_data

    profile = paths.profile()
    if profile == "photos" and part not in ("all", "fashion"):
        raise ValueError(f"--part {part}: the chapters of the profile photos share fashion alone; leave --part out")
    if part in ("all", "fashion"):
        print(fashion_data(profile))
    if profile == "photos":
        return
    if part in ("all", "writer"):
        print(f"writer: {street_writer(profile)}")
    if part in ("all", "street") and profile != "full":  # what the writers write; chapter 04 asks them in full
        print(f"street: {street_rebuilt(profile)}")
    if part in ("all", "pupils") and profile != "full":
        for kind in street_captions(profile):
            print(f"pupils: {[str(street_pupil(profile, kind, seed)) for seed in SEEDS[profile]]}")
    if part in ("all", "vizwiz"):
        print(vizwiz_data(profile))
        print(f"BLIP: {vizwiz_blip(profile)}")


COMMANDS = {"data": data, "data convert": convert, "prepare": prepare}
