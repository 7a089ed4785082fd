"""Where a saved model lies: a folder here, or a download from the Hugging Face hub or ModelScope."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

from captioning.disk import in_place

MODELSCOPE = "modelscope:"  # how the name of a repository there begins
OURS = "captioning.json"  # of BLIP: what Hugging Face's files have no place for
FILES = {  # of a saved model, and what stands for them in repositories that are older than they
    "config.json": (),
    "model.safetensors": ("model.safetensors.index.json", "adapter_model.safetensors", "pytorch_model.bin"),
    "tokenizer.json": ("vocab.json", "vocab.txt", "tokenizer.model"),
}


def is_hub(name: str | Path) -> bool:
    """Whether it is OWNER/NAME of the Hugging Face hub, and no folder here."""
    folder = Path(name)
    return not folder.exists() and len(folder.parts) == 2 and not folder.parent.exists() and ":" not in str(name)


def saved_config(name: str | Path) -> dict:
    """The `config.json` of a saved model; of a repository of the Hugging Face hub only this is downloaded."""
    if is_hub(name):
        from huggingface_hub import hf_hub_download  # slow to load

        return json.loads(Path(hf_hub_download(str(name), "config.json")).read_text())
    adapter = Path(name, "adapter_config.json")
    if adapter.is_file() and not Path(name, "config.json").is_file():  # of peft alone
        return saved_config(json.loads(adapter.read_text())["base_model_name_or_path"])
    return json.loads((saved_folder(name) / "config.json").read_text())


def saved_folder(name: str | Path) -> Path:
    """The folder of a saved model: `name`, its `best`, or a download of `name`.

    That is a repository OWNER/NAME of the Hugging Face hub, or modelscope:OWNER/NAME[@REVISION].
    """
    folder = Path(name)
    if str(name).startswith(MODELSCOPE):
        return from_modelscope(str(name).removeprefix(MODELSCOPE))
    if is_hub(name):
        return from_hub(str(name))
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder; give a run folder, or a hub repository OWNER/NAME")
    if (best := in_place(folder / "best")).is_dir():
        folder = best
    missing = [file for file, others in FILES.items() if not any((folder / f).is_file() for f in (file, *others))]
    if missing:
        raise FileNotFoundError(
            f"{folder} holds no saved model: {', '.join(missing)} missing. "
            "Give a run folder that training wrote, or a hub repository."
        )
    if closed := [path for path in sorted(folder.iterdir()) if path.is_file() and not os.access(path, os.R_OK)]:
        raise PermissionError(f"{closed[0]}: permission denied; its owner can allow it (chmod a+r)")
    return folder


def from_hub(name: str) -> Path:
    """The folder of a repository of the Hugging Face hub; its weights as safetensors, where it has such."""
    from huggingface_hub import snapshot_download  # slow to load

    patterns = ["*.json", "*.jinja", "*.model", "*.safetensors", "merges.txt", "vocab.txt"]
    folder = Path(snapshot_download(name, allow_patterns=patterns))
    if not any(folder.glob("*.safetensors")):
        folder = Path(snapshot_download(name, allow_patterns=[*patterns, "pytorch_model.bin"]))
    return folder


def from_modelscope(name: str) -> Path:
    """The folder of a repository of ModelScope, OWNER/NAME or OWNER/NAME@REVISION."""
    repository, _, revision = name.partition("@")
    if not find_spec("modelscope"):
        get = f"modelscope download --model {repository}{' --revision ' * bool(revision)}{revision} --local_dir FOLDER"
        raise ValueError(
            f"{MODELSCOPE}{name}: needs the package modelscope, which wants other versions of what is installed here. "
            f"In an environment of its own: pip install modelscope, then {get}. Then give FOLDER as the model."
        )
    from modelscope import snapshot_download

    return Path(snapshot_download(repository, revision=revision or None))
