"""Words <-> ids as a language model has them: pieces of words, all of them or those of some captions."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from captioning.writing import write_json

WORD = re.compile(r"\w+(?:[-'’]\w+)*")
# Words that name nothing in a picture. Captions in other languages have theirs among the content words.
FUNCTION_WORDS = """
    a about above after against all along an and another are around as at away back be behind being beside between
    by down each for from front has have her him himself his i in inside into is it its itself near next of off on
    onto or other out outside over past several some that the their them there they this through to together toward
    towards under up very was were what where which while who with
"""
FUNCTION = frozenset(FUNCTION_WORDS.split())


class PieceTokenizer:
    """A fast tokenizer of transformers with ids of our own: of all its pieces the `kept`, numbered through.

    `special` has the language model's ids of the begin and the end of a caption, of padding and of what is unknown.
    The last two are pieces that no caption needs: padding must not look like the end, as it does in many language
    models. `content` are words that a picture can be said to show.
    """

    def __init__(self, tokenizer: Tokenizer, kept: Sequence[int], special: dict[str, int], content: Sequence[str]):
        self.tokenizer, self.kept, self.special, self.content = tokenizer, tuple(kept), special, tuple(content)
        self.places = {piece: i for i, piece in enumerate(self.kept)}
        self.bos_id, self.eos_id, self.pad_id, self.unk_id = (
            self.places[special[name]] for name in ("bos", "eos", "pad", "unk")
        )
        added = {self.places[piece] for piece in tokenizer.get_added_tokens_decoder() if piece in self.places}
        self.never = tuple(sorted((added | {self.bos_id, self.pad_id, self.unk_id}) - {self.eos_id}))
        tokenizer.encode_special_tokens = True  # what looks like the end in a caption is text, and not the end of it
        tokenizer.no_truncation()
        tokenizer.no_padding()

    @classmethod
    def train(
        cls,
        tokenizer: Tokenizer,
        special: dict[str, int | None],
        captions: Sequence[str],
        min_count: int = 1,
        cut: bool = True,
        words: int = 0,
    ) -> PieceTokenizer:
        """The tokenizer for captions: with `cut` only pieces that they have `min_count` times, else all.

        `special` has the ids that the language model knows by the names bos, eos and unk; unk may be None.
        """
        every, added = range(tokenizer.get_vocab_size()), set(tokenizer.get_added_tokens_decoder())
        tokenizer.encode_special_tokens = True
        said = Counter(i for ids in encode_all(tokenizer, captions) for i in ids)
        free = [i for i in (*sorted(added), *reversed(every)) if i not in said]
        free = [i for i in free if i not in (special["bos"], special["eos"])]
        unknown = special["unk"] if special["unk"] in free else free[1]
        special = special | {"pad": next(i for i in free if i != unknown), "unk": unknown}
        kept = sorted({i for i, n in said.items() if n >= min_count} | set(special.values())) if cut else every
        return cls(tokenizer, kept, special, content_words(captions, words))

    def __len__(self) -> int:
        return len(self.kept)

    def vocabulary(self) -> dict[str, int]:
        """The id of each piece."""
        return {self.tokenizer.id_to_token(piece): i for i, piece in enumerate(self.kept)}

    def encode(self, text: str) -> list[int]:
        """Ids of the pieces of `text`, without special ids; a blank before a word is a part of its piece."""
        return [self.places.get(i, self.unk_id) for i in self.tokenizer.encode(text, add_special_tokens=False).ids]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special ids left out."""
        return self.tokenizer.decode(self.said(ids), skip_special_tokens=True).strip()

    def words(self, ids: Sequence[int]) -> list[str]:
        """The piece of each id, special ids left out."""
        return [self.tokenizer.decode([i]).strip() for i in self.said(ids)]

    def said(self, ids: Sequence[int]) -> list[int]:
        """The language model's own ids of what is no special id."""
        return [self.kept[i] for i in ids if i != self.eos_id and i not in self.never]

    def save(self, folder: Path) -> None:
        self.tokenizer.save(str(Path(folder) / "tokenizer.json"), pretty=False)
        about = {"special": self.special, "content": list(self.content), "kept": list(self.kept)}
        write_json(Path(folder) / "pieces.json", about, indent=None)

    @classmethod
    def load(cls, folder: Path) -> PieceTokenizer:
        about = json.loads((Path(folder) / "pieces.json").read_text(encoding="utf-8"))
        return cls(Tokenizer.from_file(str(Path(folder) / "tokenizer.json")), **about)


def encode_all(tokenizer: Tokenizer, captions: Sequence[str]) -> Iterable[list[int]]:
    return (encoding.ids for encoding in tokenizer.encode_batch(list(captions), add_special_tokens=False))


def content_words(captions: Iterable[str], most: int) -> list[str]:
    """The words of captions that name something, the `most` frequent first; words as often by the alphabet."""
    found = Counter(word for caption in captions for word in said_words(caption))
    return sorted(found, key=lambda word: (-found[word], word))[:most]


def said_words(caption: str) -> list[str]:
    """The words of a caption that are no function words, as often as it has them."""
    return [word for word in WORD.findall(caption.lower()) if word not in FUNCTION]
