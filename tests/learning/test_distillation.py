"""Distillation: losses by hand, what is kept on disk, and runs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import DatasetDict
from torch.testing import assert_close

from captioning.data import minifashion
from captioning.data.batches import picture_tensor
from captioning.data.config import Augmentation
from captioning.decoding.config import Decoding
from captioning.evaluation import splits
from captioning.evaluation.splits import caption_rows, split_features
from captioning.learning import student
from captioning.learning.config import DistillConfig, Recipe, TrainConfig
from captioning.learning.distillation import Distillation, divergence, spread
from captioning.learning.losses import CrossEntropy, cross_entropy
from captioning.learning.student import captioned_by, distill_captioner, kept_words, new_student
from captioning.models import saved
from captioning.models.config import EncoderConfig, GRUConfig, TransformerConfig
from captioning.models.ofa.config import OFAConfig
from captioning.models.ofa.tokenizer import BPETokenizer
from captioning.text import WordTokenizer

ENCODER = EncoderConfig("resnet10t", {"channels": [8, 16, 32, 64], "stem_width": 8}, weights=None, image_size=64)
RECIPE = Recipe(max_length=60, workers=0, smoothing=0.0)
TRAINING = TrainConfig(epochs=2, batch_size=8, lr=1e-3, log_every=1)
DECODING = Decoding(max_length=12)
LARGE = TransformerConfig(width=32, heads=4, encoder_layers=1, layers=4, dropout=0.0)
SMALL = TransformerConfig(width=16, heads=2, encoder_layers=1, layers=2, dropout=0.0)
ALL = DistillConfig(temperature=2.0, attention=1.0, attention_of=("self", "cross"), hidden=1.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    sizes = {"train": 24, "val": 6, "test": 6}
    return minifashion.build(tmp_path_factory.mktemp("data"), sizes=sizes, size=64, workers=1)


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "FEATURES", tmp_path / "features")
    monkeypatch.setattr(student, "TEACHERS", tmp_path / "teachers")


@pytest.fixture
def words(data):
    return WordTokenizer.train(caption for captions in data["train"]["captions"] for caption in captions)


@pytest.fixture
def pair(words):
    """A teacher that is sure of something, and a student, with one encoder."""
    teacher = saved.new(LARGE, ENCODER, words, seed=1)
    with torch.no_grad():
        teacher.embedding.weight *= 20
    return teacher, new_student(teacher, SMALL)


@pytest.fixture
def batch(data, pair):
    """A batch of two pictures with captions of 5 and 3 words."""
    captions = torch.tensor([[1, 9, 8, 7, 6, 5, 2], [1, 4, 5, 6, 2, 0, 0]])
    images = torch.from_numpy(np.array(split_features(pair[0], data["train"])[:2]))
    return {"images": images, "tokens": captions, "rows": torch.arange(2)}


def gradient(objective, batch):
    """The loss, and its gradient by the student's weights."""
    loss, _ = objective(batch)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in objective.model.named_parameters() if p.grad is not None}


def test_the_divergence_of_a_model_from_itself_is_zero_and_so_is_its_gradient():
    torch.manual_seed(0)
    logits, real = torch.randn(2, 3, 7, requires_grad=True), torch.ones(2, 3)
    for temperature in (0.5, 1.0, 4.0):
        loss = divergence(logits, logits.detach(), real, temperature)
        [slope] = torch.autograd.grad(loss, logits)
        assert_close(loss, torch.zeros(()), atol=1e-6, rtol=0)
        assert_close(slope, torch.zeros_like(slope), atol=1e-7, rtol=0)


def test_a_captioner_that_teaches_itself_learns_nothing(pair, batch):
    teacher, _ = pair
    objective = Distillation(teacher, teacher, replace(ALL, hidden=0.0, cross_entropy=0.0))
    teacher.requires_grad_(True)
    loss, slopes = gradient(objective, batch)
    assert_close(loss, torch.zeros(()), atol=1e-5, rtol=0)
    assert len(slopes) > 10 and max(slope.abs().max() for slope in slopes.values()) < 1e-4


