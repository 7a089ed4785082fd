"""Scores as earlier courses computed them, to compare with what they published. Not for anything else."""

import re
import warnings
from collections.abc import Mapping, Sequence

from captioning.metrics.base import Unavailable
from captioning.metrics.score import check_predictions, check_references

LONGEST = 80  # words of a reference; the rest was cut off


def fashion(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """The three numbers of an earlier course on DeepFashion-MultiModal, under names that say where they are from.

    BLEU-4 of nltk over all pictures, means of METEOR of nltk (Lavie and Agarwal 2007, whose parameters are not those
    of METEOR 1.5) and of ROUGE-L's F of the `rouge` package (of sets of words, so nobody else's). Words are in lower
    case, periods and commas are words. The course had one reference a picture: of several the best counts.
    METEOR is left out, with a UserWarning, where WordNet is not installed.
    Raises `Unavailable` without nltk or rouge, ValueError or TypeError for captions that do not fit the references.
    """
    try:
        from nltk.translate.bleu_score import corpus_bleu
        from rouge import Rouge
    except ImportError as error:
        raise Unavailable(f"legacy scores need nltk and rouge ({error}); run `pip install nltk rouge`") from error
    check_references(references)
    check_predictions(predictions, list(references))
    said = [words(predictions[i]) for i in references]
    truth = [[words(reference)[:LONGEST] for reference in group] for group in references.values()]
    pairs = list(zip(said, truth, strict=True))
    found = {"BLEU-4 (nltk)": float(corpus_bleu(truth, said))}
    try:
        found["METEOR (nltk)"] = sum(meteor(s, group) for s, group in pairs) / len(pairs)
    except Unavailable as missing:
        warnings.warn(f"no METEOR (nltk): {missing}", stacklevel=2)
    rouge = Rouge(metrics=["rouge-l"])
    found["ROUGE-L (rouge)"] = sum(max(rouge_l(rouge, s, r) for r in group) for s, group in pairs) / len(pairs)
    return found


def words(caption: str) -> list[str]:
    """Lower-case words; a period or comma that ends one is a word of its own, as in `nltk.word_tokenize`."""
    return re.sub(r"([.,])(?!\S)", r" \1", caption.lower()).split()


def meteor(caption: list[str], references: list[list[str]]) -> float:
    """METEOR of nltk against the best reference. Raises `Unavailable` without the data of WordNet."""
    from nltk.translate.meteor_score import meteor_score

    try:
        return meteor_score(references, caption)
    except LookupError as error:
        raise Unavailable("WordNet's data is not installed; run `python -m nltk.downloader wordnet`") from error


def rouge_l(rouge, caption: list[str], reference: list[str]) -> float:
    """F of ROUGE-L; 0 for captions of no words but periods, which the package refuses."""
    if not set(caption) - {"."} or not set(reference) - {"."}:
        return 0.0
    return rouge.get_scores(" ".join(caption), " ".join(reference))[0]["rouge-l"]["f"]
