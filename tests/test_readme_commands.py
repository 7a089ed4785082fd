"""Every command of the README and of docs/ runs, in the order of the pages: a later one uses what an earlier one made.

They run as they stand there, in a folder where every path that they name is: data sets of a dozen pictures in their
real layouts, models of random weights under the names of the hub. Only what `LESS` says is added, because pretrained
weights cannot be had in a test and many epochs would take too long. What cannot run at all is in `NOT_RUN`.
"""

import json
import re
import shlex
import shutil
import sys
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest
from accelerate.commands.launch import launch_command_parser as accelerate_parser
from torch.distributed.run import get_args_parser as torchrun_parser

from bench import everyday
from captioning import cli, paths
from captioning.cli import demo, review
from captioning.course import docs, mini_blip
from captioning.data import download, minifashion, minivizwiz, sources
from captioning.decoding.config import Decoding
from captioning.evaluation import results, splits
from captioning.learning import student
from captioning.learning.config import Recipe, TrainConfig
from captioning.learning.experiment import train_captioner
from captioning.models.config import AttentionConfig, TransformerConfig
from captioning.rebuild.backends import VLMWriter
from cli.test_translate import OLD
from conftest import TINY_DECODERS, TINY_ENCODER
from ofa_release import write_bpe, write_release
from tiny_blip import write_blip
from tiny_language import write_language
from tiny_vlm import write_vlm

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md"] + [  # in the order of a reader, for one page uses what an earlier one made
    f"docs/{name}.md"
    for name in (
        *("course", "results", "train", "caption", "score", "fine-tune", "rebuild", "styles", "share", "clusters"),
        *("data", "commands", "limits", "sources"),
    )
]
TEXT = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
SIZES = {"train": 8, "val": 4, "test": 4}
TINY = {"attention": AttentionConfig, "transformer": TransformerConfig}

LESS = {  # options that are put before those of the page, for words that its command has
    "train": "--training.epochs 1 --recipe.workers 0",
    "caption": "--workers 0",
    "reinforce": "--training.epochs 1 --rl.samples 2 --recipe.workers 0",
    "distill": "--training.epochs 1 --recipe.workers 0",
    "train attention": "--decoder.width 16 --decoder.heads 2",
    "train gru --data": "--encoder.name test_resnet --encoder.weights null --encoder.image_size 64",
    "train attention --data": "--encoder.weights null --encoder.image_size 64",
    "train seeing --data": (
        "--encoder.name test_resnet --encoder.weights null --encoder.image_size 64 --decoder.hidden 12 "
        "--decoder.words_epochs 1"
    ),
    "train transformer --config code/configs/flickr8k_transformer.yaml": (
        "--encoder.weights null --encoder.image_size 64 --decoder.width 40"
    ),
}
NOT_RUN = {  # the beginning of a command, why it does not run, and what is tried instead
    "bash prepare.sh": "installs 8 GB, gets data: tests/test_prepare.py calls the script with a stand-in for pip",
    "source .venv/bin/activate": "a shell's own command",
    "accelerate launch --multi_gpu": "several GPUs: its options are read by accelerate itself, below",
    "python -m captioning review photos/ --undo": "nobody has saved anything: tests/serving/test_review.py undoes",
    "git worktree add ../then": "the build that the bench compares with",
    "python tests/bench/everyday.py": "half an hour of both cores: its options are read by itself, below",
    "torchrun": "several processes, a minute: its options are read by torch itself, below",
    "python -m captioning prepare": "trains for a minute: those of tests/course/test_notebooks.py call its parts",
    "python -m captioning train seeing --config": "135 million weights: tests/cli/test_seeing_commands.py has a few",
}
MEANT = {"RUN": "output/mini/02_transformer --data minifashion", "NAME": "minifashion"}  # for capitals in running text


