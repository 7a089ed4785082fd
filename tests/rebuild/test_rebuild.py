"""Rebuilding a data set: what each filter removes, what resumes, what is written."""

import json
import pickle
import random
from pathlib import Path

import pandas as pd
import pytest
from datasets import Dataset

from captioning.data import minifashion
from captioning.data.pictures import PHOTOGRAPHS
from captioning.decoding.config import Decoding
from captioning.rebuild import clean, fashion, pipeline, report
from captioning.rebuild.backends import CaptionerWriter, VLMWriter, WriterFailed
from captioning.rebuild.clean import Answer, Cleaner
from captioning.rebuild.pipeline import Task
from captioning.rebuild.prompts import PROMPTS, prompt

CLOTHES, BACKGROUND = prompt("clothes-v2"), prompt("background-v2")
SIZES = {"train": 20, "val": 4, "test": 4}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return pipeline.pictures_of(minifashion.build(tmp_path_factory.mktemp("street"), "street", SIZES, workers=1))


class Parrot:
    """A writer that says the truth, different for each seed, and fails where it is told to."""

    def __init__(self, pictures, column, fails=()):
        self.said = dict(zip(pictures["image"], pictures[column], strict=True))
        self.fails, self.asked = set(fails), []

    def write(self, images, prompt, seed):
        self.asked.append(list(images))
        if self.fails & set(images):
            raise WriterFailed("out of words")
        rng = random.Random(f"{seed} {images}")
        told = [text if isinstance(text := self.said[image], str) else text[0] for image in images]
        return [[f"{text} number {rng.random():.6f} ." for _ in range(prompt.sampling.samples)] for text in told]

    def facts(self):
        return {"kind": "parrot"}


def tasks(pictures, fails=()):
    return [
        Task("own", Parrot(pictures, "captions"), CLOTHES, 8),
        Task("vlm", Parrot(pictures, "background", fails), BACKGROUND, 8),
    ]


def background(text, image_id="1", writer="vlm"):
    return Answer(image_id, writer, "background", text)


def kept_and_filters(text, topic="background"):
    kept, verdicts = clean.tidy(Answer("1", "vlm", topic, text))
    return kept, [verdict.filter for verdict in verdicts if verdict.filter]


# ---- sentences ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept", "filters"),
    [
        (". the sky is blue .", "the sky is blue .", ["beginning"]),
        ("a street . there are cars and", "a street .", ["cut off"]),
        ("a street . A street! a car .", "a street . a car .", ["repeated"]),
        ("a street . she wears a hat .", "a street .", ["clothes"]),
        ("a street behind a man in jeans .", "", ["clothes"]),
        ("", "", []),
        ("...", "", ["beginning"]),
    ],
)
def test_sentences_about_the_place(text, kept, filters):
    assert kept_and_filters(text) == (kept, filters)


def test_sentences_about_clothes():
    text = "the man wears a denim shirt . he stands in a street with trees ."
    assert kept_and_filters(text, "clothes") == ("the man wears a denim shirt .", ["background"])


# ---- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "empty"),
        ("a beach .", "length"),
        ("a beach " * 60 + ".", "length"),
        ("a beach and a beach and a beach and a beach and .", "loop"),
        (3 * "a quiet beach with many small boats near the old pier , " + ".", "loop"),
        ("12 % 34 && 5 beach 67 8 9 .", "language"),
        ("there is a red car on the left .", "no place"),
        ("there is a red car in a street .", ""),
    ],
)
def test_answers(text, found):
    assert Cleaner().verdict(text, "background", {}) == found


def test_no_true_caption_is_taken_for_a_loop(pictures):
    texts = [captions[0] for captions in pictures["captions"]] + list(pictures["background"])
    texts.append("a shirt with cotton fabric , a skirt with cotton fabric and a coat with cotton fabric .")
    assert not any(clean.no_language(text) or clean.loops(text) for text in texts)


def test_clothes_that_an_earlier_caption_denies():
    known = fashion.known_from("the lady is wearing a denim skirt . she wears a hat .")
    assert fashion.contradictions("her skirt is denim", known) == []
    assert fashion.contradictions("her skirt is leather . she wears a belt .", known) == ["lower_fabric", "belt"]
    assert fashion.contradictions("she has long sleeves", known) == [], "of what is not known nothing is denied"


