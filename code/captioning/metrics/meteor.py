"""METEOR 1.5 (Denkowski and Lavie 2014), computed by its own Java program, which the package pycocoevalcap carries.

Most of the program's time goes into reading 5 million pairs of paraphrases, of which a data set's references can use a
few in a hundred. It looks for one side of a pair in the caption and for the other in a reference, so the pairs that
have a side in some reference are all that any caption of these pictures can need: the scores stay the same to the last
bit. The selected table depends on the references alone, is cached, and serves every later scoring of the split.
Selecting takes one pass over the whole table, 5 to 10 seconds for a few thousand references.
"""

import gzip
import hashlib
import importlib.util
import io
import re
import shutil
import subprocess
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np

from captioning.metrics.base import Captioned, Measured, Unavailable
from captioning.paths import OUTPUT
from captioning.writing import kept

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
WEIGHTS = (1, 0.6, 0.8, 0.6)  # of a word matched exactly, by its stem, as a synonym, in a paraphrase
CHUNKS, LONGEST = 20, 7  # the column of the chunks; words in the longest phrase of the table

_UTF8 = ("-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8")  # Java takes the system's else; the second since 18


class Meteor:
    """METEOR of English captions against their references, the settings those of coco-caption.

    cache: a folder for selected tables, a few MB for each set of references; where it cannot be written, the table is
    made anew for each call, in a temporary folder that is removed. Safe with many processes at once.

    Raises Unavailable without Java or pycocoevalcap, and RuntimeError, when called, if the Java program fails.
    """

    def __init__(self, cache: Path = OUTPUT / "meteor") -> None:
        self.cache, self.java = Path(cache), find_java("METEOR")
        self.jar = find_in_pycocoevalcap("METEOR", "meteor/meteor-1.5.jar")
        self.paraphrases = find_in_pycocoevalcap("METEOR", "meteor/data/paraphrase-en.gz")

    def __call__(self, captioned: Captioned) -> Measured:
        """The statistics (P, 23) are the program's own line for each picture and its best reference."""
        references = [[_line(r) for r in picture] for picture in captioned.reference_words]
        lines = [_question(r, words) for r, words in zip(references, captioned.words, strict=True)]
        with self.table(set(chain.from_iterable(references))) as table:
            return Measured(("METEOR",), statistics(self.program(table, lines)), from_sums)

    def program(self, table: Path, lines: Iterable[str]) -> list[str]:
        """What the program answers to lines of its protocol (SCORE, EVAL), reading its paraphrases from `table`."""
        return run_java(self.command(table), lines)

    def command(self, table: Path) -> list[str]:
        megabytes = 256 + 32 * (table.stat().st_size >> 20)  # 100 for WordNet and the rest, 300 bytes a pair
        settings = ["-", "-", "-stdio", "-l", "en", "-norm", "-a", str(table)]
        return [self.java, f"-Xmx{megabytes}m", "-jar", str(self.jar), *settings]

    @contextmanager
    def table(self, references: set[str]) -> Iterator[Path]:
        """The paraphrases that these references can use, from the cache or put there."""
        path = self.cache / f"{hashlib.sha256(repr(sorted(references)).encode()).hexdigest()[:16]}.gz"
        with kept(path, lambda aside: self._select(self._phrases(references), aside)) as found:
            yield found

    def _phrases(self, references: set[str]) -> set[bytes]:
        """All runs of words in references, as lines of the table. METEOR cuts the words, as it does when it scores."""
        normalizer = ["-Xmx256m", *_UTF8, "-cp", str(self.jar), "edu.cmu.meteor.util.Normalizer", "en", "true"]
        sentences = run_java([self.java, *normalizer], references)
        words = [sentence.lower().encode().split() for sentence in sentences]
        return {b" ".join(w[i:j]) + b"\n" for w in words for i in range(len(w)) for j in range(i + 1, i + 1 + LONGEST)}

    def _select(self, phrases: set[bytes], path: Path) -> None:
        # the buffer hands out lines without a step of Python's for each: three lines are a pair
        with io.BufferedReader(gzip.open(self.paraphrases), 1 << 20) as source:
            pairs = zip(source, source, source, strict=True)
            pairs = (pair for pair in pairs if pair[1] in phrases or pair[2] in phrases)
            with gzip.open(path, "wb", compresslevel=1) as file:
                file.write(b"".join(chain.from_iterable(pairs)))


