"""BLIP behind the protocol, on folders in the layout of the published checkpoints with tiny random weights."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from PIL import Image
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import AutoProcessor, BertTokenizer, BlipForConditionalGeneration, BlipImageProcessor

from captioning.course.mini_blip import untrained
from captioning.data.batches import picture_tensor
from captioning.decoding.config import Decoding
from captioning.evaluation import splits
from captioning.learning.config import Recipe, RLConfig, TrainConfig
from captioning.learning.distillation import check_tokenizers
from captioning.learning.fine_tuning import fine_tune
from captioning.learning.losses import CrossEntropy, SelfCritical
from captioning.learning.student import new_student
from captioning.models import blip, lora, saved
from captioning.models.config import BLIP_DECODING, BlipConfig, EncoderConfig, GRUConfig, LoraConfig
from captioning.serving.inference import caption_files
from captioning.text import WordTokenizer
from conftest import same_in_every_type
from tiny_blip import SHAPES, write_blip

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "a", "picture", "of", "red", "cat", "dog", "t", "shirt", "big", "-", ".", "##s", "'", "s", "it"]
SIDE = 32


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """{size: folder}, as `transformers` itself writes them."""
    torch.manual_seed(0)
    pieces = BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)})
    folders = {size: tmp_path_factory.mktemp(size) for size in SHAPES}
    for size, folder in folders.items():
        write_blip(folder, size, pieces, SIDE, positions=32)
    return folders


@pytest.fixture(scope="module", params=SHAPES)
def folder(request, checkpoints):
    return checkpoints[request.param]


@pytest.fixture
def model(folder):
    return saved.load(folder)


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_a_new_student_needs_eyes_of_its_own(model):
    with pytest.raises(ValueError, match="the eyes of this blip are a part of its network.* --start"):
        new_student(model, GRUConfig(8, 8, 8), ["a red hat"])


def test_pieces_are_compared_by_what_they_are(model):
    check_tokenizers(model.tokenizer, model.tokenizer)
    with pytest.raises(ValueError, match="have other tokenizers"):
        check_tokenizers(WordTokenizer.train(["a red hat"]), model.tokenizer)


@pytest.fixture
def of_cells():
    """A tiny BLIP that sees through an encoder of ours."""
    eyes = EncoderConfig("test_resnet", weights=None, image_size=64, mean=(0.5, 0.4, 0.3), std=(0.5, 0.5, 0.2))
    return untrained(["a dog in a red hat"], eyes)


@torch.no_grad()
def test_one_that_looks_at_cells_is_saved_with_its_eyes(of_cells, tmp_path):
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    of_cells.eval().save_pretrained(tmp_path)
    again = saved.load(tmp_path)
    seen = of_cells.features(images)
    assert seen.shape == (2, 4, of_cells.encoder.channels)
    assert_close(again.features(images), seen, rtol=0, atol=0)
    tokens = random_tokens(of_cells, rows=2)
    assert_close(again.decode(seen, tokens), of_cells.decode(seen, tokens), rtol=0, atol=0)
    other = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert (again.decode(again.features(other), tokens) - again.decode(seen, tokens)).abs().max() > 1e-4


def random_tokens(model, rows=3, length=7):
    words = torch.randint(5, len(WORDS), (rows, length), generator=torch.Generator().manual_seed(2))
    words[:, 0] = model.tokenizer.bos_id
    return words


@torch.no_grad()
def test_steps_with_reordered_hypotheses_equal_the_forward_pass(model, images):
    features, tokens = model.features(images), random_tokens(model, rows=6).view(3, 2, -1)
    state = model.init_state(features).reorder(torch.zeros(3, 2, dtype=torch.long))
    swap, stepped = torch.tensor([[1, 0]] * 3), []
    for t in range(tokens.shape[-1]):
        logits, state = model.step(tokens[..., t], state)
        stepped.append(logits)
        if t == 3:  # the hypotheses change places, and so do the words that they say from here on
            state, tokens[..., 4:] = state.reorder(swap), tokens[:, [1, 0], 4:].clone()
            said = tokens[:, [1, 0], :4].clone()
    logits = model(images, tokens.view(6, -1))
    assert_close(torch.stack(stepped[:4], 2).flatten(0, 1), logits[:, :4], atol=2e-5, rtol=1e-4)
    swapped = model(images, torch.cat([said, tokens[..., 4:]], dim=-1).view(6, -1))
    assert_close(torch.stack(stepped[4:], 2).flatten(0, 1), swapped[:, 4:], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("prompt", ["", "a picture of"])
def test_captions_are_those_of_hugging_face(folder, images, beams, prompt):
    model = blip.load(folder, prompt)
    original = BlipForConditionalGeneration.from_pretrained(folder).eval()
    ids = torch.tensor([[2, *model.tokenizer.encode(prompt), 3]] * 3)  # [CLS] the prompt [SEP], as the processor says
    pixels = BlipImageProcessor.from_pretrained(folder)(list(images), return_tensors="pt").pixel_values
    said = original.generate(
        pixels, input_ids=ids, num_beams=beams, min_new_tokens=5, max_new_tokens=12,
        suppress_tokens=list(model.tokenizer.never), do_sample=False,
    )  # fmt: skip
    found = model.generate(images, Decoding(beams=beams, min_length=5, max_length=12))
    start = len(ids[0]) - 1
    expected = [row[start:] for row in said.tolist()]
    expected = [row[: row.index(3) + 1] if 3 in row else row for row in expected]
    assert [captions[0] for captions in found.ids] == expected


def test_the_loss_is_that_of_masked_labels(folder, images):
    """Independent: Hugging Face's own loss with -100 at the padding and at the prompt. Without, it trains on [PAD]."""
    model = saved.load(folder)
    texts = ["a red cat", "a big dog's t-shirt.", "dogs"]
    ours = [[model.tokenizer.bos_id, *model.tokenizer.encode(text), 3] for text in texts]
    tokens = torch.zeros(3, max(map(len, ours)), dtype=torch.long)
    for row, ids in zip(tokens, ours, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    loss, _ = CrossEntropy(model)({"images": images, "tokens": tokens})

    read = torch.cat([tokens[:, :1], torch.tensor([model.opening[1:]] * 3), tokens[:, 1:]], dim=1)
    labels = read.masked_fill(read == 0, -100)
    labels[:, : len(model.opening)] = -100
    original = BlipForConditionalGeneration.from_pretrained(folder).eval()
    pixels = BlipImageProcessor.from_pretrained(folder)(list(images), return_tensors="pt").pixel_values
    expected = original(pixel_values=pixels, input_ids=read, labels=labels).loss
    assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    careless = original(pixel_values=pixels, input_ids=read, labels=read).loss
    assert abs(careless - expected) > 0.01


def test_pictures_are_prepared_as_by_blips_own_processor(model, folder, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = AutoProcessor.from_pretrained(folder, use_fast=False)(
        images=Image.fromarray(pixels), text="a", return_tensors="pt"
    ).pixel_values
    seen = []
    vision = model.blip.vision_model
    vision.register_forward_pre_hook(lambda module, args, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True)
    model.features(picture_tensor(str(tmp_path / "a.png"), SIDE)[None])
    assert (seen[0] - expected).abs().max() < 0.05  # a grey level is 0.015: resizing rounds in another order


def test_special_tokens_are_left_out(model):
    ids = model.tokenizer.encode("A red T-shirt.")
    assert model.tokenizer.decode([*ids, model.tokenizer.eos_id]) == "a red t-shirt."
    assert set(model.tokenizer.never) == {0, 1, 2, 4, len(WORDS), len(WORDS) + 1}


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("a big dog's t-shirt.", "a big dog's t-shirt."),
        ("big - it's", "big - it's"),
        ("a t-shirt - big - a dog-cat-dog", "a t-shirt - big - a dog-cat-dog"),
        ("a big- red dog -cat", "a big - red dog - cat"),
        ("a dog -- red", "a dog - red"),
        ("a dog -", "a dog -"),
        ("- a dog", "- a dog"),
    ],
)
def test_only_what_bert_split_at_a_hyphen_is_put_together(model, text, again):
    ids = model.tokenizer.encode(text)
    assert model.tokenizer.unk_id not in ids
    assert model.tokenizer.decode(ids) == again
    assert model.tokenizer.decode(model.tokenizer.encode(again)) == again


