"""A file of captions judged: what is scored, what is left out and said, and what stands beside it."""

import doctest
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from captioning.data.files import BrokenSource
from captioning.metrics import bleu
from captioning.metrics.controls import nearest_neighbours
from captioning.metrics.files import metrics_at_hand, read_captions, read_references, read_scored
from captioning.metrics.report import score, score_table
from captioning.metrics.score import Scorer

REFERENCES = {
    "1": ["a man rides a brown horse", "a man on a horse"],
    "2": ["two dogs play in the snow", "dogs run through deep snow"],
    "3": ["a red bus on a wet street", "a bus in the rain"],
    "4": ["a child eats an apple", "the girl has a green apple"],
}
GOOD = {"1": "a man on a brown horse", "2": "two dogs in the snow", "3": "a red bus", "4": "a child eats"}
POOR = {"1": "a horse", "2": "two cats", "3": "a man", "4": "a dog in the snow"}
TRAIN = {"a": ["a man on a brown horse"], "b": ["two dogs run", "a dog runs"], "c": ["a red bus"]}


def test_a_report_has_the_scores_the_controls_the_test_and_diversity():
    report = score(GOOD, REFERENCES, against=POOR, train=TRAIN)
    assert list(report.scores) == [
        *("predictions", "against", "constant caption", "random training caption", "shuffled pictures")
    ]
    assert report.scores["predictions"].values.tolist() == Scorer(REFERENCES)(GOOD).values.tolist()
    assert report.p == Scorer(REFERENCES)(GOOD).p_against(Scorer(REFERENCES)(POOR))
    assert report.diversity["predictions"]["novel"] == pytest.approx(2 / 4)
    stored = json.loads(json.dumps(report.json()))
    assert stored["scores"]["against"]["CIDEr-D"]["score"] == report.scores["against"]["CIDEr-D"]
    assert list(score_table(report.scores).index) == list(report.scores)


def test_without_training_captions_the_constant_is_chosen_from_the_references_and_says_so():
    report = score(GOOD, REFERENCES)
    assert list(report.scores) == ["predictions", "shuffled pictures", "constant caption (of the references)"]
    assert report.p == {}
    assert "novel" not in report.diversity["predictions"]


def test_the_nearest_neighbour_comes_with_features_also_when_pictures_are_left_out():
    there, here = np.eye(3), np.array([[0, 0, 1], [9, 9, 9], [0, 1, 0], [1, 0, 0]])
    with pytest.warns(UserWarning, match="1 of 4 pictures have no caption in predictions"):
        report = score({i: c for i, c in GOOD.items() if i != "2"}, REFERENCES, train=TRAIN, features=(there, here))
    near = nearest_neighbours(TRAIN, there, "134", here[[0, 2, 3]])
    assert near["1"] == "a red bus" and near["3"] in TRAIN["b"] and near["4"] == TRAIN["a"][0]
    wanted = Scorer({i: REFERENCES[i] for i in "134"})(near)
    assert report.scores["nearest neighbour"].values.tolist() == wanted.values.tolist()


