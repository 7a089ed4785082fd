"""Command lines and files of options: each option is explained, and a wrong one is named with the nearest right one."""

import dataclasses
import re
import sys

import pytest
import yaml
from jsonargparse import auto_parser

from captioning import cli
from captioning.cli.parser import Parser, comments, options
from captioning.cli.train import reinforce
from captioning.data.config import Augmentation
from captioning.decoding.config import Decoding
from captioning.learning.config import DistillConfig, Recipe, RewardConfig, RLConfig, TrainConfig
from captioning.models.config import (
    AttentionConfig,
    BlipConfig,
    EncoderConfig,
    GRUConfig,
    LoraConfig,
    RegionConfig,
    TransformerConfig,
)
from captioning.models.ofa.config import OFAConfig, OFAStart, Tasks
from captioning.rebuild.clean import Rules
from captioning.rebuild.config import WriterConfig
from captioning.rebuild.prompts import Sampling

CONFIGS = (
    *(Decoding, TrainConfig, Recipe, Tasks, Augmentation, EncoderConfig, RegionConfig, GRUConfig, AttentionConfig),
    *(TransformerConfig, OFAConfig, OFAStart, BlipConfig, LoraConfig, RLConfig, RewardConfig, DistillConfig),
    *(Rules, WriterConfig, Sampling),
)


def commands():
    """The words of every command, and its function."""
    for verb in cli.VERBS:
        found = cli.component(verb)
        kinds = {} if callable(found) else {kind: each for kind, each in found.items() if kind != "_help"}
        yield from [((verb, kind), each) for kind, each in kinds.items()] or [((verb,), found)]


COMMANDS = dict(commands())


@pytest.fixture
def call(monkeypatch, capsys):
    """`call(*words)`: exit status, stdout, stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["captioning", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "2000")
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(call):
    """`refused(*words)`: what is said of a wrong command line, in one line."""

    def run(*words):
        status, _, said = call(*words)
        assert status == 2 and said.startswith("captioning: ") and said.count("\n") == 1, said
        return said

    return run


# ---- help -----------------------------------------------------------------------------------------------------------


def explained(text):
    """{option: what the help says of it}."""
    return dict(re.findall(r"^  --(\S+) \S+\s+([^\n]*?)\s*\(type: ", text, re.M))


def test_every_field_of_every_configuration_is_explained(call):
    seen = set()
    for words in COMMANDS:
        shown = call(*words, "--help")[1]
        texts = [shown, *(call(*words, option)[1] for option in re.findall(r"^  (--\S+\.help) ", shown, re.M))]
        found = {option: said for text in texts for option, said in explained(text).items()}
        assert [f"{' '.join(words)} --{option}" for option, said in found.items() if not said] == []
        seen |= {option.rpartition(".")[2] for option in found}
    told = {name for config in CONFIGS for name in comments(config)}
    assert {field.name for config in CONFIGS for field in dataclasses.fields(config)} <= told
    assert {"average", "no_repeat_ngram", "mirror", "detector", "top_p", "longest", "rank"} <= seen


def test_what_a_comment_says_stands_in_the_help(call):
    found = explained(call("train", "gru", "--help")[1])
    assert found["training.average"].startswith("decay of the running average of the weights")
    assert found["recipe.tasks.masked"] == "the caption of this style again, whole words of which are hidden"
    found = explained(call("reinforce", "--help")[1])
    assert found["rl.baseline"].startswith("what a sample must beat: the greedy caption (Rennie et al. 2017), the mean")


def test_comments_belong_to_the_field_beside_or_below():
    assert comments(Commented) == {"a": "one two", "c": "three of c, # of it"}


@dataclasses.dataclass
class Commented:
    """# not this"""

    # one
    a: int = 1  # two
    b: str = "# nor this"
    # three
    c: dict = dataclasses.field(
        default_factory=dict,
    )  # of c, # of it

    def __post_init__(self):
        pass  # nor this


