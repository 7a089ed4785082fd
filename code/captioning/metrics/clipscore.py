"""CLIPScore and RefCLIPScore: how well CLIP finds that a caption fits its picture (Hessel et al. 2021, section 3).

P pictures, D features. The published numbers were computed with ViT-B/32 in half precision; here it is 32 bits.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from captioning.data.pictures import files_in, read_picture
from captioning.metrics.base import Captioned, Measured, Unavailable

PREFIX = "A photo depicts "
WEIGHT = 2.5  # stretches the cosines that occur to about 0..1


def pictures_by_id(folder: Path) -> dict[str, Path]:
    """{id: path} of the files in a folder, in any depth. An id is the path from there, with or without its suffix; or
    the file's name alone, with or without, where no other file has it.

    Raises NotADirectoryError when `folder` is none.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: no such folder, expected one with the pictures that captions are of")
    paths = {path: folder / path for path in files_in(folder) if (folder / path).is_file()}
    found = {inside.as_posix(): path for inside, path in paths.items()}
    for shorter in (lambda p: p.with_suffix("").as_posix(), lambda p: p.name, lambda p: p.stem):
        times = Counter(map(shorter, paths))
        for inside, path in paths.items():
            if times[shorter(inside)] == 1:
                found.setdefault(shorter(inside), path)
    return found


class ClipScore:
    """CLIPScore and RefCLIPScore; their corpus scores are means. Captions are cut to CLIP's 77 tokens.

    images: {image_id: path of the picture}. model: a name on the Hugging Face hub or a folder in its layout, with
    weights, tokenizer and image processor. batch_size: pictures, or sentences, that are encoded at once.
    Runs on the GPU if there is one. Raises `Unavailable` if there are no weights.
    """

    def __init__(
        self, images: Mapping[str, str | Path], model: str = "openai/clip-vit-base-patch32", batch_size: int = 64
    ):
        import torch

        self.images, self.batch_size = images, batch_size
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model, self.processor = _load(model)
        self.model.eval().to(self.device)

    def __call__(self, captioned: Captioned) -> Measured:
        """Raises ValueError for captions without a picture, `BrokenPicture` for pictures that cannot be read."""
        missing = [i for i in captioned.ids if i not in self.images]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(captioned.ids)} captions have no picture, or several of their name (e.g. "
                f"{missing[0]!r}); expected ids that are file names, or paths from the folder of pictures"
            )
        pictures = self.encode_pictures([self.images[i] for i in captioned.ids])
        captions = self.encode_texts(captioned.captions)
        references = self.encode_texts(list(chain.from_iterable(captioned.references)))
        fits = WEIGHT * np.maximum(_cosine(pictures, captions), 0)
        count = np.fromiter(map(len, captioned.references), np.int64)
        alike = _cosine(np.repeat(captions, count, axis=0), references)
        nearest = np.maximum(np.maximum.reduceat(alike, np.cumsum(count) - count), 0)
        statistics = np.column_stack([fits, _harmonic_mean(fits, nearest), np.ones(len(fits))])
        return Measured(("CLIPScore", "RefCLIPScore"), statistics, lambda sums: sums[..., :2] / sums[..., 2:])

    def encode_pictures(self, paths: Sequence[str | Path]) -> np.ndarray:
        """Features (P, D) of unit length."""
        batches = (
            self.processor.image_processor([read_picture(p) for p in some], return_tensors="pt")
            for some in self._batches(paths)
        )
        return self._encode(self.model.get_image_features, batches)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Features (S, D) of unit length of S sentences, each with the prefix of the paper."""
        longest = self.model.config.text_config.max_position_embeddings
        batches = (
            self.processor.tokenizer(
                [PREFIX + text for text in some],
                padding=True,
                truncation=True,
                max_length=longest,
                return_tensors="pt",
            )
            for some in self._batches(texts)
        )
        return self._encode(self.model.get_text_features, batches)

    def _batches(self, items: Sequence) -> Iterable[Sequence]:
        return (items[k : k + self.batch_size] for k in range(0, len(items), self.batch_size))

    def _encode(self, encoder: Callable, batches: Iterable) -> np.ndarray:
        import torch

        with torch.inference_mode():
            features = torch.cat([encoder(**batch.to(self.device)).pooler_output for batch in batches])
            return torch.nn.functional.normalize(features, dim=-1).cpu().numpy()


def _load(model: str):
    import torch
    from transformers import CLIPModel, CLIPProcessor

    try:
        weights = CLIPModel.from_pretrained(model, dtype=torch.float32)  # whatever it is stored in
        # pictures are resized by Pillow as in the paper's code; the tensor backend gives slightly other pixels
        return weights, CLIPProcessor.from_pretrained(model, backend="pil")
    except OSError as error:
        raise Unavailable(
            f"no CLIP weights in {model!r}, which is no folder with them, not downloaded and out of reach: "
            f"run `hf download openai/clip-vit-base-patch32` where there is a network, or name the folder they are in"
        ) from error


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) of unit vectors (N, D)."""
    return np.einsum("nd,nd->n", a, b).astype(float)


def _harmonic_mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """0 where both are 0."""
    return np.divide(2 * a * b, a + b, out=np.zeros(len(a)), where=a + b > 0)
