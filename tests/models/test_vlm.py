"""Vision-language models of transformers: found by their config, asked, and their log-probabilities made again."""

import json

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch.testing import assert_close

from captioning.decoding.config import Decoding
from captioning.models import saved, vlm
from captioning.models.vlm import Question
from captioning.serving.inference import caption_picture
from tiny_vlm import KINDS, write_vlm


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: write_vlm(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def model(request, folders):
    return vlm.load(folders[request.param])


def questions(model):
    """Pictures of several shapes and prompts of several lengths, but for the tasks of Florence-2."""
    rng, sizes = np.random.default_rng(0), ((60, 40), (40, 40), (24, 64))
    pictures = [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]
    texts = ["<CAPTION>"] * 3 if model.kind == "florence2" else ["a red hat?", "What is seen in the picture?", "?"]
    return [Question(*pair) for pair in zip(pictures, texts, strict=True)]


@torch.inference_mode()
def forced(model, question, ids):
    """log p of each of `ids`, read behind one question alone: one forward pass, no search."""
    inputs = model.processed([question.picture], [model.written(question.text)])
    new = torch.tensor([ids])
    if model.kind == "florence2":
        begin = torch.tensor([[model.network.config.text_config.decoder_start_token_id]])
        logits = model.network(**inputs, decoder_input_ids=torch.cat([begin, new[:, :-1]], dim=1)).logits
    else:
        inputs["input_ids"] = torch.cat([inputs["input_ids"], new], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if "mm_token_type_ids" in inputs:
            inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(new)], dim=1)
        logits = model.network(**inputs).logits[:, -len(ids) - 1 : -1]
    return logits.log_softmax(dim=-1)[0, torch.arange(len(ids)), new[0]]


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(max_length=6),
        Decoding(max_length=6, beams=3, captions=2),
        Decoding(max_length=6, beams=2, no_repeat_ngram=1, repetition_penalty=1.3),
        Decoding(max_length=6, sample=True, captions=2, temperature=1.5, top_k=9, seed=3),
    ],
    ids=["greedy", "beams", "penalties", "sampling"],
)
def test_log_probabilities_are_those_of_one_forward_pass(model, decoding):
    asked = questions(model)
    said = model.generate(asked, decoding)
    assert [len(texts) for texts in said.texts] == [decoding.captions] * 3
    for question, rows, sums in zip(asked, said.ids, said.log_probs, strict=True):
        for ids, score in zip(rows, sums.tolist(), strict=True):
            assert 0 < len(ids) <= 6 and not set(ids[:-1]) & {*model.ends}
            assert float(forced(model, question, ids).sum()) == pytest.approx(score, abs=2e-3)


def test_greedy_is_greedy_whatever_habits_the_model_was_released_with(model):
    """Qwen samples and Florence-2 searches by beams, by their generation configs; the likeliest token is asked for."""
    [question] = questions(model)[:1]
    [[ids]] = model.generate([question], Decoding(max_length=4)).ids
    if model.kind == "florence2":  # which is made to begin with the begin token
        assert ids[0] == model.tokenizer.bos_token_id
    for place in range(model.kind == "florence2", min(len(ids), 3)):
        others = [forced(model, question, [*ids[:place], other])[-1] for other in range(5, 300, 7)]
        assert forced(model, question, ids[: place + 1])[-1] >= max(others)


def test_a_system_turn_stands_before_the_question(folders):
    for kind in ("smolvlm", "qwen2_5_vl", "llava"):
        model = vlm.load(folders[kind], system="Be short.")
        text = model.written("What?")
        assert (
            text.index("Be short.") < text.index("<image" if kind != "qwen2_5_vl" else "<|image_pad|>")
            and "helpful" not in text
        )


