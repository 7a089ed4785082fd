"""Rebuilds the captions of a data set: pictures in, answers of the writers asked once and kept, a clean data set out.

OUT/config.json           writers, prompts, seed, data: another choice needs another folder
OUT/answers/WRITER.jsonl  every raw answer, a line a batch: a kill loses at most what was being asked; what ended in an
                          error is asked again by the next call
OUT/{train,val,test}.parquet   the new data set, in the common schema
OUT/{split}_captions.json      {picture: caption}, the format of an earlier course: a picture is called by its file's
                               name where no other has it, else by its path from the folder of all pictures
OUT/removed.parquet       every sentence and answer that was judged, and by which filter it went

Asking is slow and done once; cleaning is quick, deterministic and done over all the answers each time.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset, DatasetDict, Features, List, Value, concatenate_datasets
from tqdm import tqdm

from captioning.data.pictures import BrokenPicture
from captioning.disk import alone
from captioning.evaluation.runs import open_run
from captioning.rebuild import chatter
from captioning.rebuild.answer_files import answered_in, latest, read_batches, settle
from captioning.rebuild.backends import Writer, WriterAway, WriterFailed
from captioning.rebuild.clean import Answer, Cleaner, Rules, Verdict
from captioning.rebuild.prompts import Prompt
from captioning.writing import append, aside, dumps, write

PEOPLE = "people"  # the writer of the captions that the data set came with
FAILURES = (WriterFailed, BrokenPicture, OSError, RuntimeError, ValueError, IndexError)
TRIAL = 20  # pictures of a dry run


@dataclass(frozen=True)
class Task:
    """One writer with one prompt; `name` is how the provenance calls it."""

    name: str
    writer: Writer
    prompt: Prompt
    batch_size: int = 32
    parallel: int = 1  # pictures that it is asked about side by side, by threads; above 1 each is a batch of its own

    def __post_init__(self):
        if min(self.batch_size, self.parallel) < 1:
            raise ValueError(f"batch_size={self.batch_size}, parallel={self.parallel}: need at least 1 of each")

    def facts(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "writer": self.writer.facts(),
            "prompt": asdict(self.prompt),
            "batch": self.batch_size,
        }


Work = tuple[list[str], list[str], int]  # a batch: ids, picture files, seed
Engine = Callable[[Task, Iterable[Work]], Iterator[dict[str, Any]]]  # a line of the file of answers for each batch


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuilding gives."""

    data: DatasetDict
    answers: list[Answer]
    verdicts: list[Verdict]
    left_out: list[str]  # pictures for which no clothes or no background passed


def pictures_of(data: DatasetDict, seed: int = 0) -> Dataset:
    """All rows with a column `split`, and ids that are unique: one that several splits have gets its split before it.

    A data set of one split only is divided 80/10/10 by picture, with the seed.
    """
    times = Counter(image_id for table in data.values() for image_id in table["image_id"])
    tables = []
    for split, table in data.items():
        ids = [image_id if times[image_id] == 1 else f"{split}/{image_id}" for image_id in table["image_id"]]
        splits = [split] * len(table) if len(data) > 1 else [drawn_split(i, seed) for i in ids]
        if ids != list(table["image_id"]):
            table = table.remove_columns("image_id").add_column("image_id", ids)
        tables.append(table.add_column("split", splits))
    return concatenate_datasets(tables)


def drawn_split(image_id: str, seed: int) -> str:
    share = random.Random(f"split {seed} {image_id}").random()
    return "train" if share < 0.8 else "val" if share < 0.9 else "test"


def ask(
    pictures: Dataset,
    tasks: Sequence[Task],
    out: Path,
    seed: int = 0,
    limit: int | None = None,
    engine: Engine | None = None,
) -> pd.Series:
    """Ask every writer about every picture (the first `limit`) and keep the answers; seconds a picture by task.

    `engine` asks; by default this process.

    What is answered already is not asked again. A picture for which a writer fails has no answers from it until the
    next call, and its line in the file says why. Raises WriterFailed when a writer fails for all of its first batch,
    WriterAway when it cannot be reached any more, ValueError when `out` holds another rebuilding or two writers have
    one name, BlockingIOError when another process is at work on `out`, DiskFull.
    """
    names = Counter(task.name for task in tasks)
    if twice := [name for name, times in names.items() if times > 1 or Path(name).name != name]:
        raise ValueError(f"writers are called {twice}: each needs a `name` of its own, which its file can have")
    about = {"tasks": [task.facts() for task in tasks], "seed": seed, "pictures": len(pictures)}
    about["ids"] = zlib.crc32(" ".join(pictures["image_id"]).encode())
    engine, folder = engine or answers, out / "answers"
    with alone(out):
        open_run(out, about, resume=True)
        folder.mkdir(exist_ok=True)
        seconds = {task.name: ask_one(pictures, task, folder, seed, limit, engine) for task in tasks}
    return pd.Series(seconds, dtype=float)


