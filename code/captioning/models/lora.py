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

    Raises ValueError when a target names no layer, or one that shares its weights with another.
    """
    layers, tied = dict(model.named_modules()), tied_layers(model)
    ends = {name.rpartition(".")[2] for name, layer in layers.items() if isinstance(layer, nn.Linear)}
    free = sorted(end for end in ends if not any(is_called(name, end) for name in tied))
    for target in config.targets:
        if not (found := {name for name in layers if is_called(name, target)}):
            raise ValueError(f"no layer is called {target!r}; this model's linear layers: {', '.join(free)}")
        if found & tied:
            raise ValueError(
                f"target {target!r}: {min(found & tied)} shares its weights with another layer, so that what its "
                f"adapter learns could not be merged; the linear layers that do not: {', '.join(free)}"
            )
    settings = {"lora_alpha": config.alpha, "lora_dropout": config.dropout, "target_modules": list(config.targets)}
    return peft.get_peft_model(model, peft.LoraConfig(r=config.rank, **settings))


def is_called(name: str, target: str) -> bool:
    """Whether `peft` takes the layer called `name` for one of `target`."""
    return name == target or name.endswith(f".{target}")


def tied_layers(model: nn.Module) -> set[str]:
    """The names of the layers that share a weight, such as the word table that is the output layer, too. What one of
    them learned cannot be added to it alone, and `peft` does not mind."""
    owners: dict[nn.Parameter, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(parameter, set()).add(name.rpartition(".")[0])
    return {name for names in owners.values() if len(names) > 1 for name in names}


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
    """The model (in place) with what its adapters learned added to its weights; one without adapters as it is.

    Raises ValueError for adapters (made elsewhere) of a layer that shares its weights with another.
    """
    if not isinstance(model, peft.PeftModel):
        return model
    if adapted := sorted(name for name in tied_layers(model) if is_called(name, "base_layer")):
        raise ValueError(
            f"adapters of {adapted[0].removesuffix('.base_layer')} cannot be merged: it shares its weights with "
            "another layer, which would change with them; use the model with its adapters as they are"
        )
    return model.merge_and_unload()


def merged_captioner(model: CaptionModel) -> CaptionModel:
    """The captioner (in place) with its adapters in its weights: quicker, and saved whole."""
    setattr(model, model.core, merged(getattr(model, model.core)))
    model.hold_all()
    return model.eval()


def trained_share(model: nn.Module) -> str:
    """How much of a model is trained, as "614,400 of 470,347,324 parameters (0.13 %)"."""
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"{trained:,} of {total:,} parameters ({100 * trained / total:.2f} %)"