def test_saved_and_loaded_it_is_asked_as_before(model, tmp_path):
    asked = vlm.VisionLanguageModel(model.network, model.processor, "What {name}?", "Be short.")
    asked.save_pretrained(tmp_path / "saved")
    again = vlm.load(tmp_path / "saved")
    assert (again.prompt, again.system, again.kind) == ("What {name}?", "Be short.", model.kind)
    assert vlm.load(tmp_path / "saved", "Which?", "").prompt == "Which?"
    for name, x in model.network.state_dict().items():
        assert_close(again.network.state_dict()[name], x, atol=0, rtol=0)
    again.system, four = "", Decoding(max_length=4)
    assert again.generate(questions(model), four).ids == model.generate(questions(model), four).ids


def test_a_large_picture_is_reduced_where_that_is_wanted(folders, tmp_path):
    Image.new("RGB", (640, 480), "red").save(tmp_path / "a.jpg")
    model = vlm.load(folders["qwen2_5_vl"], side=64)
    assert model.read(str(tmp_path / "a.jpg")).picture.size == (64, 48)
    model.save_pretrained(tmp_path / "saved")
    assert vlm.load(tmp_path / "saved").side == 64
    assert vlm.load(folders["qwen2_5_vl"]).read(str(tmp_path / "a.jpg")).picture.size == (640, 480)


def test_weights_in_shards_are_the_same_weights(folders, tmp_path):
    write_vlm(tmp_path, "llava", shard="20KB")
    assert (tmp_path / "model.safetensors.index.json").is_file() and not (tmp_path / "model.safetensors").exists()
    one, two = vlm.load(folders["llava"]), vlm.load(tmp_path)
    for name, x in one.network.state_dict().items():
        assert_close(two.network.state_dict()[name], x, atol=0, rtol=0)


def test_a_kind_is_known_before_weights_are_downloaded(folders, tmp_path, monkeypatch):
    """Of a repository of the hub the config alone is fetched."""
    fetched = []

    def fetch(name, file):
        fetched.append((name, file))
        return str(folders["smolvlm"] / file if name == "some/vlm" else tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **b: pytest.fail("weights were fetched"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no_such_kind", "auto_map": {}}))
    assert vlm.is_vlm("some/vlm") and not vlm.is_vlm("some/other")
    with pytest.raises(ValueError, match="some/other: config.json says kind 'no_such_kind', expected one of gru"):
        saved.load("some/other")
    with pytest.raises(ValueError, match="some/vlm: a smolvlm, a vision-language model of transformers"):
        saved.load("some/vlm")
    assert {file for _, file in fetched} == {"config.json"}


def test_what_is_missing_is_named(folders, monkeypatch):
    monkeypatch.setattr(vlm, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="precision 8bit: needs the package bitsandbytes: pip install bitsandbytes"):
        vlm.load(folders["llava"], precision="8bit")

    def lacks(*args):
        raise ImportError("Install it with `pip install num2words`.")

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", lacks)
    with pytest.raises(
        ValueError, match="its processor needs another package. Install it with `pip install num2words`"
    ):
        vlm.load(folders["llava"])


def test_half_precision_and_what_is_stored(folders, tmp_path):
    half = vlm.load(folders["smolvlm"], precision="bfloat16")
    assert half.network.dtype == torch.bfloat16
    half.save_pretrained(tmp_path)
    stored = vlm.load(tmp_path)
    assert stored.network.dtype == torch.bfloat16, "auto: as the weights are stored"
    assert stored.generate(questions(half), Decoding(max_length=3)).texts


def test_one_call_captions_one_picture(folders, tmp_path):
    Image.effect_noise((40, 40), 90).convert("RGB").save(tmp_path / "a.png")
    model = vlm.load(folders["llava"])
    expected = model.generate([model.read(str(tmp_path / "a.png"))], Decoding(max_length=4)).best[0]
    for picture in (tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes()):
        assert caption_picture(picture, folders["llava"], Decoding(max_length=4)) == expected
    with pytest.raises(ValueError, match="style 'Sweet': a vision-language model has none"):
        caption_picture(tmp_path / "a.png", folders["llava"], style="Sweet")