def ask_one(pictures: Dataset, task: Task, folder: Path, seed: int, limit: int | None, engine: Engine) -> float:
    path = folder / f"{task.name}.jsonl"
    lines, ids = read_batches(path), list(pictures["image_id"])
    done = {image_id for line in lines for image_id in answered_in(line)}
    work, whole = open_work(pictures, task, seed, limit, done)
    failed = 0
    with progress(task.name, whole, len(done)) as bar:
        for line in engine(task, work) if work else ():
            append(path, f"{dumps(line)}\n".encode())
            lines.append(line)
            bar.update(len(line["ids"]))
            done |= answered_in(line)
            failed += len(line["ids"]) - len(answered_in(line))
            if not done and failed >= min(task.batch_size, whole):
                raise WriterFailed(f"{task.name} failed for all of its first {failed} pictures: {line['errors'][-1]}")
    settle(path, ids)
    asked = sum(len(line["ids"]) for line in lines)
    return sum(line["seconds"] for line in lines) / task.parallel / max(1, asked)


def open_work(
    pictures: Dataset, task: Task, seed: int, limit: int | None, done: Container[str]
) -> tuple[list[Work], int]:
    """What is still to be asked, and the number of pictures of the whole task.

    A batch that was never answered is asked as it stands; of another one each picture that is not `done` by itself.
    """
    ids, images = list(pictures["image_id"]), list(pictures["image"])
    work, whole = [], 0
    for start in range(0, min(limit or len(ids), len(ids)), task.batch_size):
        batch = range(start, min(start + task.batch_size, len(ids)))
        first = zlib.crc32(f"{seed} {task.name} {start}".encode())
        left = [i for i in batch if ids[i] not in done]
        whole += len(batch)
        if len(left) == len(batch) and task.parallel == 1:
            work.append(([ids[i] for i in batch], [images[i] for i in batch], first))
        else:
            work += [([ids[i]], [images[i]], first + i - start) for i in left]
    return work, whole


def progress(name: str, whole: int, done: int) -> tqdm:
    return tqdm(desc=name, initial=done, total=whole, unit="picture", disable=None, leave=False)


def answers(task: Task, work: Iterable[Work]) -> Iterator[dict[str, Any]]:
    """A line for each batch: in their order, or with `task.parallel` threads as they come."""
    if task.parallel == 1:
        yield from (answered(task, *batch) for batch in work)
        return
    work, asked, away = iter(work), set(), None
    with ThreadPoolExecutor(task.parallel) as pool:
        while True:
            free = 0 if away else task.parallel - len(asked)
            asked |= {pool.submit(answered, task, *batch) for batch in islice(work, free)}
            if not asked:
                break
            ready, asked = wait(asked, return_when=FIRST_COMPLETED)
            for future in ready:
                if isinstance(future.exception(), WriterAway):
                    away = future.exception()  # what others are being asked is waited for, and kept
                else:
                    yield future.result()
    if away:
        raise away


def answered(task: Task, ids: list[str], images: list[str], seed: int) -> dict[str, Any]:
    """One batch: if it fails, picture by picture, so that one bad picture costs no other its answer."""
    started, errors = time.perf_counter(), [""] * len(ids)
    try:
        texts = task.writer.write(images, task.prompt, seed)
    except WriterAway:
        raise
    except FAILURES as error:
        if len(ids) == 1:
            texts, errors = [[]], [f"{type(error).__name__}: {error}"]
            print(f"{task.name}: {ids[0]}: {errors[0]}", file=sys.stderr)
        else:
            alone = [answered(task, [ids[i]], [images[i]], seed + i) for i in range(len(ids))]
            texts, errors = ([line[name][0] for line in alone] for name in ("texts", "errors"))
    return {"ids": ids, "texts": texts, "errors": errors, "seconds": round(time.perf_counter() - started, 3)}


def read_answers(out: Path, tasks: Sequence[tuple[str, Prompt]]) -> Iterator[Answer]:
    """Every answer that the writers gave, task by task in the order of the pictures."""
    for name, prompt in tasks:
        for image_id, (texts, _) in latest(read_batches(out / "answers" / f"{name}.jsonl")).items():
            for text in texts:
                yield Answer(image_id, name, prompt.topic, text)


