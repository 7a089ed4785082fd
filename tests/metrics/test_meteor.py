"""METEOR against the official scores and against what its own program makes of any statistics."""

import gzip
import importlib.util
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from captioning.metrics import bootstrap
from captioning.metrics.base import Captioned, Unavailable
from captioning.metrics.meteor import Meteor, SentenceMeteor, find_in_pycocoevalcap, from_sums, run_java, statistics
from captioning.paths import real_data
from conftest import write_program

GOLDEN = Path(__file__).parents[1] / "golden"
TABLE = b"0.1\na dog\na zug\n0.2\nthe sea\nthe wug\n0.3\nred bus\nbus\n"  # no synonyms of WordNet

needs_java = pytest.mark.skipif(
    not shutil.which("java") or not importlib.util.find_spec("pycocoevalcap"), reason="no Java, or no pycocoevalcap"
)


def captioned(captions: list[str], references: list[list[str]]) -> Captioned:
    """Of captions that are tokenized already; a token may hold U+00A0, so they are split at blanks alone."""
    words = [c.split(" ") if c else [] for c in captions]
    ids = tuple(map(str, range(len(captions))))
    return Captioned(ids, captions, words, references, [[r.split(" ") for r in picture] for picture in references])


def official(folder: Path, name: str) -> tuple[Captioned, np.ndarray, float]:
    tokens = json.loads((folder / f"{name}_ptb_tokens.json").read_text())
    scores = json.loads((folder / f"{name}_official_scores.json").read_text())
    ids = [str(i) for i in scores["image_ids"]]
    captions, references = ([tokens[kind][i] for i in ids] for kind in ("candidates", "references"))
    per_picture = np.array(scores["per_image"]["METEOR"])
    return captioned([c for (c,) in captions], references), per_picture, scores["overall"]["METEOR"]


@pytest.fixture(scope="module")
def own12() -> tuple[Captioned, np.ndarray, float]:
    return official(GOLDEN, "own12")


@pytest.fixture(scope="module")
def meteor(tmp_path_factory) -> Meteor:
    return Meteor(tmp_path_factory.mktemp("meteor") / "cache")


@pytest.fixture
def small(tmp_path) -> Meteor:
    """METEOR with three paraphrases, which takes a second instead of ten."""
    small = Meteor(tmp_path / "cache")
    small.paraphrases = tmp_path / "paraphrases.gz"
    small.paraphrases.write_bytes(gzip.compress(TABLE))
    return small


def fake_java(folder: Path, body: str) -> None:
    folder.mkdir(exist_ok=True)
    write_program(folder / "java", body)


@needs_java
def test_every_score_is_the_official_one(meteor, own12):
    carried = {p: p.stat().st_mtime_ns for p in meteor.jar.parent.rglob("*")}
    pictures, per_picture, corpus = own12
    ours = meteor(pictures)
    assert ours.names == ("METEOR",) and ours.statistics.shape == (12, 23)
    assert from_sums(ours.statistics.sum(0)) == pytest.approx([corpus], abs=1e-12)
    np.testing.assert_allclose(from_sums(ours.statistics)[:, 0], per_picture, rtol=0, atol=1e-12)
    assert per_picture[5] == 0 and not pictures.words[5] and per_picture[11] == 1
    low, high = bootstrap.intervals(ours.statistics, ours.from_sums)
    assert low[0] < corpus < high[0] and high[0] - low[0] > 0.05
    assert carried == {p: p.stat().st_mtime_ns for p in meteor.jar.parent.rglob("*")}
    assert sorted(p.suffix for p in meteor.cache.iterdir()) == [".gz"]


@needs_java
@pytest.mark.skipif(real_data() is None, reason="CAPTIONING_REAL_DATA does not name a folder")
def test_every_score_of_a_thousand_pictures_is_the_official_one(meteor):
    pictures, per_picture, corpus = official(real_data() / "metrics", "A_fakecap1000")
    ours = meteor(pictures)
    assert from_sums(ours.statistics.sum(0)) == pytest.approx([corpus], abs=1e-12)
    np.testing.assert_allclose(from_sums(ours.statistics)[:, 0], per_picture, rtol=0, atol=1e-12)


