"""Caption metrics without Java: the numbers of coco-caption, their intervals, and the controls to read them against."""

from captioning.metrics.report import Report, score, score_table
from captioning.metrics.score import Scorer, Scores

__all__ = ["Report", "Scorer", "Scores", "score", "score_table"]
