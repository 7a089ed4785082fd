"""`captioning data` and `prepare`."""

from __future__ import annotations

import sys
from pathlib import Path

from captioning import paths
from captioning.data import download
from captioning.profiles import fashion_data, fashion_encoder, vizwiz_blip, vizwiz_data


def data(name: str, folder: Path | None = None, check: bool = False) -> None:
    """Download a data set into dataset/NAME, or say which files to put where; --check verifies a folder.

    Args:
        name: flickr8k, flickr30k, coco, vizwiz, deepfashion or personality
        folder: another folder than dataset/NAME
        check: only check what is there: counts, missing and unreadable pictures
    """
    folder = folder or paths.DATASET / name
    if not check:
        try:
            download.fetch(name, folder)
        except download.ByHand as message:
            sys.exit(str(message))
    findings = download.verify(name, folder)
    if len(findings):
        print(findings.to_string(index=False))
        sys.exit(f"{folder}: {len(findings)} findings (above)")
    print(f"{folder}: complete")


def prepare() -> None:
    """Draw the embedded data sets, train the small encoder that the notebooks share, and a tiny BLIP for chapter 06."""
    profile = paths.profile()
    print(fashion_data(profile))
    print(f"encoder: {fashion_encoder(profile)}")
    print(vizwiz_data(profile))
    print(f"BLIP: {vizwiz_blip(profile)}")


COMMANDS = {"data": data, "prepare": prepare}