# ---- what is wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_wrong_key_in_a_file_is_named_with_the_nearest_right_one(words, refused, tmp_path):
    """One at the top, and one in each configuration."""
    parser = auto_parser(COMMANDS[words], parser_class=Parser)
    keys = [key for key in parser.get_defaults().keys(branches=False) if key != "config"]
    for key in {key.rpartition(".")[0]: key for key in keys}.values():
        wrong = 1
        for part in reversed(f"{key}x".split(".")):
            wrong = {part: wrong}
        (tmp_path / "typo.yaml").write_text(yaml.safe_dump(wrong))
        assert f"no key {key + 'x'!r}, did you mean {key!r}?" in refused(*words, "--config", tmp_path / "typo.yaml")


@pytest.mark.parametrize(
    ("words", "wrong", "said"),
    [
        (["train", "gru"], {"training": {"epoch": 2}}, "no key 'training.epoch', did you mean 'training.epochs'?"),
        (["train", "gru"], {"trainin": {"epochs": 2}}, "no key 'trainin.epochs', did you mean 'training.epochs'?"),
        (["train", "gru"], {"epochs": 2}, "no key 'epochs', did you mean 'training.epochs'?"),
        (["train", "gru"], {"regions": {"detectr": "x"}}, "regions: no key 'detectr', did you mean 'detector'?"),
        (["evaluate", "run"], {"decoding": {"beam": 2}}, "decoding: no key 'beam', did you mean 'beams'?"),
        (["rebuild", "out"], {"writers": [{"prompt": "x", "knd": "chat"}]}, "no key 'knd', did you mean 'kind'?"),
        (["train", "gru"], {"training": {"epochs": "many"}}, "training.epochs: Expected a int. Got value: many"),
        (["train", "gru"], {"decoder": {"heads": 2}}, "no key 'decoder.heads'; there are decoder.picture, decoder."),
    ],
)
def test_what_is_said_of_a_file(words, wrong, said, refused, tmp_path):
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    assert said in refused(*words, "--config", tmp_path / "wrong.yaml")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train gru --training.epoch 2", "no option '--training.epoch', did you mean '--training.epochs'?"),
        ("train gru --folde x", "no option '--folde', did you mean '--folder'?"),
        ("train gru --epochs 3", "no option '--epochs', did you mean '--training.epochs'?"),
        ("evaluate run --decoding.beam 2", "decoding: no key 'beam', did you mean 'beams'?"),
        ('evaluate run --decoding {"beam":2}', "decoding: no key 'beam', did you mean 'beams'?"),
        ("backup run --no-data-path", "no option '--no_data_path', did you mean '--no_data_paths'?"),
        ("evaluate run more", "'more' is too much"),
        ("evaluate", "the following arguments are required: run"),
        ("train gr", "no kind to train 'gr', did you mean 'gru'? (`captioning train --help`)"),
        ("train", "train needs one more word: gru, attention, transformer"),
        ("tran gru", "no verb 'tran', did you mean 'train'?"),
        ("train gru --training.decay slow", "training.decay: Expected a Literal['cosine', 'linear']. Got value: slow"),
    ],
)
def test_a_wrong_command_line_is_named_with_the_nearest_right_one(line, said, refused):
    assert said in refused(*line.split())


def test_names_of_options_may_have_hyphens_and_those_of_metrics_do(tmp_path):
    words = ["start", "--reward.weights.ROUGE-L", "1", "--training.batch-size=3"]
    found = options(reinforce, "reinforce", cli.arguments(reinforce, words))
    assert found.reward.weights["ROUGE-L"] == 1 and found.training.batch_size == 3


@pytest.mark.parametrize(
    ("line", "config", "fields"),
    [
        ("train gru --decoding.beams 0", Decoding, {"beams": 0}),
        ("train attention --decoder.heads 3", AttentionConfig, {"heads": 3}),
        ("distill transformer run --decoder.width 6", TransformerConfig, {"width": 6}),
        ("reinforce run --rl.samples 1", RLConfig, {"samples": 1}),
        ("reinforce run --reward.weights {}", RewardConfig, {"weights": {}}),
        ("distill gru run --distill.temperature 0", DistillConfig, {"temperature": 0.0}),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_in_its_own_words(line, config, fields, refused):
    with pytest.raises(ValueError) as own:
        config(**fields)
    assert refused(*line.split()).startswith(f"captioning: {own.value} (")
