"""The report on a rebuilt data set: numbers beside published ones, filters and claims judged by the truth, a page."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset

from captioning.data.fashion_captions import read_attributes
from captioning.data.scenes import SCENE, read_scene
from captioning.metrics.diversity import diversity
from captioning.rebuild.clean import FILTERS, Answer, Verdict, content, words
from captioning.rebuild.fashion import PERSON, mentions_clothes, mentions_place
from captioning.rebuild.pipeline import Rebuilt
from captioning.rebuild.truth import PLACE, count_claims, false_claims
from captioning.writing import write

# Measured on 9,131 sentences of each kind by Vicuna-7B (SamuraiBUPT/Image-Caption-nndl-2023).
PUBLISHED = {
    "background": {
        "begins with punctuation": 1.0,
        "duplicates": 0.25,
        "mentions clothes": 0.59,
        "mentions the person": 0.82,
        "words": 26.0,
    },
    "clothes": {"mentions the place": 0.23, "words": 32.0},
}


# Of the report alone, so that a notebook can show it among its other outputs.
STYLE = (
    "<style>.rebuilt{font:15px sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}.rebuilt table{border-collapse"
    ":collapse}.rebuilt td,.rebuilt th{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}.rebuilt img{"
    "max-width:100%}</style>"
)
OFF_TOPIC = {"background": ("mentions clothes", mentions_clothes), "clothes": ("mentions the place", mentions_place)}


def quality(texts: Sequence[str], topic: str) -> dict[str, float]:
    """Shares and sizes of sentences about one topic, one text a picture. Raises ValueError for no texts."""
    said = [content(text) for text in texts]
    times = Counter(said)
    off, test = OFF_TOPIC[topic]
    varied = diversity(list(texts))
    return {
        "texts": float(len(texts)),
        "begins with punctuation": float(np.mean([not text[:1].isalnum() for text in texts])),
        "duplicates": 1 - len(times) / len(said),
        off: float(np.mean([test(text) for text in texts])),
        "mentions the person": float(np.mean([bool(PERSON.search(text.lower())) for text in texts])),
        "words": float(np.mean([len(words(text)) for text in texts])),
        "vocabulary": varied["vocabulary"],
        "distinct-2": varied["distinct-2"],
    }


def quality_table(answers: Iterable[Answer], data: Mapping[str, Dataset]) -> pd.DataFrame:
    """Of each topic: numbers that others published, the first raw answer of each writer, and the new data set."""
    first: dict[tuple[str, str], dict[str, str]] = {}
    for answer in answers:
        first.setdefault((answer.topic, answer.writer), {}).setdefault(answer.image_id, answer.text)
    columns = {}
    for topic, published in PUBLISHED.items():
        said = {f"{writer}, raw": list(texts.values()) for (about, writer), texts in first.items() if about == topic}
        said["new data set"] = [text for table in data.values() for text in table[topic] if text]
        measured = {name: quality(texts, topic) for name, texts in said.items() if texts}
        if measured:
            columns |= {(topic, name): values for name, values in ({"published": published} | measured).items()}
    return pd.DataFrame(columns)


def left_out_table(rebuilt: Rebuilt, shown: int) -> pd.DataFrame:
    """Of the first `shown` pictures of which nothing was kept: what the writers said, and the filters that removed it,
    sentence by sentence and then as a whole."""
    said: dict[str, list[str]] = {}
    for answer in rebuilt.answers:
        said.setdefault(answer.image_id, []).append(answer.text)
    filters: dict[str, dict[str, None]] = {}
    for verdict in rebuilt.verdicts:
        if verdict.filter:
            filters.setdefault(verdict.image_id, {})[verdict.filter] = None
    gone = rebuilt.left_out[:shown]
    rows = {i: {"said": " | ".join(said.get(i, ())), "removed by": ", ".join(filters.get(i, ()))} for i in gone}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["said", "removed by"])


def filter_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Of each filter: what it is for, how many pieces came to it in which topic, and how many it removed."""
    removed = Counter((verdict.filter, verdict.topic) for verdict in verdicts if verdict.filter)
    rows = {
        name: {
            "removes": what,
            "from clothes": removed[name, "clothes"],
            "from backgrounds": removed[name, "background"],
        }
        for name, what in FILTERS.items()
    }
    return pd.DataFrame(rows).T


def filter_truth(verdicts: Sequence[Verdict], rows: Dataset) -> pd.DataFrame:
    """Precision and recall of each filter that the truth of *street* can judge, and how many pieces there were.

    A filter is asked about what it kept or removed itself, not about what another one had removed before. What it
    should have found is told without its own rules: any false claim, or words that only the true captions of the other
    topic use. Of a filter that removed nothing there is no precision, of one that had nothing to find no recall (nan),
    and `note` says so.
    """
    truth = dict(zip(rows["image_id"], rows["attributes"], strict=True))
    clothes = {word for texts in rows["captions"] for word in words(texts[0])}
    places = {word for text in rows["background"] for word in words(text)}

    def untrue(verdict: Verdict) -> bool:
        return bool(false_claims(verdict.text, truth[verdict.image_id]))

    should = {
        "clothes": ("sentence", "background", lambda v: bool((clothes - places) & set(words(v.text)))),
        "background": ("sentence", "clothes", lambda v: bool((places - clothes) & set(words(v.text)))),
        "disagrees": ("sentence", "background", untrue),
        "contradicts": ("answer", "clothes", untrue),
        "no place": ("answer", "background", lambda v: "scene" not in read_scene(v.text)),
        "duplicate": ("answer", "background", untrue),
    }
    table = {}
    for name, (unit, topic, is_bad) in should.items():
        judged = [v for v in verdicts if v.unit == unit and v.topic == topic and v.filter in ("", name)]
        bad = np.array([is_bad(v) for v in judged], bool)
        gone = np.array([bool(v.filter) for v in judged], bool)
        found, removed, hits = int(bad.sum()), int(gone.sum()), int((bad & gone).sum())
        shares = {"precision": hits / removed if removed else np.nan, "recall": hits / found if found else np.nan}
        note = "" if found and removed else "nothing to find" if not found else "found nothing"
        table[name] = {"judged": len(judged), "bad": found, "removed": removed, "bad removed": hits} | shares
        table[name]["note"] = note
    return pd.DataFrame.from_dict(table, orient="index")


