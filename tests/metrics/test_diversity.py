"""Diversity by hand, and self-CIDEr against a plain transcription of its definition on pycocoevalcap's CIDEr."""

import numpy as np
import pytest

from captioning.metrics.diversity import diversity, mbleu4, self_cider

REFERENCES = [["a b c d e"], ["f g h i j"], ["k l m n o"], ["a dog runs on the grass", "the dog is on a lawn"]]


def test_diversity_by_hand():
    """The words are a x 3, dog x 2, cat, runs x 2; the bigrams a dog x 2, dog runs x 2, a cat."""
    found = diversity(["A dog runs.", "a dog runs", "a cat"], ["a dog runs !", "the cat"])
    expected = {"distinct-1": 4 / 8, "distinct-2": 3 / 5, "vocabulary": 4, "length": 8 / 3, "unique": 2 / 3}
    assert found == pytest.approx(expected | {"novel": 1 / 3})


def test_without_training_captions_there_is_no_novelty():
    assert "novel" not in diversity(["a dog"])
    assert diversity(["a dog"], [])["novel"] == 1


def test_empty_captions_have_no_words_to_divide_by():
    found = diversity(["", "!"])
    assert found == {"distinct-1": 0, "distinct-2": 0, "vocabulary": 0, "length": 0, "unique": 0.5}
    with pytest.raises(ValueError, match="no captions"):
        diversity([])


def test_self_cider_is_0_for_equal_captions_and_1_for_disjoint_ones():
    equal, disjoint = ["a b c d e"] * 3, ["a b c d e", "f g h i j", "k l m n o"]
    np.testing.assert_allclose(self_cider([equal, disjoint], REFERENCES), [0, 1], atol=1e-6)


def test_self_cider_of_two_captions_of_two_by_hand():
    """Two equal captions and two equal other ones: eigenvalues 20, 20, 0, 0; so half of the sum, and log_4 of 2."""
    group = ["a b c d e", "f g h i j"] * 2
    np.testing.assert_allclose(self_cider([group], REFERENCES), [0.5], atol=1e-6)


def by_definition(captions: list[str], references: list[list[str]]) -> float:
    from pycocoevalcap.cider.cider_scorer import CiderScorer

    def cider(candidate: str, reference: str) -> float:
        scorer = CiderScorer(n=4, sigma=6.0)
        for group in references:
            scorer += (group[0], group)
        scorer.compute_doc_freq()
        scorer.ctest, scorer.crefs = [], []
        scorer += (candidate, [reference])
        scorer.crefs += [[]] * (len(references) - 1)  # the number of documents; not scored, as ctest is shorter
        return scorer.compute_cider()[0]

    n = len(captions)
    kernel = np.zeros((n, n))
    for i in range(n):
        for j in range(i, n):
            kernel[i, j] = kernel[j, i] = cider(captions[i], captions[j])
    roots = np.sqrt(np.linalg.svd(kernel)[1])
    return -np.log10(roots.max() / roots.sum()) / np.log10(n)


def test_self_cider_is_that_of_its_authors_code():
    rng, words = np.random.default_rng(0), list("abcdefgh")
    groups = [[" ".join(rng.choice(words, rng.integers(3, 12))) for _ in range(n)] for n in (2, 3, 5)]
    references = [[" ".join(rng.choice(words, rng.integers(3, 12))) for _ in range(2)] for _ in range(12)]
    expected = [by_definition(group, references) for group in groups]
    np.testing.assert_allclose(self_cider(groups, references), expected, atol=1e-9)


def test_mbleu_is_1_for_equal_captions_and_0_for_disjoint_ones():
    equal, disjoint = ["a b c d e"] * 2, ["a b c d e", "f g h i j", "k l m n o"]
    np.testing.assert_allclose(mbleu4([equal, disjoint]), [1, 0], atol=1e-6)
    # the first is equal to the last, the other two to none
    np.testing.assert_allclose(mbleu4([[*disjoint, disjoint[0]]]), [0.5], atol=1e-6)


@pytest.mark.parametrize("measure", [lambda groups: self_cider(groups, REFERENCES), mbleu4])
def test_one_caption_of_a_picture_is_refused(measure):
    with pytest.raises(ValueError, match="1 of 2 pictures have fewer than two captions"):
        measure([["a dog"], ["a dog", "a cat"]])
    with pytest.raises(ValueError, match="0 of 0 pictures"):
        measure([])
