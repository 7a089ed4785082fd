"""Byte-level BPE with OFA's special ids: text, `<code_i>` (which may name a style) and `<bin_i>` (places)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


class BPETokenizer:
    """A vocabulary of pieces of words; a text is read as if a blank stood before it, as OFA was trained."""

    bos_id, pad_id, eos_id, unk_id = range(4)

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        added = set(tokenizer.get_added_tokens_decoder())
        self.never = tuple(sorted(added - {self.eos_id}))  # ids that a decoder may not produce

    @classmethod
    def train(cls, texts: Iterable[str], size: int = 2000, codes: int = 64) -> BPETokenizer:
        """Build at most `size` pieces from texts, and `codes` tokens `<code_i>`."""
        tokenizer = byte_level(models.BPE())
        first = [*SPECIAL, "<mask>"]
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=first,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator((f" {text.strip()}" for text in texts), trainer)
        tokenizer.add_special_tokens([blank_eating("<mask>"), *map(blank_eating, code_names(codes))])
        return cls(tokenizer)

    @classmethod
    def from_files(cls, vocabulary: Path, merges: Path, codes: int = 8192, bins: int = 1000) -> BPETokenizer:
        """The tokenizer of a released OFA: `vocab.json` and `merges.txt` of BART, then `<code_i>` and `<bin_i>`."""
        return cls.released(byte_level(models.BPE.from_file(str(vocabulary), str(merges))), codes, bins)

    @classmethod
    def from_bert(cls, vocabulary: Path, codes: int = 8192, bins: int = 1000) -> BPETokenizer:
        """The tokenizer of a released Chinese OFA: word pieces of `vocab.txt`, then `<code_i>` and `<bin_i>`."""
        tokenizer = Tokenizer(models.WordPiece.from_file(str(vocabulary), unk_token="<unk>"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        together = decoders.Replace(Regex(r"(?<=[\u3400-\u9fff\uff00-\uffef]) (?=[\u3400-\u9fff\uff00-\uffef])"), "")
        tokenizer.decoder = decoders.Sequence([decoders.WordPiece(cleanup=False), decoders.Fuse(), together])
        return cls.released(tokenizer, codes, bins)

    @classmethod
    def released(cls, tokenizer: Tokenizer, codes: int, bins: int) -> BPETokenizer:
        """With the special tokens of OFA; ValueError where those of the vocabulary have other ids."""
        found = {name: tokenizer.token_to_id(name) for name in SPECIAL}
        if list(found.values()) != list(range(len(SPECIAL))):
            raise ValueError(f"ids of the special tokens are {found}, expected 0 to {len(SPECIAL) - 1}")
        tokenizer.add_special_tokens([*SPECIAL, blank_eating("<mask>")])
        tokenizer.add_special_tokens([blank_eating(name) for name in code_names(codes)])
        tokenizer.add_special_tokens([blank_eating(f"<bin_{i}>") for i in range(bins)])
        return cls(tokenizer)

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    def vocabulary(self) -> dict[str, int]:
        """The id of each piece."""
        return self.tokenizer.get_vocab()

    def encode(self, text: str) -> list[int]:
        """Ids of the pieces of `text`, without the special ids around it; none for an empty text."""
        return self.tokenizer.encode(f" {text.strip()}" if text else "", add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special ids left out."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()

    def words(self, ids: Sequence[int]) -> list[str]:
        """The piece of each id, special ids left out."""
        return [self.decode([i]) for i in ids if i != self.eos_id and i not in self.never]

    def save(self, folder: Path) -> None:
        self.tokenizer.save(str(Path(folder) / "tokenizer.json"))

    @classmethod
    def load(cls, folder: Path) -> BPETokenizer:
        return cls(Tokenizer.from_file(str(Path(folder) / "tokenizer.json")))


def byte_level(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def code_names(codes: int) -> list[str]:
    return [f"<code_{i}>" for i in range(codes)]


def blank_eating(name: str) -> AddedToken:
    """A token that swallows the blanks around it, as in the tokenizer that OFA was trained with."""
    return AddedToken(name, lstrip=True, rstrip=True, special=True)
