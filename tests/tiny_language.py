"""Tiny language models with random weights and tokenizers of their own, in folders as transformers writes them."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

CAPTIONS = ["A red dog runs.", "a blue hat", "Two dogs in the snow .", "A man with a red hat", "the sea"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<file>", "<name>"]
KINDS = {
    "llama": {"num_key_value_heads": 2, "intermediate_size": 24, "tie_word_embeddings": True},
    "qwen2": {"num_key_value_heads": 1, "intermediate_size": 24, "tie_word_embeddings": False},
    "gpt2": {},
}


def write_tokenizer(folder: Path) -> None:
    """Byte-level pieces with SmolLM2's habits: padding is the end, and no begin token is added."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, show_progress=False, special_tokens=SPECIAL, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator([*CAPTIONS, " green zebra"] * 3, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SPECIAL[1], eos_token=SPECIAL[2], pad_token=SPECIAL[2],
        unk_token=SPECIAL[0],
    ).save_pretrained(folder)  # fmt: skip


def write_language(folder: Path, kind: str = "llama", layers: int = 3, **changes) -> Path:
    """A folder with a language model of 16 channels, 4 heads and random weights, large ones, so that words differ."""
    write_tokenizer(folder)
    size = len(PreTrainedTokenizerFast.from_pretrained(folder))
    sizes = {"hidden_size": 16, "num_hidden_layers": layers, "num_attention_heads": 4, "initializer_range": 0.3}
    config = CONFIG_MAPPING[kind](
        vocab_size=size, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=2,
        **sizes | KINDS[kind] | changes,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder
