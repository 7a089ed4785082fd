"""Words of any script, where Python's `\\w` is not enough: letters with marks, and scripts that leave no blanks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from itertools import groupby
from typing import Any


def _marks() -> str:
    """Unicode's combining marks, and the two joiners that stand inside a word, as the inside of a class `[...]`."""
    where = (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0))
    found = [i for i in where if unicodedata.category(chr(i))[0] == "M"] + [0x200C, 0x200D]
    runs = (list(run) for _, run in groupby(enumerate(sorted(found)), lambda pair: pair[1] - pair[0]))
    return "".join(rf"\U{run[0][1]:08x}-\U{run[-1][1]:08x}" for run in runs)


MARKS = _marks()
# Of a word: `\w` and marks, without which a word of Hindi, Tamil or pointed Arabic is in pieces.
CHARACTER = rf"[\w{MARKS}]"
WORD = rf"{CHARACTER}+(?:[-'’]{CHARACTER}+)*"

UNSPACED = {"zh": "Chinese", "ja": "Japanese", "th": "Thai"}  # languages whose captions are split by `apart`
_UNSPACED = re.compile(
    rf"[\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46々〇ぁ-ゖゝ-ゟァ-ヺー-ヿㇰ-ㇿｦ-ﾟ"
    rf"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff][{MARKS}]*"
)


def apart(text: str) -> str:
    """The text with blanks around each Chinese, Japanese and Thai character, and without punctuation.

    Characters as words: how captions of COCO-CN and MUGE are scored. A mark stays with its character; words and numbers
    of other scripts stay whole. Punctuation goes, as the PTB tokenizer drops that of English.
    """
    text = spaced(unicodedata.normalize("NFC", text))
    return " ".join("".join(" " if unicodedata.category(c)[0] == "P" and ord(c) > 0x2FFF else c for c in text).split())


def spaced(text: str) -> str:
    """The text with blanks around each Chinese, Japanese and Thai character."""
    return _UNSPACED.sub(r" \g<0> ", text)


def as_written(text: str) -> str:
    return text


def for_scoring(tokenizer: Any) -> Callable[[str], str]:
    """What is done to captions and references before a model with this tokenizer is scored: `apart`, or nothing."""
    return apart if getattr(tokenizer, "units", "words") == "characters" else as_written
