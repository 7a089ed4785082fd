"""The earlier fashion course's numbers; nltk and rouge are optional, so most of this runs where they are installed."""

import math
import sys

import pytest

from captioning.metrics import legacy
from captioning.metrics.base import Unavailable

REFERENCES = {"p": ["The tank top has no sleeves, and cotton fabric."], "q": ["she wears a hat .", "a hat"]}


@pytest.fixture
def installed():
    pytest.importorskip("nltk")
    pytest.importorskip("rouge")


@pytest.fixture
def wordnet(installed):
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        pytest.skip("the data of WordNet is not installed")


@pytest.fixture
def no_wordnet(installed, monkeypatch):
    """nltk as it is where the data is not installed."""

    def lookup(*args, **options):
        raise LookupError("Resource 'wordnet' not found.\nPlease use the NLTK Downloader")

    monkeypatch.setattr("nltk.translate.meteor_score.meteor_score", lookup)


@pytest.mark.parametrize("package", ["nltk", "rouge"])
def test_a_package_that_is_missing_is_named(monkeypatch, package):
    if package == "rouge":
        pytest.importorskip("nltk")
    for module in (package, f"{package}.translate.bleu_score"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Unavailable, match=rf"\(.*{package}.*\); run `pip install nltk rouge`") as raised:
        legacy.fashion({"p": "a hat", "q": "a hat"}, REFERENCES)
    assert "\n" not in str(raised.value)


def test_words_are_those_of_the_course():
    assert legacy.words("Its neckline is V-shape, cotton.  It has 1.5 ,") == [
        *("its", "neckline", "is", "v-shape", ",", "cotton", ".", "it", "has", "1.5", ",")
    ]


def test_bleu_and_rouge_by_hand(no_wordnet):
    """p is the first 8 of its reference's 11 words, of which one is a period; q is one of its references."""
    predictions = {"p": "the tank top has no sleeves , and", "q": "She wears a hat."}
    with pytest.warns(UserWarning, match=r"no METEOR \(nltk\): WordNet's data is not installed; run `python -m nltk"):
        found = legacy.fashion(predictions, REFERENCES)
    assert list(found) == ["BLEU-4 (nltk)", "ROUGE-L (rouge)"]
    # every n-gram is right: BLEU is the brevity penalty of 8 + 5 words against 11 + 5
    assert found["BLEU-4 (nltk)"] == pytest.approx(math.exp(1 - 16 / 13))
    # the package counts no periods: precision 1 and recall 8/10, then 1
    assert found["ROUGE-L (rouge)"] == pytest.approx((2 * 0.8 / 1.8 + 1) / 2, abs=1e-6)


@pytest.mark.parametrize("empty", ["", ".", " . . "])
def test_rouge_of_no_words_is_0(no_wordnet, empty):
    with pytest.warns(UserWarning):
        found = legacy.fashion({"p": empty, "q": "a hat"}, REFERENCES)
    assert found["ROUGE-L (rouge)"] == pytest.approx(0.5, abs=1e-6)


def test_references_are_cut_after_80_words(no_wordnet):
    long = " ".join(f"w{k}" for k in range(100))
    cut = " ".join(f"w{k}" for k in range(80))
    with pytest.warns(UserWarning):
        found = legacy.fashion({"p": cut, "q": cut}, {"p": [long], "q": [long]})
    assert found["BLEU-4 (nltk)"] == pytest.approx(1)
    assert found["ROUGE-L (rouge)"] == pytest.approx(1, abs=1e-6)


def test_meteor_is_the_mean_of_the_best_references(installed, monkeypatch):
    """Without WordNet's data only the mean is ours to test: nltk is replaced by the share of the reference said."""

    def recall(references, caption):
        return max(len(set(caption) & set(r)) / len(set(r)) for r in references)

    monkeypatch.setattr("nltk.translate.meteor_score.meteor_score", recall)
    found = legacy.fashion({"p": "the tank top", "q": "a hat"}, REFERENCES)
    assert list(found) == ["BLEU-4 (nltk)", "METEOR (nltk)", "ROUGE-L (rouge)"]
    assert found["METEOR (nltk)"] == pytest.approx((3 / 11 + 1) / 2)


def test_meteor_of_nltk_itself(wordnet):
    """All 5 words right in one piece: 1 - 0.5 (1/5)^3, Lavie and Agarwal's penalty."""
    same = legacy.meteor(["she", "wears", "a", "hat", "."], [["she", "wears", "a", "hat", "."]])
    assert same == pytest.approx(1 - 0.5 / 125)


def test_predictions_that_do_not_fit_are_refused(installed):
    with pytest.raises(ValueError, match="1 of 2 pictures have no prediction"):
        legacy.fashion({"p": "a hat"}, REFERENCES)
