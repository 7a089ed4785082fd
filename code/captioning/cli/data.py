"""`captioning data` and `prepare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from captioning import paths


def data(name: str, folder: Path | None = None, check: bool = False, json: bool = False) -> None:
    """Download a data set into dataset/NAME, or say which files to put where; --check verifies a folder.

    Args:
        name: flickr8k, flickr30k, coco, vizwiz, deepfashion, personality, or folder: one of your own, which is checked
        folder: another folder than dataset/NAME
        check: only check what is there: counts, missing and unreadable pictures
        json: print what is wrong as JSON, a list that is empty when all is there
    """
    from captioning.data import download, sources
    from captioning.data.styles import listed_styles, style_table, unlisted

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


def prepare(part: Literal["all", "fashion", "writer", "street", "vizwiz"] = "all") -> None:
    """Draw the embedded data sets and train the small models that several notebooks share (CAPTIONING_PROFILE).

    Args:
        part: fashion is for all chapters, writer and street for 04 and 05, vizwiz for 06
    """
    from captioning.course.fashion import fashion_data
    from captioning.course.street import street_rebuilt, street_writer
    from captioning.course.vizwiz import vizwiz_blip, vizwiz_data

    profile = paths.profile()
    if part in ("all", "fashion"):
        print(fashion_data(profile))
    if part in ("all", "writer"):
        print(f"writer: {street_writer(profile)}")
    if part in ("all", "street") and profile != "full":  # what the writers write; chapter 04 asks them in full
        print(f"street: {street_rebuilt(profile)}")
    if part in ("all", "vizwiz"):
        print(vizwiz_data(profile))
        print(f"BLIP: {vizwiz_blip(profile)}")


COMMANDS = {"data": data, "prepare": prepare}