def test_a_teacher_that_knows_one_word_is_a_label():
    torch.manual_seed(0)
    student, targets = torch.randn(2, 4, 9), torch.tensor([[4, 5, 6, 2], [7, 2, 0, 0]])
    teacher = torch.full((2, 4, 9), -torch.inf).scatter(-1, targets[..., None], 0.0)
    assert_close(divergence(student, teacher, (targets != 0).float()), cross_entropy(student, targets, 0))


def test_padding_does_not_count():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 4, 9)
    real = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]])
    before = divergence(student, teacher, real, 2.0)
    student[1, 2:], teacher[1, 2:] = 1e4 * torch.randn(2, 2, 9)
    assert_close(divergence(student, teacher, real, 2.0), before)
    each = torch.stack([divergence(student[:1, t : t + 1], teacher[:1, t : t + 1], torch.ones(1, 1)) for t in range(4)])
    assert_close(divergence(student[:1], teacher[:1], real[:1]), each.mean())


def test_padding_does_not_count_in_maps_and_states(pair, batch):
    teacher, student = pair
    objective = Distillation(student, teacher, ALL)
    longer = batch | {"tokens": torch.nn.functional.pad(batch["tokens"], (0, 5))}
    assert_close(objective(longer)[0], objective(batch)[0])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_gradient_is_the_difference_of_the_distributions_times_the_temperature(temperature):
    """d/dz of T^2 KL(p_T || q_T) = T (q_T - p_T), here of two words: a mean."""
    torch.manual_seed(0)
    student, teacher = torch.randn(1, 2, 6, requires_grad=True), torch.randn(1, 2, 6)
    divergence(student, teacher, torch.ones(1, 2), temperature).backward()
    wanted = (student / temperature).softmax(-1) - (teacher / temperature).softmax(-1)
    assert_close(student.grad, (temperature * wanted / 2).detach())


def test_at_high_temperature_the_gradient_matches_logits():
    """Hinton et al. 2015, section 2.1: (z - v) / V for logits of mean zero, whatever the temperature."""
    torch.manual_seed(0)
    student, teacher = torch.randn(1, 1, 6), torch.randn(1, 1, 6)
    student, teacher = ((z - z.mean()).double() for z in (student, teacher))
    for temperature in (300.0, 1000.0):
        logits = student.float().requires_grad_()
        divergence(logits, teacher, torch.ones(1, 1), temperature).backward()
        assert_close(logits.grad.double(), (student - teacher) / 6, atol=2e-3, rtol=0)


def test_the_loss_is_the_weighted_sum_of_its_parts(pair, batch):
    teacher, student = pair
    config = DistillConfig(cross_entropy=0.5, logits=2.0, attention=3.0, hidden=4.0)
    loss, numbers = Distillation(student, teacher, config, smoothing=0.1)(batch)
    parts = 0.5 * numbers["cross-entropy"] + 2 * numbers["logits"] + 3 * numbers["attention"] + 4 * numbers["hidden"]
    assert_close(loss.detach(), parts)
    assert_close(numbers["cross-entropy"], CrossEntropy(student, smoothing=0.1)(batch)[0].detach())
    assert min(numbers.values()) > 0


def test_layers_are_spread_and_can_be_named(pair, batch):
    assert spread(2, 4) == [(0, 1), (1, 3)] and spread(3, 3) == [(0, 0), (1, 1), (2, 2)] and spread(1, 4) == [(0, 3)]
    assert spread(2, 1) == [(0, 0), (1, 0)] and spread(4, 2) == [(0, 0), (1, 0), (2, 1), (3, 1)]
    teacher, student = pair
    named = Distillation(student, teacher, DistillConfig(attention=1.0, layers=((0, 1), (1, 3))))
    usual = Distillation(student, teacher, DistillConfig(attention=1.0))
    other = Distillation(student, teacher, DistillConfig(attention=1.0, layers=((0, 0),)))
    assert_close(named(batch)[0], usual(batch)[0])
    assert other(batch)[0] != usual(batch)[0]
    with pytest.raises(ValueError, match="the student has 2, the teacher 4"):
        Distillation(student, teacher, DistillConfig(attention=1.0, layers=((0, 4),)))(batch)


