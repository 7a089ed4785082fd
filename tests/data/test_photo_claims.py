"""What captions of photographs claim, and when a claim counts as right."""

import pytest

from captioning.data import photo_claims
from captioning.data.photo_claims import attribute_accuracy, mark, read_attributes, truth

PEOPLE = [
    "A man and a girl sit on a red bench .",
    "Two people sitting near the water",
    "A girl in red watches the lake .",
    "A man rests .",
    "A dog",
]


def test_claims_are_read_word_by_word():
    claimed = read_attributes("A tan puppy and a man with Dogs are running on the snowy beach.")
    assert claimed == {"person": "man", "animal": "dog", "action": "run", "place": "snow + beach", "colour": "brown"}
    assert read_attributes("Doggedly redder manners") == {}


def test_truth_is_what_two_people_say():
    assert truth(PEOPLE) == {
        "person": "man + girl",
        "animal": None,  # one person only
        "action": "sit",
        "place": "water",
        "thing": None,
        "colour": "red",
    }
    assert set(truth([]).values()) == {None}


@pytest.mark.parametrize(
    ("caption", "right"),
    [
        ("a girl sits by a lake in red", {"person": True, "action": True, "place": True, "colour": True}),
        ("a man", {"person": True, "action": False, "place": False, "colour": False}),  # silence
        ("a man and a boy", {"person": False, "action": False, "place": False, "colour": False}),  # one is not there
        ("a dog", {"person": False, "animal": False, "action": False, "place": False, "colour": False}),  # invented
    ],
)
def test_marks(caption, right):
    assert mark(caption, truth(PEOPLE)) == right


def test_accuracy_is_over_all_marks():
    scores = attribute_accuracy(["a girl sits by a lake in red", "a dog"], [truth(PEOPLE)] * 2)
    assert scores["overall"] == pytest.approx(4 / 9)
    assert scores["person"] == 0.5 and scores["animal"] == 0.0


def test_no_word_means_two_things():
    words = [word for values in photo_claims.VALUES.values() for each in values.values() for word in each.split()]
    assert len(words) == len(set(words)) == len(photo_claims.MEANS)
