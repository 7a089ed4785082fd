"""What language models say around an answer, about clothes, places or anything else."""

import pytest

from captioning.rebuild import chatter, clean
from captioning.rebuild.clean import Answer, Cleaner

SAID = "a green bus stops near a tall tower."
QUESTION = "Describe the picture in one or two sentences. Do not name any colours of vehicles."


def tidied(text, question="", thinker=False, topic="traffic"):
    """The words that are left, and the filters that something went by."""
    kept, verdicts = clean.tidy(Answer("1", "vlm", topic, text), question, thinker)
    return kept, [verdict.filter for verdict in verdicts if verdict.filter]


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\nThe user wants a bus. I see one.\n</think>\n\n{SAID}",
        f"I see a bus.\nI should not mention its wheels.\n</think>\n\n{SAID}",
        f"<think></think> {SAID} <THINKING>a bus?</THINKING>",
        f"{SAID}\n<think>Is it green? Perhaps. Let me",
        f"◁think▷a bus?◁/think▷{SAID}",
        f"<|channel|>analysis<|message|>A bus.<|end|><|start|>assistant<|channel|>final<|message|>{SAID}<|return|>",
    ],
)
def test_reasoning(text):
    kept, gone = tidied(text)
    assert kept == SAID and set(gone) <= {"reasoning", "markup"} and "reasoning" in gone


def test_thoughts_that_were_broken_off_are_no_answer():
    """A template that opens <think> itself: only other answers of the writer tell that it thinks."""
    cut = "I see a green bus near a tower. The tower may be old. I should say…"
    assert not chatter.thinks(cut) and chatter.thinks(f"I see a bus.</think>{SAID}")
    assert tidied(cut, thinker=True) == ("", ["reasoning"])
    answers = [Answer("1", "vlm", "traffic", cut), Answer("1", "vlm", "traffic", f"hm</think>{SAID}")]
    assert Cleaner(thinkers={"vlm"}).choose(answers, ["vlm"]) == SAID


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"**Answer:** {SAID}", SAID),
        (f"## Picture\n\n{SAID}", SAID),
        ("A *green* bus stops near a __tall__ `tower`.", "A green bus stops near a tall tower."),
        ("- A green bus stops.\n- A tower is tall.", "A green bus stops. A tower is tall."),
        ("1. A green bus stops.\n2) A tower is tall.", "A green bus stops. A tower is tall."),
        ("> a green bus stops\n> near a tall tower.", SAID),
        (f"```text\n{SAID}\n```", SAID),
        (f'"{SAID}"', SAID),
        (f"<answer>{SAID}</answer><|im_end|>", SAID),
        ("a green [bus](http://bus) stops near a tall tower.", SAID),
        ("a green **bus stops near a tall tower.", SAID),
    ],
)
def test_markup(text, kept):
    left, gone = tidied(text)
    assert left == kept and gone[0] == "markup" and set(gone) <= {"markup", "cut off"}


def test_what_is_no_markup():
    for text in (
        ". a street at night .",
        "a 2 * 3 * 4 m large room.",
        "a snake_case_name on a wall.",
        "it's < 5 m wide.",
    ):
        assert not [name for name, _ in chatter.strip(text)[1]], text


@pytest.mark.parametrize(
    "text",
    [
        f"Sure! Here is the description:\n\n{SAID}",
        f"Certainly, here's a one-sentence caption for the image: {SAID}",
        f"Of course. {SAID} Let me know if you need anything else!",
        f"Answer: {SAID}",
        f"Based on the image you provided, {SAID}",
        f"I’d be happy to help! {SAID} I hope this helps.",
        f"Okay, here’s what I see in the photo: {SAID} Would you like me to describe the tower?",
        f"The sentence is as follows: {SAID}",
        f"USER: ASSISTANT: {SAID}",
    ],
)
def test_preambles(text):
    kept, gone = tidied(text)
    assert kept == SAID and set(gone) == {"preamble"}


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with identifying or describing people in images.",
        "I’m sorry, I cannot assist with that. Is there anything else I can help you with today?",
        "As an AI language model, I do not have the ability to see pictures.",
        "Unfortunately, the image is too dark.",
        "Sorry, no image was provided. Please upload one.",
        "I am unable to view the picture.",
        "It is not possible to determine the kind of the bus.",
        "I will not describe this person because of my content guidelines",
    ],
)
def test_refusals(text):
    kept, gone = tidied(text)
    assert kept == "" and "refusal" in gone and set(gone) <= {"refusal", "preamble"}
    assert tidied(f"{text.rstrip('.')}. {SAID}")[0] == SAID, "what it says nevertheless stays"


@pytest.mark.parametrize(
    "text",
    [
        "Here is a street with a bus.",
        "I can see a bus near a tower.",
        "The image shows a man who is happy to see a bus.",
        "A sign says please stop: it is red.",
        "I can't help but notice the tall tower.",
        "There is no person in the picture.",
        "The people are waiting for help at a counter.",
        "This is a picture of a green bus.",
    ],
)
def test_sentences_that_are_not_chatter(text):
    assert tidied(text) == (text, [])


@pytest.mark.parametrize(
    "text", [f"{QUESTION} {SAID}", f"describe the picture in one or two sentences: {SAID}", f"“{QUESTION}”\n{SAID}"]
)
def test_an_echo_of_the_question(text):
    kept, gone = tidied(text, QUESTION)
    assert kept == SAID and "echo" in gone and set(gone) <= {"echo", "markup"}


def test_what_was_broken_off():
    assert tidied(f"{SAID} The tower is.…") == (SAID, ["cut off"]), "the mark of a server's answer at max_tokens"
    assert tidied(f"{SAID} The tower") == (SAID, ["cut off"])
    assert tidied(f"{SAID} He said (quietly.)") == (f"{SAID} He said (quietly.)", [])


def test_a_phrase_three_times_running():
    assert clean.loops("a bus, a bus, a bus") and clean.loops("so the tower is very very very tall")
    assert not clean.loops("a bus and a tower and a bus and a tower") and not clean.loops("")
    long = "a tower that stands near the old harbour of the town , "
    assert Cleaner().verdict(3 * long, "traffic", {}) == "loop"


def test_every_filter_is_reported():
    cleaner = Cleaner(questions={"vlm": QUESTION})
    answers = [
        Answer("1", "vlm", "traffic", text)
        for text in (
            f"<think>hm</think>Sure! **{QUESTION}** {SAID}",
            "I'm sorry, I can't help with that.",
            "so a bus a bus a bus stops.",
        )
    ]
    assert cleaner.choose(answers, ["vlm"]) == SAID
    gone = {verdict.filter for verdict in cleaner.verdicts}
    assert gone == {"", "reasoning", "preamble", "markup", "echo", "refusal", "empty", "loop"} <= {"", *clean.FILTERS}
