"""The table of results, `output/results.csv`: the source of every number on a page of the course."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from captioning.decoding.config import Decoding
from captioning.disk import alone
from captioning.metrics.score import Scores
from captioning.paths import OUTPUT
from captioning.writing import claim_file, csv_line, write

RESULTS = OUTPUT / "results.csv"
METRICS = ("BLEU-4", "ROUGE-L", "CIDEr-D", "METEOR", "attributes")
CONTROLS = ("constant caption", "random training caption", "shuffled pictures", "nearest neighbour")
STYLE_CONTROLS = ("shuffled styles", "plain captions", "constant caption a style", "nearest neighbour of the style")
OF_A_MODEL = ("shuffled pictures", "shuffled styles", "plain captions")  # the controls that depend on the model
COLUMNS = (
    *("date", "run", "model", "data", "split", "profile", "n", "decoding"),
    *(column for metric in METRICS for column in (metric, f"{metric} low", f"{metric} high")),
    *("minutes", "command"),
)


def record(scores: dict[str, Scores], path: Path = RESULTS, **facts: object) -> None:
    """Put a row a system into the table of results, in place of earlier rows of the same run, data, split and decoding.

    `facts` are the columns that the scores do not give: run, data, split, profile, decoding, minutes, command.
    """
    new = [row(name, system, facts) for name, system in scores.items()]
    same = ("run", "data", "split", "profile", "decoding")
    claim_table(path, COLUMNS)
    with alone(path, wait=True):
        kept = [old for old in read_results(path) if any(old[key] != new[0][key] for key in same)]
        write_table(path, kept + new)


def decoding_name(decoding: Decoding) -> str:
    """What a row says of a search: its beams, and each setting but the length that is not as by default. Rows of other
    searches do not replace it."""
    usual = Decoding(beams=decoding.beams, max_length=decoding.max_length)
    found = asdict(decoding).items() - asdict(usual).items()
    return ", ".join([f"beam {decoding.beams}", *sorted(f"{name} {value}" for name, value in found)])


def claim_table(path: Path, columns: Iterable[str]) -> None:
    """As `claim_file`, for a table that rows with these columns are added to: a new file, or one that has them."""
    claim_file(path, lambda path: {*columns} <= {*columns_of(path)})


def columns_of(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return next(csv.reader(file), [])


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a CSV file with every column that a row has, whole or not at all."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    write(path, "".join(map(csv_line, cells)))


def read_results(path: Path) -> list[dict[str, str]]:
    """The rows of a table of results; none where there is no file yet."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def results_markdown(data: str, path: Path = RESULTS) -> str:
    """The results on one data set as the Markdown that the README shows: models, controls, and how each was made.

    A control that is the same for several models is there once. Raises ValueError when nothing is recorded.
    """
    recorded = read_results(path)
    rows = [row for row in recorded if row["data"] == data]
    if not rows:
        found = ", ".join(sorted({row["data"] for row in recorded})) or "nothing"
        raise ValueError(f"{path}: no row on {data!r}, found {found}; `captioning evaluate RUN --record` writes some")
    metrics = [metric for metric in METRICS if any(row[metric] for row in rows)]
    lines = ["| | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    models = [row for row in rows if row["model"] not in CONTROLS + STYLE_CONTROLS]
    whose = {(row["run"], row["decoding"], row["split"]): row["model"] for row in models}
    controls = [row for row in rows if row["model"] in CONTROLS + STYLE_CONTROLS]
    for row in controls:
        if row["model"] in OF_A_MODEL:
            row["model"] += f" ({whose[row['run'], row['decoding'], row['split']]})"
    lines += dict.fromkeys(markdown_row(row, metrics) for row in models + controls)
    made = "- {model}: {n} pictures of {split}, {decoding}, trained in {minutes} minutes by `{command}`"
    rounded = ({**row, "minutes": f"{float(row['minutes']):.1f}"} for row in models)
    return "\n".join([*lines, "", *(made.format(**row) for row in rounded)])


def markdown_row(row: dict[str, str], metrics: list[str]) -> str:
    cells = [
        f"{float(row[m]):.3f} [{float(row[m + ' low']):.3f}, {float(row[m + ' high']):.3f}]" if row[m] else ""
        for m in metrics
    ]
    return f"| {row['model']} | " + " | ".join(cells) + " |"


def row(model: str, scores: Scores, facts: dict[str, object]) -> dict[str, str]:
    numbers = {}
    for metric, values in scores.table().iterrows():
        if metric in METRICS:
            numbers |= {metric: values.score, f"{metric} low": values.low, f"{metric} high": values.high}
    texts = {name: f"{value:.6f}" for name, value in numbers.items()}
    today = datetime.date.today().isoformat()
    named = {name: str(value) for name, value in facts.items()}
    return dict.fromkeys(COLUMNS, "") | {"date": today, "model": model, "n": str(len(scores))} | named | texts