def test_what_is_inside_belongs_to_the_logits_that_come_out(pair, batch):
    for model in pair:
        found = model.eval().decode_with_internals(batch["images"].float(), batch["tokens"])
        words = batch["tokens"] != model.tokenizer.pad_id
        assert_close(found.logits[words], model.decode(batch["images"].float(), batch["tokens"])[words])
        assert_close(model.head(found.hidden[-1]), found.logits)
        for maps in found.attention.values():
            assert len(maps) == len(model.layers)
            assert all(torch.allclose(each.sum(-1), torch.ones(())) for each in maps)


@pytest.fixture
def ofa_pair(data):
    """A larger and a smaller OFA with one encoder, which are asked for styles by prompts of different lengths."""
    words = BPETokenizer.train((caption for captions in data["train"]["captions"] for caption in captions), codes=0)
    common = {"positions": 100, "dropout": 0.0, "styles": ("plain", "very happy")}
    teacher = saved.new(OFAConfig(32, 48, 3, 4, 4, **common), ENCODER, words, seed=1)
    return teacher, new_student(teacher, OFAConfig(16, 24, 1, 2, 2, **common))


def test_two_ofas_of_different_depth_width_and_heads(data, ofa_pair, tmp_path):
    teacher, student = (model.eval() for model in ofa_pair)
    features = teacher.features(torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8))
    asked = teacher.asked(features, teacher.prompts([teacher.prompt(style) for style in teacher.styles]))
    tokens = torch.randint(5, 50, (4, 6))  # two captions of each
    for model in (teacher, student):
        inside = model.decode_with_internals(asked, tokens)
        assert_close(inside.logits, model.decode(asked, tokens))
        maps = {name: len(each) for name, each in inside.attention.items()}
        assert maps == {"self": len(model.layers), "cross": len(model.layers), "encoder": model.config.encoder_layers}
        assert {each.shape[-1] for each in inside.attention["cross"]} == {asked.shape[1]}
    config = replace(ALL, attention_of=("self", "cross", "encoder"))
    styled = DatasetDict(
        {split: rows.add_column("style", (["plain", "very happy"] * 12)[: len(rows)]) for split, rows in data.items()}
    )
    once = replace(TRAINING, epochs=1)
    log = distill_captioner(styled, tmp_path / "run", teacher, student, config, RECIPE, once, DECODING)
    assert {"cross-entropy", "logits", "attention", "hidden"} <= log[0].keys()
    kept = kept_words(styled["train"], teacher, 4, RECIPE)
    caption = torch.tensor([[0, *teacher.tokenizer.encode(styled["train"]["captions"][1][0]), 2]])[:, :61]
    image = torch.from_numpy(np.array(split_features(teacher, styled["train"])[1:2])).float()
    logits = teacher.decode(teacher.asked(image, teacher.prompts([teacher.prompt("very happy")])), caption[:, :-1])
    assert (kept.logits(torch.tensor([1]), caption).argmax(-1) == logits.argmax(-1)).all()


def test_padding_of_a_prompt_does_not_count_in_the_maps_of_the_encoder(ofa_pair):
    teacher, student = (model.eval() for model in ofa_pair)
    features = teacher.features(torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8))
    prompts = teacher.prompts([teacher.prompt(style) for style in teacher.styles])
    config = DistillConfig(cross_entropy=0.0, logits=0.0, attention=1.0, attention_of=("encoder",))
    objective, tokens = Distillation(student, teacher, config), torch.randint(5, 50, (2, 6))
    losses = [
        objective({"images": features, "prompts": longer, "tokens": tokens})[0]
        for longer in (prompts, torch.nn.functional.pad(prompts, (0, 20), value=teacher.tokenizer.pad_id))
    ]
    assert_close(*losses)
    assert losses[0] > 0


def test_attention_to_the_words_before_mixes_as_the_layer_does(pair):
    attention = pair[0].layers[0].self_attention
    attention.heads = 1  # so that the mean over the heads is the head
    x = torch.randn(2, 5, 32)
    _, _, values = attention.split(x)
    assert_close(attention.out(attention.weights(x) @ values[:, 0]), attention(x, causal=True))


