"""Low-rank adaptation of any model, by `peft` (Hu et al. 2021, LoRA, section 4.1).

A linear layer W (out, in) becomes W + alpha / rank * B A with A (rank, in) and B (out, rank); only A and B are trained.
B starts at 0, so at first nothing changes. `peft` finds the layers by the ends of their names, so this works for BLIP,
InstructBLIP, OFA or any other `nn.Module`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import peft
from torch import nn


@dataclass(frozen=True)
class LoraConfig:
    rank: int = 8
    alpha: float = 32  # what is learned counts alpha / rank times
    dropout: float = 0.1
    # names of layers, or the ends of their names; all the rest is frozen. In BLIP these two are in the text decoder
    # (self- and cross-attention); the vision transformer's projection is called qkv.
    targets: tuple[str, ...] = ("query", "value")


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


def base(model: nn.Module) -> nn.Module:
    """The model without the wrapper that `add` put around it; the adapters are still in its layers."""
    return model.get_base_model() if isinstance(model, peft.PeftModel) else model


def merged(model: nn.Module) -> nn.Module:
    """The model (in place) with what its adapters learned added to its weights; one without adapters as it is."""
    return model.merge_and_unload() if isinstance(model, peft.PeftModel) else model


def trained_share(model: nn.Module) -> str:
    """How much of a model is trained, as "614,400 of 470,347,324 parameters (0.13 %)"."""
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"{trained:,} of {total:,} parameters ({100 * trained / total:.2f} %)"
