"""All captions of a folder of pictures, to be read, mended and saved together: what `captioning review` shows.

Everything is held here and nothing is written before `save`. Pictures are called by their number, their place in the
order of their names; P pictures.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioning.data.undo import changing, content, encoded
from captioning.metrics import rouge
from captioning.metrics.files import read_captions, under_reference_ids
from captioning.metrics.ptb import tokenize
from captioning.rebuild import chatter, clean
from captioning.rebuild.clean import Rules
from captioning.serving.review_entries import Entry, lines_of, read_entries, updated
from captioning.text import punctuated
from captioning.writing import some

UNDO = "review_undo.jsonl"  # in the folder
CHECKS = {
    "empty": "no caption",
    "short": f"fewer than {Rules.shortest} words",
    "loop": clean.FILTERS["loop"],
    "language": clean.FILTERS["language"],
    "chatter": "what a language model says around a caption: marks, words to the reader, refusals",
    "duplicate": "the words of another picture's caption",
    "edited": "changed, and not saved yet",
}
ORDERS = {
    "name": "by name",
    "unlikely": "least likely first",
    "disputed": "most disputed first",
    "short": "shortest first",
    "long": "longest first",
}


Piece = tuple[str, str]  # of a caption, and what stands there after a replacement


@dataclass(frozen=True)
class Replacement:
    """What is to be found, and what is to stand there."""

    find: str
    by: str
    regex: bool = False  # `find` is a regular expression of Python, and `by` may name its groups: \1
    case: bool = False  # letters are told from capitals
    words: bool = False  # nothing within a word is found

    def pieces(self, text: str) -> list[Piece]:
        try:
            found = [*self.pattern.finditer(text)] if self.find else []
            new = [match.expand(self.by) if self.regex else self.by for match in found]
        except (re.error, IndexError) as error:
            raise ValueError(f"{self.by!r} cannot stand in place of {self.find!r}: {error}") from error
        pieces, end = [], 0
        for match, by in zip(found, new, strict=True):
            pieces += [(text[end : match.start()],) * 2, (match[0], by)]
            end = match.end()
        return [*pieces, (text[end:],) * 2]

    @functools.cached_property
    def pattern(self) -> re.Pattern:
        text = self.find if self.regex else re.escape(self.find)
        try:
            return re.compile(rf"(?<!\w)(?:{text})(?!\w)" if self.words else text, 0 if self.case else re.IGNORECASE)
        except re.error as error:
            raise ValueError(f"{self.find!r} is no regular expression: {error}") from error


class Review:
    """The captions of a folder: of `captions`, which `captioning caption --out` wrote, those of pictures that have none
    yet (they are edits, not saved, written as `caption --to` writes them), and how likely they are; of `against` what
    another model said, or samples of it.

    Raises FileNotFoundError for a folder without a picture, and ValueError where two pictures share a text file, and
    where a metadata.csv or .parquet has the captions.
    """

    def __init__(self, folder: Path, captions: Path | None = None, against: Path | None = None):
        self.folder = folder
        self.entries = read_entries(folder)
        self.numbers = {entry.name: number for number, entry in enumerate(self.entries)}
        if captions:
            self.add(read_said(captions, self.numbers), likely(captions, self.numbers))
        if against:
            self.add(read_said(against, self.numbers))
        for entry in self.entries:
            entry.before = entry.caption
        self.said = Counter(clean.content(entry.caption) for entry in self.entries)

    def add(self, said: Mapping[str, Sequence[str]], log_probability: Mapping[str, float] | None = None) -> None:
        for name, texts in said.items():
            entry = self.entries[self.numbers[name]]
            if log_probability is not None:
                entry.log_probability = log_probability.get(name)
                entry.caption = entry.caption or punctuated(texts[0])
            entry.others += texts

    def edit(self, captions: Mapping[int, str]) -> list[int]:
        """Give pictures other captions; the numbers of all whose `row` is another now."""
        touched = set()
        for number, caption in captions.items():
            entry = self.entries[number]
            for text in (entry.caption, caption):
                touched.add(clean.content(text))
            self.said[clean.content(entry.caption)] -= 1
            entry.caption = caption.replace("\r\n", "\n")
            self.said[clean.content(entry.caption)] += 1
        same = (number for number, entry in enumerate(self.entries) if clean.content(entry.caption) in touched)
        return sorted({*captions, *same})

    def checks(self, entry: Entry) -> list[str]:
        """The names of `CHECKS` that a caption does not pass."""
        found = [*faults(entry.caption)]
        said = clean.content(entry.caption)
        found += ["duplicate"] * (said != () and self.said[said] > 1)
        return found + ["edited"] * entry.edited

    def row(self, number: int) -> dict:
        """What the page shows of a picture."""
        entry = self.entries[number]
        doubts = {"unlikely": unlikely(entry), "disputed": disputed(entry)}
        return {"number": number, "name": entry.name, "caption": entry.caption, "before": entry.before} | {
            "checks": self.checks(entry),
            "doubts": {name: round(doubt, 3) for name, doubt in doubts.items() if doubt is not None},
        }

    def counts(self) -> dict[str, int]:
        """How many captions do not pass each check."""
        found = Counter(name for entry in self.entries for name in self.checks(entry))
        return {name: found[name] for name in CHECKS}

    def shown(self, find: str = "", check: str = "", order: str = "name") -> list[int]:
        """The numbers of the pictures whose name or caption has the words, and whose caption fails the check."""
        words = find.casefold()
        numbers = [
            number
            for number, entry in enumerate(self.entries)
            if words in f"{entry.name}\n{entry.caption}".casefold() and (not check or check in self.checks(entry))
        ]
        return sorted(numbers, key=lambda number: place(self.entries[number], order))

    def replaced(self, numbers: Iterable[int], wanted: Replacement) -> dict[int, list[Piece]]:
        """The captions that would change, in pieces. Raises ValueError for what is no regular expression."""
        found = {number: wanted.pieces(self.entries[number].caption) for number in numbers}
        return {number: pieces for number, pieces in found.items() if any(old != new for old, new in pieces)}

    def save(self) -> int:
        """Write the edited captions, and how many they were.

        Raises FileExistsError, before anything is written, for files that somebody else has changed since, and what
        `changing` raises.
        """
        edited = [entry for entry in self.entries if entry.edited]
        of_file: dict[str, list[Entry]] = {}
        for entry in edited:
            of_file.setdefault(entry.file, []).append(entry)
        with changing(self.folder / UNDO, {"by": "review"}) as undo:
            new = {file: updated(content(self.folder / file), entries) for file, entries in of_file.items()}
            if others := [file for file, text in new.items() if text is None]:
                raise FileExistsError(
                    f"{some(others)} changed in the folder since this page was opened; nothing was saved. "
                    "Copy what you wrote there, and start `captioning review` again"
                )
            undo.change(
                [(self.folder / of_file[file][0].name, self.folder / file, encoded(new[file])) for file in of_file]
            )
        self.stored(of_file, new)
        return len(edited)

    def unsaved(self) -> str:
        """What is told when the page ends."""
        return f"captions that were changed and not saved: {sum(entry.edited for entry in self.entries)}"

    def stored(self, of_file: Mapping[str, list[Entry]], new: Mapping[str, str]) -> None:
        """Note what is in the files now."""
        for file, entries in of_file.items():
            there = lines_of(file, new[file].split("\n")) if entries[0].in_table else {}
            for entry in entries:
                entry.stored, entry.before = entry.to_store(), entry.caption
                if entry.line is None:
                    entry.line = there.get(entry.name)


def read_said(path: Path, names: Mapping[str, int]) -> dict[str, list[str]]:
    """{picture: captions} of a file of captions, of the pictures that are here."""
    found = under_reference_ids(read_captions(path), names, path)
    said = {name: [text for text in texts if isinstance(text, str)] for name, texts in found.items() if name in names}
    return {name: texts for name, texts in said.items() if texts}


def likely(path: Path, names: Mapping[str, int]) -> dict[str, float]:
    """{picture: log-probability a word} of the first caption of each, where the file has them."""
    said = read_said(path, names)
    try:
        scores = under_reference_ids(read_captions(path, caption_key="log_probability"), names, path)
    except ValueError:  # a file of captions alone
        return {}
    return {name: float(scores[name][0]) / max(1, len(clean.words(texts[0]))) for name, texts in said.items()}


@functools.lru_cache(maxsize=1 << 16)
def faults(text: str) -> tuple[str, ...]:
    """The names of `CHECKS` that a text does not pass by itself."""
    words = clean.words(text)
    if not words:
        return ("empty",)
    found = {
        "short": len(words) < Rules.shortest,
        "loop": clean.loops(text),
        "language": clean.no_language(text),
        "chatter": chatters(text),
    }
    return tuple(name for name, fails in found.items() if fails)


def chatters(text: str) -> bool:
    paragraphs, pieces = chatter.strip(text)
    said = (sentence for part in paragraphs for sentence, _ in chatter.sentences(part))
    return bool(pieces) or any(map(chatter.beside_the_point, said))


def unlikely(entry: Entry) -> float | None:
    """Nats a word."""
    return None if entry.log_probability is None else -entry.log_probability


def disputed(entry: Entry) -> float | None:
    """1 less the mean ROUGE-L of the caption with what else was said of the picture."""
    if not entry.others:
        return None
    said, *others = tokenize([entry.caption, *entry.others])
    return 1 - rouge.score([said] * len(others), [[other] for other in others])[0]


def place(entry: Entry, order: str) -> tuple:
    """What pictures are sorted by; those without a doubt come last."""
    if order in ("short", "long"):
        count = len(clean.words(entry.caption))
        return (count if order == "short" else -count, entry.name)
    if order in ("unlikely", "disputed"):
        doubt = unlikely(entry) if order == "unlikely" else disputed(entry)
        return (doubt is None, -(doubt or 0), entry.name)
    return (entry.name,)
