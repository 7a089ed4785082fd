"""From a split's captions to scores, controls, the file of results and the README's table."""

import csv
import json

import numpy as np
import pytest
from datasets import Dataset

from captioning.data import minifashion, photo_claims
from captioning.data.batches import picture_batches
from captioning.decoding.config import Decoding
from captioning.evaluation import results, splits
from captioning.evaluation.results import COLUMNS, record, results_markdown
from captioning.metrics.files import read_captions
from conftest import TINY_ENCODER

DECODING = Decoding(beams=2, max_length=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return minifashion.build(tmp_path_factory.mktemp("data"), sizes={"train": 12, "val": 6}, size=64, workers=1)


@pytest.fixture
def features():
    """Of 12 training pictures and 6 of val: 3 cells, 5 channels and the 4 of the box."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(12, 3, 9)).astype(np.float16), rng.normal(size=(6, 3, 9)).astype(np.float16)


def test_caption_rows_is_generate_by_picture_and_cached_features_change_nothing(make_model, data):
    model, rows = make_model("gru", TINY_ENCODER), data["val"]
    from_pictures = splits.caption_rows(model, rows, DECODING, batch_size=4)
    [images] = picture_batches(list(rows["image"]), 64, len(rows))
    assert from_pictures == dict(zip(rows["image_id"], model.generate(images, DECODING).best, strict=True))
    cached = model.features(images).detach().numpy()
    assert splits.caption_rows(model, rows, DECODING, cached, batch_size=4) == from_pictures


def test_the_references_say_the_truth_and_those_of_another_picture_do_not(data):
    score, rows = splits.scorer(data["val"]), data["val"]
    truth = {i: captions[0] for i, captions in splits.references(rows).items()}
    moved = dict(zip(truth, [*list(truth.values())[1:], next(iter(truth.values()))], strict=True))
    assert score(truth)["attributes"] == 1
    assert score(truth)["BLEU-4"] == pytest.approx(1)
    assert score(moved)["attributes"] < 0.9


def test_of_photographs_the_truth_is_what_people_agree_on():
    rows = {"image_id": ["a", "b"], "captions": [["a dog runs", "the dog runs on grass"], ["two boys", "the boy sits"]]}
    truths = [photo_claims.truth(captions) for captions in rows["captions"]]
    score = splits.scorer(Dataset.from_dict(rows | {"attributes": truths}))
    assert score({"a": "a dog runs", "b": "a boy"})["attributes"] == 1
    assert score({"a": "a dog runs", "b": "a girl"})["attributes"] == 2 / 3


def test_domains_are_scored_each_by_itself(data):
    told = [{"domain": "in-domain"}] * 2 + [{"domain": "out-domain"}] * 3 + [{"domain": None}]
    rows = data["val"].remove_columns("attributes").add_column("attributes", told)
    said = dict.fromkeys(rows["image_id"], "a lady in a hat .") | {rows["image_id"][0]: rows["captions"][0][0]}
    found = splits.score_domains(rows, said)
    assert {domain: len(scores) for domain, scores in found.items()} == {"in-domain": 2, "out-domain": 3}
    alone = splits.score_systems(rows.select(range(2)), {"x": {i: said[i] for i in rows["image_id"][:2]}})["x"]
    assert (found["in-domain"].values == alone.values).all()
    assert (
        splits.score_domains(data["val"], said) == {}
        and splits.score_domains(rows.select_columns(["image_id"]), said) == {}
    )


def test_a_set_without_attributes_is_scored_without_them(data):
    assert (
        "attributes"
        not in splits.scorer(data["val"].remove_columns("attributes"))(
            dict.fromkeys(data["val"]["image_id"], "a man")
        ).names
    )


def test_controls_are_the_three_blind_ones_and_with_features_the_nearest_neighbour(data, features):
    ids = data["val"]["image_id"]
    predictions = {image_id: f"caption {k}" for k, image_id in enumerate(ids)}
    blind = splits.control_predictions(data["train"], predictions)
    assert tuple(blind) == results.CONTROLS[:3]
    assert len(set(blind["constant caption"].values())) == 1
    assert sorted(blind["shuffled pictures"].values()) == sorted(predictions.values())
    assert all(blind["shuffled pictures"][i] != predictions[i] for i in ids)
    seeing = splits.control_predictions(data["train"], predictions, *features)
    assert tuple(seeing) == results.CONTROLS


def test_the_nearest_neighbour_is_nearest_in_the_mean_of_the_cells_without_their_boxes(data, features):
    train_features, features = features
    features[2, :, :-4] = train_features[7, ::-1, :-4]  # the cells of training picture 7 in another order, other boxes
    found = splits.control_predictions(
        data["train"], dict.fromkeys(data["val"]["image_id"], "a"), train_features, features
    )
    assert found["nearest neighbour"][data["val"]["image_id"][2]] in data["train"]["captions"][7]


def test_mean_features_are_means_whatever_the_chunk(features):
    expected = features[0][..., :5].astype(np.float32).mean(axis=1)
    np.testing.assert_allclose(splits.mean_features(features[0], chunk=5), expected, rtol=1e-6)


def test_predictions_are_written_in_the_coco_results_format(tmp_path):
    splits.write_predictions({"a.jpg": "a man", "b.jpg": "eine Frau"}, tmp_path / "predictions.json")
    assert json.loads((tmp_path / "predictions.json").read_text()) == [
        {"image_id": "a.jpg", "caption": "a man"},
        {"image_id": "b.jpg", "caption": "eine Frau"},
    ]


@pytest.mark.parametrize(
    "ids, written",
    [(["42", "7"], [42, 7]), (["042", "7"], ["042", "7"]), (["42", "a/7"], ["42", "a/7"]), (["²", "7"], ["²", "7"])],
)
def test_ids_are_written_as_the_annotations_have_them(ids, written, tmp_path):
    """The official COCO API takes numbers for COCO's ids, and no strings."""
    splits.write_predictions(dict.fromkeys(ids, "a man"), tmp_path / "predictions.json")
    found = json.loads((tmp_path / "predictions.json").read_text())
    assert [entry["image_id"] for entry in found] == written
    assert list(read_captions(tmp_path / "predictions.json")) == ids


@pytest.fixture
def scores():
    """Two systems on three pictures."""
    captions = [["a man in a hat"], ["a woman with a dog"], ["two dogs run on the grass"]]
    rows = Dataset.from_dict({"image_id": ["x", "y", "z"], "captions": captions})
    said = dict(zip("xyz", ["a man in a coat", "a woman with a dog", "dogs on grass"], strict=True))
    return splits.score_systems(rows, {"gru": said, "constant caption": dict.fromkeys("xyz", "a man in a hat")})


FACTS = {"run": "gru_x", "data": "x", "split": "test", "profile": "full", "decoding": "beam 3"}
MORE = {"minutes": 1.5, "command": "python -m captioning train gru"}


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_record_writes_a_row_a_system(scores, tmp_path):
    record(scores, tmp_path / "results.csv", **FACTS, **MORE)
    rows = read(tmp_path / "results.csv")
    assert [row["model"] for row in rows] == ["gru", "constant caption"]
    assert tuple(rows[0]) == COLUMNS
    assert rows[0] | FACTS | {"n": "3", "minutes": "1.5", "METEOR": "", "attributes": ""} == rows[0]
    low, high = scores["gru"].interval
    place = scores["gru"].names.index("CIDEr-D")
    expected = [f"{number:.6f}" for number in (scores["gru"]["CIDEr-D"], low[place], high[place])]
    assert [rows[0][name] for name in ("CIDEr-D", "CIDEr-D low", "CIDEr-D high")] == expected


def test_recording_again_replaces_the_rows_of_that_run_data_split_profile_and_decoding_only(scores, tmp_path):
    path = tmp_path / "results.csv"
    others = [FACTS | {key: "other"} for key in FACTS]
    for facts in (*others, FACTS):
        record(scores, path, **facts, **MORE)
    record({"gru": scores["constant caption"]}, path, **FACTS, **MORE | {"minutes": 9})
    rows = read(path)
    kept = [row for row in rows if row["minutes"] == "1.5"]
    assert [{key: row[key] for key in FACTS} for row in kept[::2]] == others
    assert [row | FACTS == row for row in rows] == [False] * 10 + [True]
    assert (rows[-1]["minutes"], rows[-1]["BLEU-4"]) == ("9", f"{scores['constant caption']['BLEU-4']:.6f}")
    assert list(tmp_path.iterdir()) == [path]


def written(path, *rows):
    """A file of results in which every metric of a row has one score, 0.1 below and above it the interval."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        run = ""
        for model, data, metrics, score in rows:
            run = run if model in results.CONTROLS else f"{model}_{data}"
            numbers = {f"{m}{end}": f"{score + d:.6f}" for m in metrics for end, d in zip(ENDS, SHIFTS, strict=True)}
            facts = {"run": run, "model": model, "data": data, "n": "300", "split": "test", "decoding": "beam 3"}
            writer.writerow(facts | {"minutes": "12.3456", "command": f"train {model}"} | numbers)
    return path


ENDS, SHIFTS = ("", " low", " high"), (0, -0.1, 0.1)


def test_results_markdown_puts_models_first_and_an_equal_control_once(tmp_path):
    metrics = ("BLEU-4", "CIDEr-D")
    path = written(
        tmp_path / "results.csv",
        ("gru", "x", metrics, 0.5),
        ("constant caption", "x", metrics, 0.25),
        ("shuffled pictures", "x", metrics, 0.125),
        ("gru", "y", ("BLEU-4", "attributes"), 0.9),
        ("transformer", "x", metrics, 0.75),
        ("constant caption", "x", metrics, 0.25),
        ("shuffled pictures", "x", metrics, 0.1875),
    )
    assert results_markdown("x", path) == (
        "| | BLEU-4 | CIDEr-D |\n"
        "|---|---|---|\n"
        "| gru | 0.500 [0.400, 0.600] | 0.500 [0.400, 0.600] |\n"
        "| transformer | 0.750 [0.650, 0.850] | 0.750 [0.650, 0.850] |\n"
        "| constant caption | 0.250 [0.150, 0.350] | 0.250 [0.150, 0.350] |\n"
        "| shuffled pictures (gru) | 0.125 [0.025, 0.225] | 0.125 [0.025, 0.225] |\n"
        "| shuffled pictures (transformer) | 0.188 [0.087, 0.287] | 0.188 [0.087, 0.287] |\n"
        "\n"
        "- gru: 300 pictures of test, beam 3, trained in 12.3 minutes by `train gru`\n"
        "- transformer: 300 pictures of test, beam 3, trained in 12.3 minutes by `train transformer`"
    )


def test_results_markdown_of_a_set_without_results_says_what_there_is(tmp_path):
    path = written(tmp_path / "results.csv", ("gru", "x", ("BLEU-4",), 0.5))
    with pytest.raises(ValueError, match=r"no row on 'coco', found x; `captioning evaluate RUN --record` writes some"):
        results_markdown("coco", path)
    with pytest.raises(ValueError, match="found nothing"):
        results_markdown("x", tmp_path / "none.csv")
