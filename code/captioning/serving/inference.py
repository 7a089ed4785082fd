"""Captions for picture files: written as they are made, and taken up again where they were stopped."""

from __future__ import annotations

import csv
import functools
import json
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from glob import glob
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor
from tqdm import tqdm

from captioning.data.batches import Pictures, Readers, picture_tensor
from captioning.data.pictures import BrokenPicture, files_in, is_picture
from captioning.data.workers import forked
from captioning.decoding.config import Decoding, DecodingChanges
from captioning.disk import alone
from captioning.models.base import CaptionModel
from captioning.models.inference import for_inference
from captioning.models.saved import load, saved_folder
from captioning.models.vlm import VisionLanguageModel, is_vlm
from captioning.models.vlm import load as load_vlm
from captioning.writing import append, claim_file, csv_line, dumps

FIELDS = ["image", "caption", "log_probability"]
HEADER = ",".join(FIELDS) + "\n"  # of a .csv
BEGINNINGS = {".csv": HEADER, ".jsonl": '{"image": "'}  # of the files that are written here
PHOTO_CAPTIONER = Path(__file__).with_name("photo_captioner")
TOGETHER = 2  # batches that a CPU captions at a time
DIVIDED = Lock()  # held by who has divided the threads: their number is that of the whole process
LIMITS = "It knows 6,000 photographs, most of people and dogs out of doors, and guesses elsewhere."

Rows = list[dict]  # a caption each, FIELDS
Engine = Callable[[CaptionModel, list[str], Decoding, int, int], Iterator[tuple[Rows, list[str]]]]


