"""Words of scripts that `\\w` breaks, and of scripts that leave no blanks."""

import re
import unicodedata

import pytest

from captioning.metrics.style import features_of
from captioning.metrics.words import UNSPACED, WORD, apart
from captioning.rebuild.clean import no_language, words

WITH_MARKS = {
    "Hindi": "एक बिल्ली घास पर बैठी है",
    "Tamil": "ஒரு நாய் புல்வெளியில் ஓடுகிறது",
    "Sinhala": "බල්ලෙක් තණකොළ මත දුවයි",
    "Arabic with vowels": "رَجُلٌ يَرْكَبُ حِصَانًا",
    "Persian with a joiner": "مردی سوار بر اسب می\u200cرود",
    "Vietnamese, decomposed": unicodedata.normalize("NFD", "người đàn ông cưỡi ngựa"),
    "French, curly": "l’homme qu’il a vu",
}


@pytest.mark.parametrize("text", WITH_MARKS.values(), ids=WITH_MARKS)
def test_a_mark_belongs_to_its_word_everywhere(text):
    assert re.findall(WORD, text) == text.split()
    assert words(text) == text.lower().split()
    assert not no_language(text)
    assert {feature for feature in features_of(text) if " " not in feature} == set(text.lower().split())


@pytest.mark.parametrize(
    "text, expected",
    [
        ("一个男人，在iPhone 15上骑马。", "一 个 男 人 在 iPhone 15 上 骑 马"),
        (unicodedata.normalize("NFD", "男性が「馬」に"), "男 性 が 馬 に"),
        ("ขี่ม้า 2 คน", "ขี่ ม้ า 2 ค น"),
        ("a dog's T-shirt, red.", "a dog's T-shirt, red."),
        ("", ""),
    ],
)
def test_characters_are_words_where_no_blanks_are_written(text, expected):
    assert apart(text) == expected
    assert apart(apart(text)) == expected


def test_the_languages_are_named():
    assert list(UNSPACED) == ["zh", "ja", "th"]
