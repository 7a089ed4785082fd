"""Scores against the official numbers, against pycocoevalcap on random text, and against what a hand can work out."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from captioning.metrics import bleu, bootstrap, cider, controls, rouge
from captioning.metrics.base import Captioned, Measured
from captioning.metrics.ngrams import References
from captioning.metrics.ptb import tokenize
from captioning.metrics.report import score_table
from captioning.metrics.score import Scorer, Scores
from captioning.paths import real_data

GOLDEN = Path(__file__).parents[1] / "golden"
OFFICIAL = {f"BLEU-{n}": f"Bleu_{n}" for n in (1, 2, 3, 4)} | {"ROUGE-L": "ROUGE_L", "CIDEr-D": "CIDEr"}


def score(predictions: dict, references: dict, **options) -> Scores:
    return Scorer(references, **options)(predictions)


def read_set(folder: Path, name: str) -> tuple[dict, dict, dict]:
    """Predictions, references and official scores, in the order of the official run."""
    scores = json.loads((folder / f"{name}_official_scores.json").read_text())
    candidates = {c["image_id"]: c["caption"] for c in json.loads((folder / f"{name}_candidates.json").read_text())}
    references: dict[str, list[str]] = {str(i): [] for i in scores["image_ids"]}
    for row in json.loads((folder / f"{name}_references.json").read_text())["annotations"]:
        references[str(row["image_id"])].append(row["caption"])
    return {str(i): candidates[i] for i in scores["image_ids"]}, references, scores


@pytest.fixture(scope="module")
def own12():
    return read_set(GOLDEN, "own12")


@pytest.fixture(scope="module", params=["own12", "A_fakecap1000"])
def golden_set(request, own12):
    if request.param == "own12":
        return own12
    if real_data() is None:
        pytest.skip("CAPTIONING_REAL_DATA does not name a folder")
    return read_set(real_data() / "metrics", request.param)


@pytest.mark.filterwarnings("ignore:1 of 12 captions are empty")
def test_every_score_is_the_official_one(golden_set):
    predictions, references, official = golden_set
    ours = score(predictions, references)
    for name, theirs in OFFICIAL.items():
        assert ours[name] == pytest.approx(official["overall"][theirs], abs=1e-12)
        column = ours.per_picture[:, ours.names.index(name)]
        np.testing.assert_allclose(column, official["per_image"][theirs], rtol=0, atol=1e-12)


def random_set(seed: int, pictures: int = 40, words: int = 12):
    """Token sequences with many repeated n-grams, of 0 to 11 words, 1 to 5 references."""
    rng = np.random.default_rng(seed)

    def sentence(shortest=0):
        return [f"w{k}" for k in rng.integers(words, size=rng.integers(shortest, 12))]

    return [sentence() for _ in range(pictures)], [
        [sentence(1) for _ in range(rng.integers(1, 6))] for _ in range(pictures)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_random_text_scores_as_in_pycocoevalcap(seed):
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    candidates, references = random_set(seed)
    res = {i: [" ".join(c)] for i, c in enumerate(candidates)}
    gts = {i: [" ".join(s) for s in r] for i, r in enumerate(references)}
    corpus, pictures = Bleu(4).compute_score(gts, res, verbose=0)
    ours, per_picture = bleu.score(candidates, references)
    np.testing.assert_allclose(ours, corpus, rtol=0, atol=1e-12)
    np.testing.assert_allclose(per_picture.T, pictures, rtol=0, atol=1e-12)
    for metric, (theirs, of_each) in [
        (rouge, Rouge().compute_score(gts, res)),
        (cider, Cider().compute_score(gts, res)),
    ]:
        ours, per_picture = metric.score(candidates, references)
        assert ours == pytest.approx(theirs, abs=1e-12)
        np.testing.assert_allclose(per_picture, of_each, rtol=0, atol=1e-12)


def test_bleu_clips_by_the_reference_that_has_the_most():
    corpus, _ = bleu.score([["the"] * 6], [[["the", "cat"], ["the", "the", "mat"]]])
    assert corpus[0] == pytest.approx(2 / 6)


def test_rouge_on_sentences_longer_than_a_machine_word():
    long = [f"w{k}" for k in range(200)]
    _, scores = rouge.score([long, long], [[long[::2]], [["x", *long]]])
    assert scores[0] == pytest.approx((1 + 1.44) * 0.5 * 1 / (1 + 1.44 * 0.5))
    assert scores[1] == pytest.approx((1 + 1.44) * 1 * (200 / 201) / (200 / 201 + 1.44))


def test_a_cider_built_once_scores_any_batch():
    candidates, references = random_set(5)
    scorer = cider.CiderD(references)
    alone = scorer(candidates)
    pictures = np.array([7, 3, 3, 0, 39])
    batch = [candidates[7], candidates[3], candidates[0], candidates[0], ["unknown", "unknown", "words"]]
    scores = scorer(batch, pictures)
    assert scores[[0, 1, 3]] == pytest.approx(alone[[7, 3, 0]])
    assert scores[4] == 0
    with pytest.raises(ValueError, match="5 candidates for 4 pictures"):
        scorer(batch, pictures[:4])
    as_ids = {word: k for k, word in enumerate(sorted({w for r in references for s in r for w in s}))}
    with_ids = cider.CiderD([[[as_ids[w] for w in s] for s in r] for r in references])
    assert with_ids([[as_ids[w] for w in c] for c in candidates]) == pytest.approx(alone)


def test_a_table_of_document_frequencies_stands_for_its_corpus(tmp_path):
    candidates, references = random_set(6)
    table = cider.count_documents(references)
    assert table["w3",] == sum(any("w3" in sentence for sentence in picture) for picture in references)
    cider.write_frequency(table, len(references), tmp_path / "frequency.json")
    table, documents = cider.read_frequency(tmp_path / "frequency.json")
    given = cider.CiderD(references[:5], document_frequency=table, documents=documents)
    np.testing.assert_allclose(given(candidates[:5]), cider.CiderD(references)(candidates)[:5], atol=1e-12)
    with pytest.raises(ValueError, match="together"):
        cider.CiderD(references, document_frequency=table)


def test_plain_cider_is_a_cosine_without_clipping_or_length_penalty():
    references = [[["a", "b", "c", "d"]], [["e", "f", "g", "h"]]]
    repeated = [["a", "b", "c", "d"] * 3, ["e", "f", "g", "h"]]
    plain, clipped = cider.Cider(references)(repeated), cider.CiderD(references)(repeated)
    assert plain[1] == pytest.approx(10) == clipped[1]
    assert clipped[0] < 2 < plain[0]
    # words: the same direction, cosine 1; bigrams ab, bc, cd 3 times and da twice: 9 / (sqrt(31) sqrt(3)), ...
    cosines = [1, 9 / np.sqrt(31 * 3), 6 / np.sqrt((9 + 9 + 4 + 4) * 2), 3 / np.sqrt(9 + 4 + 4 + 4)]
    assert plain[0] == pytest.approx(10 * np.mean(cosines))


def test_bootstrap_interval_of_a_mean_is_the_normal_one():
    sample = np.random.default_rng(0).normal(3, 2, 400)
    statistics = np.column_stack([sample, np.ones(400)])
    low, high = bootstrap.intervals(statistics, lambda sums: sums[..., :1] / sums[..., 1:], samples=4000)
    error = 1.96 * sample.std() / 20
    assert [low[0], high[0]] == pytest.approx([sample.mean() - error, sample.mean() + error], abs=0.02)


def test_bleu_is_resampled_through_its_counts(own12):
    predictions, references, _ = own12
    with pytest.warns(UserWarning, match="1 of 12 captions are empty, e.g. '5'"):
        ours = score(predictions, references)
    assert ours["BLEU-4"] != pytest.approx(ours.per_picture[:, 3].mean(), abs=0.01)
    low, high = ours.interval
    assert (low <= ours.values).all() and (ours.values <= high).all() and (high - low > 0.05).all()
    assert np.array_equal(ours.interval, score_quietly(predictions, references).interval)


def score_quietly(predictions, references, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return score(predictions, references, **options)


def test_paired_test_tells_a_difference_from_none():
    rng = np.random.default_rng(1)
    ones, mean = np.ones(200), lambda sums: sums[..., :1] / sums[..., 1:]
    hard = rng.normal(0, 3, 200)  # pictures differ far more than systems do: only a paired test can see it
    a, b = np.column_stack([hard + rng.normal(0, 0.1, 200), ones]), np.column_stack([hard + 0.05, ones])
    same = np.column_stack([hard + rng.normal(0, 0.1, 200), ones])
    assert bootstrap.paired_test(a, b, mean)[0] < 0.01
    assert bootstrap.paired_test(a, same, mean)[0] > 0.05
    assert bootstrap.paired_test(a, a, mean)[0] == 1


def test_scores_can_be_compared_tabled_and_stored(own12):
    predictions, references, _ = own12
    ours = score_quietly(predictions, references)
    worse = score_quietly(dict.fromkeys(predictions, "zzz"), references)
    assert ours.p_against(worse)["CIDEr-D"] < 0.01
    assert list(ours.table().columns) == ["score", "low", "high", "n"]
    stored = json.loads(json.dumps(ours.json()))
    assert stored["n"] == 12
    assert stored["CIDEr-D"]["score"] == ours["CIDEr-D"]
    other_ids = score({"1": "a dog", "2": "a cat"}, {"1": ["a dog"], "2": ["a cat"]})
    with pytest.raises(ValueError, match="not the same pictures"):
        ours.p_against(other_ids)


def test_attributes_are_pooled_over_pictures():
    references = {"1": ["a red hat"], "2": ["a blue hat and a belt"]}
    marks = {"a red hat": [True], "a hat": [True, False, False]}
    scores = score({"1": "a red hat", "2": "a hat"}, references, attributes=lambda _, caption: marks[caption])
    assert scores["attributes"] == 2 / 4
    assert scores.per_picture[:, -1].tolist() == [1, 1 / 3]


def test_the_table_has_a_row_a_system_with_intervals(own12):
    predictions, references, _ = own12
    systems = {"model": predictions, "shuffled pictures": controls.shuffled(predictions)}
    scores = {name: score_quietly(said, references) for name, said in systems.items()}
    table = score_table(scores)
    assert list(table.index) == ["model", "shuffled pictures"]
    assert list(table.columns) == ["BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr-D"]
    low, high = scores["model"].interval
    place = scores["model"].names.index("ROUGE-L")
    assert table.loc["model", "ROUGE-L"] == f"{scores['model']['ROUGE-L']:.3f} [{low[place]:.3f}, {high[place]:.3f}]"


def words_per_caption(captioned: Captioned) -> Measured:
    return Measured.mean("words", np.array([len(words) for words in captioned.words]))


def test_a_further_metric_stands_beside_the_others_with_its_interval(own12):
    predictions, references, _ = own12
    plain, more = (
        score_quietly(predictions, references),
        score_quietly(predictions, references, also=[words_per_caption]),
    )
    assert more.names == (*plain.names, "words")
    assert more.values[:-1].tolist() == plain.values.tolist()
    lengths = [len(words) for words in tokenize(list(predictions.values()))]
    assert more["words"] == pytest.approx(np.mean(lengths))
    assert more.per_picture[:, -1].tolist() == lengths
    assert more.interval[0][-1] < more["words"] < more.interval[1][-1]


@pytest.mark.parametrize(
    "predictions, error, message",
    [
        ({"1": "a dog"}, ValueError, r"2 of 3 pictures have no prediction.* \(e.g. '2', '3'\)"),
        ({"1": "a", "2": "b", "3": "c", "9": "d"}, ValueError, r"1 of 4 predictions have no references.* \(e.g. '9'\)"),
        ({"1": "a", "2": ["b"], "3": None}, TypeError, r"2 of 3 predictions are not strings \(e.g. '2', '3'\)"),
    ],
)
def test_wrong_predictions_are_refused_with_counts_and_examples(predictions, error, message):
    scorer = Scorer({"1": ["a dog"], "2": ["a cat"], "3": ["a cow"]})
    with pytest.raises(error, match=message):
        scorer(predictions)


@pytest.mark.parametrize(
    "references, error, message",
    [
        ({}, ValueError, "no references"),
        ({"1": ["a dog"], "2": []}, ValueError, r"1 of 2 pictures have no references \(e.g. '2'\)"),
        ({"1": "a dog", "2": ["a cat"]}, TypeError, "1 of 2 pictures have one string"),
        (
            {"1": ["a dog"], "2": [None]},
            TypeError,
            r"1 of 2 pictures have references that are not strings \(e.g. '2'\)",
        ),
    ],
)
def test_wrong_references_are_refused_with_counts_and_examples(references, error, message):
    with pytest.raises(error, match=message):
        Scorer(references)


@pytest.mark.parametrize("caption", ["", "...", "zzz"])
def test_captions_that_share_nothing_score_nothing(caption):
    scores = score_quietly(dict.fromkeys("123", caption), {"1": ["a dog"], "2": ["a cat", "one cat"], "3": ["a cow"]})
    assert scores.values == pytest.approx(0, abs=1e-6)


def test_one_picture_has_no_cider_and_says_so():
    with pytest.warns(UserWarning, match="CIDEr-D is 0 by construction"):
        scores = score({"1": "a dog runs"}, {"1": ["a dog runs"]})
    assert scores["CIDEr-D"] == 0
    assert scores["ROUGE-L"] == 1


TRAIN = {
    "1": ["a man rides a wave", "a surfer on a wave"],
    "2": ["a man rides a horse", "the man on a horse in a field"],
    "3": ["two dogs play in the snow", "a dog and a dog"],
    "4": ["a man on a horse", "a man in a hat rides"],
}


def test_the_constant_caption_is_the_best_of_all():
    chosen = set(controls.constant_caption(TRAIN, ["x", "y"]).values())
    references = [tokenize(r) for r in TRAIN.values()]
    captions = [c for r in TRAIN.values() for c in r]
    brute = [bleu.score(tokenize([c]) * len(TRAIN), references)[0][3] for c in captions]
    assert chosen == {captions[int(np.argmax(brute))]}
    np.testing.assert_allclose(controls._bleu4_as_constant(References(references)), brute, atol=1e-12)


def test_the_constant_caption_can_be_chosen_on_a_sample():
    train = {str(k): [f"a man with {k} dogs"] for k in range(50)}
    a, b = (controls.constant_caption(train, ["x"], sample=10, seed=s) for s in (1, 1))
    assert a == b and a["x"] in {c for r in train.values() for c in r}


@pytest.mark.parametrize("n", [2, 3, 50])
def test_shuffled_moves_every_caption(n):
    predictions = {str(k): f"caption {k}" for k in range(n)}
    moved = controls.shuffled(predictions, seed=n)
    assert list(moved) == list(predictions)
    assert sorted(moved.values()) == sorted(predictions.values())
    assert all(moved[i] != predictions[i] for i in predictions)
    assert moved == controls.shuffled(predictions, seed=n)


def test_one_caption_cannot_be_shuffled():
    with pytest.raises(ValueError, match="1 predictions cannot be shuffled"):
        controls.shuffled({"1": "a dog"})


def test_random_captions_come_from_train():
    drawn = controls.random_captions(TRAIN, map(str, range(200)), seed=3)
    assert set(drawn.values()) == {c for r in TRAIN.values() for c in r}
    assert drawn == controls.random_captions(TRAIN, map(str, range(200)), seed=3)


@pytest.mark.parametrize("control", [controls.random_captions, controls.constant_caption])
def test_controls_need_a_training_caption(control):
    with pytest.raises(ValueError, match="no training captions"):
        control({"1": []}, ["x"])


def test_nearest_neighbours_are_found_by_angle_not_by_length():
    there = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
    here = np.array([[0.1, 9], [-0.5, 0.1], [30, 1]])
    found = controls.nearest_neighbours(TRAIN, there, ["p", "q", "r"], here, chunk=2)
    assert found["p"] in TRAIN["2"] and found["q"] in TRAIN["3"] and found["r"] in TRAIN["1"]
    without_second = TRAIN | {"2": []}
    assert controls.nearest_neighbours(without_second, there, ["p"], here[:1])["p"] in TRAIN["1"]
    with pytest.raises(ValueError, match=r"features has shape \(3, 2\), expected \(2, D\)"):
        controls.nearest_neighbours(TRAIN, there, ["p", "q"], here)


def test_of_the_neighbours_captions_one_is_drawn():
    """Whoever captions first may be better than the others, as in Flickr8k."""
    train, ids = {"1": ["a", "b", "c"], "2": [], "3": ["d"]}, [str(i) for i in range(300)]
    found = controls.nearest_neighbours(train, np.eye(3), ids, np.tile([1.0, 2.0, 0.5], (300, 1)))
    counts = {said: list(found.values()).count(said) for said in "abc"}
    assert sum(counts.values()) == 300 and min(counts.values()) > 70
    again = controls.nearest_neighbours(train, np.eye(3), ids, np.tile([1.0, 2.0, 0.5], (300, 1)))
    other = controls.nearest_neighbours(train, np.eye(3), ids, np.tile([1.0, 2.0, 0.5], (300, 1)), seed=1)
    assert found == again != other


@pytest.mark.parametrize("pictures", [3, 5, 7])
def test_the_smallest_p_of_few_pictures(pictures):
    """However clear the difference: no toss and all tosses of 2**P are as far as what was seen."""
    ours, theirs = np.ones((pictures, 1)), np.zeros((pictures, 1))
    p = bootstrap.paired_test(ours, theirs, lambda sums: sums, samples=20_000)[0]
    assert p == pytest.approx(2 / 2**pictures, abs=0.01)
    assert bootstrap.paired_test(np.ones((40, 1)), np.zeros((40, 1)), lambda sums: sums)[0] == 1 / 2001


def test_metrics_need_nothing_of_the_rest():
    code = "import sys, captioning.metrics; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "datasets", "transformers", "pandas", "captioning.models"} & set(loaded)
