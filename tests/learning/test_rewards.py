"""Rewards are the metrics, of the right picture, with or without the end of the sentence."""

import numpy as np
import pytest

from captioning.learning import rewards
from captioning.learning.config import RewardConfig
from captioning.learning.rewards import END, Reward, SampleReward, ptb_words
from captioning.metrics.score import Scorer
from captioning.text import WordTokenizer

REFERENCES = [
    ["a man rides a brown horse", "a man on a horse in a field"],
    ["two dogs play in the snow", "dogs run through deep snow"],
    ["a red bus on a wet street"],
]
SAMPLES = ["a man rides a horse", "a dog in the snow", "a red bus", "a man on a", "two dogs play in the snow"]
PICTURE = np.array([0, 1, 2, 0, 0])
COUNTED = [name for name in Reward.METRICS if name != "METEOR"]  # without Java


@pytest.fixture(scope="module")
def words():
    return [ptb_words(group) for group in REFERENCES]


@pytest.mark.parametrize("name", COUNTED)
def test_a_reward_is_the_metric_of_that_picture(words, name):
    found = Reward(words, {name: 1.0}, end=None)(ptb_words(SAMPLES), PICTURE)
    for sample, picture, reward in zip(SAMPLES, PICTURE, found, strict=True):
        said = {str(p): sample if p == picture else "x" for p in range(3)}
        scores = Scorer({str(p): group for p, group in enumerate(REFERENCES)})(said)
        assert reward == pytest.approx(scores.per_picture[picture, scores.names.index(name)], abs=1e-12)
    assert found[4] == found.min()  # the right sentence for another picture


def test_weights_mix_the_metrics(words):
    samples = ptb_words(SAMPLES)
    one = {name: Reward(words, {name: 1.0}, end=None)(samples, PICTURE) for name in COUNTED}
    mixed = Reward(words, {"CIDEr-D": 0.5, "BLEU-4": 2, "ROUGE-L": 1}, end=None)
    expected = 0.5 * one["CIDEr-D"] + 2 * one["BLEU-4"] + one["ROUGE-L"]
    np.testing.assert_allclose(mixed(samples, PICTURE), expected, rtol=1e-12)
    assert repr(mixed) == "0.5 CIDEr-D + 2 BLEU-4 + 1 ROUGE-L, end of sentence not counted"


def test_with_the_end_counted_a_caption_that_breaks_off_loses_more(words):
    whole, broken, picture = "a man on a horse in a field", "a man on a horse in a", np.array([0])
    lost = {}
    for end in (END, None):
        reward = Reward(words, end=end)
        lost[end] = 1 - reward(ptb_words([broken], end), picture)[0] / reward(ptb_words([whole], end), picture)[0]
    assert lost[END] > 1.2 * lost[None] > 0
    assert repr(Reward(words)) == "1 CIDEr-D, end of sentence counted"


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("end", [END, None])
def test_saying_nothing_earns_nothing(name, end):
    words = [ptb_words(["a dog", "the dog"]), ptb_words(["a cat sleeps"])]
    nothing, everything = ptb_words([""], end), ptb_words(["a dog"], end)
    reward = Reward(words, {name: 1.0}, end)
    assert reward(nothing, np.array([0]))[0] == pytest.approx(0, abs=1e-4)
    assert reward(everything, np.array([0]))[0] > 0.01 or name == "BLEU-4"


def test_rouge_is_that_of_the_words_whether_the_end_counts_or_not(words):
    found = [Reward(words, {"ROUGE-L": 1.0}, end)(ptb_words(SAMPLES, end), PICTURE) for end in (END, None)]
    np.testing.assert_array_equal(*found)


def test_token_ids_are_rewarded_as_their_words(words):
    known = {word: k for k, word in enumerate(sorted({w for group in words for s in group for w in s}))}
    known[END] = len(known)

    def ids(sentences):
        return [[known.get(word, -1) for word in sentence] for sentence in sentences]

    by_id = Reward([ids(group) for group in words], {"CIDEr-D": 1, "ROUGE-L": 0.3}, end=known[END])
    by_word = Reward(words, {"CIDEr-D": 1, "ROUGE-L": 0.3})
    samples = ptb_words(SAMPLES[:3], END)
    np.testing.assert_allclose(by_id(ids(samples), PICTURE[:3]), by_word(samples, PICTURE[:3]), rtol=1e-12)


