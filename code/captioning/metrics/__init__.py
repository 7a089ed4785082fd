"""Caption metrics without Java: the numbers of coco-caption, their intervals, and the controls to read them against."""

from captioning.metrics.score import Scorer, Scores, score, score_table

__all__ = ["Scorer", "Scores", "score", "score_table"]
