"""The JSON configuration of the earlier stylised-captioning project, in our words."""

import json
import sys

import pytest
import yaml

from captioning import cli
from captioning.cli.parser import options
from captioning.cli.translate import translate, translated

OLD = {
    "model_name": "damo/ofa_pretrain_base_en",
    "model_revision": "v1.0.2",
    "tokenize_style": True,
    "img_addr": "sets/PCap/yfcc_images/",
    "dataset_path": "sets/PCap/personality_captions/",
    "file_attr": ".jpg",
    "train_json": "train.json",
    "test_json": "test.json",
    "val_json": "val.json",
    "work_dir": "./work_dir/base_tokenized/",
    "prompt": "",
}


@pytest.fixture
def written(tmp_path):
    def write(**changes):
        path = tmp_path / "old.json"
        path.write_text(json.dumps({key: value for key, value in (OLD | changes).items() if value is not None}))
        return path

    return write


def test_an_old_configuration_is_translated(written):
    found = translated(written())
    assert found["start"] == {
        "weights": "modelscope:damo/ofa_pretrain_base_en@v1.0.2",
        "style_by": "token",
        "trained_resnet": True,
    }
    assert found["folder"] == "sets/PCap" and found["data"] == "personality"
    assert found["run"] == "./work_dir/base_tokenized"
    assert found["training"]["lr"] == 5e-5 and found["decoding"]["beams"] == 5


def test_a_folder_is_taken_before_a_name_on_modelscope(written, tmp_path):
    found = translated(written(model_name=str(tmp_path), model_revision=None, tokenize_style=None))
    assert found["start"]["weights"] == str(tmp_path) and found["start"]["style_by"] == "words"


def test_what_is_printed_is_a_configuration_of_train_ofa(written, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["captioning", "translate", str(written())])
    cli.main()
    (tmp_path / "new.yaml").write_text(capsys.readouterr().out)
    command, function, words = cli.named(["train", "ofa", "--config", str(tmp_path / "new.yaml")])
    parsed = options(function, command, words)
    assert parsed.start.style_by == "token" and parsed.training.decay == "linear"
    assert yaml.safe_load((tmp_path / "new.yaml").read_text()) == translated(written())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modelname": "x"}, "unknown key 'modelname' with the value 'x', did you mean 'model_name'"),
        ({"lr": 0.1}, "unknown key 'lr' with the value 0.1"),
        ({"work_dir": None}, "work_dir is missing"),
        ({"tokenize_style": "yes"}, "tokenize_style is 'yes', expected a bool"),
        ({"file_attr": ".png"}, r"file_attr is '\.png', expected '\.jpg'"),
        ({"prompt": "say it in {}"}, r"prompt is 'say it in \{\}', expected ''"),
        ({"img_addr": "sets/PCap/flickr/"}, "img_addr is 'sets/PCap/flickr/', expected a folder called yfcc_images"),
        ({"img_addr": "elsewhere/yfcc_images"}, "are not in one folder"),
    ],
)
def test_what_has_no_translation_is_an_error_with_what_was_found(written, changes, message, capsys):
    with pytest.raises(ValueError, match=message):
        translate(written(**changes))
    assert capsys.readouterr().out == ""