class SentenceMeteor:
    """METEOR of single captions, from a Java program that stays: a reward of reinforcement learning.

    `references`: of each of P pictures, as PTB words. The table of paraphrases is selected, or taken from the cache of
    `meteor`, when the object is made. Raises RuntimeError, when called, if the Java program has ended.
    """

    def __init__(self, references: Sequence[Sequence[list[str]]], meteor: Meteor):
        self.references = [[_line(words) for words in picture] for picture in references]
        with meteor.table(set(chain.from_iterable(self.references))) as table:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self.java = subprocess.Popen(meteor.command(table), **pipes, encoding="utf-8", bufsize=1)
            weakref.finalize(self, self.java.kill)
            self([["a"]], [0])  # when it answers it has read the table

    def __call__(self, samples: Sequence[list[str]], picture: Sequence[int]) -> np.ndarray:
        """METEOR (S,) of S samples, as PTB words; sample i describes picture `picture[i]`."""
        answers = [self.ask(_question(self.references[p], words)) for words, p in zip(samples, picture, strict=True)]
        return from_sums(statistics(answers))[:, 0]

    def ask(self, question: str) -> str:
        try:
            self.java.stdin.write(question + "\n")
            answer = self.java.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"METEOR's Java program ended (exit status {self.java.wait()}) when asked: {question}")
        return answer


def statistics(lines: list[str]) -> np.ndarray:
    """(P, 23) from the program's lines, such that METEOR of any set of pictures is a function of their sum.

    Columns: words, then function words, of caption and reference; for each of the four matchers the content words
    matched in caption and reference, then the function words; chunks; words matched in caption and reference.
    """
    counts = np.array([line.split() for line in lines], dtype=float).reshape(-1, 23)
    matched = counts[:, 4:CHUNKS].reshape(-1, 8, 2).sum(1)
    # the program's sum leaves out the one chunk of a caption that is its reference: no fragmentation
    counts[(matched == counts[:, :2]).all(1) & (counts[:, CHUNKS] == 1), CHUNKS] = 0
    return counts


def from_sums(sums: np.ndarray) -> np.ndarray:
    """METEOR (..., 1) from summed statistics (..., 23), in the order in which the program multiplies and adds."""
    words, function = sums[..., :2], sums[..., 2:4]
    length = DELTA * (words - function) + (1 - DELTA) * function
    matched = np.zeros_like(length)
    for first, delta in ((4, DELTA), (6, 1 - DELTA)):
        for column, weight in zip(range(first, CHUNKS, 4), WEIGHTS, strict=True):
            matched += sums[..., column : column + 2] * weight * delta
    with np.errstate(divide="ignore", invalid="ignore"):  # no words or no match: not a number, which counts as 0
        ratio = matched / length
        mean = 1 / ((1 - ALPHA) / ratio[..., 0] + ALPHA / ratio[..., 1])
        fragmentation = sums[..., CHUNKS] / (sums[..., CHUNKS + 1 :].sum(-1) / 2)
        # np.power has code of its own for some processors, with which one score in 80 differs in its last bit
        return np.fmax(mean * (1 - GAMMA * np.float_power(fragmentation, BETA)), 0)[..., None]


def find_java(metric: str, java: str = "java") -> str:
    """The path of Java. Raises Unavailable."""
    if found := shutil.which(java):
        return found
    install = "install a Java runtime (Debian: apt install default-jre-headless)"
    raise Unavailable(f"{metric} needs Java, and there is no `{java}` on the path: {install}")


def find_in_pycocoevalcap(metric: str, file: str) -> Path:
    """The path of a file that pycocoevalcap carries; nothing of it is imported. Raises Unavailable."""
    spec = importlib.util.find_spec("pycocoevalcap")
    for folder in spec.submodule_search_locations if spec else ():
        if (path := Path(folder) / file).is_file():
            return path
    raise Unavailable(f"{metric} needs {Path(file).name} of the package pycocoevalcap: pip install pycocoevalcap")


def run_java(command: list[str], lines: Iterable[str] = ()) -> list[str]:
    """The lines that a Java program prints, given these; it never outlives the call.

    Raises RuntimeError with the last line of its complaint when it fails.
    """
    done = subprocess.run(command, input="".join(f"{line}\n" for line in lines).encode(), capture_output=True)
    if done.returncode:
        complaint = [x for x in done.stderr.decode(errors="replace").splitlines() if x.strip() and x[0] != "\t"]
        said = complaint[-1] if complaint else "it says nothing"  # a line that begins with a tab is a stack frame
        raise RuntimeError(f"Java failed with exit status {done.returncode}: {said}")
    return done.stdout.decode().splitlines()


def _question(references: list[str], caption: list[str]) -> str:
    """A line of the program's protocol, as coco-caption writes it: references may hold the separator, captions not."""
    return " ||| ".join(["SCORE", *references, _line(caption).replace("|||", "").replace("  ", " ")])


def _line(words: list[str]) -> str:
    return re.sub(r"[\r\n]", " ", " ".join(words))
