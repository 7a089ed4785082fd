"""A captioner from a data set to a run folder in one call."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import DatasetDict

from captioning.data import minifashion
from captioning.data.config import Augmentation
from captioning.decoding.config import Decoding
from captioning.evaluation import runs, splits
from captioning.evaluation.splits import split_features
from captioning.evaluation.styles import score_split
from captioning.learning.config import Recipe, RLConfig, TrainConfig
from captioning.learning.experiment import reinforce_captioner, train_captioner, training_features
from captioning.metrics.words import apart
from captioning.models import saved
from captioning.models.config import EncoderConfig, GRUConfig
from captioning.models.inference import precision
from captioning.models.ofa.config import OFAConfig, Tasks
from captioning.text import WordTokenizer

ENCODER = EncoderConfig("resnet10t", {"channels": [8, 16, 32, 64], "stem_width": 8}, weights=None, image_size=64)
GRU = GRUConfig(picture=16, embedding=8, hidden=16, dropout=0.0)
RECIPE = Recipe(max_length=40, workers=0)
TRAINING = TrainConfig(epochs=2, batch_size=8, lr=1e-2, log_every=1)
DECODING = Decoding(max_length=12)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    sizes = {"train": 24, "val": 8, "test": 8}
    return minifashion.build(tmp_path_factory.mktemp("data"), sizes=sizes, size=64, workers=1)


@pytest.fixture(autouse=True)
def features_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "FEATURES", tmp_path / "features")
    return tmp_path / "features"


@pytest.fixture
def model():
    return saved.new(GRU, ENCODER, WordTokenizer.train(["a man"]))


def test_the_saved_model_is_the_one_whose_score_the_log_tells(data, tmp_path):
    run, watched = tmp_path / "run", []
    log = train_captioner(
        data, run, GRU, ENCODER, RECIPE, TRAINING, DECODING, watch=lambda log: watched.append(len(log))
    )
    epochs = [record for record in log if "val/score" in record]
    assert [record["epoch"] for record in epochs] == [1, 2]
    assert sum("loss" in record for record in log) == 6  # 2 epochs x 3 steps of 8 = 24 pictures
    assert watched == list(range(1, len(log) + 1))
    assert all(record["val/score"] == record["val/CIDEr-D"] for record in epochs)

    best = saved.load(run)
    predictions = splits.caption_rows(best, data["val"], DECODING, split_features(best, data["val"]))
    scores = splits.scorer(data["val"])(predictions)
    assert scores["CIDEr-D"] == pytest.approx(max(record["val/score"] for record in epochs), abs=1e-9)


def test_the_recipe_says_by_which_score_the_best_epoch_is_chosen(data, tmp_path):
    log = train_captioner(
        data, tmp_path / "run", GRU, ENCODER, replace(RECIPE, choose="attributes"), TRAINING, DECODING
    )
    epochs = [record for record in log if "val/score" in record]
    assert all(record["val/score"] == record["val/attributes"] for record in epochs)


def test_a_finished_run_returns_its_log_and_another_configuration_is_refused(data, tmp_path):
    def go(**changes):
        settings = {"decoder": GRU, "encoder": ENCODER, "recipe": RECIPE, "training": replace(TRAINING, epochs=1)}
        return train_captioner(data, tmp_path / "run", **settings | changes, decoding=DECODING)

    first = go()
    assert go() == first
    for change, name in [
        ({"training": TRAINING}, "epochs"),
        ({"decoder": replace(GRU, hidden=8)}, "decoder"),
        ({"recipe": replace(RECIPE, smoothing=0.0)}, "recipe"),
    ]:
        with pytest.raises(ValueError, match=f"holds a run of another configuration.*{name}"):
            go(**change)
    again = go(training=TRAINING, resume=False)
    assert again[-1]["epoch"] == 2


@pytest.mark.parametrize("there", ["train", "val"])
def test_a_data_set_without_train_or_val_is_an_error_that_says_what_there_is(data, tmp_path, there):
    missing = {"train": "val", "val": "train"}[there]
    with pytest.raises(ValueError, match=rf"has the splits {there}, not {missing}"):
        train_captioner(DatasetDict({there: data[there]}), tmp_path / "run", GRU, ENCODER)


def test_a_frozen_encoders_features_are_computed_once_and_kept(data, model, features_folder, monkeypatch):
    features = split_features(model, data["val"])
    assert features.shape == (8, 4, 68)  # 8 pictures, 2 x 2 cells, 64 channels and the box
    monkeypatch.setattr(model.encoder, "forward", lambda images: pytest.fail("computed again"))
    assert np.array_equal(split_features(model, data["val"]), features)
    assert len(list(features_folder.glob("*.npy"))) == 1


def test_a_trained_encoder_has_no_features_to_keep(data):
    model = saved.new(GRU, replace(ENCODER, trained_stages=1), WordTokenizer.train(["a man"]))
    assert split_features(model, data["val"]) is None
    assert training_features(model, data["val"], RECIPE) == ()


def test_mirroring_adds_the_features_of_the_mirrored_pictures(data, model):
    [plain] = training_features(model, data["val"], RECIPE)
    views = training_features(model, data["val"], replace(RECIPE, augmentation=Augmentation(mirror=True)))
    assert len(views) == 2 and np.array_equal(views[0], plain)
    [images] = splits.picture_batches(list(data["val"]["image"]), 64, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision(ENCODER) == torch.bfloat16):
        expected = model.encoder.eval()(images.flip(-1)).half().numpy()
    np.testing.assert_allclose(views[1].astype(np.float32), expected.astype(np.float32), atol=2e-3)


def test_an_encoder_that_is_trained_moves_and_a_frozen_one_does_not(data, tmp_path):
    for stages, moves in [(0, False), (1, True)]:
        run, encoder = tmp_path / f"run{stages}", replace(ENCODER, trained_stages=stages)
        train_captioner(data, run, GRU, encoder, RECIPE, replace(TRAINING, epochs=1), DECODING)
        before = saved.new(GRU, encoder, saved.load(run).tokenizer, TRAINING.seed).encoder.state_dict()
        after = saved.load(run / "last").encoder.state_dict()
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert bool(moved) == moves
        assert all("layer4" in name for name in moved)


def test_what_describe_run_writes_read_run_reads(tmp_path):
    runs.describe_run(tmp_path, data="minifashion", folder=tmp_path, decoding={"beams": 3})
    assert runs.read_run(tmp_path) == {
        "data": "minifashion",
        "folder": str(tmp_path),
        "decoding": {"beams": 3},
    }
    assert json.loads((tmp_path / "experiment.json").read_text()) == runs.read_run(tmp_path)


def test_a_folder_that_is_no_finished_run_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="give the folder of a run that `captioning train` has finished"):
        runs.read_run(tmp_path)


CHINESE = ["一个男人在草地上玩耍。", "一只狗在雪地里站着。", "一个女人在水边坐着。"]


def test_a_recipe_of_characters_writes_and_is_validated_by_characters(data, tmp_path):
    chinese = data.map(lambda row, i: {"captions": [CHINESE[i % 3]]}, with_indices=True)
    recipe, short = replace(RECIPE, tokenizer="characters"), Decoding(min_length=4, max_length=5)  # half a sentence
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*are one word")
        warnings.filterwarnings("ignore", ".*captions are empty")  # a full stop alone is no word
        log = train_captioner(chinese, tmp_path / "run", GRU, ENCODER, recipe, TRAINING, short)
    model = saved.load(tmp_path / "run")
    assert model.tokenizer.units == "characters" and len(model.tokenizer) == 4 + len(set("".join(CHINESE)))
    said, scores, _ = score_split(model, "gru", chinese, "val", short)
    assert all(caption and set(caption) <= set("".join(CHINESE)) for caption in said.values())
    by_characters = splits.score_systems(chinese["val"], {"gru": said}, words=apart)["gru"]["BLEU-1"]
    assert by_characters > 0 and scores["gru"]["BLEU-1"] == by_characters
    assert by_characters == pytest.approx(max(log, key=lambda record: record.get("val/score", -1))["val/BLEU-1"])


def test_words_are_warned_of_where_a_sentence_has_no_blanks(data, tmp_path):
    chinese = data.map(lambda row: {"captions": CHINESE})
    with pytest.warns(UserWarning, match="72 of 72 training captions are one word.*--recipe.tokenizer characters"):
        train_captioner(chinese, tmp_path / "run", GRU, ENCODER, RECIPE, replace(TRAINING, epochs=1), DECODING)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (replace(RECIPE, tasks=Tasks(masked=1.0)), "recipe.tasks: changes nothing in a gru without styles"),
        (replace(RECIPE, choose="attributes"), "recipe.choose='attributes': these of val are not known"),
    ],
)
def test_what_a_recipe_says_in_vain_is_refused_before_anything_is_trained(data, tmp_path, recipe, said):
    unknown = DatasetDict({split: rows.remove_columns("attributes") for split, rows in data.items()})
    with pytest.raises(ValueError, match=said):
        train_captioner(unknown, tmp_path / "run", GRU, ENCODER, recipe, TRAINING, DECODING)
    assert not (tmp_path / "run").exists()


def test_self_critical_training_refuses_what_is_of_cross_entropy(data, tmp_path):
    with pytest.raises(ValueError, match=r"recipe.drop_words: changes nothing in self-critical training"):
        reinforce_captioner(data, tmp_path / "rl", tmp_path, RLConfig(), recipe=replace(RECIPE, drop_words=0.1))


def test_characters_are_refused_where_the_words_are_given(data, model, tmp_path):
    recipe = replace(RECIPE, tokenizer="characters")
    model.save_pretrained(tmp_path / "start")
    with pytest.raises(ValueError, match="this gru writes with words already"):
        reinforce_captioner(data, tmp_path / "rl", tmp_path / "start", RLConfig(), recipe=recipe)
    with pytest.raises(ValueError, match="OFA has its own pieces of words"):
        saved.vocabulary(CHINESE, OFAConfig(), min_count=1, units="characters")