def test_what_the_answers_are_not_at_one_about_is_cut_out():
    texts = [
        "a street by day . on the left there is a red car .",
        "a city street by day . on the left there is a red bus .",
        "a beach by day . on the left there is a red kiosk .",
    ]
    assert fashion.agreed(texts) == {"scene": "street", "light": "day", "left_color": "red"}
    assert fashion.agreed(texts[1:]) == {"light": "day", "left_color": "red"}, "no majority"
    assert fashion.agreed([texts[0], "a street ."])["left"] == "car", "silence is no vote"
    assert fashion.agreed(texts, share=0.9) == {"light": "day", "left_color": "red"}
    cleaner = Cleaner()
    assert cleaner.choose(map(background, texts), ["vlm"]) == "a street by day ."
    gone = [verdict.text for verdict in cleaner.verdicts if verdict.filter == "disagrees"]
    assert len(gone) == 4 and "a beach by day ." in gone


@pytest.mark.parametrize("share", [0, 0.3, 0.5])
def test_of_several_values_that_enough_answers_give_the_most_voted_is_believed(share):
    things = ("car", "bus", "car")
    assert fashion.agreed([f"on the left there is a {thing} ." for thing in things], share) == {"left": "car"}


def test_of_equally_many_votes_the_value_that_was_said_first_is_believed():
    texts = [f"on the left there is a {thing} ." for thing in ("bus", "car", "car", "bus", "kiosk")]
    assert fashion.agreed(texts, share=0.3) == {"left": "bus"} and fashion.agreed(texts) == {}


def test_one_answer_has_nobody_to_disagree_with():
    assert Cleaner().choose([background("a street by day . a red car on the left .")], ["vlm"]).endswith("left .")


def test_the_same_words_are_given_to_one_picture_only():
    cleaner = Cleaner()
    first = [background("there is a red car in a street .")]
    again = [background("a red car is in the street .", "2"), background("a blue car is in the street .", "2")]
    assert cleaner.choose(first, ["vlm"]) and "blue" in cleaner.choose(again, ["vlm"])
    assert [v.filter for v in cleaner.verdicts if v.unit == "answer"] == ["", "duplicate", ""]


def test_as_many_pictures_may_share_words_as_the_rules_say():
    cleaner = Cleaner(clean.Rules(copies=2))
    said = [cleaner.choose([background("there is a red car in a street .", str(i))], ["vlm"]) for i in range(3)]
    assert list(map(bool, said)) == [True, True, False]


def test_writers_are_heard_in_their_order():
    answers = [
        Answer("1", "second", "clothes", "she wears a red long skirt ."),
        Answer("1", "first", "clothes", "no ."),
    ]
    assert Cleaner().choose(answers, ["first", "second"]) == "she wears a red long skirt ."


# ---- asking ---------------------------------------------------------------------------------------------------------


def test_a_stopped_run_ends_as_an_undisturbed_one(pictures, tmp_path):
    whole = pipeline.ask(pictures, tasks(pictures), tmp_path / "whole")
    assert (whole >= 0).all()
    for limit in (8, 20):
        pipeline.ask(pictures, tasks(pictures), tmp_path / "parts", limit=limit)
        with (tmp_path / "parts" / "answers" / "vlm.jsonl").open("a") as file:
            file.write('{"ids": ["half a li')  # a kill in the middle of a write
    last = tasks(pictures)
    pipeline.ask(pictures, last, tmp_path / "parts")
    assert sum(map(len, last[0].writer.asked)) == len(pictures) - 24, "nothing is asked twice"
    for name in ("own", "vlm"):
        one, two = (pipeline.read_batches(tmp_path / home / "answers" / f"{name}.jsonl") for home in ("whole", "parts"))
        assert [(b["ids"], b["texts"]) for b in one] == [(b["ids"], b["texts"]) for b in two]


def test_one_failure_costs_one_picture(pictures, tmp_path, capsys):
    broken = pictures["image"][3]
    asked = tasks(pictures, fails=[broken])
    pipeline.ask(pictures, asked, tmp_path)
    rebuilt = pipeline.clean(pictures, tmp_path, asked)
    assert rebuilt.left_out == [pictures["image_id"][3]]
    assert "out of words" in capsys.readouterr().err


def test_a_writer_that_never_answers_stops_the_run(pictures, tmp_path):
    with pytest.raises(WriterFailed, match="all of its first 8 pictures.*out of words"):
        pipeline.ask(pictures, tasks(pictures, fails=pictures["image"]), tmp_path)


def test_another_choice_needs_another_folder(pictures, tmp_path):
    pipeline.ask(pictures, tasks(pictures), tmp_path, limit=8)
    with pytest.raises(ValueError, match="another configuration"):
        pipeline.ask(pictures, tasks(pictures), tmp_path, seed=1)


# ---- the new data set -----------------------------------------------------------------------------------------------


