"""CLIPScore of a tiny random CLIP against the model's own forward pass, one pair at a time."""

import shutil
import string
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from captioning.data.pictures import read_picture
from captioning.metrics.base import Captioned, Unavailable
from captioning.metrics.clipscore import PREFIX, ClipScore, pictures_by_id
from conftest import same_in_every_type

CAPTIONS = ["a dog runs", "two cats sleep on a red sofa", "a dog"]
REFERENCES = [["a dog runs fast", "the dog"], ["cats"], ["a boat", "a dog", "the sea at night"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights, tokenizer and image processor in the layout of the hub."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    pieces = [*string.ascii_lowercase, *(letter + "</w>" for letter in string.ascii_lowercase)]
    vocabulary = {piece: k for k, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": len(pieces), "eos_token_id": len(pieces) + 1, "pad_token_id": len(pieces) + 1}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**tower, **ends, "vocab_size": len(vocabulary)},
        vision_config={**tower, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    model = CLIPModel(config)
    for parameter in model.parameters():  # as initialized, all texts and all pictures have nearly the same features
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    model.visual_projection.weight.data.neg_()  # with this seed, makes the captions fit their pictures
    folder = tmp_path_factory.mktemp("clip")
    model.save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, CLIPTokenizer(vocabulary, merges=[])).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = {f"p{k}": folder / f"{k}.png" for k in range(len(CAPTIONS))}
    for k, path in enumerate(paths.values()):
        blocks = Image.fromarray(rng.integers(256, size=(2, 2, 3), dtype=np.uint8))
        blocks.resize((40, 33 + k), Image.Resampling.NEAREST).save(path)
    return paths


def captioned(captions, references=REFERENCES):
    return Captioned(tuple(f"p{k}" for k in range(len(captions))), captions, [], references, [])


def forward_cosine(metric, path, caption):
    """From the logit of the joint forward pass, which is the cosine times a learned scale."""
    batch = metric.processor(text=[PREFIX + caption], images=[read_picture(path)], return_tensors="pt")
    with torch.inference_mode():
        return (metric.model(**batch).logits_per_image / metric.model.logit_scale.exp()).item()


def text_cosine(metric, one, other):
    with torch.inference_mode():
        a, b = (
            metric.model.get_text_features(**metric.processor(text=[PREFIX + t], return_tensors="pt")).pooler_output
            for t in (one, other)
        )
    return torch.cosine_similarity(a, b).item()


def by_hand(metric, images):
    fits, both = [], []
    for path, caption, references in zip(images.values(), CAPTIONS, REFERENCES, strict=True):
        fit = 2.5 * max(forward_cosine(metric, path, caption), 0)
        nearest = max(0, *(text_cosine(metric, caption, r) for r in references))
        fits.append(fit)
        both.append(2 / (1 / fit + 1 / nearest) if fit and nearest else 0)
    return np.column_stack([fits, both])


@pytest.mark.parametrize("batch_size", [2, 64])
def test_every_score_is_that_of_the_forward_pass(folder, images, batch_size):
    metric = ClipScore(images, str(folder), batch_size)
    measured, expected = metric(captioned(CAPTIONS)), by_hand(metric, images)
    assert measured.names == ("CLIPScore", "RefCLIPScore")
    np.testing.assert_allclose(measured.from_sums(measured.statistics), expected, atol=1e-5)
    np.testing.assert_allclose(measured.from_sums(measured.statistics.sum(0)), expected.mean(0), atol=1e-5)
    assert expected.min() > 0.1 and np.ptp(expected, axis=0).min() > 0.1, "with equal scores the test shows nothing"


def test_weights_stored_in_half_precision_are_computed_in_single(folder, images, tmp_path):
    metric = ClipScore(images, str(folder))
    metric.model.load_state_dict({name: same_in_every_type(x) for name, x in metric.model.state_dict().items()})
    expected = metric(captioned(CAPTIONS)).statistics
    half = shutil.copytree(folder, tmp_path / "half")
    metric.model.to(torch.bfloat16).save_pretrained(half)
    np.testing.assert_array_equal(ClipScore(images, str(half))(captioned(CAPTIONS)).statistics, expected)


def test_a_negative_cosine_scores_0_by_both_measures(folder, images):
    metric = ClipScore(images, str(folder))
    metric.model.visual_projection.weight.data.neg_()
    assert all(
        forward_cosine(metric, path, caption) < 0 for path, caption in zip(images.values(), CAPTIONS, strict=True)
    )
    np.testing.assert_array_equal(metric(captioned(CAPTIONS)).statistics, [[0, 0, 1]] * len(CAPTIONS))


def test_a_reference_equal_to_the_caption_has_cosine_one(folder, images):
    metric = ClipScore(images, str(folder))
    fit, both, _ = metric(captioned(CAPTIONS, [[c, "x"] for c in CAPTIONS])).statistics.T
    np.testing.assert_allclose(both, 2 * fit / (fit + 1), atol=1e-6)


def test_long_captions_are_cut_to_77_tokens(folder, images):
    metric = ClipScore(images, str(folder))
    a, b, c = metric.encode_texts(["x" * 100, "x" * 100 + "y", "x" * 20 + "y"])
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert np.abs(a - c).max() > 1e-3


def test_pictures_and_weights_that_are_missing(folder, images, tmp_path):
    metric = ClipScore({"p0": images["p0"]}, str(folder))
    with pytest.raises(ValueError, match=r"2 of 3 captions have no picture.*\(e\.g\. 'p1'\)"):
        metric(captioned(CAPTIONS))
    with pytest.raises(Unavailable, match=r"no CLIP weights in .*nowhere.*hf download") as raised:
        ClipScore(images, str(tmp_path / "nowhere"))
    assert "\n" not in str(raised.value)


def test_the_metric_costs_nothing_until_it_is_built():
    check = "import sys, captioning.metrics.clipscore; assert not {'torch', 'transformers'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_pictures_of_one_name_are_told_apart_by_their_paths(tmp_path):
    for name in ("a/0.jpg", "b/0.jpg", "b/1.jpg", "2.jpg", "2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = {key: path.relative_to(tmp_path).as_posix() for key, path in pictures_by_id(tmp_path).items()}
    assert found["a/0.jpg"] == found["a/0"] == "a/0.jpg" and found["b/0"] == "b/0.jpg"
    assert found["b/1"] == found["1.jpg"] == found["1"] == "b/1.jpg" and found["2.jpg"] == "2.jpg"
    assert not {"0.jpg", "0", "2"} & set(found), "several have this name"
    with pytest.raises(NotADirectoryError, match="nowhere: no such folder"):
        pictures_by_id(tmp_path / "nowhere")