def written_commands():
    """Every command line of the page: of its blocks, then those in running text; without those of the tables."""
    text = re.sub(r"<!-- results.*?<!-- end -->", "", TEXT, flags=re.S)
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.S | re.M)
    lines = [line for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`((?:python -m captioning|bash prepare.sh|accelerate|torchrun) [^`\n]+)`", text)
    return list(dict.fromkeys(re.sub(r"\s+# .*", "", line) for line in lines + inline))


COMMANDS = written_commands()
RUN = [line for line in COMMANDS if not line.startswith(tuple(NOT_RUN))]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The reader's folder, and what the page takes for granted in it."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "code").mkdir()
    for name in (
        "README.md",
        "docs",
        "code/configs",
        "code/figures",
        "code/01_cnn_gru.ipynb",
    ):  # one notebook is enough
        (folder / name).symlink_to(ROOT / name)
    with pytest.MonkeyPatch.context() as patch:
        settle(folder, patch)
        data = minifashion.build(folder / "dataset" / "minifashion")
        make_data(folder, data)
        make_models(folder, data)
        yield folder
    shutil.rmtree(folder)  # 1 GB


def settle(folder, patch):
    """What CAPTIONING_HOME would do in a process of its own, small data sets, and no processes beside this one."""
    patch.chdir(folder)
    patch.setattr(paths, "OUTPUT", folder / "output")
    patch.setattr(paths, "DATASET", folder / "dataset")
    patch.setattr(paths, "ROOT", folder)
    patch.setattr(splits, "FEATURES", folder / "output" / "features")
    patch.setattr(student, "TEACHERS", folder / "output" / "teachers")
    for function in ("record", "results_markdown"):
        kept = partial(getattr(results, function), path=folder / "output" / "results.csv")
        patch.setattr(results, function, kept)
    patch.setattr(minifashion, "build", partial(minifashion.build, sizes=SIZES, workers=1))
    check = sources.check
    patch.setattr(sources, "check", lambda dataset, workers=None: check(dataset, workers=0))
    patch.setenv("PATH", "")  # a machine without Java


def copied(rows, folder, name="{}.jpg"):
    """The pictures of a split in a folder, and {file: captions}."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [name.format(i) for i in range(len(rows))]
    for picture, file in zip(rows["image"], names, strict=True):
        shutil.copy(picture, folder / file)
    return dict(zip(names, rows["captions"], strict=True))


def make_data(folder, data):
    flickr, fashion, mine = (folder / "dataset" / name for name in ("flickr8k", "deepfashion", "mine"))
    captions = {split: copied(rows, mine, split + "{}.jpg") for split, rows in data.items()}
    shutil.copytree(mine, flickr / "Flicker8k_Dataset")
    for album in ("photos", "holiday"):
        copied(data["test"], folder / album)
    tokens = [f"{f}#{k}\t{text}" for split in captions.values() for f, [text] in split.items() for k in range(5)]
    (flickr / "Flickr8k.token.txt").write_text("\n".join(tokens))
    for split, name in (("train", "train"), ("val", "dev"), ("test", "test")):
        (flickr / f"Flickr_8k.{name}Images.txt").write_text("\n".join(captions[split]))
    for split in ("train", "test"):
        people = "WOMEN-Tees_Tanks-id_0000000{}-0" + str(len(split)) + "_1_front.jpg"
        said = {file: text for file, [text] in copied(data[split], fashion / "images", people).items()}
        (fashion / f"{split}_captions.json").write_text(json.dumps(said))
    rows = [{"file_name": f, "captions": c, "split": s} for s in captions for f, c in captions[s].items()]
    (mine / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    built = minivizwiz.build(folder / "drawn", sizes={"train": 8, "val": 4, "test": 4}, seed=0)
    shutil.copytree(built, folder / "dataset" / "vizwiz")
    said = captions["test"]
    for name, entries in {
        "predictions": {i: c[0] for i, c in said.items()},
        "other": dict.fromkeys(said, "the lady is wearing a hat ."),
        "submission": [{"img_id": i, "prediction": c} for i, c in said.items()],
        "references": said,
        "train": captions["train"],
    }.items():
        Path(f"{name}.json").write_text(json.dumps(entries))
    request = {"style": "Sweet", "image": str(next((folder / "photos").iterdir())), "reference": "a lady"}
    Path("requests.json").write_text(json.dumps([request]))
    Path("trainer_config.json").write_text(json.dumps(OLD))


def make_models(folder, data):
    """Runs as notebooks leave them, and tiny models under the hub's names."""
    for kind, config in TINY.items():
        train_captioner(
            data, folder / "output" / "mini" / f"02_{kind}", config(**TINY_DECODERS[kind]), TINY_ENCODER,
            Recipe(workers=0), TrainConfig(epochs=1, log_every=1), Decoding(max_length=20),
        )  # fmt: skip
    shutil.copytree("output/mini/02_transformer/best", "output/transformer_deepfashion")
    shutil.copytree("output/mini/02_transformer/best", "me/captioner")
    pieces = mini_blip.vocabulary([text for [text] in data["train"]["captions"]])
    for size in ("base", "large"):
        write_blip(folder / "Salesforce" / f"blip-image-captioning-{size}", size, pieces, side=64, positions=128)
    write_language(folder / "HuggingFaceTB" / "SmolLM2-135M-Instruct")
    write_vlm(folder / "HuggingFaceTB" / "SmolVLM-256M-Instruct", "smolvlm")
    ofa = folder / "OFA-Sys" / "ofa-base"
    ofa.mkdir(parents=True)
    write_release(ofa, write_bpe(ofa), {"model": {"patch_image_size": 64}})


class Hub:
    def create_repo(self, repo, private, exist_ok):
        pass

    def upload_folder(self, folder_path, repo_id, commit_message):
        return f"https://hub/{repo_id}"


def writes(self, pictures, prompt, seed):
    said = {"clothes": "the lady is wearing a red sweater .", "background": "a street with tall trees and a blue sky ."}
    return [[said[prompt.topic]] for _ in pictures]


def leave():
    raise KeyboardInterrupt


@pytest.fixture
def stand_ins(monkeypatch):
    """For what is not here: whole data sets, the hub, a model of 7 billion weights, and somebody to stop the server."""
    for name, parts in download.SETS.items():
        monkeypatch.setitem(download.SETS, name, tuple(replace(part, count=1) for part in parts))
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(VLMWriter, "write", writes)
    monkeypatch.setattr(docs, "modules", lambda: ["captioning", "captioning.rebuild"])  # all of them take a minute
    for page in (demo, review):
        monkeypatch.setattr(page, "until_stopped", leave)


def words_of(line):
    """The words after `captioning`; no redirection, no capitals that stand for something, and what `LESS` adds."""
    for name, meant in MEANT.items():
        line = re.sub(rf"\b{name}\b", meant, line)
    words = shlex.split(line)
    words = words[1 + next(i for i, word in enumerate(words) if Path(word).name == "captioning") :]
    words = words[: words.index(">")] if ">" in words else words
    less = [word for said, options in LESS.items() if " ".join(words).startswith(said) for word in shlex.split(options)]
    if "--help" in words:
        return words
    place = words.index("--config") + 2 if "--config" in words else 1 + (words[0] in ("train", "distill"))
    return [*words[:place], *less, *words[place:]]


@pytest.mark.filterwarnings("ignore:running away")  # a model of one epoch does not find the end
@pytest.mark.parametrize("line", RUN, ids=range(len(RUN)))
def test_it_runs(line, home, stand_ins, monkeypatch, capfd):
    words = words_of(line)
    monkeypatch.setattr(sys, "argv", ["captioning", *words])
    try:
        status = cli.main()
    except SystemExit as left:
        status = left.code
    out, err = capfd.readouterr()
    assert not status, f"{status}\n{err}"
    made = [words[i + 1] for i, word in enumerate(words) if word in ("--out", "--run")]
    assert out.strip() or made
    assert [path for path in made if not Path(path).exists() and "--print_config" not in words] == []


def test_what_is_not_run_is_on_the_page_and_nothing_else_is_left_out():
    assert [begin for begin in NOT_RUN if not any(line.startswith(begin) for line in COMMANDS)] == []
    ours = ("python -m captioning ", ".venv/bin/captioning ")
    assert [line for line in RUN if not line.startswith(ours)] == []
    assert len(RUN) > 30


@pytest.mark.parametrize(
    "line", [line for line in COMMANDS if line.startswith(("accelerate", "torchrun"))], ids=["accelerate", "torchrun"]
)
def test_launchers_know_their_options_and_call_a_command_that_runs(line):
    """Their own parsers read the command line."""
    launcher, *words = shlex.split(line)
    parser, words = (accelerate_parser(), words[1:]) if launcher == "accelerate" else (torchrun_parser(), words)
    read = parser.parse_args(words)
    assert read.module and read.training_script == "captioning"
    assert shlex.join(["python", "-m", "captioning", *read.training_script_args]) in RUN


def test_the_bench_of_the_page_knows_its_options():
    [words] = [shlex.split(line)[2:] for line in COMMANDS if line.startswith("python tests/bench/everyday.py")]
    read = everyday.reader().parse_args(words)
    assert f"git worktree add {read.against} f18036e" in COMMANDS


def test_the_extras_of_the_page_are_those_of_the_package():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {name for group in re.findall(r"pip install 'captioning\[([\w,]+)\]'", TEXT) for name in group.split(",")}
    assert {"web", "ray"} <= named <= set(extras)