@pytest.mark.parametrize("prompt", ["", "a picture of", "a picture of a big"])
def test_the_usual_lengths_are_those_of_generate(folder, images, prompt):
    """As published, 5 to 20 tokens: Hugging Face counts the begin token and the prompt."""
    model = blip.load(folder, prompt)
    original = BlipForConditionalGeneration.from_pretrained(folder).eval()
    pixels = BlipImageProcessor.from_pretrained(folder)(list(images), return_tensors="pt").pixel_values
    for end in (-100.0, 100.0):  # never the end, and as soon as it may be
        for each in (original, model.blip):
            torch.nn.init.constant_(each.text_decoder.cls.predictions.bias[3:4], end)
        said = original.generate(
            pixels, input_ids=torch.tensor([[2, *model.tokenizer.encode(prompt), 3]] * 3), num_beams=3, min_length=5,
            max_length=20, suppress_tokens=list(model.tokenizer.never), do_sample=False,
        )[:, len(model.opening) :].tolist()  # fmt: skip
        expected = [row[: row.index(3) + 1] if 3 in row else row for row in said]
        assert [captions[0] for captions in model.generate(images, model.usual).ids] == expected


def test_a_saved_model_is_the_same_and_hugging_face_reads_it(model, images, tmp_path):
    model.save_pretrained(tmp_path / "model")
    again = saved.load(tmp_path / "model")
    tokens = random_tokens(model)
    assert_close(again(images, tokens), model(images, tokens), rtol=0, atol=0)
    theirs = BlipForConditionalGeneration.from_pretrained(tmp_path / "model")
    assert_close(theirs.state_dict(), model.blip.state_dict(), rtol=0, atol=0)
    assert again.prompt == "a picture of"
    assert again.usual == BLIP_DECODING == Decoding(beams=3, min_length=1, max_length=16)


