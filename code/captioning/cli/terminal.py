"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table

from captioning.metrics.report import Report
from captioning.metrics.score import Scores

if TYPE_CHECKING:
    from captioning.evaluation.styles import StyleScores

HIDDEN = ("BLEU-2", "BLEU-3")  # in the JSON, but few read them
WIDE = 5  # metrics


def score_tables(scores: dict[str, Scores]) -> list[Table]:
    """A row a system: each score with its 95 % interval under it."""
    first = next(iter(scores.values()))
    return [score_rows(scores, names) for names in side_by_side(first.names)]


def side_by_side(names: Iterable[str]) -> list[list[str]]:
    """The metrics that are shown, as many in one table as a terminal of 80 columns has room for."""
    shown = [name for name in names if name not in HIDDEN]
    return [shown[k : k + WIDE] for k in range(0, len(shown), WIDE)]


def domain_tables(apart: dict[str, Scores]) -> list[Table | str]:
    """A row a domain of the pictures; nothing where no domains are told."""
    if not apart:
        return []
    rows = {f"{domain}: {len(found)} pictures": found for domain, found in apart.items()}
    return ["the predictions of each domain apart", *score_tables(rows)]


def score_rows(scores: dict[str, Scores], names: list[str]) -> Table:
    table = Table(caption=f"{len(next(iter(scores.values())))} pictures, 95 % bootstrap intervals over pictures")
    table.add_column("", min_width=16)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for system, found in scores.items():
        rows = found.table().loc[names]
        table.add_row(
            system, *(f"{row.score:.3f}\n[dim]{short(row.low)}-{short(row.high)}[/dim]" for _, row in rows.iterrows())
        )
    return table


def style_rows(styled: StyleScores, system: str) -> list[Table | str]:
    """A row a style: the scores of a system; and how often the styles of human captions are recognised."""
    by_style = styled.by_style(system)
    table = Table("style asked for", *(name for name in by_style.columns if name not in HIDDEN))
    for style, row in by_style.iterrows():
        table.add_row(style, *(f"{row[name]:.3f}" for name in row.index[:-1] if name not in HIDDEN), f"{row['n']:.0f}")
    return [table, f"style: recognised by a classifier that is right on {styled.ceiling:.1%} of the human captions"]


def short(score: float) -> str:
    return f"{score:.3f}".removeprefix("0")


def report_tables(report: Report) -> list[Table]:
    """Scores, the paired test where two systems are compared, and diversity."""
    tables = score_tables(report.scores)
    for names in side_by_side(report.p):
        test = Table("", *names, caption="paired permutation test over pictures: p of a difference as large by chance")
        test.add_row("p", *(f"{report.p[name]:.4f}" for name in names))
        tables.append(test)
    kinds = list(dict.fromkeys(kind for found in report.diversity.values() for kind in found))
    varied = Table("diversity", *kinds)
    for system, found in report.diversity.items():
        varied.add_row(system, *(f"{found[kind]:.3f}" if kind in found else "-" for kind in kinds))
    return [*tables, varied]
