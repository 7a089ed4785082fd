"""What language models say around an answer: thoughts, marks, the question again, words to the reader, refusals.

Nothing here knows what the answer is about. Phrases are English; marks are those of Markdown, HTML and chat templates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

FILTERS = {
    "reasoning": "thoughts before the answer, as far as </think>",
    "markup": "marks of Markdown, HTML and chat templates; their text stays",
    "echo": "the question once more",
    "preamble": 'words to the reader: "Sure! Here is ...", "Let me know if ..."',
    "refusal": "the writer says that it cannot or will not",
}
Pieces = list[tuple[str, str]]  # filter, and what it removed

THOUGHTS = r"(?:\w+:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis)"
BEGIN = rf"[<◁]\|?{THOUGHTS}\|?[>▷]|<\|channel\|>analysis<\|message\|>"
END = rf"[<◁]\|?/{THOUGHTS}\|?[>▷]|<\|channel\|>final<\|message\|>"
# Between its marks; before the last end, where a template has given the beginning; after a beginning without an end.
REASONING = [re.compile(p, re.I | re.S) for p in (rf"(?:{BEGIN}).*?(?:{END})", rf".*(?:{END})", rf"(?:{BEGIN}).*")]

BULLET = r"(?:[-*+•]|\d{1,2}[.)])[ \t]+"
MARKUP = [  # with the text that stays; a line that is an item or a title is a paragraph of its own
    (re.compile(pattern, re.M), stays)
    for pattern, stays in (
        (r"^[ \t]*(```|~~~).*$", r""),
        (r"<\|[^<>|\n]{1,40}\|>|</?[A-Za-z][^<>\n]{0,80}>", " "),
        (r"!?\[([^\]\n]*)\]\([^)\s]*\)", r"\1"),
        (r"^[ \t]*(?:[-*_][ \t]*){3,}$", "\n"),
        (r"^[ \t]*#{1,6}[ \t]+(.*?)[ \t#]*$", r"\n\1\n"),
        (rf"^[ \t]*(?:{BULLET})?(\*\*|__)[^*_\n]{{1,40}}(?::\1|\1[ \t]*:)", "\n\n"),  # a label in bold
        (r"^[ \t]*(\*\*|__)([^*_\n]+)\1[ \t]*$", r"\n\2\n"),
        (rf"^[ \t]*{BULLET}", "\n"),
        (r"^[ \t]*>[ \t]?", ""),
        (r"(\*{1,3}|__|~~)(?=\S)([^*\n]+?)(?<=\S)\1", r"\2"),
        (r"(?<!\w)_(?=\S)([^_\n]+?)(?<=\S)_(?!\w)", r"\1"),
        (r"`+([^`\n]*)`+", r"\1"),
        (r"\*{2,}", ""),  # one of a pair that was broken off
        (r"^[ \t]*[\"“]([^\"“”]*)[\"”][ \t]*$", r"\1"),
    )
]

SAID = r"(?:descriptions?|captions?|answers?|summar(?:y|ies)|responses?|sentences?|output)"
SEEN = r"(?:image|picture|photo(?:graph)?|scene)"
OPENING = re.compile(
    r"\s*(?:(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|all right|got it|understood|no problem"
    r"|great(?: question)?|hello|hi(?: there)?)\s*[,.!:]+"
    rf"|(?:here(?:'s| is| are)|below (?:is|are)|this is|the following (?:is|are))\b[^.!?:]{{0,80}}\b{SAID}\b"
    r"[^.!?:]{0,100}[.!:]+"
    rf"|here(?:'s| is| are)(?: what|[^.!?:]{{0,80}}\b{SEEN})\b[^.!?:]{{0,100}}:|here (?:you go|it is)\s*[.!:]+"
    r"|[^.!?:]{0,100}\bas follows\s*[.:]"
    rf"|(?:(?:the|my|final|short|brief|possible|detailed|image) )*(?:{SAID}|assistant|user|question|system|human)\s*:"
    rf"|(?:based on|judging by|according to|looking at) (?:the|this|your) (?:\w+ )?{SEEN}"
    r"(?: (?:that )?(?:you )?(?:have )?(?:provided|shared|uploaded|sent|given))?\s*,)\s*",
    re.I,
)
TO_READER = re.compile(
    r"\b(?:let me know (?:if|whether|what|how)|i hope (?:this|that|it)|hope (?:this|that) helps|feel free to"
    r"|would you like (?:me|to|another|more)|do you (?:want|need) (?:me|any|more)|anything else (?:i can|you|that)"
    r"|how (?:can|may) i (?:help|assist)|if you (?:have|need|want|would like|'d like) (?:any|more|further|me|another)"
    r"|(?:glad|happy|pleased) to (?:help|assist|describe|provide)|you(?:'re| are) welcome|as (?:you )?requested"
    r"|(?:i'll|i will|let me|allow me to|i'm going to|i am going to|i can) (?:now |try to |help you )*"
    r"(?:describe|provide|help|give you|look at|analy[sz]e|start)|the user (?:wants|asks|asked|is asking))\b",
    re.I,
)
REFUSAL = re.compile(
    r"\b(?:i'?m|i am|we're|we are) (?:\w+ ){0,2}?(?:sorry|afraid|unable|not able|not allowed|not permitted|incapable)\b"
    r"|\b(?:i|we) (?:can ?not|can'?t|could not|couldn'?t|won'?t|will not|do not|don'?t|am not going to|must decline to)"
    r" (?:\w+ ){0,2}?(?:help(?! but\b)|assist|identify|describe|provide|recogni[sz]e|determine|tell|answer|comply|know"
    r"|comment|discuss|process|analy[sz]e|fulfill?|engage|generate|have (?:access|the ability|enough|any information))"
    rf"|\b(?:can ?not|can'?t|unable to|do not|don'?t) (?:\w+ )?(?:see|view|access|open) (?:\w+ ){{0,2}}{SEEN}s?\b"
    r"|\bas an? (?:\w+ )?(?:ai|language model|llm|artificial intelligence)\b"
    rf"|^\W*(?:sorry|apologies|my apologies|i apologi[sz]e|unfortunately,? (?:i|we|the {SEEN}))\b"
    rf"|\bno {SEEN}s? (?:\w+ ){{0,3}}?(?:provided|attached|given|uploaded|shared|visible|included)"
    r"|\bplease (?:provide|upload|share|attach|send)\b|\b(?:my|safety|content) (?:guidelines|polic(?:y|ies))\b"
    r"|\b(?:not possible|not appropriate|impossible|inappropriate) (?:for me )?to (?:identify|determine|describe|tell"
    r"|provide|answer|say|comment|help)",
    re.I,
)
END_OF_SENTENCE = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"”')]))\s+")


def thinks(text: str) -> bool:
    """Whether an answer ends its thoughts by a mark, so that one of its writer's without the mark is thoughts alone."""
    return bool(re.search(END, text, re.I))