def test_pictures_of_a_folder_are_captioned(checkpoints, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    model = saved.load(checkpoints["base"])
    assert caption_files(model, [str(tmp_path / "a.png")], tmp_path / "out.jsonl", model.usual) == []
    [row] = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    expected = model.generate(picture_tensor(str(tmp_path / "a.png"), SIDE)[None], model.usual)
    assert row["caption"] == expected.best[0]


def test_stored_in_half_precision_it_captions_and_learns_as_in_single(checkpoints, images, tmp_path):
    """transformers computes in the type of the file unless it is told otherwise."""
    original = BlipForConditionalGeneration.from_pretrained(checkpoints["base"])
    original.load_state_dict({name: same_in_every_type(x) for name, x in original.state_dict().items()})
    said, learned = [], []
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        folder = shutil.copytree(checkpoints["base"], tmp_path / str(kind))
        original.to(kind).save_pretrained(folder)
        assert load_file(folder / "model.safetensors")["text_decoder.cls.predictions.bias"].dtype == kind
        model = saved.load(folder)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        said.append(model.generate(images, Decoding(beams=3, max_length=8)))
        loss, _ = CrossEntropy(blip.start(BlipConfig(str(folder)), LoraConfig()))(
            {"images": images, "tokens": random_tokens(model)}
        )
        learned.append(loss)
    for other, loss in zip(said[1:], learned[1:], strict=True):
        assert other.texts == said[0].texts
        assert_close(other.log_probs, said[0].log_probs, rtol=0, atol=0)
        assert_close(loss, learned[0], rtol=0, atol=0)


def test_a_checkpoint_with_a_weight_missing_or_no_base_is_refused(checkpoints, tmp_path):
    broken = shutil.copytree(checkpoints["base"], tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    del weights["vision_model.post_layernorm.weight"]
    from safetensors.torch import save_file

    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 weights of BLIP missing .* vision_model\.post_layernorm\.weight"):
        saved.load(broken)
    base = shutil.copytree(checkpoints["base"], tmp_path / "base")
    adapted = blip.start(BlipConfig(str(base)), LoraConfig())
    adapted.save_pretrained(tmp_path / "adapter")
    shutil.rmtree(base)
    with pytest.raises(FileNotFoundError, match="holds adapters only; the model they belong to: .*base"):
        saved.load(tmp_path / "adapter")


def test_blips_output_layer_is_its_word_table_and_gets_no_adapters(checkpoints):
    with pytest.raises(ValueError, match=r"target 'decoder': \S+predictions.decoder shares its weights"):
        blip.start(BlipConfig(str(checkpoints["base"])), LoraConfig(targets=("query", "decoder")))
    with pytest.raises(ValueError, match="linear layers: dense, fc1, fc2, key, projection, qkv, query, value$"):
        blip.start(BlipConfig(str(checkpoints["base"])), LoraConfig(targets=("all-linear",)))


@pytest.mark.parametrize("trained", ["text", "vision"])
def test_the_frozen_half_has_no_gradient(checkpoints, images, trained):
    model = blip.start(BlipConfig(str(checkpoints["base"]), trained=trained), None)
    loss, _ = CrossEntropy(model.train())({"images": images, "tokens": random_tokens(model)})
    loss.backward()
    learns = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None}
    assert learns == {{"text": "text_decoder", "vision": "vision_model"}[trained]}
    assert model.encoder.frozen == (trained == "text")


def test_checkpointed_activations_give_the_same_gradients(checkpoints, images):
    gradients = []
    for saving in (False, True):
        model = blip.start(BlipConfig(str(checkpoints["base"]), gradient_checkpointing=saving), None)
        loss, _ = CrossEntropy(model.train())({"images": images, "tokens": random_tokens(model)})
        loss.backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert_close(gradients[0], gradients[1])


def test_a_trained_one_keeps_its_prompt(checkpoints, tmp_path):
    own = blip.start(BlipConfig(str(checkpoints["base"]), prompt="a cat of"), None)
    own.save_pretrained(tmp_path / "own")
    assert blip.start(BlipConfig(str(tmp_path / "own")), None).prompt == "a cat of"
    with pytest.raises(ValueError, match="prompt='red': .*own was trained with 'a cat of' and keeps it"):
        blip.start(BlipConfig(str(tmp_path / "own"), prompt="red"), None)


@pytest.mark.parametrize("saving", [False, True])
def test_it_can_be_rewarded_like_any_other_model(checkpoints, images, saving):
    class Judge:
        def __call__(self, samples, rows):
            return np.array([float(len(ids)) for ids in samples])

        def novel(self, samples):
            return 1.0

    model = blip.start(BlipConfig(str(checkpoints["base"]), gradient_checkpointing=saving), None)
    objective = SelfCritical(model, Judge(), RLConfig(samples=2, max_length=6, dropout=True))
    batch = {"images": images, "rows": torch.arange(3), "keys": torch.arange(3), "tokens": random_tokens(model)}
    loss, numbers = objective(batch)
    loss.backward()
    assert numbers["reward"] >= 1 and any(p.grad is not None for p in model.parameters())


# ---- whole runs -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    place, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    splits = {}
    for split, count in {"train": 8, "val": 3}.items():
        files = [str(place / f"{split}{i}.png") for i in range(count)]
        for file in files:
            Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(file)
        captions = [[" ".join(rng.choice(["a", "red", "cat", "dogs", "."], 4)) for _ in range(2)] for _ in files]
        splits[split] = Dataset.from_dict({"image": files, "image_id": files, "captions": captions})
    return DatasetDict(splits)


def tune(data, run, base, adapters, stop_after=None, **training):
    """A run of 2 epochs x 4 steps; `stop_after` so many records of the log it is interrupted."""

    def watch(log):
        if stop_after and len(log) >= stop_after:
            raise KeyboardInterrupt

    settings = TrainConfig(epochs=2, batch_size=2, lr=1e-2, checkpoint_every=1, log_every=1, **training)
    recipe, decoding = Recipe(max_length=10, smoothing=0.0, workers=0), Decoding(min_length=3, max_length=6)
    return fine_tune(data, run, BlipConfig(str(base)), adapters, recipe, settings, decoding, watch)


@pytest.mark.parametrize("targets", [None, ("query", "value"), ("query", "value", "qkv")])
def test_a_stopped_run_ends_as_one_that_was_not(checkpoints, data, tmp_path, targets, monkeypatch):
    monkeypatch.setattr(splits, "FEATURES", tmp_path / "features")
    base, adapters = checkpoints["base"], targets and LoraConfig(rank=2, targets=targets)
    log = tune(data, tmp_path / "whole", base, adapters)
    for stop in (3, 6):
        with pytest.raises(KeyboardInterrupt):
            tune(data, tmp_path / "stopped", base, adapters, stop)
    again = tune(data, tmp_path / "stopped", base, adapters)
    assert [{**record, "minutes": 0} for record in again] == [{**record, "minutes": 0} for record in log]
    file = "adapter_model.safetensors" if adapters else "model.safetensors"
    whole, stopped = ((tmp_path / run / "last" / file).read_bytes() for run in ("whole", "stopped"))
    assert whole == stopped
    [checkpoint] = (tmp_path / "whole" / "checkpoints").iterdir()
    kept = load_file(checkpoint / "model.safetensors")
    assert all("lora_" in name for name in kept) if adapters else len(kept) > 50
    assert (tmp_path / "whole" / "last" / "model.safetensors").is_file() == (adapters is None)


def test_an_adapter_is_taken_up_again_and_merged(checkpoints, data, images, tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "FEATURES", tmp_path / "features")
    tune(data, tmp_path / "run", checkpoints["base"], LoraConfig(rank=2))
    model = saved.load(tmp_path / "run")
    assert all(("lora_" in name) == p.requires_grad for name, p in model.named_parameters())
    tokens, plain = random_tokens(model), saved.load(checkpoints["base"])
    learned = model(images, tokens)
    assert (learned - plain(images, tokens)).abs().max() > 0.01
    tune(data, tmp_path / "further", tmp_path / "run", None)  # from an adapter on, with its base still frozen
    further = saved.load(tmp_path / "further")
    assert lora.trained_share(further) == lora.trained_share(model)
    assert (further(images, tokens) - learned).abs().max() > 0.01
    with pytest.raises(ValueError, match="trained='vision' with adapters"):
        blip.start(BlipConfig(str(checkpoints["base"]), trained="vision"), LoraConfig())
    with pytest.raises(ValueError, match="has adapters: go on with them"):
        tune(data, tmp_path / "other", tmp_path / "run", LoraConfig(rank=2))
    lora.merged_captioner(model).save_pretrained(tmp_path / "whole")
    assert_close(saved.load(tmp_path / "whole")(images, tokens), learned, atol=2e-5, rtol=1e-4)
    assert not (tmp_path / "whole" / "adapter_config.json").exists()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["lora"]["rank"] == 2


def test_the_running_average_of_adapters_is_saved(checkpoints, data, tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "FEATURES", tmp_path / "features")
    tune(data, tmp_path / "run", checkpoints["base"], LoraConfig(rank=2), average=0.9)
    assert saved.load(tmp_path / "run" / "last").max_length == 29  # 32 positions, 3 of them for the prompt


def test_another_start_is_another_run(checkpoints, data, tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "FEATURES", tmp_path / "features")
    tune(data, tmp_path / "run", checkpoints["base"], LoraConfig(rank=2))
    with pytest.raises(ValueError, match="holds a run of another configuration.*rank"):
        tune(data, tmp_path / "run", checkpoints["base"], replace(LoraConfig(), rank=4))


def test_trained_share_counts_parameters():
    layer = torch.nn.Linear(9, 10)
    layer.weight.requires_grad_(False)
    assert lora.trained_share(layer) == "10 of 100 parameters (10.00 %)"
