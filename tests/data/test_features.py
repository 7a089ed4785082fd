"""Cached features: computed once, keyed by all that they depend on, safe against two processes and a kill."""

import multiprocessing
import os
import resource
import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captioning.data.batches import WHOLE, View, picture_tensor, views
from captioning.data.config import Augmentation
from captioning.data.features import cached_features, key, listing, weights_digest
from captioning.data.pictures import BrokenPicture
from captioning.models import saved
from captioning.models.config import EncoderConfig
from captioning.models.encoder import Encoder
from conftest import TINY_ENCODER

SIZE, PICTURES = 32, 5
server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(["captioning.data.features", "captioning.models.encoder", "pytest"])


@dataclass(frozen=True)
class ToyConfig:
    image_size: int = SIZE
    comment: str = ""


class Toy(nn.Module):
    """Features (B, 2, 3): mean colour of the left and of the right half. Every call appends a line to `calls`."""

    def __init__(self, calls: Path, config: ToyConfig = ToyConfig(), fatal: int = 0):
        super().__init__()
        self.config, self.calls, self.fatal = config, calls, fatal
        self.weight = nn.Parameter(torch.tensor(1 / 255))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        with self.calls.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if self.fatal and len(self.calls.read_text().splitlines()) == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        halves = images.float().unflatten(-1, (2, -1)).mean((2, 4))  # (B, 3, H, 2, W / 2) -> (B, 3, 2)
        return halves.transpose(1, 2) * self.weight


@pytest.fixture
def sources(tmp_path) -> list[str]:
    rng = np.random.default_rng(0)
    paths = [str(tmp_path / f"{i}.png") for i in range(PICTURES)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def toy(tmp_path) -> Toy:
    return Toy(tmp_path / "calls")


def calls(toy: Toy) -> int:
    return len(toy.calls.read_text().splitlines())


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix not in (".lock", ".txt"))


def test_values_are_the_encoder_s(sources, tmp_path):
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig("resnet10t", {"channels": [8, 16, 32, 64]}, weights=None, image_size=64)).train()
    for view in views(Augmentation(mirror=True, crops=1)):
        found = cached_features(sources, encoder, tmp_path / "cache", view, batch_size=2)
        images = torch.stack([picture_tensor(source, 64, view, row) for row, source in enumerate(sources)])
        with torch.no_grad():
            wanted = encoder.eval()(images)
        assert found.shape == (PICTURES, 4, 68) and found.dtype == np.float16
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_arithmetic_in_bfloat16_is_kept_apart_and_close(sources, tmp_path):
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig("resnet10t", {"channels": [8, 16, 32, 64]}, weights=None, image_size=64)).eval()
    exact, quick = (
        torch.from_numpy(np.array(cached_features(sources, encoder, tmp_path / "cache", precision=precision)))
        for precision in (torch.float32, torch.bfloat16)
    )
    assert len(files(tmp_path / "cache")) == 2
    assert not torch.equal(exact[..., :-4], quick[..., :-4]) and torch.equal(exact[..., -4:], quick[..., -4:])
    assert torch.cosine_similarity(exact.float().flatten(1), quick.float().flatten(1)).min() > 0.99


def test_computed_once_and_mapped(sources, toy, tmp_path):
    first = cached_features(sources, toy, tmp_path / "cache", batch_size=2)
    assert calls(toy) == 3 and toy.training  # batches of 2, 2, 1; the mode is put back
    again = cached_features(sources, toy, tmp_path / "cache", batch_size=2)
    assert calls(toy) == 3
    assert isinstance(again, np.memmap) and again.mode == "r"
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first[0], toy.eval()(picture_tensor(sources[0], SIZE)[None])[0].detach(), rtol=1e-3)


def test_the_beginning_of_a_longer_list_is_there_already(sources, toy, tmp_path):
    for view in (WHOLE, View(crop=1)):
        every = cached_features(sources, toy, tmp_path / "cache", view)
        before = calls(toy), files(tmp_path / "cache")
        part = cached_features(sources[:3], toy, tmp_path / "cache", view)
        np.testing.assert_array_equal(part, every[:3])
        assert isinstance(part, np.memmap) and (calls(toy), files(tmp_path / "cache")) == before
    for others in (sources[1:3], [sources[0], sources[2]]):
        known = calls(toy)
        cached_features(others, toy, tmp_path / "cache")
        assert calls(toy) == known + 1
    stat = os.stat(sources[1])
    os.utime(sources[1], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    known = calls(toy)
    cached_features(sources[:2], toy, tmp_path / "cache")
    assert calls(toy) == known + 1


def test_mirrored_view(sources, toy, tmp_path):
    plain = cached_features(sources, toy, tmp_path / "cache")
    mirrored = cached_features(sources, toy, tmp_path / "cache", View(mirrored=True))
    assert calls(toy) == 2 and len(files(tmp_path / "cache")) == 2
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])  # left and right change places


