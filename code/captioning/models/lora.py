"""Low-rank adaptation of any model, by `peft` (Hu et al. 2021, LoRA, section 4.1).

A linear layer W (out, in) becomes W + alpha / rank * B A with A (rank, in) and B (out, rank); only A and B are trained.
B starts at 0, so at first nothing changes. `peft` finds the layers by the ends of their names, so this works for BLIP,
InstructBLIP, OFA or any other `nn.Module`.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import peft
from torch import nn

from captioning.models.base import CaptionModel
from captioning.models.config import LoraConfig
from captioning.models.folders import saved_folder

warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # peft asks transformers by an old name


def add(model: nn.Module, config: LoraConfig) -> peft.PeftModel:
    """The model with adapters in it (in place), everything else frozen.

    Raises ValueError when a target names no layer.
    """
    names = [name for name, _ in model.named_modules()]
    for target in config.targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            linear = {n.rsplit(".", 1)[-1] for n, m in model.named_modules() if isinstance(m, nn.Linear)}
            raise ValueError(f"no layer is called {target!r}; this model's linear layers: {', '.join(sorted(linear))}")
    settings = {"lora_alpha": config.alpha, "lora_dropout": config.dropout, "target_modules": list(config.targets)}
    return peft.get_peft_model(model, peft.LoraConfig(r=config.rank, **settings))


def load(model: nn.Module, folder: Path) -> peft.PeftModel:
    """The model with the adapters saved in `folder`, ready to be trained further."""
    return peft.PeftModel.from_pretrained(model, str(folder), is_trainable=True)


def adapt(model: CaptionModel, config: LoraConfig, start: str) -> None:
    """Put adapters into a captioner (in place) that was loaded from `start`, a folder or hub repository.

    All the rest of it is frozen. Raises ValueError for one that has adapters.
    """
    core = getattr(model, model.core)
    if base(core) is not core:
        raise ValueError(f"{start} has adapters: go on with them (without --lora), or merge them first")
    model.requires_grad_(False)
    adapted, folder = add(core, config), Path(start)
    adapted.peft_config["default"].base_model_name_or_path = str(folder.absolute()) if folder.is_dir() else start
    setattr(model, model.core, adapted)


def base_folder(folder: Path) -> Path:
    """Where the model lies that the adapters in `folder` were trained on; a hub repository is fetched."""
    name = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    try:
        return saved_folder(name)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{folder} holds adapters only; the model they belong to: {error}") from error


def base(model: nn.Module) -> nn.Module:
    """The model without the wrapper that `add` put around it; the adapters are still in its layers."""
    return model.get_base_model() if isinstance(model, peft.PeftModel) else model


def merged(model: nn.Module) -> nn.Module:
    """The model (in place) with what its adapters learned added to its weights; one without adapters as it is."""
    return model.merge_and_unload() if isinstance(model, peft.PeftModel) else model


def merged_captioner(model: CaptionModel) -> CaptionModel:
    """The captioner (in place) with its adapters in its weights: quicker, and saved whole."""
    setattr(model, model.core, merged(getattr(model, model.core)))
    return model.eval()


def trained_share(model: nn.Module) -> str:
    """How much of a model is trained, as "614,400 of 470,347,324 parameters (0.13 %)"."""
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"{trained:,} of {total:,} parameters ({100 * trained / total:.2f} %)"