def test_what_does_not_fit_is_left_out_counted_and_named():
    wrong = GOOD | {"2": ["two dogs in the snow", "snow"], "3": None, "9": "a cat"}
    del wrong["4"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = score(wrong, REFERENCES)
    said = [str(warning.message) for warning in caught]
    assert report.scores["predictions"].ids == ("1", "2")
    for start in (
        "1 of 4 predictions hold something that is no caption, such as None: left out (e.g. '3')",
        "1 of 4 pictures have several captions in predictions: the first is scored (e.g. '2')",
        "1 of 4 pictures have no caption in predictions: left out, the scores are of the others only (e.g. '4')",
        "1 of 4 predictions have no references: left out; are they of another split? (e.g. '9')",
    ):
        assert start in said
    assert all(__file__ == warning.filename for warning in caught)  # the message points at the caller


@pytest.mark.parametrize(
    "predictions, against, message",
    [
        ({"9": "a cat"}, None, "predictions are of '9', references of '1', '2', '3'; give both files the same ids"),
        ({"a/1.jpg": "a", "8": "b"}, None, "; without folders and suffixes 1 are the same: 'a/1.jpg' and '1'"),
        ({"COCO_0003.jpg": "a"}, None, "; by their last number 1 are the same: 'COCO_0003.jpg' and '3'"),
        ({"2 ": "a"}, None, "; in composed letters and without blanks around 1 are the same: '2 ' and '2'"),
        (
            {"1": None, "2": 5},
            None,
            "2 of predictions have references, but none holds a caption: '1' has None, expected",
        ),
        ({"1": "a"}, {"2": "a"}, "predictions and against are of other pictures, of '1' and of '2'"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_nothing_in_common_is_an_error_that_shows_what_differs(predictions, against, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        score(predictions, REFERENCES, against=against)


def test_empty_references_are_counted_and_named():
    with pytest.warns(UserWarning, match="2 of 4 references are empty, e.g. of '0', '1'"):
        score({"0": "a dog runs", "1": "kids play"}, {"0": ["a dog runs on grass", ""], "1": ["  ", "kids play"]})


def test_what_is_empty_is_said_once_and_not_of_the_controls():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        score(GOOD | {"1": ""}, REFERENCES, train=TRAIN)
    assert [str(warning.message) for warning in caught] == [
        "1 of 4 captions are empty, e.g. '1': scored 0 (ROUGE-L 1 where a reference is empty too)"
    ]


CHINESE = {
    "1": ["一个男人在海滩上骑马", "男人骑着棕色的马"],
    "2": ["两只狗在雪地里玩耍。"],
    "3": ["一辆红色的公共汽车"],
}


def test_sentences_of_one_word_are_said_and_characters_can_be_scored():
    said = {"1": "男人在海滩上骑马", "2": "两只狗在玩耍", "3": "公共汽车"}
    with pytest.warns(UserWarning, match="4 of 4 references are one word, e.g. '一个男人在海滩上骑马'.*--language zh"):
        assert score(said, CHINESE).scores["predictions"]["CIDEr-D"] == 0
    apart = {i: " ".join(text) for i, text in said.items()}
    spaced = {i: [" ".join(text.strip("。")) for text in texts] for i, texts in CHINESE.items()}
    report = score(said, CHINESE, train=CHINESE, against=said, language="zh")
    assert report.scores["predictions"].values.tolist() == Scorer(spaced)(apart).values.tolist()
    assert report.scores["predictions"]["CIDEr-D"] > 1
    assert report.diversity["predictions"]["length"] == pytest.approx(6)


def test_several_captions_a_picture_are_judged_for_their_variety():
    same = {i: [text, text] for i, text in GOOD.items()}
    varied = {i: [GOOD[i], POOR[i]] for i in GOOD}
    with pytest.warns(UserWarning, match="the first is scored"):
        report = score(same, REFERENCES, against=varied)
    assert report.scores["predictions"].values.tolist() == report.scores["against"].values.tolist()
    assert report.diversity["predictions"]["self-CIDEr"] == pytest.approx(0, abs=1e-6)
    assert report.diversity["against"]["self-CIDEr"] > 0.3


@pytest.mark.parametrize(
    "content",
    [
        [{"image_id": 1, "caption": "a man"}, {"image_id": "2", "caption": "a dog"}, {"image_id": 1, "caption": "b"}],
        {"images": [], "annotations": [{"image_id": 1, "caption": "a man"}, {"image_id": 1, "caption": "b"}]}
        | {"info": {"image_id": 2}},
        {"1": ["a man", "b"]},
        {"model_name": "ofa", "results": [{"image": "1", "style": None, "caption": c} for c in ("a man", "b")]},
        [{"image_id": 1, "caption": ["a man", "b"]}],
        {"1": {"caption": ["a man", "b"], "tags": "man"}},
    ],
)
def test_the_files_of_the_field_are_read(content, tmp_path):
    (tmp_path / "captions.json").write_text(json.dumps(content))
    assert read_captions(tmp_path / "captions.json")["1"] == ["a man", "b"]


@pytest.mark.parametrize(
    "name, text",
    [
        (
            "a.jsonl",
            '{"img_id": "x/1.jpg", "prediction": "a man"}\n\n{"img_id": "x/2.jpg", "prediction": ["two", "b"]}\n',
        ),
        ("a.csv", "img_id,prediction\nx/1.jpg,a man\nx/2.jpg,two\nx/2.jpg,b\n"),
        ("a.json", '[{"img_id": "x/1.jpg", "prediction": "a man"}, {"img_id": "x/2.jpg", "prediction": ["two", "b"]}]'),
    ],
)
def test_records_with_other_keys_and_paths_go_to_the_references_they_name(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    images = [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "x/2.jpg"}]
    coco = {"images": images, "annotations": [{"image_id": i, "caption": "a man"} for i in (1, 2)]}
    (tmp_path / "refs.json").write_text(json.dumps(coco))
    found = read_scored(tmp_path / name, tmp_path / "refs.json", id_key="img_id", caption_key="prediction")
    assert found["predictions"] == {"1": ["a man"], "2": ["two", "b"]}
    with pytest.raises(BrokenSource, match="entry 0: no 'image_id' or 'image' in .*--id_key"):
        read_captions(tmp_path / name)


def test_two_predictions_of_one_reference_are_refused(tmp_path):
    (tmp_path / "said.json").write_text('{"a/0.jpg": "a man", "b/0.jpg": "a dog"}')
    (tmp_path / "refs.json").write_text('{"0.jpg": ["a man"]}')
    with pytest.raises(BrokenSource, match="'a/0.jpg' and 'b/0.jpg' both end in what .* calls '0.jpg'"):
        read_scored(tmp_path / "said.json", tmp_path / "refs.json")
    (tmp_path / "refs.json").write_text('{"a/0.jpg": ["a man"], "b/0.jpg": ["a dog"]}')
    assert list(read_scored(tmp_path / "said.json", tmp_path / "refs.json")["predictions"]) == ["a/0.jpg", "b/0.jpg"]


@pytest.mark.parametrize("text", ['{"1": ["a man", null]}', '{"1": 1.5}', '{"1": []}'])
def test_references_that_are_no_captions_are_refused_with_file_and_id(text, tmp_path):
    (tmp_path / "refs.json").write_text(text)
    with pytest.raises(BrokenSource, match=r"refs.json: '1' has .*, expected strings; restore or remove the entry"):
        read_references(tmp_path / "refs.json")


def test_a_row_longer_than_its_header_is_refused_with_its_line(tmp_path):
    (tmp_path / "a.csv").write_text("image,caption\n1.jpg,a man\n2.jpg,a man, in a hat\n")
    with pytest.raises(BrokenSource, match="a.csv, line 3: 1 cells more than the header"):
        read_captions(tmp_path / "a.csv")


@pytest.mark.parametrize(
    "text, message",
    [
        ('[{"image_id": 1, "capt', "cut off or damaged at character"),
        ('"a man"', "expected a list or dict, found a str"),
        ('[{"caption": "a man"}]', "entry 0: no 'image_id' or 'image' in"),
        ('[{"image_id": [1], "caption": "a man"}]', r"entry 0: id \[1\], expected a whole number or a string"),
        ('[{"image_id": NaN, "caption": "a man"}]', "NaN is no JSON; write null, or leave the entry out"),
        ('{"1": "a", "1": "b"}', "'1' is there 2 times"),
        (
            '{"1": "a", "2": "b \\ud83d"}',
            r"entry 1: .* has half a character \(surrogate .ud83d\) at 2; write the whole",
        ),
        (
            '{"images": [{"sentences": []}]}',
            "'images' has {'sentences': .* as a caption; expected records of an id and",
        ),
        ('{"a": {"style": "red"}}', "'a': no 'caption' in .*--caption_key name other keys"),
        ('{"annotations": []}', "not one caption in it; expected records of an id and a caption"),
        ('["a man"]', "entry 0: no 'image_id' or 'image' in a man"),
    ],
)
def test_a_file_that_is_something_else_is_refused(text, message, tmp_path):
    (tmp_path / "captions.json").write_text(text)
    with pytest.raises(BrokenSource, match=message):
        read_captions(tmp_path / "captions.json")
    with pytest.raises(FileNotFoundError, match="no such file; expected records"):
        read_captions(tmp_path / "none.json")


def test_a_metric_that_cannot_be_had_is_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found, absent = metrics_at_hand(spice=tmp_path)
    assert not found
    assert [line.split()[0] for line in absent] == ["METEOR", "SPICE"]
    assert all("\n" not in line for line in absent)


def test_metrics_are_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no METEOR
    found, absent = metrics_at_hand(names="semantic", encoder="package:no-such-encoder")
    assert not found and [line.split()[0] for line in absent] == ["METEOR", "semantic"]
    with pytest.raises(ValueError, match="no metric 'meaning' to be asked for; there are semantic and tuples"):
        metrics_at_hand(names="tuples,meaning")


def test_the_page_on_what_each_metric_counts_is_true():
    page = Path(bleu.__file__).with_name("README.md")
    failed, attempted = doctest.testfile(str(page), module_relative=False)
    assert not failed and attempted > 15
