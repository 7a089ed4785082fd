"""tau-c by hand and by counting pairs; a small set of judgements in which better captions are rated higher."""

import re
from itertools import combinations

import numpy as np
import pytest

from bench import judgement

THINGS = ["dog", "cat", "boat", "horse", "child", "plane", "bird", "train"]


def captions_of(k: int) -> list[str]:
    thing, other = THINGS[k], THINGS[k - 1]
    return [
        f"a small {thing} number {k} moves past the old wall",
        f"a {thing} number {k} moves past the wall",
        f"one {thing} moves along an old wall",
        f"the {thing} is near the {other}s of a town",
        f"some {thing} number {k} near the wall",
    ]


def write(folder, reverse: bool = False) -> None:
    """Each picture judged with a near copy of its first caption, with one that shares little, and with its own."""
    lines = [f"{k}.jpg#{i}\t{c}" for k in range(len(THINGS)) for i, c in enumerate(captions_of(k))]
    judged = []
    for k in range(len(THINGS)):
        close = f"a small {THINGS[k]} number {k} moves past the old house"
        lines += [f"close{k}.jpg#0\t{close}", f"far{k}.jpg#0\tpeople sit in the {k} rooms"]
        good, bad = ("1\t2\t1", "4\t3\t4") if reverse else ("4\t3\t4", "1\t2\t1")
        judged += [f"{k}.jpg\tclose{k}.jpg#0\t{good}", f"{k}.jpg\tfar{k}.jpg#0\t{bad}", f"{k}.jpg\t{k}.jpg#1\t4\t4\t4"]
    (folder / "Flickr8k.token.txt").write_text("\n".join(lines) + "\n")
    (folder / "ExpertAnnotations.txt").write_text("\n".join(judged) + "\n")


def test_the_pictures_own_captions_are_dropped(tmp_path):
    write(tmp_path)
    captions, references, ratings = judgement.read_judgements(tmp_path)
    assert len(captions) == 2 * len(THINGS)
    assert "12" not in captions, "the line of picture 3 with a caption of its own"
    assert references["10"] == references["11"] == captions_of(3)
    np.testing.assert_array_equal(ratings[:2], [[4, 3, 4], [1, 2, 1]])


def test_a_picture_that_is_listed_under_another_file_name_has_its_captions(tmp_path):
    write(tmp_path)
    for file in tmp_path.iterdir():
        file.write_text(re.sub(r"\b0\.jpg#", "0.jpg.1#", file.read_text()))
    assert judgement.read_judgements(tmp_path)[1]["2"] == captions_of(0)


def test_tau_of_ratings_that_agree_and_that_are_reversed(tmp_path):
    write(tmp_path)
    found = judgement.agreement(tmp_path)
    write(tmp_path, reverse=True)
    reverse = judgement.agreement(tmp_path)
    for name in ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr-D"):
        assert found[name] > 50
        assert reverse[name] == pytest.approx(-found[name])


def test_tau_c_by_hand():
    """Of six pairs of points five agree and one does not: 2 (5 - 1) / (16 (4 - 1) / 4)."""
    scores, ratings = np.array([0.1, 0.2, 0.4, 0.3]), np.array([[1], [2], [3], [4]])
    assert judgement.tau_c(scores, ratings) == pytest.approx(2 * 4 / 12)


@pytest.mark.parametrize("seed", range(3))
def test_tau_c_is_what_counting_every_pair_gives(seed):
    rng = np.random.default_rng(seed)
    scores, ratings = rng.integers(9, size=30) / 10, rng.integers(1, 5, size=(30, 3))
    x, y = np.repeat(scores, 3), ratings.ravel()
    signs = sum(np.sign(x[a] - x[b]) * np.sign(y[a] - y[b]) for a, b in combinations(range(90), 2))
    assert judgement.tau_c(scores, ratings) == pytest.approx(2 * signs / (90**2 * 3 / 4))


def test_the_table_has_the_official_numbers_beside_ours(tmp_path, capsys, monkeypatch):
    write(tmp_path)
    monkeypatch.setattr(judgement, "meteor", list)
    judgement.main([str(tmp_path)])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    ours, official = judgement.agreement(tmp_path), {"BLEU-1": 32.3, "BLEU-4": 30.8, "ROUGE-L": 32.3, "CIDEr-D": 43.9}
    assert rows == [[name, f"{ours[name]:.1f}", str(published)] for name, published in official.items()]
