"""A saved model as it may leave this machine: whole, without the paths of this machine, and tried before it goes."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path, PureWindowsPath
from typing import Any

from captioning.models.folders import saved_folder
from captioning.models.saved import load
from captioning.writing import write_json

WORDS = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json")  # words, no settings


def export_model(run: Path, folder: Path) -> None:
    """Copy the saved model of a run into a folder, so that it loads on any machine.

    Absolute paths in its settings are cut to the last name. Adapters whose model lies on this machine are merged into
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
    """JSON in which every absolute path, alone or as a word of a command line, is cut to its last name."""
    if isinstance(content, dict):
        return {
            key: words_without_paths(v) if key == "command" and isinstance(v, str) else without_paths(v)
            for key, v in content.items()
        }
    if isinstance(content, list):
        return [without_paths(value) for value in content]
    return last_name(content) if isinstance(content, str) else content


def words_without_paths(command: str) -> str:
    try:
        words = [word.partition("=") for word in shlex.split(command)]
    except ValueError:  # no command line of a shell
        return last_name(command)
    return shlex.join(last_name(name) + equals + last_name(value) for name, equals, value in words)


def last_name(text: str) -> str:
    """/home/me/flickr8k, ~/flickr8k and C:\\flickr8k become flickr8k; anything else stays."""
    absolute = PureWindowsPath(text).drive or text.startswith(("/", "\\", "~"))
    return PureWindowsPath(text).name or text if absolute else text