def clean(pictures: Dataset, out: Path, tasks: Sequence[Task], rules: Rules = Rules()) -> Rebuilt:
    """Judge all answers, join what passes, and write the new data set into `out`.

    Clothes are told by the first task of that topic whose answer passes, by the earlier caption (people) if none does
    or nobody was asked; backgrounds likewise, but nobody stands in. A picture that lacks one of the two is left out;
    where nobody was asked about clothes, one without an earlier caption has its place alone.
    Raises ValueError when all are.
    """
    answers = list(read_answers(out, [(task.name, task.prompt) for task in tasks]))
    about: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        about.setdefault((answer.image_id, answer.topic), []).append(answer)
    order = {topic: [t.name for t in tasks if t.prompt.topic == topic] for topic in ("clothes", "background")}
    thinkers = {answer.writer for answer in answers if chatter.thinks(answer.text)}
    cleaner = Cleaner(rules, {task.name: task.prompt.text for task in tasks}, thinkers)
    rows, left_out = [], []
    for row in pictures:
        image_id, known = row["image_id"], (row["captions"] or [""])[0]
        said = {topic: cleaner.choose(about.get((image_id, topic), []), order[topic], known) for topic in order}
        said["clothes"] = said["clothes"] or known
        if said["background"] and (said["clothes"] or not order["clothes"]):
            rows.append(new_row(row, said, about, cleaner))
        else:
            left_out.append(image_id)
    if not rows:
        gone = Counter(verdict.filter for verdict in cleaner.verdicts if verdict.filter).most_common(3)
        raise ValueError(
            f"of {len(left_out)} pictures no picture has both clothes and a background left: most went by {gone}; "
            f"read some answers in {out / 'answers'}, then change the rules, the prompts or the writers"
        )
    rebuilt = Rebuilt(as_data(rows, pictures.features), answers, cleaner.verdicts, left_out)
    with alone(out):
        write_data(rebuilt, out)
    return rebuilt


def new_row(row: Mapping[str, Any], said: Mapping[str, str], about: Mapping, cleaner: Cleaner) -> dict[str, Any]:
    """A row of the new data set, with where its words come from."""
    raw = [asdict(answer) for topic in said for answer in about.get((row["image_id"], topic), [])]
    mine = []
    for verdict in reversed(cleaner.verdicts):
        if verdict.image_id != row["image_id"]:
            break
        mine.append({"writer": verdict.writer, "unit": verdict.unit, "text": verdict.text, "filter": verdict.filter})
    source = next((v["writer"] for v in mine if v["unit"] == "answer" and v["text"] == said["clothes"]), PEOPLE)
    provenance = {"clothes by": source, "answers": raw, "verdicts": mine[::-1]}
    kept = {name: row[name] for name in ("image", "image_id", "split", "attributes") if name in row}
    return kept | {
        "captions": [f"{said['clothes']} {said['background']}".strip()],
        "clothes": said["clothes"],
        "background": said["background"],
        "provenance": json.dumps(provenance),
    }


def as_data(rows: list[dict[str, Any]], old: Features) -> DatasetDict:
    text = Value("string")
    columns = {"image": text, "image_id": text, "captions": List(text), "clothes": text, "background": text}
    features = Features(columns | {"provenance": text} | {k: old[k] for k in ("attributes",) if k in old})
    splits: dict[str, list[dict]] = {}
    for row in rows:
        splits.setdefault(row["split"], []).append({name: row[name] for name in features})
    return DatasetDict({split: Dataset.from_list(part, features=features) for split, part in splits.items()})


def write_data(rebuilt: Rebuilt, out: Path) -> None:
    """Parquet and JSON files, each written aside and renamed."""
    names = short_names([image for table in rebuilt.data.values() for image in table["image"]])
    for split, table in rebuilt.data.items():
        with aside(out / f"{split}.parquet") as partial:
            table.to_parquet(str(partial))
        captions = {names[image]: texts[0] for image, texts in zip(table["image"], table["captions"], strict=True)}
        write(out / f"{split}_captions.json", dumps(captions, indent=1))
    for name in ("{}.parquet", "{}_captions.json"):  # of a split that other rules have left empty
        for split in {"train", "val", "test"} - rebuilt.data.keys():
            (out / name.format(split)).unlink(missing_ok=True)
    with aside(out / "removed.parquet") as partial:
        pd.DataFrame([asdict(v) for v in rebuilt.verdicts if v.filter]).to_parquet(partial)


def short_names(images: Sequence[str]) -> dict[str, str]:
    """What the earlier format calls each picture file: its name where no other has it, else its path from the folder
    that holds them all."""
    names = {image: Path(image).name for image in images}
    times, home = Counter(names.values()), os.path.commonpath(map(os.path.abspath, images))
    return {
        image: name if times[name] == 1 else Path(os.path.relpath(image, home)).as_posix()
        for image, name in names.items()
    }


def load(out: Path) -> DatasetDict:
    """The data set that a rebuilding wrote. Raises FileNotFoundError when there is none in `out`."""
    files = {split: out / f"{split}.parquet" for split in ("train", "val", "test")}
    found = {split: str(path) for split, path in files.items() if path.is_file()}
    if not found:
        raise FileNotFoundError(f"{out}: no train.parquet; `captioning rebuild` writes one")
    return DatasetDict({split: Dataset.from_parquet(path) for split, path in found.items()})
