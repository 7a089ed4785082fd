"""A saved model as it may leave this machine: whole, without the paths of this machine, and tried before it goes."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path, PureWindowsPath
from typing import Any

from captioning.models.folders import is_hub, saved_folder
from captioning.models.saved import load
from captioning.writing import write_json

WORDS = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json")  # words, no settings
PATHS = ("folder", "run", "config")  # settings and options that are paths
MODELS = ("start", "weights", "language", "")  # that are paths or names of the hub; "": a word without an option


def export_model(run: Path, folder: Path) -> None:
    """Copy the saved model of a run into a folder, so that it loads on any machine.

    Paths in its settings are cut to the last name. Adapters whose model lies on this machine are merged into
    it, and the whole is written; adapters of a model of the hub stay such. Raises FileNotFoundError where the run holds
    no saved model, or where the model of its adapters is not there any more.
    """
    best = saved_folder(run)
    adapters = (best / "adapter_config.json").is_file()
    folder.mkdir(parents=True, exist_ok=True)
    if local_base(best):
        from captioning.models.lora import merged_captioner  # peft is slow to load

        merged_captioner(load(best)).save_pretrained(folder)
    else:
        for path in sorted(best.iterdir()):
            if path.is_file() and not (adapters and path.name == "README.md"):  # peft's, which names paths
                shutil.copyfile(path, folder / path.name)
    for path in folder.glob("*.json"):
        if path.name not in WORDS:
            write_json(path, without_paths(json.loads(path.read_text(encoding="utf-8"))), indent=2)
    if local_base(best) or not adapters:  # else it would fetch a model of the hub
        load(folder)


def local_base(best: Path) -> str:
    """The folder on this machine of the model that the weights in `best` are a part of; empty where they are whole, and
    for a model of the hub or of a package."""
    about, config = best / "adapter_config.json", json.loads((best / "config.json").read_text(encoding="utf-8"))
    name = json.loads(about.read_text(encoding="utf-8"))["base_model_name_or_path"] if about.is_file() else ""
    if config.get("kind") == "seeing" and "language" not in config:
        name = config["decoder"]["language"]
    return name if last_name(name) != name or Path(name).exists() else ""


def without_paths(content: Any) -> Any:
    """JSON in which every path, alone or as a word of a command line, is cut to its last name."""
    if isinstance(content, dict):
        return {key: setting(key, v) if isinstance(v, str) else without_paths(v) for key, v in content.items()}
    if isinstance(content, list):
        return [without_paths(value) for value in content]
    return last_name(content) if isinstance(content, str) else content


def words_without_paths(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError:  # no command line of a shell
        return last_name(command)
    found, option = [], ""
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            found.append(name + equals + setting(name, value))
            option = "" if equals else name
        else:
            found.append(setting(option, word))
            option = ""
    return shlex.join(found)


def setting(name: str, value: str) -> str:
    """The value of a setting, or of an option such as --start.weights, without the folders of a path."""
    last = name.lstrip("-").rpartition(".")[2]
    if last == "command":
        return words_without_paths(value)
    known = last in PATHS or last in MODELS and ":" not in value and not is_hub(value)
    return PureWindowsPath(value).name or value if known else last_name(value)


def last_name(text: str) -> str:
    """/home/me/flickr8k, ~/flickr8k, ../me/flickr8k and C:\\flickr8k become flickr8k; anything else stays."""
    path = PureWindowsPath(text)
    named = path.drive or ".." in path.parts or text.startswith(("/", "\\", "~", "./", ".\\"))
    return path.name or text if named else text
