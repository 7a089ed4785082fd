"""Tiny random OFA checkpoints in the layout of the released ones, for several test files."""

import json
from pathlib import Path

import torch

from captioning.models.ofa.captioner import OFACaptioner
from captioning.models.ofa.config import OFAConfig, ResNetConfig
from captioning.models.ofa.tokenizer import BPETokenizer

WIDTH = 32
CONFIG = {  # of OFA-Sys/ofa-tiny, but for the sizes
    "activation_dropout": 0.0, "activation_function": "gelu", "add_type_embedding": True, "architectures": ["OFAModel"],
    "attn_scale_factor": 2.0, "code_image_size": 128, "code_layernorm_embedding": True, "d_model": WIDTH,
    "decoder_attention_heads": 4, "decoder_ffn_dim": 64, "decoder_layers": 1, "decoder_normalize_before": True,
    "dropout": 0.1, "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "encoder_layers": 2,
    "encoder_normalize_before": True, "entangle_position_embedding": False, "eos_token_id": 2,
    "forced_eos_token_id": 2, "image_bucket_size": 42, "layernorm_embedding": True, "max_position_embeddings": 1024,
    "model_type": "ofa", "normformer": True, "patch_layernorm_embedding": True, "resnet_type": "resnet50",
    "scale_embedding": False, "share_decoder_input_output_embed": True, "token_bucket_size": 256,
}  # fmt: skip


def write_bpe(folder: Path) -> int:
    """vocab.json and merges.txt as BART has them; the number of pieces."""
    trained = BPETokenizer.train(["what does the image describe?", "a red t-shirt and a skirt"] * 3, size=320, codes=0)
    trained.tokenizer.model.save(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text())
    words = sorted((word for word in vocabulary if word != "<mask>"), key=vocabulary.get)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate([*words, "<mask>"])}))
    return len(words) + 1


def write_release(folder: Path, vocabulary: int, configuration: dict | None = None) -> Path:
    torch.manual_seed(0)
    config = CONFIG | {"vocab_size": vocabulary + 9192}
    stand_in = type("Tokenizer", (), {"__len__": lambda self: config["vocab_size"]})()
    model = OFACaptioner(OFAConfig(WIDTH, 64, 2, 1, 4), ResNetConfig(image_size=64), stand_in)
    torch.nn.init.normal_(model.ofa.encoder.embed_tokens.weight)
    names = {name.replace("encoder.resnet.", "encoder.embed_images."): w for name, w in model.state_dict().items()}
    weights = {name.removeprefix("ofa."): weight for name, weight in names.items()}
    weights["decoder.output_projection.weight"] = weights["decoder.embed_tokens.weight"]
    weights |= {f"{half}.token_rp_bucket": torch.zeros(9, dtype=torch.long) for half in ("encoder", "decoder")}
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config))
    if configuration:
        (folder / "configuration.json").write_text(json.dumps(configuration))
    return folder
