"""The tokenizer against what the Java program printed; tests/golden/README.md says where the golden files come from."""

import gzip
import json
from pathlib import Path

import pytest

from captioning.metrics.ptb import PUNCTUATION, raw_tokens, tokenize
from captioning.paths import real_data

GOLDEN = Path(__file__).parents[1] / "golden"

# Every class of difference we know of: a text and the tokens that the Java program gives.
DIFFERENT = {
    "rare entities": ("a &eacute; b", "a &eacute; b"),
    "marks around @": ("1/2@b a@. x", "1/2@b a @ . x"),
    "a fraction, then a hyphen and a number": ("1/2-30 x", "1/2-30 x"),
    "an abbreviation, then a contraction": ("Co.n't x", "co. n't x"),
    "numbers inside a file name": ("bb.out.1234.gz x", "bb.out.1234.gz x"),
    "rare emoticons": ("-_' x", "-_' x"),
    "a capital sigma before a digit": ("ΟΔΟΣ2ΟΔΟΣ", "οδοσ2οδος"),
    "a capital that is not of a..z after a curly apostrophe": ("Größe’Mädchen", "größe’mädchen"),
}


def read_golden(lines) -> tuple[list[str], list[str]]:
    rows = [line.rstrip("\n").split("\t")[-2:] for line in lines]
    return [text for text, _ in rows], [tokens for _, tokens in rows]


def printed(tokens: list[str]) -> list[str]:
    """Tokens as a printed line can tell them apart: a tag keeps its blanks, so one token may be several here."""
    return " ".join(tokens).replace("\u00a0", " ").split(" ")


def official(line: str) -> list[str]:
    return line.replace("\u00a0", " ").split(" ")


def without_punctuation(words: list[str]) -> list[str]:
    return [w for w in words if w not in PUNCTUATION]


@pytest.mark.parametrize("name, probes", [("probes", 285), ("languages", 158)])
def test_every_probe_gives_the_official_tokens(name, probes):
    """Languages: combining marks, curly apostrophes, superscripts, and what the Java program drops."""
    with (GOLDEN / f"own_ptb_{name}.tsv").open(encoding="utf8", newline="\n") as file:
        texts, lines = read_golden(file)
    expected = [official(line) for line in lines]
    assert len(texts) == probes
    assert [printed(t) for t in raw_tokens(texts)] == expected
    assert [printed(t) for t in tokenize(texts)] == [without_punctuation(words) for words in expected]


@pytest.mark.parametrize("name", ["own12", pytest.param("A_fakecap1000", id="A_fakecap1000")])
def test_golden_sets_give_the_official_tokens(name):
    folder = GOLDEN if name == "own12" else golden_folder()
    tokens = json.loads((folder / f"{name}_ptb_tokens.json").read_text(encoding="utf8"))
    for kind, rows in [
        ("candidates", json.loads((folder / f"{name}_candidates.json").read_text(encoding="utf8"))),
        ("references", json.loads((folder / f"{name}_references.json").read_text(encoding="utf8"))["annotations"]),
    ]:
        captions: dict[str, list[str]] = {}
        for row in rows:
            captions.setdefault(str(row["image_id"]), []).append(row["caption"])
        ids = list(tokens[kind])
        ours = iter(tokenize([c for i in ids for c in captions[i]]))
        assert {i: [" ".join(next(ours)) for _ in captions[i]] for i in ids} == tokens[kind]


def test_the_golden_captions_all_agree():
    with gzip.open(golden_folder() / "ptb_golden.tsv.gz", "rt", encoding="utf8", newline="\n") as file:
        captions, lines = read_golden(file)
    differ = [
        (caption, words)
        for caption, words, line in zip(captions, tokenize(captions), lines, strict=True)
        if printed(words) != (without_punctuation(official(line)) or [""])
    ]
    assert len(captions) > 200_000
    assert differ == []


def golden_folder() -> Path:
    if real_data() is None:
        pytest.skip("CAPTIONING_REAL_DATA does not name a folder")
    return real_data() / "metrics"


@pytest.mark.parametrize("text, java", DIFFERENT.values(), ids=DIFFERENT)
def test_known_differences_are_still_different(text, java):
    assert raw_tokens([text])[0] != java.split(), "it agrees now: take it off the list, and out of the docstring"


def test_an_initial_depends_on_the_next_caption():
    assert tokenize(["farm B.", "The red barn"]) == [["farm", "b"], ["the", "red", "barn"]]
    assert tokenize(["farm B.", "a red barn"])[0] == ["farm", "b."]
    assert tokenize(["farm B. The barn"]) == [["farm", "b", "the", "barn"]]


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_a_line_break_does_not_move_later_captions(line_break):
    assert tokenize([f"a dog{line_break}runs", "a cat"]) == [["a", "dog", "runs"], ["a", "cat"]]


def test_tokens_with_a_blank_inside():
    assert tokenize(["a plate with 1 1/2 sandwiches"])[0][3] == "1\u00a01/2"
    assert tokenize(["call 555 555-1234"]) == [["call", "555\u00a0555-1234"]]


def test_memory_does_not_change_the_tokens():
    captions = ["Can't y'all see a T-shirt, 12:30pm?", "No. 5 on No.", "cannot St. (left) U.S."] * 2
    first = tokenize(captions)
    assert first == tokenize(captions) == [without_punctuation(words) for words in raw_tokens(captions)]


def test_nothing_to_tokenize():
    assert tokenize([]) == []
    assert tokenize(["", " \n", "..."]) == [[], [], []]
