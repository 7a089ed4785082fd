"""How well each metric agrees with people: Kendall's tau-c with the expert ratings of Flickr8k, beside the official.

    python tests/bench/judgement.py FOLDER

FOLDER holds `ExpertAnnotations.txt` (lines of picture, caption id, three ratings of 1 to 4, with tabs between) and
`Flickr8k.token.txt` (lines of caption id, tab, caption). Both come in `Flickr8k_text.zip`, the text archive of Flickr8k
(Hodosh, Young and Hockenmaier 2013), for which its authors at the University of Illinois ask one to fill in a form.

As in the studies of SPICE and CLIPScore (Hessel et al. 2021, section 4.1 and appendix A): every rating of every pair of
a picture and a caption counts by itself, the references are the picture's five captions, a pair whose caption is one of
them is dropped (5,664 are left), and n-grams are counted in one document a pair.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from captioning.metrics.base import Metric, Unavailable
from captioning.metrics.score import Scorer

# tau-c x 100 with the official code, as published in the CLIPScore paper, table 1
OFFICIAL = {"BLEU-1": 32.3, "BLEU-4": 30.8, "ROUGE-L": 32.3, "METEOR": 41.8, "CIDEr-D": 43.9}


def read_judgements(folder: Path) -> tuple[dict[str, str], dict[str, list[str]], np.ndarray]:
    """Captions {line: caption}, references {line: captions} and ratings (lines, 3) of the pairs that are kept."""
    rows = [line.split("\t") for line in (folder / "Flickr8k.token.txt").read_text().splitlines() if line]
    captions = {caption_id: caption.strip() for caption_id, caption in rows}
    of_picture: dict[str, list[str]] = {}
    for caption_id, caption in captions.items():
        of_picture.setdefault(name_of(caption_id), []).append(caption)
    judged, references, ratings = {}, {}, []
    for number, line in enumerate((folder / "ExpertAnnotations.txt").read_text().splitlines(), 1):
        picture, caption_id, *marks = line.split("\t")
        if captions[caption_id] not in of_picture[name_of(picture)]:
            judged[str(number)], references[str(number)] = captions[caption_id], of_picture[name_of(picture)]
            ratings.append([int(mark) for mark in marks])
    return judged, references, np.array(ratings)


def name_of(file: str) -> str:
    """The picture of a file or caption id; one file of Flickr8k is `...jpg.1` in the list of captions."""
    return file.partition(".")[0]


def tau_c(scores: np.ndarray, ratings: np.ndarray) -> float:
    """Kendall's tau-c (Stuart 1953) of scores (N,) with ratings (N, R), each of the N R ratings a point of its own."""
    values, ratings = np.repeat(scores, ratings.shape[1]), ratings.ravel()
    levels = [np.sort(values[ratings == level]) for level in np.unique(ratings)]
    concordant_less_discordant = 0
    for lower, higher in combinations(levels, 2):
        discordant, not_concordant = (np.searchsorted(higher, lower, side).sum() for side in ("left", "right"))
        concordant_less_discordant += len(lower) * len(higher) - not_concordant - discordant
    kinds = min(len(levels), len(np.unique(scores)))
    return float(2 * concordant_less_discordant * kinds / (len(values) ** 2 * (kinds - 1)))


def agreement(folder: Path, also: Sequence[Metric] = ()) -> dict[str, float]:
    """tau-c x 100 of each metric's scores of the single pairs."""
    captions, references, ratings = read_judgements(folder)
    scores = Scorer(references, also=also)(captions)
    return {name: 100 * tau_c(column, ratings) for name, column in zip(scores.names, scores.per_picture.T, strict=True)}


def meteor() -> list[Metric]:
    """METEOR, or nothing and a line that says what it needs."""
    from captioning.metrics.meteor import Meteor

    try:
        return [Meteor()]
    except Unavailable as missing:
        print(f"no METEOR: {missing}")
        return []


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where ExpertAnnotations.txt and Flickr8k.token.txt are")
    folder = parser.parse_args(arguments).folder
    found = agreement(folder, also=meteor())
    print(f"{'tau-c x 100':12} {'ours':>6} {'official':>9}")
    for name in (name for name in OFFICIAL if name in found):
        print(f"{name:12} {found[name]:6.1f} {OFFICIAL[name]:9.1f}")


if __name__ == "__main__":
    main()
