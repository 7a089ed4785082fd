"""Words <-> ids: a word-level tokenizer built on `tokenizers`.

Captions are lower-cased; words (with inner hyphens and apostrophes: "t-shirt", "v-shape", "man's") and single
punctuation marks are the units, so "." and "," are words as in the fashion captions and in Flickr8k. In a language that
is written without blanks (Chinese, Japanese, Thai) a sentence would be one such word: there characters are the units.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
UNITS = {
    "words": Regex(r"\w+(?:[-'’]\w+)*|[^\w\s]"),
    "characters": Regex(r"\X"),  # a letter with the marks that belong to it; a blank too, where there are blanks
}


class WordTokenizer:
    """A vocabulary of words (or characters) with the four special ids 0 `<pad>`, 1 `<bos>`, 2 `<eos>`, 3 `<unk>`."""

    pad_id, bos_id, eos_id, unk_id = range(4)
    never = (pad_id, bos_id, unk_id)  # ids that a decoder may not produce

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        tokenizer.encode_special_tokens = True  # "<eos>" in a caption is three words, and not the end of it

    @classmethod
    def train(
        cls, captions: Iterable[str], min_count: int = 1, units: Literal["words", "characters"] = "words"
    ) -> WordTokenizer:
        """Build the vocabulary from training captions; a word seen fewer than `min_count` times becomes `<unk>`.

        `units` are saved with it: a tokenizer of characters joins them without blanks.
        """
        tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
        tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.pre_tokenizer = pre_tokenizers.Split(UNITS[units], behavior="removed", invert=True)
        if units == "characters":
            tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.Lowercase()])
            tokenizer.decoder = decoders.Fuse()
        trainer = trainers.WordLevelTrainer(
            vocab_size=1_000_000, min_frequency=min_count, special_tokens=list(SPECIAL), show_progress=False
        )
        tokenizer.train_from_iterator(captions, trainer)
        return cls(tokenizer)

    @property
    def units(self) -> Literal["words", "characters"]:
        return "characters" if self.tokenizer.decoder else "words"

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    def vocabulary(self) -> dict[str, int]:
        """The id of each word."""
        return self.tokenizer.get_vocab()

    def encode(self, text: str) -> list[int]:
        """Ids of the words of `text`, without special ids."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Words of `ids` joined by blanks, or characters as they stand; special ids left out."""
        return ("" if self.units == "characters" else " ").join(self.words(ids))

    def words(self, ids: Sequence[int]) -> list[str]:
        """The word of each id, special ids left out."""
        return [self.tokenizer.id_to_token(i) for i in ids if i >= len(SPECIAL)]

    def save(self, folder: Path) -> None:
        self.tokenizer.save(str(Path(folder) / "tokenizer.json"))

    @classmethod
    def load(cls, folder: Path) -> WordTokenizer:
        return cls(Tokenizer.from_file(str(Path(folder) / "tokenizer.json")))


def punctuated(caption: str) -> str:
    """A caption of words with blanks between them, "a hat , a bag .", with its marks where people put them: "a hat, a
    bag."."""
    return re.sub(r" +([.,])(?= |$)", r"\1", caption)


def warn_of_single_words(captions: Sequence[str]) -> None:
    """Warns where most captions have no blank, and so would be one word each."""
    single = [caption for caption in captions if len(caption.split()) == 1]
    if len(single) > len(captions) / 2:
        warnings.warn(
            f"{len(single)} of {len(captions)} training captions are one word, the first: {single[0]!r:.40}. A "
            "language that is written without blanks needs characters as units: --recipe.tokenizer characters",
            stacklevel=2,
        )
