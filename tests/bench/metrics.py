"""Seconds of captioning.metrics and of pycocoevalcap on the same captions, side by side.

    python tests/bench/metrics.py [--pictures 1000 5000 40000] [--repeats 3]

Five references a picture. The captions are those of COCO's demo (1,000 pictures) where CAPTIONING_REAL_DATA names a
folder with them, else sentences made of the words of tests/golden. Larger sets repeat them with words exchanged at
random. Every line is run in a process of its own: the time is the median after a first run, the memory the most that
the process added.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from captioning.metrics import bleu, cider, rouge
from captioning.metrics.ngrams import split_words
from captioning.metrics.ptb import tokenize
from captioning.metrics.score import Scorer
from captioning.paths import real_data

REFERENCES = 5
EXCHANGED = 0.1  # of the words, in the pictures after the first 1,000


def read_captions() -> list[tuple[str, list[str]]]:
    """(candidate, references) of some pictures."""
    folder = real_data() / "metrics" if real_data() else Path(__file__).parents[1] / "golden"
    name = "A_fakecap1000" if real_data() else "own12"
    references: dict[int, list[str]] = {}
    for row in json.loads((folder / f"{name}_references.json").read_text())["annotations"]:
        references.setdefault(row["image_id"], []).append(row["caption"])
    candidates = json.loads((folder / f"{name}_candidates.json").read_text())
    return [(c["caption"], (references[c["image_id"]] * REFERENCES)[:REFERENCES]) for c in candidates]


def make_set(pictures: int) -> tuple[dict[int, str], dict[int, list[str]]]:
    """Predictions and references of as many pictures as asked for."""
    rng, known = np.random.default_rng(0), read_captions()
    words = [w for _, references in known for r in references for w in r.split()]

    def exchange(caption: str) -> str:
        return " ".join(words[rng.integers(len(words))] if rng.random() < EXCHANGED else w for w in caption.split())

    rows = [known[k % len(known)] for k in range(pictures)]
    rows = [(c, r) if k < len(known) else (exchange(c), [exchange(s) for s in r]) for k, (c, r) in enumerate(rows)]
    return {k: c for k, (c, _) in enumerate(rows)}, {k: r for k, (_, r) in enumerate(rows)}


def measure(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds, and MB that the run added to the memory of a process of its own."""

    def child(connection):
        before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
        run()
        for _ in range(repeats):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        connection.send((median(seconds), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))

    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=child, args=(send,))
    process.start()
    result = receive.recv()
    process.join()
    return result


def official_tokens(captions: dict[int, list[str]]) -> dict[int, list[str]]:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    return PTBTokenizer().tokenize({k: [{"caption": c} for c in group] for k, group in captions.items()})


def runs(predictions: dict[int, str], references: dict[int, list[str]]) -> dict[str, tuple[Callable, Callable]]:
    """name -> (ours, theirs)."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    candidates = tokenize(list(predictions.values()))
    flat = iter(tokenize([c for group in references.values() for c in group]))
    tokens = [[next(flat) for _ in group] for group in references.values()]
    res = {k: [" ".join(words)] for k, words in enumerate(candidates)}
    gts = {k: [" ".join(words) for words in group] for k, group in enumerate(tokens)}

    def tokenize_ours():
        tokenize([c for group in references.values() for c in group])
        tokenize(list(predictions.values()))

    def tokenize_theirs():
        return official_tokens(references), official_tokens({k: [c] for k, c in predictions.items()})

    def all_theirs():
        gts, res = tokenize_theirs()
        for scorer in (Bleu(4), Rouge(), Cider()):
            scorer.compute_score(gts, res, **({"verbose": 0} if isinstance(scorer, Bleu) else {}))

    return {
        "tokenizer": (tokenize_ours, tokenize_theirs),
        "BLEU-1..4": (lambda: bleu.score(candidates, tokens), lambda: Bleu(4).compute_score(gts, res, verbose=0)),
        "ROUGE-L": (lambda: rouge.score(candidates, tokens), lambda: Rouge().compute_score(gts, res)),
        "CIDEr-D": (lambda: cider.score(candidates, tokens), lambda: Cider().compute_score(gts, res)),
        "all, from strings": (lambda: Scorer(references)(predictions), all_theirs),
    }


def compare(pictures: int, repeats: int, java: bool) -> None:
    for name, (ours, theirs) in runs(*make_set(pictures)).items():
        seconds, memory = measure(ours, repeats)
        line = f"{pictures:7,}  {name:18} {seconds:8.3f} s {memory:7.0f} MB"
        if name in ("tokenizer", "all, from strings") and not java:
            print(f"{line}   (the official one needs Java: no `java` on the path)")
            continue
        theirs_seconds, theirs_memory = measure(theirs, repeats)
        print(
            f"{line}   {theirs_seconds:8.3f} s {theirs_memory:7.0f} MB   {theirs_seconds / seconds:6.1f} x", flush=True
        )


def compare_rewards(repeats: int, samples: int = 250) -> None:
    """One call: 250 sampled captions with 5 references each, 5 samples a picture."""
    from pycocoevalcap.cider.cider import Cider

    predictions, references = make_set(1000)
    candidates = split_words(tokenize([predictions[k] for k in range(samples)]))
    tokens = [split_words(tokenize(group)) for group in references.values()]
    reward, picture = cider.CiderD(tokens), np.repeat(np.arange(samples // 5), 5)
    res = {k: [" ".join(words)] for k, words in enumerate(candidates)}
    gts = {k: [" ".join(words) for words in tokens[p]] for k, p in enumerate(picture)}
    ours, _ = measure(lambda: reward(candidates, picture), 10 * repeats)
    theirs, _ = measure(lambda: Cider().compute_score(gts, res), repeats)
    print(f"rewards: {1 / ours:.0f} calls/s   pycocoevalcap {1 / theirs:.0f} calls/s   {theirs / ours:.1f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, nargs="+", default=[1000, 5000, 40000])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{'pictures':>7} {'metric':18} {'captioning.metrics':>22} {'pycocoevalcap':>24}")
    for pictures in options.pictures:
        compare(pictures, options.repeats, java=shutil.which("java") is not None)
    compare_rewards(options.repeats)


if __name__ == "__main__":
    main()