@needs_java
def test_the_formula_is_the_programs(small):
    rng = np.random.default_rng(0)
    matched = rng.integers(0, 3, (300, 8, 2)) * (rng.random((300, 1, 1)) < 0.9)  # one in ten matches nothing
    longer = rng.integers(0, 4, (300, 2)) * (rng.random((300, 1)) < 0.7)  # three in ten match whole
    words, chunks = matched.sum(1) + longer, rng.integers(1, 4, 300)
    function = matched[:, [2, 3, 6, 7]].sum(1)
    order = matched.reshape(300, 2, 4, 2).swapaxes(1, 2).reshape(300, 16)
    counts = np.column_stack([words, function, order, chunks, matched.sum(1)]).astype(float)
    lines = [" ".join(map(str, row)) for row in counts]
    *each, corpus = map(float, small.program(small.paraphrases, [" ||| ".join(["EVAL", *lines])]))
    sums = statistics(lines)
    np.testing.assert_allclose(from_sums(sums)[:, 0], each, rtol=0, atol=1e-12)
    assert from_sums(sums.sum(0)) == pytest.approx([corpus], abs=1e-12)
    assert each.count(0) > 5 and (sums[:, 20] == 0).sum() > 5 and 0.1 < corpus < 1


@needs_java
def test_paraphrases_count_whether_the_reference_has_either_side(small):
    pictures = captioned(["a zug", "the sea", "the wug"], [["a dog"], ["the wug"], ["the sky"]])
    scores = from_sums(small(pictures).statistics)[:, 0]
    assert scores[:2] == pytest.approx([0.6, 0.6]) and 0 < scores[2] < 0.3
    (table,) = small.cache.glob("*.gz")
    assert gzip.decompress(table.read_bytes()) == TABLE[: TABLE.index(b"0.3")]


@needs_java
def test_one_table_serves_every_system_on_the_same_references(small):
    references = [["a red bus", "the bus ."], ["a dog by the sea"]]
    before = small(captioned(["a bus", "a dog"], references))
    small.paraphrases.unlink()
    assert np.array_equal(small(captioned(["a bus", "a dog"], references)).statistics, before.statistics)
    assert from_sums(small(captioned(["a red bus", ""], references)).statistics)[:, 0].tolist() == [1, 0]


@needs_java
def test_nothing_is_left_where_the_cache_cannot_be_written(small, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    small.cache = small.paraphrases / "cache"  # below a file
    assert from_sums(small(captioned(["a ||| zug"], [["a dog"]])).statistics)[0] == pytest.approx(0.6)
    assert not list((tmp_path / "temporary").iterdir())


@needs_java
def test_a_table_that_is_not_whole_is_no_table(small):
    small.paraphrases.write_bytes(gzip.compress(TABLE * 1000)[:-20])
    with pytest.raises(EOFError):
        small(captioned(["a dog"], [["a dog"]]))
    assert not any(small.cache.iterdir())


def test_the_last_words_of_java_are_told(tmp_path):
    fake_java(tmp_path, "import sys; sys.exit('a warning\\nError: no heap\\n\\tat Meteor.main(Meteor.java:1)')")
    with pytest.raises(RuntimeError, match="Java failed with exit status 1: Error: no heap$"):
        run_java([str(tmp_path / "java")], ["a line that nobody reads"] * 100_000)


def test_any_number_of_lines_passes_without_a_deadlock(tmp_path):
    fake_java(tmp_path, "import sys\nfor line in sys.stdin: print(line * 2, end='', flush=True)")
    assert len(run_java([str(tmp_path / "java")], ["x" * 100] * 20_000)) == 40_000


def test_no_java_is_one_line_that_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="^METEOR needs Java, and there is no `java` on the path: install a Java"):
        Meteor(tmp_path)


@pytest.mark.parametrize("found", [None, "empty"])
def test_no_pycocoevalcap_is_one_line_that_says_what_to_install(tmp_path, monkeypatch, found):
    spec = found and importlib.util.spec_from_file_location("x", tmp_path / "x.py", submodule_search_locations=[])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    fake_java(tmp_path, "")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(Unavailable, match="^METEOR needs meteor-1.5.jar of .* pip install pycocoevalcap$"):
        Meteor(tmp_path)
    with pytest.raises(Unavailable, match="^SPICE needs spice-1.0.jar of .*$"):
        find_in_pycocoevalcap("SPICE", "spice/spice-1.0.jar")


@needs_java
def test_single_sentences_get_the_scores_of_the_corpus(small):
    references = [[["a", "dog", "runs"], ["the", "dog"]], [["a", "red", "bus", "by", "the", "sea"]]]
    samples, picture = [["a", "zug", "runs"], [], ["bus", "by", "the", "wug"], ["a", "dog", "runs"]], [0, 1, 1, 0]
    judge = SentenceMeteor(references, small)
    found = judge(samples, picture)
    texts = [" ".join(words) for words in samples]
    alike = captioned(texts, [[" ".join(r) for r in references[p]] for p in picture])
    expected = small(alike)
    np.testing.assert_array_equal(found, from_sums(expected.statistics)[:, 0])
    assert found[1] == 0 and found[3] == 1 and 0 < found[0] < 1
    judge.java.kill()
    with pytest.raises(RuntimeError, match="ended .exit status -9. when asked: SCORE"):
        judge(samples, picture)