def test_the_new_data_set(pictures, tmp_path):
    asked = tasks(pictures)
    pipeline.ask(pictures, asked, tmp_path)
    rebuilt = pipeline.clean(pictures, tmp_path, asked)
    data = pipeline.load(tmp_path)
    assert {split: len(table) for split, table in data.items()} == SIZES and not rebuilt.left_out
    row, old = data["train"][0], pictures[0]
    assert row["captions"] == [f"{row['clothes']} {row['background']}"]
    assert old["background"].rstrip(" .") in row["background"] and row["attributes"] == old["attributes"]
    provenance = json.loads(row["provenance"])
    assert provenance["clothes by"] == "own"
    assert len(provenance["answers"]) == 4 and {v["unit"] for v in provenance["verdicts"]} == {"sentence", "answer"}
    captions = json.loads((tmp_path / "val_captions.json").read_text())
    assert list(captions.values()) == [texts[0] for texts in data["val"]["captions"]]
    before = (tmp_path / "train.parquet").read_bytes()
    pipeline.clean(pictures, tmp_path, asked)
    assert (tmp_path / "train.parquet").read_bytes() == before, "cleaning repeats itself"


def test_the_report(pictures, tmp_path):
    asked = tasks(pictures)
    pipeline.ask(pictures, asked, tmp_path)
    rebuilt = pipeline.clean(pictures, tmp_path, asked)
    numbers = report.quality_table(rebuilt.answers, rebuilt.data)
    assert numbers["background", "new data set"]["mentions clothes"] == 0
    assert numbers["background", "published"]["duplicates"] == 0.25
    report.page(rebuilt, pictures, tmp_path / "report.html", shown=2)
    written = (tmp_path / "report.html").read_text()
    assert "data:image/png" in written and "Claims about the place, true and false" in written
    report.page(rebuilt, pictures.remove_columns(["attributes", "background"]), tmp_path / "photos.html", shown=2)
    assert "Claims about" not in (tmp_path / "photos.html").read_text(), "of photographs no truth is known"


class Guide:
    """A writer that says the same of every picture that has the same name."""

    said = {"admiral": "a boat on a sandy beach .", "astronaut": "sure ! a tower is tall and old ."}

    def write(self, pictures, prompt, seed):
        return [[self.said[Path(picture).stem]] for picture in pictures]

    def facts(self):
        return {"kind": "guide"}


def test_the_report_on_photographs_tells_what_became_of_those_left_out(tmp_path):
    """Nobody described them before, and the writer says nothing of clothes."""
    files = PHOTOGRAPHS[:2]
    table = {"image": list(map(str, files)), "image_id": [file.stem for file in files]}
    photographs = Dataset.from_dict(table | {"split": ["test"] * 2, "captions": [[], []]})
    asked = [Task("vlm", Guide(), BACKGROUND)]
    pipeline.ask(photographs, asked, tmp_path)
    rebuilt = pipeline.clean(photographs, tmp_path, asked)
    assert "clothes" not in report.quality_table(rebuilt.answers, rebuilt.data).columns.get_level_values(0)
    [(name, left_out)] = report.left_out_table(rebuilt, shown=8).iterrows()
    gone = {"said": Guide.said["astronaut"], "removed by": "preamble, no place"}
    assert name == "astronaut" and left_out.to_dict() == gone
    report.page(rebuilt, photographs, tmp_path / "report.html")
    written = (tmp_path / "report.html").read_text()
    assert "1 in test, 1 left out" in written and gone["said"] in written and "Do the writers agree" not in written


def test_filters_are_judged_by_the_truth(pictures):
    truth, image_id = pictures["background"][0], pictures["image_id"][0]
    cleaner = Cleaner()
    cleaner.choose([background(f"{truth} {pictures['captions'][0][0]}", image_id)], ["vlm"])
    judged = report.filter_truth(cleaner.verdicts, pictures)
    assert judged.loc["clothes", "recall"] == 1.0 and judged.loc["clothes", "precision"] == 1.0
    assert judged.loc["disagrees", "bad"] == 0 and pd.isna(judged.loc["disagrees", "recall"])
    assert judged.loc["disagrees", "note"] == "nothing to find" and not judged.loc["clothes", "note"]


def test_false_claims_are_counted_before_and_after(pictures, tmp_path):
    """Of three answers two are true, and the first is false in the thing on the left."""
    asked = [Task("vlm", Liar(pictures), BACKGROUND, 8)]
    pipeline.ask(pictures, asked, tmp_path)
    rebuilt = pipeline.clean(pictures, tmp_path, asked)
    found = report.truth_before_and_after(rebuilt, pictures)
    assert (found["raw", "false"][["object", "side"]] > 0).all() and found["raw", "false"]["scene"] == 0
    assert found["kept", "false"].sum() == 0
    judged = report.filter_truth(rebuilt.verdicts, pictures).loc["disagrees"]
    assert judged["bad"] == judged["bad removed"] == len(pictures) and judged["precision"] == judged["recall"] == 1.0
    assert rebuilt.data["train"]["captions"][0][0].startswith(pictures["captions"][0][0]), "clothes as they were told"


