"""Many runs on the same pictures: sizes, speed, pairwise tests, shared errors."""

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from captioning.data import minifashion, photo_claims
from captioning.decoding.config import Decoding
from captioning.evaluation import comparison, splits
from captioning.evaluation.comparison import Entrant, Entry
from captioning.learning.config import Recipe, TrainConfig
from captioning.learning.experiment import train_captioner
from captioning.metrics.score import Scorer
from captioning.models import saved
from captioning.models.config import GRUConfig
from conftest import TINY_DECODERS, TINY_ENCODER

SHORT = Decoding(max_length=12)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return minifashion.build(tmp_path_factory.mktemp("data"), sizes={"train": 8, "val": 4, "test": 6}, size=64)


@pytest.fixture
def features(tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "FEATURES", tmp_path / "features")


def test_a_run_is_captioned_as_it_was_trained_and_measured(data, features, tmp_path):
    decoder, training = GRUConfig(**TINY_DECODERS["gru"]), TrainConfig(epochs=1, log_every=1)
    log = train_captioner(data, tmp_path / "run", decoder, TINY_ENCODER, Recipe(workers=0), training, SHORT)
    entry = comparison.enter(Entrant("gru", tmp_path / "run", "train"), data["test"])
    model = saved.load(tmp_path / "run")
    assert entry.said == splits.caption_rows(model, data["test"], SHORT)
    assert entry.parameters == sum(p.numel() for p in model.parameters())
    assert entry.minutes == log[-1]["minutes"]


def test_a_saved_model_without_a_log_has_no_minutes_and_needs_a_decoding(data, features, make_model, tmp_path):
    make_model("transformer", max_length=12).save_pretrained(tmp_path / "model")
    entry = comparison.enter(Entrant("transformer", tmp_path / "model", "push", decoding=SHORT), data["test"])
    assert np.isnan(entry.minutes) and set(entry.said) == set(data["test"]["image_id"])
    with pytest.raises(KeyError, match="decoding"):
        comparison.enter(Entrant("transformer", tmp_path / "model", "push"), data["test"])


def test_what_is_missing_is_named_with_the_command_that_makes_it(make_model, tmp_path):
    make_model("gru").save_pretrained(tmp_path / "there")
    (tmp_path / "begun").mkdir()
    entrants = [Entrant(name, tmp_path / name, f"make {name}") for name in ("there", "begun", "nowhere")]
    table = comparison.missing(entrants)
    assert table["made by"].to_dict() == {"begun": "make begun", "nowhere": "make nowhere"}
    assert comparison.missing(entrants[:1]).empty


def test_what_a_run_builds_on_is_its_price_too(data, features, make_model, tmp_path):
    make_model("gru", hidden=12).save_pretrained(tmp_path / "gru")
    for name, spent in (("gru", 0.5), ("start", 2.0), ("eyes", 1.0)):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "log.jsonl").write_text(json.dumps({"minutes": spent}) + "\n")
    entrant = Entrant("gru", tmp_path / "gru", "", (tmp_path / "start", tmp_path / "eyes"), SHORT)
    seconds = comparison.seconds_a_picture([entrant], data["test"], turns=2)
    assert seconds.shape == (2, 1) and (seconds["gru"] > 0).all() and (seconds["gru"] < 60).all()
    table = comparison.summary({"gru": comparison.enter(entrant, data["test"])}, seconds)
    assert table.loc["gru", ["minutes", "in all"]].tolist() == [0.5, 3.5]
    alone = comparison.summary({"a": Entry({}, 10, 1.0, 1.0)}, pd.DataFrame({"a": [0.5, 0.25, 1.0]}))
    assert alone.loc["a"].tolist() == [10, 1.0, 1.0, 500.0, 250.0, 1000.0]


def test_the_front_leaves_out_only_who_is_surely_beaten_in_all():
    names = ["quick", "slower and worse", "slow and best"]
    speed, truth = np.array([3.0, 2.0, 1.0]), np.array([0.8, 0.7, 0.9])
    measures = [pd.DataFrame(values[:, None] - values, names, names) for values in (speed, truth)]
    p = pd.DataFrame(0.01, names, names)
    nobody = dict.fromkeys(names, [])
    assert comparison.beaten_by(*((each, p) for each in measures)) == nobody | {"slower and worse": ["quick"]}
    assert comparison.beaten_by((measures[0], p), (measures[1], p + 1)) == nobody, "what may be chance beats nobody"


def test_who_is_quicker_in_every_turn_is_quicker_though_the_ranges_overlap():
    disturbed = np.linspace(1, 2, 12)
    either = np.tile([1.1, 1 / 1.1], 6)  # quicker in half of the turns
    seconds = pd.DataFrame({"a": disturbed, "b": 1.1 * disturbed, "c": either * disturbed})
    saved, p = comparison.quicker(seconds)
    assert saved.loc["a", "b"] == pytest.approx(1 - 1 / 1.1) and saved.loc["a", "c"] == pytest.approx(0)
    assert p.loc["a", "b"] == p.loc["b", "a"] == pytest.approx(3 * 2 / 2**12) and p.loc["a", "c"] == 1
    assert np.isnan(np.diag(p)).all()


def test_the_minutes_of_the_last_weights_are_those_of_their_run(tmp_path):
    (tmp_path / "last").mkdir()
    (tmp_path / "log.jsonl").write_text(json.dumps({"minutes": 1.0}) + "\n" + json.dumps({"minutes": 3.5}) + "\n")
    assert comparison.minutes(tmp_path / "last") == comparison.minutes(tmp_path) == 3.5


def test_holm_by_hand():
    p = np.array([0.04, 0.01, 0.03, 0.5])
    np.testing.assert_allclose(comparison.holm(p), [0.09, 0.04, 0.09, 0.5])
    assert (comparison.holm(np.full(3, 0.7)) == 1).all()


