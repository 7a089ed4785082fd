"""Fine-tuning of vision-language models: the loss made again by hand, adapters, and what resumes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from PIL import Image
from torch.testing import assert_close

from captioning.decoding.config import Decoding
from captioning.learning import vlm_tuning
from captioning.learning.config import Recipe, TrainConfig
from captioning.learning.vlm_tuning import IGNORED, AnswerLoss, labelled, tune_vlm
from captioning.models import lora, vlm
from captioning.models.config import LoraConfig, VLMConfig
from captioning.models.vlm import Question
from tiny_vlm import KINDS, write_vlm

ANSWERS = ["a red hat", "two dogs run in the snow", "a man."]
TEXTS = ["What is seen in the picture?", "What?", "Describe it."]
RECIPE = Recipe(captions=2, smoothing=0.0, workers=0)
TRAINING = TrainConfig(epochs=2, batch_size=2, lr=1e-2, checkpoint_every=1, log_every=1, warmup=0.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: write_vlm(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    rows = {"image": [], "image_id": [], "captions": []}
    for number in range(7):
        pixels = rng.integers(0, 256, (40, 30 + 4 * number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        for name, value in zip(
            rows, (str(folder / f"{number}.png"), str(number), [ANSWERS[number % 3], "a hat"]), strict=True
        ):
            rows[name].append(value)
    table = Dataset.from_dict(rows)
    return DatasetDict({"train": table.select(range(5)), "val": table.select(range(5, 7))})


def pictures():
    rng = np.random.default_rng(1)
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in ((60, 40), (40, 40), (24, 64))]


def by_hand(kind, system, text, answer):
    """A chat as the papers and model cards of these models show it, and the part of it that is learned."""
    if kind == "smolvlm":
        before = f"System: {system}<end_of_utterance>\n" if system else ""
        return f"<|im_start|>{before}User:<image>{text}<end_of_utterance>\nAssistant:", f" {answer}<end_of_utterance>"
    if kind == "qwen2_5_vl":
        seen = f"<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"
        before = f"<|im_start|>system\n{system or 'You are a helpful assistant.'}<|im_end|>\n"
        return before + seen, f"{answer}<|im_end|>"
    before = f"{system} " if system else ""
    return f"{before}USER: <image>\n{text} ASSISTANT:", f" {answer}</s>"


@torch.no_grad()
def losses_by_hand(model, kind, system):
    """-log p of each learned token, a picture at a time: no padding, no labels, the whole output layer."""
    found = []
    for picture, text, answer in zip(pictures(), TEXTS, ANSWERS, strict=True):
        asked, learned = by_hand(kind, system, text, answer)
        inputs = model.processor(images=[[picture]], text=[asked + learned], return_tensors="pt")
        ids = model.tokenizer(learned, add_special_tokens=False)["input_ids"]
        assert inputs["input_ids"][0, -len(ids) :].tolist() == ids
        logits = model.network(**inputs).logits[0]
        found += [-logits[place - 1].log_softmax(-1)[token] for place, token in enumerate(ids, len(logits) - len(ids))]
    return torch.stack(found)


@pytest.mark.parametrize("system", ["", "Be short."])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["smolvlm", "qwen2_5_vl", "llava"])
def test_the_loss_is_that_of_the_answers_tokens_and_their_ends(folders, kind, side, system):
    model = vlm.load(folders[kind], system=system)
    questions = [Question(*pair) for pair in zip(pictures(), TEXTS, strict=True)]
    batch = labelled(model, questions, ANSWERS, 100, side)
    for row, answer, text in zip(batch["labels"], ANSWERS, TEXTS, strict=True):
        learned = by_hand(kind, system, text, answer)[1]
        assert model.tokenizer.decode(row[row != IGNORED]) == learned
    loss, _ = AnswerLoss(model).eval()(batch)
    assert_close(loss, losses_by_hand(model, kind, system).mean(), atol=1e-4, rtol=1e-4)
    padding = batch["attention_mask"] == 0
    assert padding.any() and (batch["labels"][padding] == IGNORED).all()


def test_an_encoders_decoder_learns_the_answer_and_its_end(folders):
    model = vlm.load(folders["florence2"])
    batch = labelled(model, [Question(picture, "<CAPTION>") for picture in pictures()], ANSWERS, 100)
    loss, _ = AnswerLoss(model).eval()(batch)
    found, tokenizer = [], model.tokenizer
    for picture, answer in zip(pictures(), ANSWERS, strict=True):
        inputs = model.processor(images=[picture], text=["<CAPTION>"], return_tensors="pt")
        said = [0, *tokenizer(answer, add_special_tokens=False)["input_ids"], 2]  # <s> ... </s>
        with torch.no_grad():
            logits = model.network(**inputs, decoder_input_ids=torch.tensor([[2, *said[:-1]]])).logits[0]
        found += [-logits[place].log_softmax(-1)[token] for place, token in enumerate(said)]
    assert_close(loss, torch.stack(found).mean(), atol=1e-5, rtol=1e-5)


def test_the_tail_of_a_long_answer_is_not_learned(folders):
    model = vlm.load(folders["qwen2_5_vl"])
    questions = [Question(*pair) for pair in zip(pictures(), TEXTS, strict=True)]
    labels = labelled(model, questions, ANSWERS, 3)["labels"]
    assert (labels != IGNORED).sum(dim=1).tolist() == [3, 3, 3]
    assert model.tokenizer.decode(labels[0][labels[0] != IGNORED]) == model.tokenizer.decode(
        model.tokenizer(ANSWERS[0])["input_ids"][:3]
    )


def tuned(data, run, folder, adapters=LoraConfig(rank=2, targets=("q_proj", "v_proj")), watch=lambda log: None, **more):
    config, decoding = VLMConfig(str(folder), **more), Decoding(max_length=4)
    return tune_vlm(data, run, config, adapters, RECIPE, TRAINING, decoding, watch)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_run_ends_with_the_same_bits(folders, data, tmp_path, kind):
    log = tuned(data, tmp_path / "whole", folders[kind])
    assert log[-1]["update"] == 6

    def stop(log):
        if log[-1]["update"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned(data, tmp_path / "parts", folders[kind], watch=stop)
    tuned(data, tmp_path / "parts", folders[kind])
    one, two = (tmp_path / name / "last" / "adapter_model.safetensors" for name in ("whole", "parts"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_merged_adapters_say_the_same(folders, data, tmp_path, kind):
    tuned(data, tmp_path / "run", folders[kind])
    model, released = vlm.load(tmp_path / "run"), vlm.load(folders[kind])
    text = "<CAPTION>" if kind == "florence2" else "What?"
    questions = [Question(picture, text) for picture in pictures()]
    batch = labelled(model, questions, ANSWERS, 100)
    logits = vlm_tuning.answer_logits(model, batch)[0].detach()
    assert (logits - vlm_tuning.answer_logits(released, batch)[0]).abs().max() > 1e-3, "something was learned"
    said = model.generate(questions, Decoding(max_length=5))
    lora.merged_captioner(model).save_pretrained(tmp_path / "merged")
    again = vlm.load(tmp_path / "merged")
    for whole in (model, again):
        assert_close(vlm_tuning.answer_logits(whole, batch)[0], logits, atol=1e-4, rtol=1e-4)
        assert whole.generate(questions, Decoding(max_length=5)).ids == said.ids
    assert not (tmp_path / "merged" / "adapter_config.json").exists()


def test_adapters_go_on_and_are_not_put_upon_others(folders, data, tmp_path):
    tuned(data, tmp_path / "run", folders["llava"], system="Be short.")
    model = vlm_tuning.start(VLMConfig(str(tmp_path / "run")), None)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name for name in trained) and model.system == "Be short."
    with pytest.raises(ValueError, match="has adapters: go on with them"):
        vlm_tuning.start(VLMConfig(str(tmp_path / "run")), LoraConfig(targets=("q_proj",)))


def test_all_weights_are_trained_without_lora(folders, data, tmp_path):
    tuned(data, tmp_path / "run", folders["smolvlm"], adapters=None, gradient_checkpointing=True)
    before, after = vlm.load(folders["smolvlm"]).network.state_dict(), vlm.load(tmp_path / "run").network.state_dict()
    moved = {name.split(".")[1] for name, x in after.items() if not torch.equal(x, before[name])}
    assert moved >= {"vision_model", "connector", "text_model"}


@pytest.mark.parametrize(
    ("more", "recipe", "found"),
    [
        ({"prompt": "better"}, RECIPE, "tells the {caption}"),
        ({}, replace(RECIPE, coverage=1.0), "recipe.coverage: changes nothing in a vision-language model"),
        ({"precision": "4bit"}, RECIPE, "bitsandbytes"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(folders, data, tmp_path, more, recipe, found, monkeypatch):
    monkeypatch.setattr(vlm, "find_spec", lambda name: None)
    config = VLMConfig(str(folders["llava"]), **more)
    with pytest.raises(ValueError, match=found):
        tune_vlm(data, tmp_path / "run", config, None, recipe, TRAINING, Decoding(max_length=4))


def test_a_model_without_chat_has_no_place_for_an_answer(folders, data, tmp_path):
    model = vlm.load(folders["llava"])
    model.processor.chat_template = model.tokenizer.chat_template = None
    model.save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match="a llava without a chat template"):
        vlm_tuning.start(VLMConfig(str(tmp_path / "bare")), None)


def test_blanks_around_an_answer_are_not_learned_and_one_that_is_written_otherwise_is_refused(folders, monkeypatch):
    model = vlm.load(folders["qwen2_5_vl"])
    assert vlm_tuning.turn(model, "What?", " a red hat\n") == vlm_tuning.turn(model, "What?", "a red hat")
    for answer in ("end", "a", "im", "utterance"):  # letters of tokens that end a turn
        asked, whole = vlm_tuning.turn(model, "What?", answer)
        assert whole.removeprefix(asked).strip() == answer + model.tokenizer.convert_ids_to_tokens(model.ends)[0]
    monkeypatch.setattr(model, "written", lambda text, answer=None: text + (answer or "").upper())
    with pytest.raises(ValueError, match="the chat template of this qwen2_5_vl writes 'a red hat' otherwise"):
        vlm_tuning.turn(model, "What?", "a red hat")
