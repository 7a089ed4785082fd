import warnings

import pytest

from captioning.metrics.words import apart, as_written, for_scoring
from captioning.text import WordTokenizer, punctuated, warn_of_single_words

CAPTIONS = ["A t-shirt , and a skirt .", "the man's t-shirt has a v-shape neckline.", "A dog!"]


@pytest.fixture
def tokenizer():
    return WordTokenizer.train(CAPTIONS)


def test_words_are_lower_case_and_punctuation_stands_alone(tokenizer):
    ids = tokenizer.encode(CAPTIONS[1])
    assert tokenizer.words(ids) == ["the", "man's", "t-shirt", "has", "a", "v-shape", "neckline", "."]
    assert tokenizer.decode(tokenizer.encode("A dog!")) == "a dog !"
    assert tokenizer.decode(tokenizer.encode(" the skirt,the t-shirt ")) == "the skirt , the t-shirt"


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("a hat , a bag .", "a hat, a bag."),
        ("a shop called .com", "a shop called .com"),
        ("un chien : il court !", "un chien : il court !"),
        ("as it stands.", "as it stands."),
    ],
)
def test_beside_pictures_captions_are_written_as_people_write(said, written):
    assert punctuated(said) == written


def test_special_ids(tokenizer):
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 1, 2, 3)
    assert set(tokenizer.never) == {0, 1, 3}  # a decoder may end, and say words
    assert len(tokenizer) == 4 + 13  # a t-shirt , and skirt . the man's has v-shape neckline dog !
    words = tokenizer.encode(" ".join(CAPTIONS))
    assert min(words) == 4
    assert max(words) == len(tokenizer) - 1
    assert tokenizer.decode([1, *tokenizer.encode("a dog"), 2, 0, 0]) == "a dog"


def test_a_caption_cannot_spell_a_special_token(tokenizer):
    assert min(tokenizer.encode("a <eos> dog <pad>")) >= tokenizer.unk_id
    assert WordTokenizer.train(["<bos> a <eos>"]).words(range(4, 9)) == ["<", ">", "a", "bos", "eos"]


def test_unknown_words_are_unk(tokenizer):
    assert tokenizer.encode("a zebra") == [*tokenizer.encode("a"), tokenizer.unk_id]
    assert tokenizer.encode("") == []


def test_rare_words_are_left_out():
    tokenizer = WordTokenizer.train(CAPTIONS, min_count=2)
    assert {tokenizer.words([i])[0] for i in range(4, len(tokenizer))} == {"a", "t-shirt", "."}


def test_training_does_not_depend_on_the_run():
    first, second = (WordTokenizer.train(CAPTIONS * 3) for _ in range(2))
    assert first.encode(" ".join(CAPTIONS)) == second.encode(" ".join(CAPTIONS))


def test_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = WordTokenizer.load(tmp_path)
    assert len(loaded) == len(tokenizer)
    for caption in [*CAPTIONS, "ein unbekanntes Wort, à la carte"]:
        assert loaded.encode(caption) == tokenizer.encode(caption)


def test_letters_of_other_scripts_are_words():
    tokenizer = WordTokenizer.train(["Une robe à rayures", "женщина в платье"])
    assert tokenizer.decode(tokenizer.encode("À rayures . женщина")) == "à rayures женщина"  # "." was never seen


SENTENCES = ["一个男人在BMW旁。", "一只狗，在雪地里。"]


def test_characters_are_units_and_are_joined_without_blanks(tmp_path):
    tokenizer = WordTokenizer.train(SENTENCES, units="characters")
    assert tokenizer.words(tokenizer.encode(SENTENCES[1])) == list("一只狗，在雪地里。")
    tokenizer.save(tmp_path)
    for each in (tokenizer, WordTokenizer.load(tmp_path)):
        assert each.decode([1, *each.encode(SENTENCES[0]), 2]) == "一个男人在bmw旁。"
        assert each.encode("猫") == [each.unk_id]
    [dog] = tokenizer.encode(" 狗 ")  # as constraints ask for it
    assert tokenizer.decode([dog]) == "狗"


def test_characters_keep_the_blanks_that_there_are_and_marks_stay_with_their_letters():
    tokenizer = WordTokenizer.train(["a dog", "กำลังนั่ง"], units="characters")
    assert tokenizer.decode(tokenizer.encode("a dog")) == "a dog"
    assert tokenizer.words(tokenizer.encode("กำลังนั่ง")) == ["กำ", "ลั", "ง", "นั่", "ง"]


def test_characters_are_the_words_that_are_scored():
    assert apart(" 一只狗 在 นั่ง。") == "一 只 狗 在 นั่ ง"
    assert for_scoring(WordTokenizer.train(SENTENCES, units="characters")) is apart
    assert for_scoring(WordTokenizer.train(SENTENCES)) is as_written


def test_sentences_without_blanks_are_warned_of():
    with pytest.warns(UserWarning, match=r"2 of 3 training captions are one word, the first: '一个男人.*characters"):
        warn_of_single_words([*SENTENCES, "a dog"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_single_words(["a dog", "a cat", "dog"])
        warn_of_single_words([])
