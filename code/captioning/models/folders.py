"""Where a saved model lies: a folder here, or a download from the Hugging Face hub or ModelScope."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from captioning.disk import in_place

MODELSCOPE = "modelscope:"  # how the name of a repository there begins
OURS = "captioning.json"  # of BLIP: what Hugging Face's files have no place for
FILES = {  # of a saved model, and what stands for them in repositories that are older than they
    "config.json": (),
    "model.safetensors": ("adapter_model.safetensors", "pytorch_model.bin"),
    "tokenizer.json": ("vocab.json", "vocab.txt"),
}


def saved_folder(name: str | Path) -> Path:
    """The folder of a saved model: `name`, its `best`, or a download of `name`.

    That is a repository OWNER/NAME of the Hugging Face hub, or modelscope:OWNER/NAME[@REVISION].
    """
    folder = Path(name)
    if str(name).startswith(MODELSCOPE):
        return from_modelscope(str(name).removeprefix(MODELSCOPE))
    if not folder.exists() and (folder.parent.exists() and len(folder.parts) > 1 or len(folder.parts) != 2):
        raise FileNotFoundError(f"{folder}: no such folder; give a run folder, or a hub repository OWNER/NAME")
    if not folder.exists():
        return from_hub(str(name))
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

    patterns = ["*.json", "*.safetensors", "merges.txt", "vocab.txt"]
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