def is_file(path: Path) -> bool:
    """Also a link to nothing: whoever reads it says so."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def find_pictures(names: Iterable[str]) -> list[str]:
    """The picture files that files, folders (in any depth) and patterns name, each once, in order.

    Of a folder all that are pictures by their names (`is_picture`), also those that turn out not to be readable, and
    links to nothing.
    Raises FileNotFoundError for a name that nothing matches, PermissionError for a folder that is closed.
    """
    found: dict[str, None] = {}
    for name in names:
        path = Path(name)
        if path.is_dir():
            matches = [str(path / p) for p in files_in(path) if is_picture(p) and is_file(path / p)]
        else:
            matches = [name] if is_file(path) else [p for p in sorted(glob(name, recursive=True)) if is_file(Path(p))]
        if not matches:
            raise FileNotFoundError(f"{name}: no picture there; give files, folders or patterns ('photos/*.jpg')")
        found |= dict.fromkeys(matches)
    return list(found)


@dataclass(frozen=True)
class PictureBatch:
    """Pictures as the workers hand them over."""

    files: list[str]  # those that could be read
    images: Tensor  # (len(files), 3, S, S) uint8
    broken: list[str]  # what is wrong with the others


class ReadablePictures(Pictures):
    """(file, tensor), or (file, what is wrong) for a picture that cannot be read."""

    def __getitem__(self, row: int) -> tuple[str, Tensor | str]:
        try:
            return self.sources[row], super().__getitem__(row)
        except BrokenPicture as error:
            return self.sources[row], str(error)

    def batch(self, items: list[tuple[str, Tensor | str]]) -> PictureBatch:
        read = {file: image for file, image in items if isinstance(image, Tensor)}
        images = torch.stack(list(read.values())) if read else torch.empty(0, 3, self.image_size, self.image_size)
        return PictureBatch(list(read), images, [problem for _, problem in items if isinstance(problem, str)])


def captioned(
    model: CaptionModel,
    files: list[str],
    decoding: Decoding,
    batch_size: int,
    workers: int,
    style: str | None = None,
) -> Iterator[tuple[Rows, list[str]]]:
    """For each batch of files, in order: a row a caption, picture by picture, and what is wrong with unreadable ones.

    `style` is one that the model has. `workers` processes read ahead, two batches each and no more; without any it is
    done while the batches before are captioned. A CPU captions TOGETHER batches at a time, each with its part of the
    threads: of a batch that all of them share, many operations are too small for two.
    """
    threads, device, training = torch.get_num_threads(), next(model.parameters()).device, model.training
    pictures, encode = ReadablePictures(files, model.encoder.config.image_size), for_inference(model)
    begun = {"num_workers": workers, "multiprocessing_context": forked(workers)}

    def caption(batch: PictureBatch) -> tuple[Rows, list[str]]:
        return caption_rows(model, batch.files, encode(batch.images), decoding, style), batch.broken

    divides = device.type == "cpu" and DIVIDED.acquire(blocking=False)
    together = max(1, min(TOGETHER, threads, len(files))) if divides else 1
    pool = ThreadPoolExecutor(together, initializer=torch.set_num_threads, initargs=(threads // together,))
    try:
        size = min(batch_size, max(1, math.ceil(len(files) / together)))
        readers = Readers(pictures, batch_size=size, collate_fn=pictures.batch, **begun)
        batches = iter(readers)  # its processes are forked before the pool has threads
        model.eval()  # for all batches: `generate` would set it back while another batch still runs
        yield from in_order(pool, caption, batches, together)
    finally:
        pool.shutdown(cancel_futures=True)
        model.train(training)
        if divides:
            torch.set_num_threads(threads)  # of threads that are begun from now on
            DIVIDED.release()


def in_order(pool: Executor, work: Callable, items: Iterable, ahead: int) -> Iterator:
    """work(item) of each item, by a pool that has `ahead` more than one in hand."""
    begun = deque()
    for item in items:
        begun.append(pool.submit(work, item))
        if len(begun) > ahead:
            yield begun.popleft().result()
    for done in begun:
        yield done.result()


def caption_picture(
    picture: str | Path | bytes,
    model: str | Path | CaptionModel | VisionLanguageModel | None = None,
    decoding: Decoding | DecodingChanges | None = None,
    style: str | None = None,
) -> str:
    """`captioning.caption`."""
    if isinstance(picture, str | Path):
        picture = Path(picture)
        picture = picture.expanduser() if picture.parts[:1] == ("~",) else picture
        if picture.is_dir():
            raise IsADirectoryError(f"{picture}: a folder, expected a picture; `captioning caption FOLDER` takes it")
    elif not isinstance(picture, bytes):
        raise TypeError(f"a {type(picture).__name__}, expected the path of a picture, or the bytes of its file")
    model = shipped() if model is None else model
    if isinstance(model, str | Path):
        folder = saved_folder(model)
        model = loaded(folder, max(path.stat().st_mtime_ns for path in folder.iterdir()))
    if not isinstance(decoding, Decoding):
        decoding = replace(model.usual, **decoding or {})
    if isinstance(model, VisionLanguageModel):
        if style is not None:
            raise ValueError(f"style {style!r}: a vision-language model has none; ask for it in the prompt")
        return model.generate([model.read(str(picture) if isinstance(picture, Path) else picture)], decoding).best[0]
    image = picture_tensor(picture, model.encoder.config.image_size)
    device, styles = next(model.parameters()).device, None if style is None else [style]
    [text] = model.generate(image[None].to(device), decoding, styles).best
    return text


@functools.cache
def shipped() -> Path:
    """The captioner that comes with the package, for who names none; it is said once what it is."""
    print(f"no model is named: captions by the one that comes with the package. {LIMITS}", file=sys.stderr)
    return PHOTO_CAPTIONER


@functools.lru_cache(maxsize=4)
def loaded(folder: Path, written: int) -> CaptionModel | VisionLanguageModel:
    """The model of a folder that was written then, on the GPU if there is one."""
    if is_vlm(folder):
        return load_vlm(folder)
    return load(folder).to("cuda" if torch.cuda.is_available() else "cpu")


def caption_rows(
    model: CaptionModel, files: list[str], features: Tensor, decoding: Decoding, style: str | None = None
) -> Rows:
    """A row a caption of the pictures with these features (len(files), N, C), best first."""
    if not files:
        return []
    captions = model.generate(features, decoding, None if style is None else [style] * len(files))
    return [
        {"image": file, "caption": text, "log_probability": round(score, 4)}
        for file, texts, scores in zip(files, captions.texts, captions.log_probs.tolist(), strict=True)
        for text, score in zip(texts, scores, strict=True)
    ]


def tabbed(row: dict) -> str:
    return f"{row['image']}\t{row['caption']}"


def json_line(row: dict) -> str:
    return dumps(row, ensure_ascii=False)


def caption_files(
    model: CaptionModel,
    names: Iterable[str],
    out: Path | None,
    decoding: Decoding,
    batch_size: int = 32,
    workers: int = 0,
    engine: Engine = captioned,
    shown: Callable[[dict], str] = tabbed,
) -> list[str]:
    """Write a row (image, caption, log_probability) a caption to `out` (.jsonl or .csv) or print `shown(row)` of it.

    Rows stand in the order of the pictures. Pictures that `out` has already stay as they are, so that a run that was
    stopped goes on where it was; those that could not be read are tried again.

    Returns what is wrong with the pictures that could not be read. Raises ValueError for another suffix of `out`, and
    for a file that was not written here or has another number of captions a picture; BlockingIOError when another
    process writes it, DiskFull.
    """
    if out is not None and out.suffix not in BEGINNINGS:
        raise ValueError(f"--out {out}: suffix {out.suffix!r}, expected .jsonl or .csv")
    if out is not None:
        claim_file(out, own=lambda path: True)  # what is in it is looked at by `resume`
    files, broken = find_pictures(names), []
    with alone(out) if out else nullcontext():
        done = resume(out, decoding.captions) if out and out.exists() else set()
        todo = [file for file in files if file not in done]
        if done:
            already = len(files) - len(todo)
            said = f"{already} of {len(files)} pictures are captioned in it and stay as they are"
            print(f"{out}: {said}, by whatever settings", file=sys.stderr)
        with tqdm(total=len(todo), desc="pictures", leave=False, disable=None) as progress:
            for rows, problems in engine(model, todo, decoding, batch_size, workers) if todo else ():
                put(rows, out, shown)
                broken += problems
                progress.update(len(rows) // decoding.captions + len(problems))
    return broken


def put(rows: Rows, out: Path | None, shown: Callable[[dict], str] = tabbed) -> None:
    """Print rows, or append them to a file, where nothing that happens to this process can undo it."""
    if out is None:
        for row in rows:
            print(shown(row), flush=True)
        return
    if out.suffix == ".csv":
        lines = [] if out.exists() and out.stat().st_size else [HEADER]
        lines += [csv_line(row[field] for field in FIELDS) for row in rows]
    else:
        lines = [json_line(row) + "\n" for row in rows]
    # File names need not be UTF-8: in a .csv such bytes are written as they are, in a .jsonl as escapes.
    append(out, "".join(lines).encode(errors="surrogateescape"))


def resume(out: Path, captions: int) -> set[str]:
    """The pictures that a file has all captions of. What was half written after them is cut off.

    Raises ValueError for a file that `put` has not written, or with another number of captions a picture.
    """
    done, size, short = set(), 0, None
    try:
        for image, rows in groupby(rows_in(out), key=itemgetter(0)):
            ends = [end for _, end in rows]
            if short or len(ends) > captions:
                raise ValueError(f"{short or image} has not the {captions} caption(s) that each picture is to have")
            if len(ends) == captions:
                done.add(image)
                size = ends[-1]
            else:
                short = image  # the last one, whose other rows were not written any more
    except (ValueError, csv.Error) as error:
        raise ValueError(f"--out {out} does not come from this command: {error}; give another file") from error
    os.truncate(out, size)
    return done


def is_other_json(line: bytes) -> bool:
    try:
        found = json.loads(line)
    except ValueError:
        return False
    return isinstance(found, dict) and list(found) != FIELDS


def rows_in(out: Path) -> Iterator[tuple[str, int]]:
    """The picture of each whole row of a file, and the bytes up to the row's end. Raises ValueError for other rows."""
    size, beginning = 0, BEGINNINGS[out.suffix].encode()
    # a search that found fewer captions than were asked for fills up with empty ones: of these JSON has no number
    filled = FIELDS if out.suffix == ".csv" else FIELDS[:2]

    def whole_lines() -> Iterator[str]:
        nonlocal size
        line = b""
        for piece in file:
            line += piece
            if out.suffix == ".csv" and line.count(b'"') % 2:
                continue  # a line break in the name of a picture
            if line.endswith(b"\n"):
                size += len(line)
                yield line.decode(errors="surrogateescape")
                line = b""
            elif is_other_json(line):  # a whole object without a line's end; half of one is what a kill leaves
                raise ValueError(f"found {line[:80]!r}, expected {', '.join(FIELDS)}")

    with out.open("rb") as file:
        if not beginning.startswith(found := file.read(len(beginning))):  # a file may be shorter than this
            raise ValueError(f"begins with {found!r}, expected {beginning!r}")
        file.seek(0)
        for row in csv.DictReader(whole_lines()) if out.suffix == ".csv" else map(json.loads, whole_lines()):
            if not isinstance(row, dict) or list(row) != FIELDS or None in (row[field] for field in filled):
                raise ValueError(f"found {row}, expected {', '.join(FIELDS)}")
            yield row["image"], size
