"""A tiny BLIP with random weights in the layout of the published checkpoints."""

from pathlib import Path
from typing import Any

from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor

# What differs between the published checkpoints: large has a vision transformer of 24 layers and width 1024, whose
# width is not that of its text decoder.
SHAPES = {
    "base": {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    "large": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4},
}
TEXT = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def write_blip(folder: Path, size: str, pieces: BertTokenizer, side: int, positions: int) -> None:
    """As `transformers` itself writes them; begin and image token come after the tokenizer's, as in the original."""
    ids = {"vocab_size": len(pieces) + 2, "bos_token_id": len(pieces), "sep_token_id": pieces.sep_token_id}
    text: dict[str, Any] = TEXT | ids | {"pad_token_id": pieces.pad_token_id, "max_position_embeddings": positions}
    config = BlipConfig(
        vision_config=SHAPES[size] | {"image_size": side, "patch_size": 16, "initializer_range": 0.02},
        text_config=text | {"initializer_range": 0.3},
    )
    BlipForConditionalGeneration(config).save_pretrained(folder)
    pieces.save_pretrained(folder)
    BlipImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)