def test_the_teacher_stays_as_it_is_and_is_not_saved(pair, batch):
    teacher, student = pair
    objective, before = Distillation(student, teacher, ALL).train(), teacher.embedding.weight.clone()
    optimizer = torch.optim.SGD([*objective.parameters(), *teacher.parameters()], lr=0.1)
    gradient(objective, batch)
    optimizer.step()
    assert not teacher.training and all(p.grad is None for p in teacher.parameters())
    assert torch.equal(teacher.embedding.weight, before)
    assert {name.split(".")[0] for name in objective.state_dict()} == {"model", "projections"}


def test_all_words_kept_on_disk_are_as_good_as_the_teacher(data, pair, batch, words):
    teacher, student = pair
    kept = kept_words(data["train"], teacher, len(words), RECIPE, temperature=2.0)
    tokens = [torch.tensor([1, *words.encode(data["train"]["captions"][row][0]), 2]) for row in range(2)]
    batch["tokens"] = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)[:, :61]
    live, slopes = gradient(Distillation(student, teacher, DistillConfig(temperature=2.0)), batch)
    student.zero_grad()
    cached, others = gradient(Distillation(student, kept, DistillConfig(temperature=2.0, top_k=len(words))), batch)
    assert_close(cached, live, atol=1e-3, rtol=1e-3)
    for name, slope in slopes.items():
        assert_close(others[name], slope, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize(("k", "temperature"), [(1, 1.0), (5, 1.0), (20, 1.0), (20, 3.0), (1, 0.5)])
def test_few_words_cost_at_most_twice_the_probability_that_is_left_over(data, pair, words, k, temperature):
    teacher, _ = pair
    kept, [caption] = kept_words(data["train"], teacher, k, RECIPE, temperature), data["train"]["captions"][3]
    tokens = torch.tensor([[1, *words.encode(caption), 2, 0]])[:, :61]
    features = torch.from_numpy(np.array(split_features(teacher, data["train"])[3:4]))
    exact = teacher(features, tokens[:, :-1])[0].detach()
    found = kept.logits(torch.tensor([3]), tokens)[0]
    real = tokens[0, 1:] != 0
    assert (found[~real] == 0).all()
    truth, approximate = ((logits / temperature).softmax(-1)[real] for logits in (exact, found))
    left_over = 1 - truth.topk(k).values.sum(-1)
    assert left_over.max() > 0.05
    off = (approximate - truth).abs().sum(-1)  # the student's own distribution drops out of the difference
    assert (off <= 2 * left_over + 4e-3).all()
    assert_close(approximate.sum(-1), torch.ones(len(off)))
    assert (found[real].argmax(-1) == exact[real].argmax(-1)).all()


def test_what_the_teacher_said_is_asked_once(data, pair, monkeypatch):
    first = kept_words(data["train"], pair[0], 5, RECIPE)
    monkeypatch.setattr(type(pair[0]), "forward", lambda *_: pytest.fail("asked again"))
    again = kept_words(data["train"], pair[0], 5, RECIPE)
    assert (first.table == again.table).all() and first.places == again.places
    assert isinstance(again.table, np.memmap)


def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(data, pair, tmp_path):
    teacher, _ = pair

    def go(run, watch=lambda log: None):
        training = replace(TRAINING, checkpoint_every=2)
        return distill_captioner(
            data, run, teacher, new_student(teacher, SMALL), ALL, RECIPE, training, DECODING, watch
        )

    def stop(log):
        if log[-1]["update"] == 4:
            raise KeyboardInterrupt

    straight = go(tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "stopped", stop)
    resumed = go(tmp_path / "stopped")
    assert [record["update"] for record in resumed] == [record["update"] for record in straight]
    one, two = (saved.load(tmp_path / run / "last").state_dict() for run in ("straight", "stopped"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not any("projection" in name or name.startswith("teacher") for name in one)
    with pytest.raises(ValueError, match="another configuration.*distill"):
        distill_captioner(
            data, tmp_path / "straight", teacher, new_student(teacher, SMALL), DistillConfig(), RECIPE, TRAINING
        )


def test_teacher_and_student_may_see_through_different_encoders(data, words, tmp_path):
    teacher, student = saved.new(LARGE, ENCODER, words, seed=1), saved.new(SMALL, ENCODER, words, seed=0)
    whole, once = replace(TRAINING, batch_size=24), replace(RECIPE, smoothing=0.1)
    objective = Distillation(student, teacher.eval(), DistillConfig())
    images = torch.stack([picture_tensor(image, 64) for image in data["train"]["image"]])
    captions = [torch.tensor([1, *words.encode(texts[0]), 2])[:61] for texts in data["train"]["captions"]]
    tokens = torch.nn.utils.rnn.pad_sequence(captions, batch_first=True)
    first = objective.eval()({"images": images, "tokens": tokens})[1]["logits"]
    log = distill_captioner(data, tmp_path / "run", teacher, student, DistillConfig(), RECIPE, whole, DECODING)
    assert log[0]["logits"] == pytest.approx(first.item(), rel=1e-4)
    other = saved.new(LARGE, replace(ENCODER, image_size=96), words)
    log = distill_captioner(data, tmp_path / "kept", other, student, DistillConfig(top_k=8), once, whole, DECODING)
    assert log[-1]["epoch"] == 2
    with pytest.raises(ValueError, match="64 pixels a side, the teacher's 96: keep what the teacher thinks on disk"):
        distill_captioner(data, tmp_path / "other", other, student, DistillConfig(), RECIPE, whole, DECODING)


def test_captions_of_the_teacher_teach_a_student_with_other_words(data, pair, tmp_path):
    teacher, _ = pair
    rows = captioned_by(teacher, data["train"], DECODING)
    said = caption_rows(teacher, data["train"], DECODING, split_features(teacher, data["train"]))
    assert list(rows["captions"]) == [[said[i]] for i in data["train"]["image_id"]]
    assert dict(rows.features) == dict(data["train"].features)
    student = new_student(teacher, OFAConfig(16, 24, 1, 1, 2, positions=100, dropout=0.0), said.values())
    assert isinstance(student.tokenizer, BPETokenizer)
    config, once = DistillConfig(captions=True, logits=0.0), replace(TRAINING, epochs=1)
    log = distill_captioner(data, tmp_path / "run", teacher, student, config, RECIPE, once, DECODING)
    assert log[0]["loss"] == log[0]["cross-entropy"] and "logits" not in log[0]


def test_the_teachers_captions_are_asked_for_once(data, pair, monkeypatch):
    first = captioned_by(pair[0], data["val"], DECODING)
    monkeypatch.setattr(student, "caption_rows", lambda *_: pytest.fail("asked again"))
    assert captioned_by(pair[0], data["val"], DECODING)["captions"][:] == first["captions"][:]


def test_what_does_not_go_together_is_refused(data, pair, tmp_path):
    teacher, student = pair
    other = saved.new(SMALL, ENCODER, WordTokenizer.train(["some other words"]))
    with pytest.raises(ValueError, match=r"other tokenizers .* Learn from captions"):
        Distillation(other, teacher, DistillConfig())
    with pytest.raises(ValueError, match="top_k=4 with attention=1"):
        DistillConfig(attention=1.0, top_k=4)
    with pytest.raises(ValueError, match="temperature=0"):
        DistillConfig(temperature=0)
    of_cells = Distillation(student, teacher, DistillConfig(attention=1.0, attention_of=("encoder",)))
    with pytest.raises(ValueError, match="attention_of='encoder': offered are self, cross"):
        of_cells({"images": torch.rand(1, 4, 68), "tokens": torch.ones(1, 3).long()})
    mirrored = replace(RECIPE, augmentation=Augmentation(mirror=True))
    with pytest.raises(ValueError, match="only captioned, pictures as they are"):
        kept_words(data["train"], teacher, 4, mirrored)
    with pytest.raises(ValueError, match="changes nothing in distillation"):
        distill_captioner(data, tmp_path / "run", teacher, student, recipe=replace(RECIPE, drop_words=0.1))
    gru = saved.new(GRUConfig(), ENCODER, teacher.tokenizer)
    with pytest.raises(NotImplementedError, match="gru: has no layers"):
        gru.decode_with_internals(torch.rand(1, 4, 68), torch.ones(1, 3).long())
