"""Getting the real data sets, and checking a folder that somebody filled.

`fetch` downloads what may be downloaded; where a form has to be signed, or the net cannot be reached, `ByHand` lists
which files go where. Archives stay in `<folder>/downloads`, which may be deleted once everything is unpacked.
"""

from __future__ import annotations

import functools
import os
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioning.data import sources
from captioning.data.files import BrokenSource
from captioning.data.readers import FLICKR_CAPTIONS, FLICKR_IMAGES
from captioning.disk import alone, room_for

if TYPE_CHECKING:
    import pandas as pd

COCO = "http://images.cocodataset.org"
FLICKR8K = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"
FLICKR8K_TEXT = f"{FLICKR8K}/Flickr8k_text.zip"
VIZWIZ = "https://vizwiz.cs.colorado.edu/VizWiz_final"
COCO_TEXT = f"{COCO}/annotations/annotations_trainval2014.zip"
KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
KARPATHY_SHA256 = "sha256:4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817"
FLICKR8K_TEXT_MD5 = "md5:bf6c1abcb8e4a833b7f922104de18627"
COCO_TEXT_SHA256 = "sha256:031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009"


@dataclass(frozen=True)
class Part:
    """Files of a data set that come from one place."""

    pattern: str  # what they are called, in the folder of the set
    count: int  # how many there are at least
    url: str  # an archive, or the page where a person gets it
    checksum: str | None = None  # as others publish it; None: unknown, the first download's is kept in SHA256SUMS
    into: str = "."  # where the archive is unpacked
    by_hand: str = ""  # what a person has to do; empty: it is downloaded
    # what the set's other layouts (dataset/README.md) have in its place: patterns, and how many files there are
    instead: dict[str, int] = field(default_factory=dict)

    def found(self, folder: Path) -> int:
        """How many of the files are there, in the layout that has the most of them."""
        layouts = self.instead | {self.pattern: self.count}
        return max(sum(1 for _ in folder.glob(files)) * self.count // count for files, count in layouts.items())


def pictures_in(folders: tuple[str, ...], count: int) -> dict[str, int]:
    """For `Part.instead`: the pictures in another folder."""
    return {f"{folder}/*.jpg": count for folder in folders} | {"*.jpg": count}


UNSPLIT_FLICKR8K = {"captions.txt": 1, "results.csv": 1, "dataset_flickr8k.json": 1}
KARPATHY_COCO = {"annotations/dataset_coco.json": 1, "dataset_coco.json": 1}
OFFICIAL_COCO = {f"annotations/captions_*{year}.json": 2 for year in (2014, 2017)}


# Checksums: TensorFlow Datasets' url_checksums (COCO, Karpathy), torch for R (Flickr8k), ParlAI (Personality-Captions).
SETS: dict[str, tuple[Part, ...]] = {
    "flickr8k": (
        Part("Flickr8k.token.txt", 1, FLICKR8K_TEXT, FLICKR8K_TEXT_MD5, instead=UNSPLIT_FLICKR8K),
        Part("Flickr_8k.*Images.txt", 3, FLICKR8K_TEXT, FLICKR8K_TEXT_MD5, instead=UNSPLIT_FLICKR8K),
        Part(
            "Flicker8k_Dataset/*.jpg",
            8_091,
            f"{FLICKR8K}/Flickr8k_Dataset.zip",
            "md5:f18a1e2920de5bd84dae7cf08ec78978",
            instead=pictures_in(FLICKR_IMAGES, 8_091),
        ),
    ),
    "flickr30k": (
        Part("dataset_flickr30k.json", 1, KARPATHY, KARPATHY_SHA256, instead=dict.fromkeys(FLICKR_CAPTIONS, 1)),
        Part(
            "flickr30k-images/*.jpg",
            31_783,
            "https://shannon.cs.illinois.edu/DenotationGraph/",
            by_hand="fill in the form there and unpack flickr30k-images.tar.gz",
            instead=pictures_in(FLICKR_IMAGES, 31_783),
        ),
    ),
    "coco": (
        Part("dataset_coco.json", 1, KARPATHY, KARPATHY_SHA256, instead=KARPATHY_COCO | OFFICIAL_COCO),
        Part("annotations/captions_*2014.json", 2, COCO_TEXT, COCO_TEXT_SHA256, instead=KARPATHY_COCO | OFFICIAL_COCO),
        Part(
            "val2014/*.jpg",
            40_504,
            f"{COCO}/zips/val2014.zip",
            "sha256:fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
            instead={"val2017/*.jpg": 5_000} | pictures_in(("images/val2014",), 40_504),
        ),
        Part(
            "train2014/*.jpg",
            82_783,
            f"{COCO}/zips/train2014.zip",
            "sha256:ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
            instead={"train2017/*.jpg": 118_287} | pictures_in(("images/train2014",), 82_783),
        ),
    ),
    "vizwiz": (
        Part("annotations/*.json", 3, f"{VIZWIZ}/caption/annotations.zip"),
        Part("val/*.jpg", 7_750, f"{VIZWIZ}/images/val.zip"),
        Part("test/*.jpg", 8_000, f"{VIZWIZ}/images/test.zip"),
        Part("train/*.jpg", 23_431, f"{VIZWIZ}/images/train.zip"),
    ),
    "deepfashion": (
        Part(
            "images/*.jpg",
            12_693,
            "https://github.com/yumingj/DeepFashion-MultiModal",
            by_hand="follow its link to the images (44,096, of which some have captions) and unpack them in images/",
        ),
        Part(
            "*captions.json",
            1,
            "https://github.com/yumingj/DeepFashion-MultiModal",
            by_hand="save its textual descriptions as captions.json, or a split of them as {train,test}_captions.json",
        ),
    ),
    "personality": (
        Part(
            "personality_captions/*.json",
            3,
            "http://parl.ai/downloads/personality_captions/personality_captions.tgz",
            "sha256:e0979d3ac0854395ee74f2c61a6bc467838cc292c3a9a62e891d8230d3a01365",
            into="personality_captions",
        ),
        Part(
            "yfcc_images/*.jpg",
            201_858,
            "https://multimediacommons.wordpress.com/yfcc100m-core-dataset/",
            by_hand="get access to YFCC100M there and save each picture as yfcc_images/<image_hash>.jpg",
        ),
    ),
}


class ByHand(RuntimeError):
    """Some files have to be put in place by a person; the message lists which, where, and where they come from."""


def fetch(name: str, folder: str | Path) -> None:
    """Download and unpack the parts of a data set that are not there yet, going on where an earlier call stopped.

    A folder of one's own ("folder") has no such parts; OWNER/NAME is a data set of the Hugging Face hub.
    Raises `ByHand` when parts are left that need a person or could not be reached.
    """
    folder = Path(folder).absolute()
    if sources.is_hub(name):
        _from_hub(name, folder)
    if not _parts(name):
        return
    folder.mkdir(parents=True, exist_ok=True)
    left: list[str] = []
    for part in _parts(name):
        if part.found(folder) >= part.count:
            continue
        with alone(folder):
            to_do = part.by_hand or _download(part, folder)
        found = part.found(folder)
        if found < part.count:
            left += [
                f"  {part.pattern}: expected {part.count:,}, found {found:,}",
                f"      {part.url}",
                f"      {to_do}",
            ]
    if left:
        raise ByHand(
            f"{name} is not complete. Put these into {folder}:\n"
            + "\n".join(left)
            + f"\nThen check it: python -m captioning data {name} --check"
        )


def verify(name: str, folder: str | Path, workers: int | None = None) -> pd.DataFrame:
    """All findings (columns `sources.FINDINGS`) about a folder; an empty table means that the set is complete.

    Kinds: "count" (files missing), "broken source", what `sources.read` left out, and what `sources.check` finds.
    """
    import pandas as pd

    folder = Path(folder).absolute()
    counts = [(part, part.found(folder)) for part in _parts(name)]
    findings = [
        ("", part.pattern, "count", f"found {found:,} files, expected {part.count:,}; from {part.url}")
        for part, found in counts
        if found < part.count
    ]
    try:
        dataset, left_out = sources.read(name, folder)
    except BrokenSource as error:
        return pd.DataFrame([*findings, ("", name, "broken source", str(error))], columns=list(sources.FINDINGS))
    tables = [pd.DataFrame(findings, columns=list(sources.FINDINGS)), left_out, sources.check(dataset, workers)]
    return pd.concat(tables, ignore_index=True)


def _from_hub(name: str, folder: Path) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        snapshot_download(name, repo_type="dataset", local_dir=folder)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise ByHand(
            f"{name}: no data set of this name could be had from the hub ({type(error).__name__}); correct the name, "
            f"log in where it asks for that (hf auth login), or put its files into {folder} yourself"
        ) from error


def _parts(name: str) -> tuple[Part, ...]:
    sets = dict.fromkeys((*sources.READERS, *sources.FOLDERS), ()) | SETS
    if name not in sets and not sources.is_hub(name):
        raise BrokenSource(f"unknown data set {name!r}, expected one of {', '.join(sets)}, or OWNER/NAME of the hub")
    return sets.get(name, ())


def _download(part: Part, folder: Path) -> str:
    """Download and unpack one archive. Returns what a person has to do if the files are still not there."""
    import pooch
    import requests

    archive = folder / "downloads" / part.url.rsplit("/", 1)[1]
    by_hand = f"download it and unpack it in {folder / part.into}"
    unpack = (pooch.Unzip if archive.suffix == ".zip" else pooch.Untar)(extract_dir=str(folder / part.into))
    try:
        with room_for(archive, "What was downloaded stays: make room"):
            pooch.retrieve(
                part.url,
                part.checksum or _kept_checksum(archive),
                fname=archive.name,
                path=archive.parent,
                downloader=functools.partial(_resuming, archive.with_name(f"{archive.name}.part")),
                processor=unpack,
            )
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        archive.unlink()
        return f"the download is no archive ({error}) and was deleted; try again"
    except requests.ConnectionError:  # its own text is a line of nested exceptions
        return f"{by_hand} (no connection to {part.url.split('/')[2]} from here)"
    except (OSError, ValueError) as error:  # an answer like 404, a full disk, a checksum that does not match
        return f"{by_hand}, or try again: the same command goes on where this stopped (failed here: {error})"
    if not part.checksum:
        _keep_checksum(archive)
    return f"it was unpacked in {folder / part.into}, but has other files than expected; compare with dataset/README.md"


def _resuming(part: Path, url: str, output: str, _pooch: Any) -> None:
    """A downloader for pooch, which has none that goes on after an interruption: the bytes so far stay in `part`."""
    import pooch
    import requests

    head = requests.head(url, allow_redirects=True, timeout=30)
    size = int(head.headers.get("content-length", 0)) if head.ok else 0
    done = part.stat().st_size if part.exists() else 0
    if done > size or head.headers.get("accept-ranges") != "bytes":
        done = 0
    with part.open("ab") as file:
        file.truncate(done)
        if not done or done < size:
            headers = {"Range": f"bytes={done}-"} if done else {}
            pooch.HTTPDownloader(progressbar=True, chunk_size=1 << 16, headers=headers)(url, file, None)
    os.replace(part, output)


def _kept_checksum(archive: Path) -> str | None:
    sums = archive.with_name("SHA256SUMS")
    lines = (line.split("  ") for line in sums.read_text().splitlines()) if sums.exists() else ()
    return next((f"sha256:{value}" for value, name in lines if name == archive.name), None)


def _keep_checksum(archive: Path) -> None:
    """In the format of `sha256sum`, so that `sha256sum -c SHA256SUMS` checks the archives too."""
    import pooch

    if _kept_checksum(archive) is None:
        with archive.with_name("SHA256SUMS").open("a") as sums:
            sums.write(f"{pooch.file_hash(str(archive))}  {archive.name}\n")
