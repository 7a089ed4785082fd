"""OFA from its weights on: all of them or with adapters; runs that are stopped, saved, taken up again and merged."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from PIL import Image
from safetensors.torch import load_file
from torch.testing import assert_close

from captioning import cli
from captioning.decoding.config import Decoding
from captioning.evaluation import splits
from captioning.learning.config import Recipe, TrainConfig
from captioning.learning.fine_tuning import fine_tune
from captioning.models import lora, saved
from captioning.models.config import OFA_LORA, LoraConfig
from captioning.models.ofa.captioner import OFACaptioner
from captioning.models.ofa.config import OFAConfig, OFAStart, ResNetConfig
from captioning.models.ofa.start import start
from captioning.models.ofa.tokenizer import BPETokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*captions are empty")  # random weights say blanks

SIDE, SAID = 32, ["a red cat", "a big dog", "the dogs sleep", "red cats"]
ADAPTERS = LoraConfig(rank=2, targets=OFA_LORA.targets)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The folder of a tiny OFA with its own ResNet."""
    torch.manual_seed(0)
    config = OFAConfig(32, 64, 2, 2, 4, positions=64, dropout=0.0)
    model = OFACaptioner(config, ResNetConfig((1, 1, 1), SIDE), BPETokenizer.train(SAID, size=300, codes=4)).eval()
    model.save_pretrained(folder := tmp_path_factory.mktemp("base"))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """One picture in two styles makes two rows."""
    place, rng, splits = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0), {}
    for split, count in {"train": 8, "val": 4}.items():
        files = [str(place / f"{split}{i // 2}.png") for i in range(count)]
        for file in files[::2]:
            Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(file)
        rows = {"image": files, "image_id": [str(i) for i in range(count)], "style": ["Sweet", "Dull"] * (count // 2)}
        splits[split] = Dataset.from_dict(rows | {"captions": [[SAID[i % 4]] for i in range(count)]})
    return DatasetDict(splits)


@pytest.fixture(autouse=True)
def features_here(tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "FEATURES", tmp_path / "features")


def tune(data, run, start, adapters=None, stop_after=None, **training):
    """A run of 2 epochs x 4 steps; `stop_after` so many records of the log it is interrupted."""

    def watch(log):
        if stop_after and len(log) >= stop_after:
            raise KeyboardInterrupt

    settings = TrainConfig(epochs=2, batch_size=2, lr=1e-2, checkpoint_every=2, log_every=1, **training)
    recipe, decoding = Recipe(max_length=10, smoothing=0.0, workers=0), Decoding(max_length=6)
    return fine_tune(data, run, start, adapters, recipe, settings, decoding, watch)


def examples(model):
    """Features with the prompts of both styles, and tokens."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    tokens = torch.randint(4, 200, (2, 5), generator=generator)
    tokens[:, 0] = model.tokenizer.bos_id
    with torch.no_grad():
        features = model.features(images)
    return model.asked(features, model.prompts([model.prompt("Sweet"), model.prompt("Dull")])), tokens


def styled(base):
    return saved.load(base).configure(styles=("Dull", "Sweet"))


@torch.no_grad()
def test_adapters_with_b_zero_change_nothing_and_merging_once_is_merging_twice(base, data):
    plain, model = styled(base), start(OFAStart(str(base)), data, ADAPTERS).eval()
    assert model.styles == ("Dull", "Sweet")
    args = examples(plain)
    assert_close(model(*args), plain(*args), rtol=0, atol=0)
    assert {name.split(".")[-4] for name, p in model.named_parameters() if p.requires_grad} >= {"q_proj", "v_proj"}
    assert all(("lora_" in name) == p.requires_grad for name, p in model.named_parameters())
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.3)
    learned = model(*args)
    found = model.generate(args[0], Decoding(beams=2, max_length=6)).ids
    assert (learned - plain(*args)).abs().max() > 0.01
    merged = lora.merged_captioner(model)
    assert_close(merged(*args), learned, atol=1e-5, rtol=1e-4)
    assert merged.generate(args[0], Decoding(beams=2, max_length=6)).ids == found
    assert_close(lora.merged_captioner(merged)(*args), learned, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("adapters", [None, ADAPTERS], ids=["all", "lora"])
def test_a_stopped_run_ends_as_one_that_was_not(base, data, tmp_path, adapters):
    start = OFAStart(str(base), trained_resnet=adapters is None)
    log = tune(data, tmp_path / "whole", start, adapters)
    for stop in (3, 6):
        with pytest.raises(KeyboardInterrupt):
            tune(data, tmp_path / "stopped", start, adapters, stop)
    again = tune(data, tmp_path / "stopped", start, adapters)
    assert [{**record, "minutes": 0} for record in again] == [{**record, "minutes": 0} for record in log]
    file = "adapter_model.safetensors" if adapters else "model.safetensors"
    whole, stopped = ((tmp_path / run / "last" / file).read_bytes() for run in ("whole", "stopped"))
    assert whole == stopped
    assert (tmp_path / "whole" / "last" / "model.safetensors").is_file() == (adapters is None)
    if adapters is None:
        before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "whole" / "last" / file)
        assert not torch.equal(before["encoder.resnet.conv1.weight"], after["encoder.resnet.conv1.weight"])


def test_an_adapter_is_taken_up_again_and_merged(base, data, tmp_path, capsys):
    tune(data, tmp_path / "run", OFAStart(str(base), style_by="token"), ADAPTERS)
    model, plain = saved.load(tmp_path / "run"), styled(base)
    assert model.styles == ("Dull", "Sweet") and model.config.style_by == "token" and model.encoder.frozen
    assert all(("lora_" in name) == p.requires_grad for name, p in model.named_parameters())
    assert lora.trained_share(model) in capsys.readouterr().out
    args = examples(model)
    learned = model(*args)
    assert (learned - plain(*args)).abs().max() > 0.01
    tune(data, tmp_path / "further", OFAStart(str(tmp_path / "run")))  # from an adapter on, its base still frozen
    further = saved.load(tmp_path / "further")
    assert lora.trained_share(further) == lora.trained_share(model)
    assert (further(*args) - learned).abs().max() > 0.01
    with pytest.raises(ValueError, match="has adapters: go on with them"):
        tune(data, tmp_path / "other", OFAStart(str(tmp_path / "run")), ADAPTERS)
    for adapters, weights in ((ADAPTERS, base), (None, tmp_path / "run")):
        with pytest.raises(ValueError, match="trained_resnet=True with adapters"):
            start(OFAStart(str(weights), trained_resnet=True), data, adapters)
    tuning = json.loads((tmp_path / "further" / "config.json").read_text())["tuning"]
    assert tuning["style_by"] == "token"  # that of the model, whatever is asked for
    styled(base).save_pretrained(tmp_path / "words")
    with pytest.raises(ValueError, match="style_by='token': .* was trained with 'words' and keeps it"):
        start(OFAStart(str(tmp_path / "words"), style_by="token"), data, None)
    lora.merged_captioner(model).save_pretrained(tmp_path / "whole")
    whole = saved.load(tmp_path / "whole")
    assert_close(whole(*args), learned, atol=1e-5, rtol=1e-4)
    assert whole.styles == model.styles and not (tmp_path / "whole" / "adapter_config.json").exists()


def test_adapters_without_their_base_are_refused(base, data, tmp_path):
    copy = shutil.copytree(base, tmp_path / "copy")
    start(OFAStart(str(copy)), data, ADAPTERS).save_pretrained(tmp_path / "adapter")
    assert saved.load(tmp_path / "adapter").styles == ("Dull", "Sweet")
    shutil.rmtree(copy)
    with pytest.raises(FileNotFoundError, match="holds adapters only; the model they belong to: .*copy"):
        saved.load(tmp_path / "adapter")


def test_the_running_average_of_adapters_is_saved(base, data, tmp_path):
    tune(data, tmp_path / "run", OFAStart(str(base)), ADAPTERS, average=0.9)
    assert saved.load(tmp_path / "run" / "last").kind == "ofa"


def test_the_command_trains_adapters(base, data, tmp_path, monkeypatch):
    folder, run = tmp_path / "mine", tmp_path / "run"
    folder.mkdir()
    rows = []
    for split, part in data.items():
        for row in part.select(range(0, len(part), 2)):
            name = f"{split}{row['image_id']}.png"
            shutil.copy(row["image"], folder / name)
            rows.append({"file_name": name, "captions": row["captions"], "split": split})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = f"train ofa --data folder --folder {folder} --run {run} --start.weights {base} --lora --adapters.rank 2"
    less = "--training.epochs 1 --recipe.workers 0 --decoding.max_length 6"
    monkeypatch.setattr(sys, "argv", ["captioning", *words.split(), *less.split()])
    cli.main()
    model = saved.load(run)
    assert lora.base(model.ofa) is not model.ofa and model.styles == ()