def first_answers(answers: Iterable[Answer], topic: str) -> dict[str, str]:
    """{image_id: the first raw answer about a topic}: what a data set without filters would have."""
    first: dict[str, str] = {}
    for answer in answers:
        if answer.topic == topic:
            first.setdefault(answer.image_id, answer.text)
    return first


def truth_before_and_after(rebuilt: Rebuilt, rows: Dataset) -> pd.DataFrame:
    """What is claimed about the places of `rows`, kind by kind, true and false: by the first raw answers, and by what
    was kept of all answers. Of a picture that was left out nothing was kept."""
    kept = {
        image_id: text
        for table in rebuilt.data.values()
        for image_id, text in zip(table["image_id"], table["background"], strict=True)
    }
    columns = {}
    for name, texts in {"raw": first_answers(rebuilt.answers, "background"), "kept": kept}.items():
        count = count_claims([texts.get(image_id, "") for image_id in rows["image_id"]], rows["attributes"])
        place = count.loc[list(PLACE)]
        place.loc["all"] = place.sum()
        columns |= {(name, "true"): place["true"], (name, "false"): place["claimed"] - place["true"]}
    return pd.DataFrame(columns)


def writers_agree(answers: Iterable[Answer]) -> pd.DataFrame:
    """How often two writers (or a writer's own samples) that both tell an attribute of a picture tell the same."""
    read = {"clothes": read_attributes, "background": read_scene}
    said: dict[tuple[str, str], list[tuple[str, dict[str, str]]]] = {}
    for answer in answers:
        said.setdefault((answer.topic, answer.image_id), []).append((answer.writer, read[answer.topic](answer.text)))
    same, both = Counter(), Counter()
    for (topic, _), claims in said.items():
        for i, (writer, one) in enumerate(claims):
            for other, two in claims[i + 1 :]:
                shared = one.keys() & two.keys()
                both[topic, writer, other] += len(shared)
                same[topic, writer, other] += sum(one[name] == two[name] for name in shared)
    rows = [(*pair, count, same[pair] / count) for pair, count in both.items() if count]
    return pd.DataFrame(rows, columns=["topic", "writer", "and", "claims of both", "the same"])


def as_html(table: pd.DataFrame) -> str:
    with pd.option_context("display.max_colwidth", None):
        return table.to_html(float_format="{:.3f}".format, na_rep="")


def page(rebuilt: Rebuilt, before: Dataset, path: Path, shown: int = 8) -> None:
    """The report as one HTML file: numbers, filters, agreement, pictures that were left out, and pictures with their
    captions before and after. Where the truth is known: the filters and all claims, held against it."""
    old = dict(zip(before["image_id"], before["captions"], strict=True))
    some = next(iter(rebuilt.data.values()))
    some = some.select(range(min(shown, len(some))))
    said = [
        f"BEFORE: {(old[i] or ['(none)'])[0]} AFTER: {texts[0]}"
        for i, texts in zip(some["image_id"], some["captions"], strict=True)
    ]
    parts = {
        "The sentences": quality_table(rebuilt.answers, rebuilt.data),
        "What the filters removed": filter_table(rebuilt.verdicts),
        "Do the writers agree?": writers_agree(rebuilt.answers),
        "Left out": left_out_table(rebuilt, shown),
    }
    if "background" in before.column_names and SCENE.keys() <= before.features.get("attributes", {}).keys():
        parts["Are the filters right?"] = filter_truth(rebuilt.verdicts, before)
        parts["Claims about the place, true and false"] = truth_before_and_after(rebuilt, before)
    sizes = ", ".join(f"{len(table):,} in {split}" for split, table in rebuilt.data.items())
    body = "".join(f"<h2>{escape(title)}</h2>{as_html(table)}" for title, table in parts.items() if len(table))
    write(
        path,
        f"<!doctype html><meta charset=utf-8><title>Rebuilt data set</title>{STYLE}<div class=rebuilt>"
        f"<h1>Rebuilt data set</h1><p>Pictures: {sizes}, {len(rebuilt.left_out):,} left out.</p>{body}"
        f"<h2>Before and after</h2>{sheet(some['image'], said)}</div>",
    )


def sheet(files: Sequence[str], captions: Sequence[str]) -> str:
    """Pictures with captions as an element of HTML."""
    from captioning.data.pictures import read_picture
    from captioning.plots.figures import caption_grid

    image, columns = io.BytesIO(), min(4, len(files))
    figure = caption_grid([read_picture(file) for file in files], captions, columns=columns, width=2.4 * columns)
    figure.savefig(image, dpi=100, bbox_inches="tight")
    data = base64.b64encode(image.getvalue()).decode()
    return f'<img alt="pictures with captions" src="data:image/png;base64,{data}">'