@pytest.fixture(scope="module")
def said(data):
    """Three systems: the truth, the truth of the picture before, and one sentence."""
    ids, captions = data["test"]["image_id"], [each[0] for each in data["test"]["captions"]]
    others = [captions[-1], *captions[:-1]]
    systems = {"true": captions, "shifted": others, "constant": [captions[0]] * len(ids)}
    return {name: dict(zip(ids, texts, strict=True)) for name, texts in systems.items()}


def test_pairs_are_compared_on_the_same_pictures(data, said):
    score = Scorer(splits.references(data["test"]), attributes=splits.marks(data["test"]))
    scores = {name: score(each) for name, each in said.items()}
    above, p = comparison.pairwise(scores, "attributes")
    assert above.loc["true", "constant"] == pytest.approx(
        scores["true"]["attributes"] - scores["constant"]["attributes"]
    )
    np.testing.assert_allclose(above, -above.T)
    assert np.isnan(np.diag(p)).all() and p.loc["true", "shifted"] == p.loc["shifted", "true"]
    single = [scores[a].p_against(scores[b])["attributes"] for a, b in combinations(scores, 2)]
    assert sorted(comparison.holm(np.array(single))) == sorted(p.loc[a, b] for a, b in combinations(scores, 2))


def test_facts_are_what_the_pictures_show(data, said):
    right = comparison.facts(said, data["test"])
    shown = [(i, name) for i, truth in zip(data["test"]["image_id"], data["test"]["attributes"], strict=True)
             for name, value in truth.items() if value is not None]  # fmt: skip
    assert right.index.tolist() == shown and right["true"].all() and not right["shifted"].all()
    truth = data["test"]["attributes"][1]
    marks = minifashion.mark(said["shifted"][data["test"]["image_id"][1]], truth)
    assert all(right.loc[(data["test"]["image_id"][1], name), "shifted"] == mark for name, mark in marks.items()
               if truth.get(name) is not None)  # fmt: skip


def test_every_attribute_is_of_one_kind(data, said):
    assert sorted(comparison.KIND_OF) == sorted(minifashion.ATTRIBUTES)
    assert sum(map(len, comparison.KINDS.values())) == len(minifashion.ATTRIBUTES)
    right = comparison.facts(said, data["test"])
    table = comparison.by_kind(right)
    assert list(table.columns) == list(comparison.KINDS) and (table.loc["true"] == 1).all()
    hats = right.loc[(slice(None), list(comparison.KINDS["small things"])), "constant"]
    assert table.loc["constant", "small things"] == pytest.approx(hats.mean())


def test_silence_is_no_claim_and_a_place_that_is_not_there_is_invented(data, said):
    ids, truths = data["test"]["image_id"], data["test"]["attributes"]
    lady = "the lady wears a hat ."
    placed = {i: f"{text} it is a street ." for i, text in said["true"].items()}
    short = {"silent": dict.fromkeys(ids, "a picture"), "one thing": dict.fromkeys(ids, lady), "placed": placed}
    table = comparison.claims({"true": said["true"]} | short, data["test"])
    assert table.loc["true", ["invented", "share true", "share of facts"]].tolist() == [0, 1, 1]
    assert table.loc["silent"].tolist() == [0, 0, 0, 0, 0] and table.loc["one thing", "said"] == 2
    assert table.loc["placed", "invented"] == 1 and table.loc["placed", "true"] == table.loc["true", "true"]
    right = [truth["hat"] == "yes" for truth in truths] + [truth["gender"] == "woman" for truth in truths]
    assert table.loc["one thing", "share true"] == pytest.approx(np.mean(right))


def test_claims_about_photographs_are_read_by_their_own_words():
    rows = Dataset.from_list(
        [{"image_id": n, "attributes": photo_claims.truth(["a dog on a red boat"] * 2)} for n in "ab"]
    )
    said = {"a": "a dog runs", "b": "a picture"}
    table = comparison.claims({"it": said}, rows, photo_claims)
    assert table.loc["it"].tolist() == [1, 0.5, 0.5, 0.5, pytest.approx(1 / 6)]


def test_a_caption_is_true_invents_and_leaves_unsaid():
    truth = {"gender": "woman", "hat": "yes", "glasses": "no", "belt": "no", "ring": "yes"}
    told = comparison.told("the lady wears a hat and a belt .", truth)
    assert told.true == {("gender", "woman"), ("hat", "yes")}
    assert told.invented == {("belt", "yes")} and told.unsaid == {("ring", "yes")}


def test_shared_errors_by_hand():
    right = pd.DataFrame({"a": [True, False, False, True], "b": [True, False, True, True], "c": [True] * 4})
    table = comparison.shared_errors(right)
    assert table.loc["a", ["a", "b", "c"]].tolist() == [1.0, 0.5, 0.0]
    assert table.loc["b", ["a", "b", "c"]].tolist() == [1.0, 1.0, 0.0]
    assert table.loc["c"].isna().all()  # it errs never
    pairs = comparison.error_pairs(right[["a", "b"]])
    assert pairs.loc["a / b"].tolist() == [2.0, 2.0, 1.0]  # all errors of b are errors of a
    right["b"] = [True, False, True, False]
    assert comparison.error_pairs(right[["a", "b"]]).loc["a / b"].tolist() == [1.0, 2.0, 0.0]


def test_without_known_attributes_the_references_tell(data, said):
    rows = data["test"].remove_columns("attributes")
    assert comparison.facts(said, rows)["true"].all()
    assert [truth["garment"] for truth in comparison.truths(rows)] == [t["garment"] for t in data["test"]["attributes"]]