class Liar:
    """A writer that is right two times of three; a sentence for each claim."""

    def __init__(self, pictures):
        self.seen = dict(zip(pictures["image"], pictures["attributes"], strict=True))

    def write(self, images, prompt, seed):
        return [[self.told(self.seen[image], lie) for lie in (True, False, False)] for image in images]

    @staticmethod
    def told(seen, lie):
        left = "sofa" if lie and seen["left"] != "sofa" else "lamp" if lie else seen["left"]
        where = f"{seen['scene']} with a {seen['wall']} wall" if seen["wall"] else f"{seen['scene']} by {seen['light']}"
        return f"the background is a {where} . on the left there is a {left} ."

    def facts(self):
        return {"kind": "liar"}


def test_a_place_alone_is_a_caption_where_nobody_was_asked_about_clothes(pictures, tmp_path):
    bare = pictures.remove_columns("captions").add_column(
        "captions", [[]] * len(pictures), feature=pictures.features["captions"]
    )
    asked = [Task("vlm", Parrot(pictures, "background"), BACKGROUND, 8)]
    pipeline.ask(bare, asked, tmp_path)
    rebuilt = pipeline.clean(bare, tmp_path, asked)
    assert not rebuilt.left_out and rebuilt.data["train"]["captions"][0] == [rebuilt.data["train"]["background"][0]]


def test_one_split_is_divided_by_picture(pictures):
    from datasets import DatasetDict

    alone = DatasetDict({"train": pictures.remove_columns("split")})
    one, two = pipeline.pictures_of(alone, seed=1)["split"], pipeline.pictures_of(alone, seed=2)["split"]
    assert set(one) <= {"train", "val", "test"} and list(one) != list(two)


# ---- prompts --------------------------------------------------------------------------------------------------------


def test_the_earlier_course_is_quoted_verbatim():
    published = PROMPTS["background-v1"]
    assert (
        published.text == "Describe the background of the image, without details of the person's clothing or appearance"
    )
    assert PROMPTS["clothes-v1"].text == "Just describe the man's clothes as specifically as you can."
    assert (published.sampling.beams, published.sampling.top_p, published.sampling.repetition_penalty) == (5, 0.9, 1.5)


def test_an_unknown_prompt_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean background-v"):
        prompt("backgroud-v2")


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command_writes_a_data_set_and_a_dry_run_says_how_long(make_model, tmp_path, capsys):
    from captioning.cli.rebuild import rebuild
    from captioning.rebuild.config import WriterConfig
    from captioning.rebuild.writers import task

    make_model("transformer").save_pretrained(tmp_path / "run")
    (tmp_path / "photos").mkdir()
    for name in "abc":
        minifashion.draw(minifashion.sample_attributes(random.Random(name)), 64, random.Random(name)).save(
            tmp_path / "photos" / f"{name}.png"
        )
    writers = [
        WriterConfig("captioner", label, str(tmp_path / "run"), label) for label in ("clothes-v2", "background-v2")
    ]
    assert task(writers[0]).writer is task(writers[1]).writer, "loaded once"
    options = {"data": "folder", "folder": tmp_path / "photos", "writers": writers}
    rebuild(tmp_path / "out", **options, dry_run=True)
    assert "s a picture" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no picture has both"):
        rebuild(tmp_path / "out", **options)  # a model with random weights says nothing that passes


# ---- other machines -------------------------------------------------------------------------------------------------


def test_ray_gives_the_same_answers(pictures, make_model, tmp_path):
    pytest.importorskip("ray")
    from captioning.rebuild import on_ray

    make_model("gru").save_pretrained(tmp_path / "run")
    own = [Task("own", CaptionerWriter(str(tmp_path / "run"), Decoding(max_length=5)), CLOTHES, 8)]
    pipeline.ask(pictures, own, tmp_path / "here")
    pipeline.ask(pictures, own, tmp_path / "there", engine=on_ray.answers)
    here, there = (list(pipeline.read_answers(tmp_path / place, [("own", CLOTHES)])) for place in ("here", "there"))
    assert here == there and len(here) == len(pictures)


@pytest.mark.parametrize("writer", [CaptionerWriter, VLMWriter])
def test_writers_are_small_until_they_are_asked(pictures, writer):
    before = writer("/no/such/model")
    copy = pickle.loads(pickle.dumps(before))
    assert copy.facts() == before.facts() and "model" not in vars(copy)
    with pytest.raises((OSError, ValueError), match="/no/such/model"):
        copy.write(pictures["image"][:1], CLOTHES, 0)