def test_document_frequencies_may_come_from_elsewhere(words):
    everywhere = {(word,): 100.0 for word in ("a", "man", "on")}
    found = Reward(words, end=None, document_frequency=everywhere, documents=100.0)(
        ptb_words(["a man on"]), np.array([0])
    )
    own = Reward(words, end=None)(ptb_words(["a man on"]), np.array([0]))
    assert found[0] != own[0]
    assert Reward(words, end=None, document_frequency=everywhere, documents=100.0)([["a"]], np.array([0]))[0] == 0


@pytest.mark.parametrize("weights", [{"CIDEr": 1.0}, {}, {"BLEU-4": 0}])
def test_wrong_weights_are_refused(words, weights):
    with pytest.raises(ValueError, match="expected numbers for some of CIDEr-D, BLEU-4, ROUGE-L"):
        Reward(words, weights)


def test_a_weight_of_zero_asks_for_nothing(words):
    assert Reward(words, {"CIDEr-D": 1.0, "METEOR": 0.0}).meteor is None  # nor for Java
    with pytest.raises(ValueError, match="expected numbers for some of CIDEr-D, BLEU-4, ROUGE-L, METEOR"):
        Reward(words, {"METEOR": 0.0})


def test_meteor_is_asked_for_the_words_without_the_end(words, monkeypatch):
    asked = []

    class Stand:
        def __init__(self, references, meteor):
            assert references == words and meteor == "java"

        def __call__(self, samples, picture):
            asked.extend(zip(samples, picture, strict=True))
            return np.arange(len(samples), dtype=float)

    monkeypatch.setattr(rewards, "SentenceMeteor", Stand)
    monkeypatch.setattr(rewards, "Meteor", lambda: "java")
    reward = Reward(words, {"METEOR": 2.0})
    np.testing.assert_array_equal(reward([["a", "dog", END], ["a"]], np.array([1, 2])), [0, 2])
    assert asked == [(["a", "dog"], 1), (["a"], 2)]


def test_samples_are_rewarded_for_their_text_with_the_end_where_they_ended(words):
    tokenizer = WordTokenizer.train([caption for group in REFERENCES for caption in group])
    references = {str(i): group for i, group in enumerate(REFERENCES)}
    judge = SampleReward(references, tokenizer)
    cut = tokenizer.encode("a man on a horse in a field")
    samples, rows = [[*cut, tokenizer.eos_id], cut], np.array([0, 0])
    text = ptb_words(["a man on a horse in a field"])[0]
    np.testing.assert_array_equal(judge(samples, rows), Reward(words)([[*text, END], text], rows))
    open_end = SampleReward(references, tokenizer, RewardConfig(end=False))(samples, rows)
    assert open_end[0] == open_end[1]
    assert judge.novel(samples) == 0 and judge.novel([*samples, cut[:3], cut[:4]]) == 0.5


def test_the_truth_can_be_rewarded_where_it_is_known():
    tokenizer, references = WordTokenizer.train(["a red bus"]), {"x": ["a red bus"], "y": ["a bus"]}

    def mark(image_id, caption):
        return [image_id == "x", "red" in caption]

    config = RewardConfig({"attributes": 10.0})
    samples = [tokenizer.encode(text) for text in ("a red bus", "a bus", "a bus")]
    found = SampleReward(references, tokenizer, config, mark)(samples, np.array([0, 0, 1]))
    np.testing.assert_array_equal(found, [10, 5, 0])
    with pytest.raises(ValueError, match="attributes of this data set are not known"):
        SampleReward(references, tokenizer, config)


def test_characters_are_the_words_that_are_rewarded():
    references = {"x": ["一只狗在雪地里。"], "y": ["一个男人坐着。"]}
    tokenizer = WordTokenizer.train([text for texts in references.values() for text in texts], units="characters")
    judge = SampleReward(references, tokenizer, RewardConfig({"BLEU-4": 1.0}, end=False))
    whole, half = (tokenizer.encode(text) for text in ("一只狗在雪地里。", "一只狗在水边。"))
    found = judge([whole, half], np.array([0, 0]))
    assert found[0] == pytest.approx(1) and 0 < found[1] < 1
    assert judge.novel([whole, half]) == 0.5
