"""The small InstructBLIP of chapter 04, and what it is taught."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from captioning.course import mini_instructblip
from captioning.course.mini_instructblip import Miniature, MiniatureWriter
from captioning.course.street_lessons import Pair, instruction_pairs
from captioning.data import minifashion
from captioning.data.scenes import read_scene
from captioning.rebuild.clean import Answer, tidy
from captioning.rebuild.fashion import mentions_clothes
from captioning.rebuild.prompts import PROMPTS, Sampling, prompt

GRID = (4, 20)  # cells, channels
ASKED = replace(prompt("background-v3"), sampling=Sampling(samples=2, max_tokens=5))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    sizes = {"train": 40, "val": 1, "test": 1}
    return minifashion.build(tmp_path_factory.mktemp("street"), "street", sizes, size=32, workers=1)["train"]


@pytest.fixture(scope="module")
def features(rows):
    rng = np.random.default_rng(0)
    return {picture: rng.normal(size=GRID).astype(np.float16) for picture in rows["image"]}


def test_labels_hold_the_answer_and_nothing_else(rows, features):
    pairs = [Pair(0, "what is there ?", "a red car ."), Pair(1, "what ?", "a street by day .")]
    processor = mini_instructblip.new_processor(pairs)
    asked = mini_instructblip.PairRows(features, rows["image"], pairs, processor)
    batch = asked.collate([asked[0, 0], asked[0, 1]])
    answers = [ids[ids != mini_instructblip.IGNORED] for ids in batch["labels"]]
    assert [processor.tokenizer.decode(ids, skip_special_tokens=True) for ids in answers] == [p.answer for p in pairs]
    assert all(ids[-1] == processor.tokenizer.eos_token_id for ids in answers)
    assert batch["pixel_values"].shape == (2, *GRID)
    loss, _ = mini_instructblip.AnswerLoss(mini_instructblip.new_model(processor, GRID))(batch)
    assert torch.isfinite(loss)


def test_a_saved_one_answers_from_what_the_eyes_see(rows, features, tmp_path):
    pairs = instruction_pairs(rows)
    model = mini_instructblip.new_model(mini_instructblip.new_processor(pairs), GRID).eval()
    model.save_pretrained(tmp_path)
    again = Miniature.from_pretrained(tmp_path)
    assert all(torch.equal(x, again.state_dict()[name]) for name, x in model.state_dict().items())
    writer, some = MiniatureWriter(str(tmp_path), features), rows["image"][:3]
    one, two = writer.write(some, ASKED, 1), writer.write(some, ASKED, 1)
    assert one == two and [len(texts) for texts in one] == [2, 2, 2]
    blind = MiniatureWriter(str(tmp_path), dict.fromkeys(some, features[some[0]]))
    likeliest = replace(ASKED, sampling=Sampling(sample=False, max_tokens=8))
    assert len({texts[0] for texts in blind.write(some, likeliest, 0)}) == 1


def test_lessons_are_true_and_some_are_untidy(rows):
    pairs = [pair for pair in instruction_pairs(rows) if "clothes of" not in pair.prompt and "man's" not in pair.prompt]
    tidied = {pair.row: tidy(Answer("", "", "background", pair.answer)) for pair in pairs}
    for row, (kept, _) in tidied.items():
        truth = rows["attributes"][row]
        assert all(truth[name] == value for name, value in read_scene(kept).items())
        assert not mentions_clothes(kept)
    filters = {verdict.filter for _, verdicts in tidied.values() for verdict in verdicts}
    assert filters == {"", "clothes", "preamble"}
    assert {pair.prompt for pair in pairs} <= {p.text for p in PROMPTS.values() if p.topic == "background"}


def test_the_newest_prompt_is_taught_a_sentence_for_each_thing(rows):
    newest = prompt("background-v3").text
    pairs = [pair for pair in instruction_pairs(rows, untidy=0) if pair.prompt == newest]
    assert pairs and all(pair.answer.count(" .") == 3 for pair in pairs)