def test_key_names_all_that_matters(sources, toy, tmp_path):
    def other(**changes) -> str:
        given = {"files": listing(sources), "encoder": toy, "view": WHOLE, "precision": torch.float32}
        return key(**(given | changes))

    first = other()
    assert other() == first == other(encoder=Toy(tmp_path / "elsewhere"))
    keys = [
        first,
        other(view=View(mirrored=True)),
        other(view=View(crop=1)),
        other(precision=torch.bfloat16),
        other(files=listing(sources[::-1])),
        other(files=listing(sources[:-1])),
        other(encoder=Toy(toy.calls, replace(toy.config, image_size=16))),
        other(encoder=Toy(toy.calls, replace(toy.config, comment="other"))),
    ]
    with torch.no_grad():
        toy.weight.mul_(2)
    keys.append(other())
    stat = os.stat(sources[0])
    os.utime(sources[0], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # the picture may be another one
    keys.append(other())
    with open(sources[0], "ab") as file:
        file.write(b"more")
    os.utime(sources[0], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    keys.append(other())
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool])
def test_weights_of_every_type_have_a_digest_and_features(sources, toy, tmp_path, kind):
    toy.register_buffer("other", torch.tensor([[0, 1], [1, 1]]).to(kind))
    first = weights_digest(toy)
    toy.other[0, 0] = 1
    assert weights_digest(toy) != first
    if kind.is_floating_point:
        toy.weight.data = toy.weight.data.to(kind)
    assert cached_features(sources, toy, tmp_path / "cache").dtype == np.float16


def ask(sources: list[str], folder: Path, encoder: Toy, largest_file: int | None = None) -> None:
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    cached_features(sources, encoder, folder, batch_size=1)


def test_a_loaded_model_finds_what_training_computed(make_model, sources, tmp_path, monkeypatch):
    """Whatever JSON makes of a configuration, and however the folder is spelled."""
    config = replace(TINY_ENCODER, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    model = make_model("gru", config)
    model.save_pretrained(tmp_path / "model")
    loaded = saved.load(tmp_path / "model")
    assert loaded.encoder.config == config or isinstance(loaded.encoder.config.mean, list)
    monkeypatch.chdir(tmp_path)
    relative = [os.path.relpath(source) for source in sources]
    found, made = ((listing(files), each.encoder) for files, each in ((relative, loaded), (sources, model)))
    assert key(*found, WHOLE, torch.float32) == key(*made, WHOLE, torch.float32)


def test_two_processes_compute_once(sources, toy, tmp_path):
    processes = [server.Process(target=ask, args=(sources, tmp_path / "cache", toy)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert calls(toy) == PICTURES and len(set(toy.calls.read_text().split())) == 1


def test_killed_half_way(sources, toy, tmp_path):
    process = server.Process(target=ask, args=(sources, tmp_path / "cache", Toy(toy.calls, fatal=3)))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and calls(toy) == 3
    assert not list((tmp_path / "cache").glob("*.npy"))
    found = cached_features(sources, toy, tmp_path / "cache", batch_size=1)
    assert calls(toy) == 3 + PICTURES and len(files(tmp_path / "cache")) == 1
    np.testing.assert_array_equal(found, cached_features(sources, toy, tmp_path / "elsewhere"))


def test_full_disk_is_an_error(sources, toy, tmp_path):
    process = server.Process(target=ask, args=(sources, tmp_path / "cache", toy, 140))  # header 128 bytes, rows 12
    process.start()
    process.join()
    assert process.exitcode == 1 and files(tmp_path / "cache") == []


def test_broken_picture(sources, toy, tmp_path):
    Path(sources[3]).write_bytes(Path(sources[3]).read_bytes()[:100])
    with pytest.raises(BrokenPicture, match=r"3\.png"):
        cached_features(sources, toy, tmp_path / "cache", batch_size=2)
    assert calls(toy) == 1 and files(tmp_path / "cache") == []
    assert toy.training
    with pytest.raises(BrokenPicture, match=r"3\.png"):
        cached_features(sources, toy, tmp_path / "cache", batch_size=2, workers=1)
    shutil.copy(sources[2], sources[3])
    assert len(cached_features(sources, toy, tmp_path / "cache")) == PICTURES
