"""Rows of a data set to batches of tensors: pictures are read, captions become ids and are padded.

Whatever is random about a sample (which captions, mirrored or not, the shift) is a function of (seed, epoch, row)
alone, so a training run that is killed and resumed sees exactly the data that it would have seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import BatchSampler, DataLoader, Sampler

from captioning.data import archives
from captioning.data.config import Augmentation
from captioning.data.pictures import read_picture
from captioning.data.workers import forked, held
from captioning.text import WordTokenizer

if TYPE_CHECKING:  # slow to load
    from datasets import Dataset, DatasetDict

Item = tuple[tuple[int, int], Tensor, list[Tensor], Tensor | None]
BUCKET = 32  # batches that are sorted by length together
SMALLEST = 0.8  # side of a part of a picture, of the whole


class View(NamedTuple):
    """How a picture is looked at: as it is, mirrored, a part of it, a part of it mirrored."""

    mirrored: bool = False
    crop: int = 0  # which of its parts; 0: the whole

    def box(self, width: int, height: int, row: int) -> tuple[float, float, float, float] | None:
        """The part x0, y0, x1, y1 in pixels of a picture that is the `row`-th of its split; None: the whole."""
        if not self.crop:
            return None
        rng = np.random.default_rng((self.crop, row))
        sides = rng.uniform(SMALLEST, 1, 2)
        corner = rng.uniform(0, 1 - sides)
        return tuple(np.multiply([*corner, *corner + sides], [width, height] * 2).tolist())


WHOLE = View()


def views(augmentation: Augmentation) -> list[View]:
    """All views that training has of a picture; the first is the picture as it is."""
    return [View(m, crop) for crop in range(augmentation.crops + 1) for m in (False, True)[: 1 + augmentation.mirror]]


def picture_tensor(source: str | bytes, size: int, view: View = WHOLE, row: int = 0) -> Tensor:
    """A picture as uint8 (3, size, size): its `view`, squeezed to a square (bicubic)."""
    picture = read_picture(source, size)
    box = view.box(*picture.size, row)
    if box or picture.size != (size, size):
        picture = picture.resize((size, size), resample=3, box=box)  # 3: bicubic
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    return pixels.flip(-1) if view.mirrored else pixels


def shifted(image: Tensor, dx: int, dy: int) -> Tensor:
    """The picture (3, H, W) moved by (dx, dy) pixels, its edge pixels repeated."""
    rows = (torch.arange(image.shape[1]) - dy).clamp(0, image.shape[1] - 1)
    columns = (torch.arange(image.shape[2]) - dx).clamp(0, image.shape[2] - 1)
    return image.index_select(1, rows).index_select(2, columns)


class CaptionRows(torch.utils.data.Dataset):
    """Items (epoch, row): both, the picture uint8 (3, S, S) or cached features (N, C), `captions` of its captions, and
    the ids of the prompt that asks for them, if the model is one that is asked.

    `prompts` holds the ids of each row's prompt. `features` holds one array (rows, N, C) for each of the
    augmentation's `views`.
    A picture with fewer captions than asked for repeats some. Raises ValueError for pictures without captions, and
    for features that do not go with the pictures or with the augmentation.
    """

    def __init__(
        self,
        rows: Dataset,
        tokenizer: WordTokenizer,
        image_size: int,
        captions: int = 1,
        max_length: int = 128,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        features: tuple[np.ndarray, ...] = (),
        prompts: Sequence[Tensor] | None = None,
    ):
        self.prompts = prompts
        self.images, self.image_size, self.features = list(rows["image"]), image_size, features
        self.tokens = [[encoded(tokenizer, text, max_length) for text in texts] for texts in rows["captions"]]
        self.captions, self.seed, self.augmentation = captions, seed, augmentation or Augmentation()
        self.max_length, self.views = max_length, views(self.augmentation)
        self.check()

    def check(self) -> None:
        bare = [image for image, texts in zip(self.images, self.tokens, strict=True) if not texts]
        if bare:
            raise ValueError(
                f"{len(bare)} of {len(self)} pictures have no caption (the first: {bare[0]}), and training needs one "
                "for each: write them into metadata.jsonl, as dataset/README.md shows, or drop the pictures, for "
                "example with rows.filter(lambda row: row['captions'])"
            )
        shapes = [view.shape for view in self.features]
        if shapes and (len(shapes) < len(self.views) or any(shape[0] != len(self) for shape in shapes)):
            raise ValueError(f"features of shape {shapes}, expected {len(self.views)} view(s) of {len(self)} pictures")
        if shapes and self.augmentation.shift:
            raise ValueError(f"shift={self.augmentation.shift} with cached features, which cannot be shifted: use 0")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: tuple[int, int]) -> Item:
        epoch, row = index
        rng = np.random.default_rng((self.seed, epoch, row))
        mirrored = self.augmentation.mirror and rng.random() < 0.5
        dx, dy = rng.integers(-self.augmentation.shift, self.augmentation.shift, size=2, endpoint=True)
        view = View(mirrored, int(rng.integers(self.augmentation.crops + 1)) if self.augmentation.crops else 0)
        if self.features:
            image = torch.from_numpy(np.array(self.features[self.views.index(view)][row]))
        else:
            image = shifted(picture_tensor(self.images[row], self.image_size, view, row), -dx if mirrored else dx, dy)
        tokens = self.tokens[row]
        order = rng.permutation(max(len(tokens), self.captions)) % len(tokens)
        prompt = None if self.prompts is None else self.prompts[row]
        return index, image, [tokens[i] for i in order[: self.captions]], prompt


def fingerprint(data: DatasetDict) -> str:
    """A digest of ids, captions and picture sizes (bytes) of train and val: what a training run has learned from."""
    digest = hashlib.sha256()
    for split in ("train", "val"):
        columns = (data[split][name] for name in ("image_id", "captions", "image"))
        for image_id, captions, image in zip(*columns, strict=True):
            digest.update(f"{split} {image_id} {captions} {archives.size(image)}\n".encode())
    return digest.hexdigest()[:16]


def encoded(tokenizer: WordTokenizer, text: str, max_length: int) -> Tensor:
    """`<bos> words <eos>`; a caption of more than `max_length` tokens loses its tail and its end token."""
    return torch.tensor([tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id][: max_length + 1])


class EpochSampler(Sampler):
    """(epoch, row) in an order that depends on seed and epoch alone; `set_epoch` is called by the training loop.

    Rows of like `lengths` stand together, `batch_size` at a time, so that little of a batch is padding: the shuffled
    rows are sorted within stretches of BUCKET batches, and then the batches are shuffled.
    """

    def __init__(self, lengths: Sequence[float], batch_size: int, seed: int):
        self.lengths, self.batch_size, self.seed, self.epoch = np.asarray(lengths), batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order, stretch = rng.permutation(len(self)), BUCKET * self.batch_size
        buckets = [order[start : start + stretch] for start in range(0, len(order), stretch)]
        order = np.concatenate([bucket[self.lengths[bucket].argsort(kind="stable")] for bucket in buckets])
        whole = len(order) - len(order) % self.batch_size  # the last, smaller batch stays last
        batches = rng.permutation(order[:whole].reshape(-1, self.batch_size)).ravel()
        for row in (*batches, *order[whole:]):
            yield self.epoch, int(row)


@dataclass(frozen=True)
class Collate:
    """Items to a batch: `rows` (B,), `images` (B, ...), `tokens` (B*n, T), picture by picture and padded at the end,
    and, where there are prompts, `prompts` (B, P), padded likewise.

    `keys` (B,) differ for every picture, epoch and seed (modulo 2**15), and whatever is drawn at random for a picture
    in training is a function of its key: then it depends neither on its place in the batch nor on the number of
    processes.
    """

    pad_id: int
    seed: int = 0

    def __call__(self, items: list[Item]) -> dict[str, Tensor]:
        indices, images, captions, prompts = zip(*items, strict=True)
        epochs, rows = torch.tensor(indices).unbind(1)
        tokens = pad_sequence([t for texts in captions for t in texts], batch_first=True, padding_value=self.pad_id)
        keys = (self.seed % 2**15 << 48) + (epochs << 32) + rows
        batch = {"rows": rows, "keys": keys, "images": torch.stack(images), "tokens": tokens}
        if prompts[0] is None:
            return batch
        return batch | {"prompts": pad_sequence(prompts, batch_first=True, padding_value=self.pad_id)}


class Readers(DataLoader):
    """A DataLoader of which all workers are begun, or none."""

    def __iter__(self) -> Iterator:
        with held():
            return super().__iter__()


def training_batches(rows: CaptionRows, pad_id: int, batch_size: int, workers: int) -> DataLoader:
    """Shuffled batches as `Collate` makes them; the last, smaller batch is kept."""
    lengths = [sum(map(len, tokens)) / len(tokens) for tokens in rows.tokens]
    return shuffled_batches(rows, lengths, Collate(pad_id, rows.seed), batch_size, workers, rows.seed)


def shuffled_batches(
    rows: torch.utils.data.Dataset,
    lengths: Sequence[float],
    collate: Callable[[list], dict[str, Tensor]] | None,
    batch_size: int,
    workers: int,
    seed: int,
) -> DataLoader:
    """Batches of items (epoch, row), as `EpochSampler` shuffles them; the last, smaller batch is kept."""
    sampler = BatchSampler(EpochSampler(lengths, batch_size, seed), batch_size, drop_last=False)
    begun = {"num_workers": workers, "persistent_workers": workers > 0, "multiprocessing_context": forked(workers)}
    return DataLoader(rows, batch_sampler=sampler, collate_fn=collate, **begun)


class Pictures(torch.utils.data.Dataset):
    """Pictures uint8 (3, S, S) in order, for encoding and captioning."""

    def __init__(self, sources: list[str], image_size: int, view: View = WHOLE):
        self.sources, self.image_size, self.view = sources, image_size, view

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, row: int) -> Tensor:
        return picture_tensor(self.sources[row], self.image_size, self.view, row)


def picture_batches(
    sources: list[str], image_size: int, batch_size: int, workers: int = 0, view: View = WHOLE
) -> DataLoader:
    """Batches (B, 3, S, S) uint8 of all the pictures in order."""
    pictures, begun = Pictures(sources, image_size, view), forked(workers)
    return Readers(pictures, batch_size=batch_size, num_workers=workers, multiprocessing_context=begun)
