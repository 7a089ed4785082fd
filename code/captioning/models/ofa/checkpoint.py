"""Released OFA weights (Hugging Face and ModelScope share one set of keys) into our model."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from captioning.models.ofa.config import OFAConfig
from captioning.models.ofa.model import OFA

COMPUTED = ("image_rp_bucket", "token_rp_bucket", "image_position_idx")  # integer buffers that the model works out


def load_weights(config: OFAConfig, weights: dict[str, Tensor]) -> OFA:
    """An OFA in evaluation mode. RuntimeError (from torch) lists keys missing, left over or of another shape."""
    kept = {name: tensor for name, tensor in weights.items() if not name.endswith(COMPUTED)}
    tied = kept.pop("decoder.output_projection.weight", None)
    if tied is not None and not torch.equal(tied, kept["decoder.embed_tokens.weight"]):
        raise ValueError("decoder.output_projection.weight differs from decoder.embed_tokens.weight; OFA ties the two")
    model = OFA(config)
    model.load_state_dict(kept)
    return model.eval()


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """The tensors of a downloaded checkpoint: model.safetensors, or pytorch_model.bin read with `weights_only=True`."""
    folder = Path(folder)
    if (folder / "model.safetensors").is_file():
        return load_file(folder / "model.safetensors")
    if (folder / "pytorch_model.bin").is_file():
        return torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    raise FileNotFoundError(f"{folder}: expected model.safetensors or pytorch_model.bin; download the checkpoint there")
