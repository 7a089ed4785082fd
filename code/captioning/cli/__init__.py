"""`captioning VERB ...`: functions as commands, with their options built from the configuration dataclasses.

Every command takes `--config FILE` (YAML or JSON) and single options over it; `--print_config` shows what would run.
Heavy libraries are imported in the verb's function, so that `--help` answers at once. (Not under TYPE_CHECKING at the
top of a verb's module: jsonargparse runs such a block, to look up types.)
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from itertools import islice
from typing import Any

from captioning.cli.stopping import ended_by_signals, told

HELP = ("-h", "--help")


@dataclass(frozen=True)
class Verb:
    module: str  # of this package; its COMMANDS has the verb
    help: str
    example: str


VERBS = {
    "train": Verb("train", "Train a captioner", "train transformer --data flickr8k"),
    "reinforce": Verb("train", "Go on with self-critical training", "reinforce output/transformer_flickr8k"),
    "distill": Verb("distill", "Train a small captioner on what a large one knows", "distill ofa output/ofa_coco"),
    "evaluate": Verb("evaluate", "Score a run, with controls and intervals", "evaluate output/transformer_flickr8k"),
    "caption": Verb("caption", "Caption pictures and folders", "caption photos/ --model output/transformer_flickr8k"),
    "demo": Verb("demo", "Caption on a web page, word by word", "demo output/transformer_flickr8k"),
    "review": Verb("review", "Look through a folder's captions, mend and save them", "review photos/"),
    "submit": Verb("submit", "Write a submission for VizWiz's server", "submit output/blip_vizwiz"),
    "score": Verb("evaluate", "Score a file of captions", "score predictions.json references.json"),
    "export": Verb("export", "Write a captioner as ONNX files", "export output/transformer_flickr8k --onnx"),
    "push": Verb("push", "Publish a run on the hub, with a card", "push output/transformer_flickr8k me/captioner"),
    "backup": Verb("backup", "Put a run into one archive", "backup output/transformer_flickr8k --no-data-paths"),
    "restore": Verb("backup", "Unpack such an archive", "restore transformer_flickr8k.tar output/restored"),
    "rebuild": Verb("rebuild", "Have a data set written anew", "rebuild output/rebuilt --data deepfashion"),
    "translate": Verb("translate", "Read an old OFA configuration", "translate trainer_config.json"),
    "data": Verb("data", "Download, check or look at a data set", "data --show photos/"),
    "data convert": Verb("data", "Write a data set in another format", "data convert photos/ shards/ --to webdataset"),
    "prepare": Verb("data", "Draw the embedded data sets and train what notebooks share", "prepare"),
    "results": Verb("evaluate", "Print a table of the README", "results --data flickr8k"),
    "docs": Verb("docs", "Build the documentation as web pages", "docs"),
    "completion": Verb("completion", "Print a script for the Tab key", "completion bash"),
}


FIRST_SESSION = (
    "prepare",
    "train transformer --config code/configs/minifashion_transformer.yaml",
    "evaluate output/transformer_minifashion --split test",
    "demo output/transformer_minifashion",
)


def overview() -> str:
    """What `--help` prints."""
    width = max(map(len, VERBS))
    lines = [
        "usage: captioning VERB ... [--config FILE] [--print_config] [--debug]",
        "",
        "Image captioning: train, reinforce, evaluate, caption. `captioning VERB --help` lists a verb's options.",
        "",
        "A first session, with nothing to download (a few minutes):",
        *(f"  captioning {words}" for words in FIRST_SESSION),
        "",
    ]
    for name, verb in VERBS.items():
        lines += [f"  {name:{width}}  {verb.help}", f"  {'':{width}}    captioning {verb.example}"]
    lines += [
        "",
        "  --config FILE   options from a YAML or JSON file; options on the command line come after it",
        "  --print_config  print every option as such a file, and stop",
        "  --debug         show where an error arose",
        "  --json          evaluate, caption, score, data, results: what a program is to read, on stdout",
        "",
        "Data sets lie in dataset/ and runs in output/ of this repository, or of the folder CAPTIONING_HOME.",
        "",
        "exit status: 0 done; 1 an error, told in a paragraph; 2 a wrong command line; 130 or 143 interrupted",
    ]
    return "\n".join(lines)


def component(verb: str) -> Any:
    """The function of a verb, or its functions by name."""
    return import_module(f"captioning.cli.{VERBS[verb].module}").COMMANDS[verb]


def kinds_of(verb: str) -> str:
    """What `--help` prints of a verb that is several commands."""
    commands = component(verb)
    shown = [
        f"  {kind:12}  {inspect.getdoc(each).splitlines()[0]}" for kind, each in commands.items() if kind != "_help"
    ]
    usage = f"usage: captioning {verb} KIND ... [--config FILE] [--print_config]"
    return "\n".join(
        [usage, "", commands["_help"], "", *shown, "", f"`captioning {verb} KIND --help` lists the options."]
    )


def named(words: list[str]) -> tuple[str, Callable[..., None], list[str]]:
    """What the first words name: the command, its function, and the words that are left for it.

    Raises ArgumentError for a verb, or a kind of captioner, that is not there.
    """
    if words[1:] and (two := " ".join(words[:2])) in VERBS:
        return f"captioning {two}", component(two), words[2:]
    verb = one_of(words[0], "verb", VERBS)
    found = component(verb)
    if callable(found):
        return f"captioning {verb}", found, words[1:]
    kinds = [kind for kind in found if kind != "_help"]
    if not words[1:]:
        raise ArgumentError(None, f"{verb} needs one more word: {', '.join(kinds)}")
    kind = one_of(words[1], f"kind to {verb}", kinds)
    return f"captioning {verb} {kind}", found[kind], words[2:]


def one_of(word: str, what: str, names: Iterable[str]) -> str:
    if word in names:
        return word
    near = "".join(f", did you mean {name!r}?" for name in get_close_matches(word, names, 1))
    raise ArgumentError(None, f"no {what} {word!r}{near or '; there are ' + ', '.join(names)}")


def underscored(name: str) -> str:
    return ".".join(part.replace("-", "_") if part.islower() else part for part in name.split("."))


def arguments(function: Callable[..., None], words: list[str]) -> list[str]:
    """A command line as jsonargparse takes it: a flag has a value there (`--json` and `--json true` are taken, too),
    names have underscores (and `--log-csv` is taken, but `--reward.weights.ROUGE-L` names a metric), and a list of
    positionals is one JSON list."""
    options = inspect.signature(function).parameters
    flags = {f"--{name}" for name, option in options.items() if option.default is False}
    words = [re.sub(r"^--[^=]+", lambda option: "--" + underscored(option[0][2:]), word) for word in words]
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in flags and word in ("true", "false"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    words = [f"{word}=true" if word in flags else word for word in joined]
    if not any(option.annotation == "list[str]" for option in list(options.values())[:1]):
        return words
    listed, rest, more = [], [], iter(words)
    for word in more:
        if not word.startswith("-"):
            listed.append(word)
        else:
            has_value = "=" not in word and word not in (*HELP, "--print_config")
            rest += [word, *islice(more, int(has_value))]
    nothing = not listed and {*HELP, "--print_config"} & {*rest}  # else a list, if only an empty one
    return [*([] if nothing else [json.dumps(listed)]), *rest]


def main() -> None:
    warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\)")  # read_picture has a limit of its own
    words = [word for word in sys.argv[1:] if word != "--debug"]
    if not words or words[0] in HELP:
        print(overview())
        return
    command = f"captioning {words[0]}" if words[0] in VERBS else "captioning"
    try:
        with ended_by_signals():
            if words[0] in VERBS and words[1:2] and words[1] in HELP and not callable(component(words[0])):
                print(kinds_of(words[0]))
                return
            command, function, words = named(words)
            from captioning.cli.parser import options

            function(**options(function, command, arguments(function, words)))
    except (ArgumentError, ValueError, TypeError, OSError, RuntimeError, FloatingPointError) as error:
        if "--debug" in sys.argv:
            raise
        if isinstance(error, ArgumentError):
            print(f"captioning: {error} (`{command} --help`)", file=sys.stderr)
            sys.exit(2)
        sys.exit(f"captioning: {error}")
    except KeyboardInterrupt as error:
        if "--debug" in sys.argv and error.__cause__:
            raise
        message, status = told(error)
        print(message, file=sys.stderr)
        sys.exit(status)
