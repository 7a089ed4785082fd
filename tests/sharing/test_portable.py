"""What is shared loads on a machine that has nothing else, and tells nothing of this one."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from captioning.cli.export import export
from captioning.cli.push import push
from captioning.decoding.config import Decoding
from captioning.evaluation.runs import describe_run
from captioning.models import lora, saved
from captioning.models.config import OFA_LORA, LoraConfig, SeeingConfig
from captioning.models.encoder import Encoder
from captioning.models.ofa.config import OFAConfig
from captioning.models.ofa.tokenizer import BPETokenizer
from captioning.serving.export import export_half
from captioning.sharing import backup as archives
from captioning.sharing import portable
from captioning.sharing.portable import without_paths
from conftest import TINY_ENCODER
from tiny_language import CAPTIONS, write_language


@pytest.fixture
def machine(tmp_path):
    """Folders of this machine, which are gone on another one."""
    folder = tmp_path / "machine"
    folder.mkdir()
    return folder


@pytest.fixture
def whole(make_model, machine):
    """A run whose encoder began with weights of this machine."""
    weights = machine / "net.safetensors"
    state = Encoder(TINY_ENCODER).backbone.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, weights)
    make_model("gru", replace(TINY_ENCODER, weights=str(weights))).save_pretrained(machine / "run" / "best")
    return described(machine)


@pytest.fixture
def adapted(machine):
    """A run of adapters whose model lies on this machine."""
    torch.manual_seed(0)
    tokenizer = BPETokenizer.train(["a red cat", "a big dog"], size=300, codes=4)
    config = OFAConfig(32, 64, 1, 1, 2, positions=64, dropout=0.0)
    saved.new(config, TINY_ENCODER, tokenizer).save_pretrained(machine / "base")
    model = saved.load(machine / "base")
    lora.adapt(model, LoraConfig(rank=2, targets=OFA_LORA.targets), str(machine / "base"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    model.save_pretrained(machine / "run" / "best")
    return described(machine)


@pytest.fixture
def seeing(machine):
    """A run of adapters of a language model that lies on this machine."""
    folder = write_language(machine / "base")
    config = SeeingConfig(str(folder), merge=1, hidden=8, words=2, adapters=LoraConfig(rank=2, targets=("q_proj",)))
    model = saved.new(config, TINY_ENCODER, saved.vocabulary(CAPTIONS, config, 1))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    model.save_pretrained(machine / "run" / "best")
    return described(machine)


def described(machine):
    command = f"python -m captioning train --folder '{machine / 'my data'}' --run {machine / 'run'} --data a/b/c"
    describe_run(machine / "run", data="flickr8k", folder=machine / "my data", decoding={}, command=command)
    (machine / "run" / "config.json").write_text(json.dumps({"start": str(machine / "base"), "processes": 1}))
    return machine / "run"


def shared(way, run, tmp_path):
    """The folder that somebody else has, on a machine without the folders of this one."""
    before = saved.load(run)
    if way == "push":
        push(run, "me/captioner", out=tmp_path / "theirs")
    else:
        archives.backup(run, tmp_path / "a.tar", data_paths=False)
        archives.restore(tmp_path / "a.tar", tmp_path / "theirs")
        (tmp_path / "a.tar").unlink()
    shutil.rmtree(tmp_path / "machine")
    return before, tmp_path / "theirs"


@pytest.mark.parametrize("way", ["push", "backup"])
@pytest.mark.parametrize("kind", ["whole", "adapted", "seeing"])
def test_what_is_shared_loads_elsewhere_and_tells_no_paths(way, kind, tmp_path, request):
    before, theirs = shared(way, request.getfixturevalue(kind), tmp_path)
    told = [file for file in theirs.rglob("*") if file.is_file() and str(tmp_path).encode() in file.read_bytes()]
    assert told == []
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert_close(saved.load(theirs).features(images), before.features(images))
    expected, found = (model.generate(images, Decoding(max_length=8)) for model in (before, saved.load(theirs)))
    assert found.texts == expected.texts
    assert_close(found.log_probs, expected.log_probs, atol=1e-4, rtol=1e-4)


def test_adapters_of_a_model_of_the_hub_stay_such(adapted, tmp_path):
    about = adapted / "best" / "adapter_config.json"
    about.write_text(about.read_text().replace(str(tmp_path / "machine" / "base"), "OFA-Sys/ofa-base"))
    portable.export_model(adapted, tmp_path / "theirs")
    assert json.loads((tmp_path / "theirs" / "adapter_config.json").read_text())["base_model_name_or_path"] == (
        "OFA-Sys/ofa-base"
    )
    assert (tmp_path / "theirs" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "theirs" / "README.md").exists()


@pytest.mark.parametrize("way", ["push", "backup"])
def test_adapters_whose_model_is_gone_are_not_shared(way, adapted, tmp_path):
    shutil.rmtree(tmp_path / "machine" / "base")
    with pytest.raises(
        FileNotFoundError, match=r"holds adapters only; the model they belong to: .*base: no such folder"
    ):
        if way == "push":
            push(adapted, "me/captioner", out=tmp_path / "theirs")
        else:
            archives.backup(adapted, tmp_path / "a.tar", data_paths=False)
    assert {path.name for path in tmp_path.iterdir()} == {"machine"}


def test_settings_that_would_not_load_elsewhere_are_not_shared(whole, tmp_path):
    config = json.loads((whole / "best" / "config.json").read_text())
    config["encoder"]["args"]["checkpoint_path"] = str(tmp_path / "machine" / "net.safetensors")
    (whole / "best" / "config.json").write_text(json.dumps(config))
    with pytest.raises((OSError, ValueError), match="net.safetensors"):
        push(whole, "me/captioner", out=tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_the_card_tells_the_command_without_folders(whole, tmp_path):
    push(whole, "me/captioner", out=tmp_path / "theirs")
    assert "by `python -m captioning train --folder 'my data' --run run --data a/b/c`" in (
        (tmp_path / "theirs" / "README.md").read_text()
    )


def test_a_command_that_is_no_command_line_is_cut_like_any_text():
    found = without_paths({"command": "it's /home/me/a", "args": {"command": ["/home/me/b", None]}, "n": 1})
    assert found == {"command": "it's /home/me/a", "args": {"command": ["b", None]}, "n": 1}
    assert without_paths({"command": "/home/me/it's"}) == {"command": "it's"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("train gru --folder ../jane/private --run ../jane/run", "train gru --folder private --run run"),
        ("train gru --folder jane/private --run=jane/run", "train gru --folder private --run=run"),
        ("train gru --config jane/my.yaml --data me/set", "train gru --config my.yaml --data me/set"),
        ("train blip --start.weights jane/models/blip --lora", "train blip --start.weights blip --lora"),
        ("train blip --start.weights made/blip", "train blip --start.weights blip"),
        ("train blip --start.weights Salesforce/blip", "train blip --start.weights Salesforce/blip"),
        ("train ofa --start.weights modelscope:me/ofa", "train ofa --start.weights modelscope:me/ofa"),
        ("train seeing --decoder.language package:llm", "train seeing --decoder.language package:llm"),
        ("train gru --encoder.weights=jane/a/net.pth", "train gru --encoder.weights=net.pth"),
        ("reinforce jane/runs/gru --resume false", "reinforce gru --resume false"),
        ("distill gru made/ofa --start made/small", "distill gru ofa --start small"),
    ],
)
def test_a_command_tells_names_of_the_hub_and_no_folders(words, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made").mkdir()
    assert portable.words_without_paths(f"python -m captioning {words}") == f"python -m captioning {expected}"


@pytest.fixture
def relative(make_model, machine):
    """A run whose settings name folders as they are seen from a folder beside it."""
    make_model("gru").save_pretrained(machine / "run" / "best")
    command = "python -m captioning train gru --folder ../jane/private/kids --run ../jane/run"
    describe_run(machine / "run", data="folder", folder="/home/jane/x/../private/kids", decoding={}, command=command)
    (machine / "run" / "config.json").write_text('{"encoder": {"weights": "jane/private/nets/net.pth"}}')
    return machine / "run"


@pytest.mark.parametrize("way", ["push", "backup", "push of a half export"])
def test_relative_paths_are_not_shared(way, relative, tmp_path):
    run = relative
    if way == "push of a half export":
        run = tmp_path / "half"
        export_half(saved.load(relative), run, about=relative / "experiment.json")
    if way == "backup":
        archives.backup(run, tmp_path / "a.tar", data_paths=False)
        archives.restore(tmp_path / "a.tar", tmp_path / "theirs")
    else:
        push(run, "me/captioner", out=tmp_path / "theirs")
    texts = {path.name: path.read_bytes() for path in (tmp_path / "theirs").rglob("*") if path.is_file()}
    assert [name for name, text in texts.items() if b"jane" in text or b"private" in text] == []
    told = texts["experiment.json" if way == "backup" else "README.md"]
    assert b"train gru --folder kids --run run" in told


@pytest.mark.parametrize("kind", ["adapted", "seeing"])
def test_half_of_adapters_stands_alone(kind, tmp_path, request):
    run = request.getfixturevalue(kind)
    model = saved.load(run).eval()
    export(str(run), half=True, check=0, out=tmp_path / "half")
    shutil.rmtree(tmp_path / "machine")
    assert not (tmp_path / "half" / "adapter_config.json").exists()
    kept = load_file(tmp_path / "half" / "model.safetensors")
    assert {x.dtype for x in kept.values() if x.is_floating_point()} == {torch.float16}
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    tokens = torch.full((2, 1, 3), model.tokenizer.bos_id)
    expected, found = (each.decode(each.features(images), tokens) for each in (model, saved.load(tmp_path / "half")))
    assert_close(found, expected, atol=2e-2, rtol=2e-2)
