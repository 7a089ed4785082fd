"""Released OFA weights (Hugging Face and ModelScope share one set of keys) into our model."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from captioning.models.ofa.captioner import OFACaptioner

COMPUTED = ("image_rp_bucket", "token_rp_bucket", "image_position_idx")  # integer buffers that the model works out
RESNET = "encoder.embed_images."


def load_weights(model: OFACaptioner, weights: dict[str, Tensor]) -> OFACaptioner:
    """The model with these weights, in evaluation mode. RuntimeError (from torch) lists keys missing, left over or of
    another shape."""
    kept = {name: tensor for name, tensor in weights.items() if not name.endswith(COMPUTED)}
    tied = kept.pop("decoder.output_projection.weight", None)
    if tied is not None and not torch.equal(tied, kept["decoder.embed_tokens.weight"]):
        raise ValueError("decoder.output_projection.weight differs from decoder.embed_tokens.weight; OFA ties the two")
    model.load_state_dict({our_name(name): tensor for name, tensor in kept.items()})
    return model.eval()


def our_name(name: str) -> str:
    """Where the weight called `name` in a released checkpoint lies in an OFACaptioner."""
    return f"encoder.resnet.{name.removeprefix(RESNET)}" if name.startswith(RESNET) else f"ofa.{name}"


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """The tensors of a downloaded checkpoint: model.safetensors, or pytorch_model.bin read with `weights_only=True`."""
    folder = Path(folder)
    if (folder / "model.safetensors").is_file():
        return load_file(folder / "model.safetensors")
    if (folder / "pytorch_model.bin").is_file():
        return torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    raise FileNotFoundError(f"{folder}: expected model.safetensors or pytorch_model.bin; download the checkpoint there")