def strip(text: str, question: str = "", thinker: bool = False) -> tuple[list[str], Pieces]:
    """The paragraphs of an answer without what stands around it, and the pieces that went.

    thinker: the writer ends its thoughts by a mark; an answer without one was broken off before it.
    """
    pieces: Pieces = []

    def remove(name: str, pattern: re.Pattern, text: str, stays: str = " ") -> str:
        gone = []
        for found in pattern.finditer(text):
            kept = found.expand(stays).strip()
            gone.append(found[0].replace(kept, "", 1) if kept else found[0])
        if any(piece.strip() for piece in gone):
            pieces.append((name, " ".join(" ".join(gone).split())))
        return pattern.sub(stays, text)

    if thinker and not thinks(text):
        return [], [("reasoning", text)] if text.strip() else []
    for pattern in REASONING:
        text = remove("reasoning", pattern, text)
    for pattern, stays in MARKUP:
        text = remove("markup", pattern, text, stays)
    for pattern in echoes(question):
        text = remove("echo", pattern, text)
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text):
        paragraph = " ".join(paragraph.split())
        while begun := OPENING.match(paragraph.replace("’", "'")):
            pieces.append(("preamble", begun[0].strip()))
            paragraph = paragraph[begun.end() :]
        paragraphs.append(paragraph)
    return [paragraph for paragraph in paragraphs if paragraph], pieces


def echoes(question: str) -> Iterator[re.Pattern]:
    """The question and each of its sentences of at least four words, whatever stands between the words."""
    for part in dict.fromkeys((question, *END_OF_SENTENCE.split(question))):
        said = re.findall(r"\w+", part)
        if len(said) >= 4:
            yield re.compile(r"[\"“(]*\b" + r"\W+".join(said) + r"\b[^\w\n]*", re.I)


def sentences(paragraph: str) -> Iterator[tuple[str, bool]]:
    """The sentences of a paragraph, and whether each has an end."""
    *whole, rest = END_OF_SENTENCE.split(paragraph + " ")  # the last piece is empty if the text ends a sentence
    yield from ((sentence, True) for sentence in whole)
    if rest.strip():
        yield rest.strip(), False


def beside_the_point(sentence: str) -> str:
    """The filter that a sentence does not pass because it speaks of the writer or to the reader, "" for none."""
    said = sentence.replace("’", "'")
    return "refusal" if REFUSAL.search(said) else "preamble" if TO_READER.search(said) else ""
