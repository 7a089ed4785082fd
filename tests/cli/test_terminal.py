"""Tables that a terminal of 80 columns has room for."""

import io

import numpy as np
from rich.console import Console

from captioning.cli import terminal
from captioning.metrics.base import Captioned, Measured
from captioning.metrics.report import score

NAMES = ("METEOR", "semantic", "tuples", "tuples-P", "tuples-R")


class Five:
    def __call__(self, captioned: Captioned) -> Measured:
        scores = np.linspace(0.1, 0.9, 5 * len(captioned.ids)).reshape(-1, 5)
        statistics = np.column_stack([scores, np.ones(len(scores))])
        return Measured(NAMES, statistics, lambda sums: sums[..., :5] / sums[..., 5:])


def test_no_score_is_cut_however_many_metrics_there_are():
    references = {str(k): [f"a dog runs over the grass {k}"] for k in range(4)}
    captions = dict.fromkeys(references, "a dog on the grass")
    report = score(captions, references, against=captions, train=references, also=[Five()])
    console = Console(width=80, file=io.StringIO())
    for shown in terminal.report_tables(report):
        console.print(shown)
    said = console.file.getvalue()
    assert all(f" {name} " in said for name in ("BLEU-4", "CIDEr-D", *NAMES)) and "…" not in said
    assert said.count("constant caption") == said.count("│ p ") == 2
