"""Training: a run that is killed ends like one that is not, and what the loop does to rates, gradients and files.

Runs that are killed, starved of disk or spread over processes live in child processes of a fork server that has the
heavy imports done, so that a start costs little.
"""

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import debug_launcher
from datasets import Dataset
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from captioning.data.batches import CaptionRows, training_batches
from captioning.data.config import Augmentation
from captioning.learning.config import TrainConfig
from captioning.learning.loop import new_optimizer, parameter_groups, rate, train
from captioning.learning.losses import CrossEntropy
from captioning.models.config import EncoderConfig, GRUConfig
from captioning.models.gru import GRUCaptioner
from captioning.models.saved import load
from captioning.text import WordTokenizer

PICTURES, SIZE, CELLS = 14, 32, 4
WORDS = ["a", "b", "c", "d", "e", "f", "g", "h"]
CONFIG = TrainConfig(
    epochs=5, batch_size=3, accumulation=2, lr=1e-2, average=0.5, patience=2, checkpoint_every=2, log_every=1, seed=3
)  # fmt: skip
server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(
    ["captioning.learning.loop", "captioning.models.saved", "captioning.learning.losses", "pytest"]
)


def rows(folder: Path) -> Dataset:
    """Noise pictures with two captions of three words each."""
    rng, images = np.random.default_rng(0), []
    folder.mkdir(exist_ok=True)
    for i in range(PICTURES):
        images.append(str(folder / f"{i}.png"))
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(images[-1])
    captions = [[" ".join(rng.choice(WORDS, 3)) for _ in range(2)] for _ in images]
    return Dataset.from_dict({"image": images, "image_id": [str(i) for i in range(PICTURES)], "captions": captions})


def objective(dropout=0.0, trained_stages=0, **settings) -> CrossEntropy:
    torch.manual_seed(0)
    encoder = EncoderConfig(
        "resnet10t", {"channels": [8, 16, 32, 64]}, weights=None, trained_stages=trained_stages, image_size=SIZE
    )
    decoder = GRUConfig(picture=16, embedding=16, hidden=16, dropout=dropout)
    return CrossEntropy(GRUCaptioner(decoder, encoder, WordTokenizer.train(WORDS)), **settings)


def feature_batches(folder: Path, batch_size=3):
    """Batches of cached features: nothing random but their order."""
    features = np.random.default_rng(1).standard_normal((PICTURES, CELLS, 68)).astype(np.float16)
    data = CaptionRows(rows(folder), WordTokenizer.train(WORDS), SIZE, features=(features,))
    return training_batches(data, WordTokenizer.pad_id, batch_size, workers=0)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def run_everything(folder: Path, config: TrainConfig = CONFIG) -> None:
    """A run with all that could be random: pictures, augmentation, dropout, word dropout, batch norms in training."""
    torch.set_num_threads(1)
    data = CaptionRows(
        rows(folder.with_name("pictures")), WordTokenizer.train(WORDS), SIZE, captions=2, seed=5,
        augmentation=Augmentation(mirror=True, shift=4),
    )  # fmt: skip
    loss = objective(dropout=0.3, trained_stages="all", smoothing=0.1, drop_words=0.2)
    batches = training_batches(data, WordTokenizer.pad_id, config.batch_size, workers=0)
    start, held_out = weights(loss.model), data[0, 0]

    def validate(model):
        logits = model(held_out[1][None], torch.stack(held_out[2])[:, :-1])  # sees the running statistics too
        far = float((weights(model) - start).norm())  # grows: the first epoch is the best, and patience runs out
        return {"score": -far, "logits": float(logits.detach().sum())}

    train(loss, batches, config, folder, validate)


def die_at_event(count: int, folder: Path) -> None:
    """SIGKILL to this process at its `count`-th operation on files of the run."""
    left = [count]

    def hook(event: str, arguments: tuple) -> None:
        if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir") or (
            event == "open" and str(arguments[0]).startswith(str(folder))
        ):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def child(folder: Path, event: int | None = None, largest_file: int | None = None) -> None:
    if event:
        die_at_event(event, folder)
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    try:
        run_everything(folder)
    except OSError as error:
        folder.with_name("message").write_text(str(error))
        os._exit(7)


def start(folder: Path, **kwargs) -> multiprocessing.Process:
    process = server.Process(target=child, args=(folder,), kwargs=kwargs)
    process.start()
    return process


def finish(folder: Path, **kwargs) -> int:
    process = start(folder, **kwargs)
    process.join()
    return process.exitcode


def results(run: Path) -> tuple:
    """All that two equal runs must share."""
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    log = [{name: value for name, value in record.items() if name != "minutes"} for record in records]
    return log, *((run / name / "model.safetensors").read_bytes() for name in ("last", "best"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("training") / "undisturbed"
    assert finish(run) == 0
    return run


def test_undisturbed_run(undisturbed):
    log, last, best = results(undisturbed)
    scores = [record["val/score"] for record in log if "val/score" in record]
    assert scores == sorted(scores, reverse=True) and len(scores) == 3  # patience 2: stopped after 3 of 5 epochs
    assert [record["update"] for record in log if "loss" in record] == list(range(1, 10))  # 5 batches are 3 updates
    assert last != best
    assert sorted(path.name for path in undisturbed.iterdir()) == [
        "best", "checkpoints", "config.json", "last", "log.jsonl", "tensorboard",
    ]  # fmt: skip
    assert [path.name for path in (undisturbed / "checkpoints").iterdir()] == ["0003-0000000"]
    assert len(load(undisturbed).tokenizer) == len(WORDS) + 4


def test_killed_at_any_moment_ends_the_same(undisturbed, tmp_path):
    """Killed at file operations (in the middle of checkpoints and of saving models) and after random times."""
    rng, run, kills = random.Random(0), tmp_path / "killed", 0
    for event in [2, 48, 21, 69, 45, 98, 34]:
        process = start(run, event=event)
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills >= 5
    for _ in range(3):
        process = start(run)
        time.sleep(rng.uniform(0.2, 0.8))
        process.kill()
        process.join()
    assert finish(run) == 0
    assert results(run) == results(undisturbed)


def test_full_disk(undisturbed, tmp_path):
    """No file may grow over 20 kB: the run ends with a clear message, the checkpoint before stays, the run resumes."""
    run = tmp_path / "full"
    while not list(run.glob("checkpoints/0001-*")):
        assert finish(run, event=110) == -signal.SIGKILL
    before = {path: path.read_bytes() for path in run.glob("checkpoints/0*/*")}
    assert finish(run, largest_file=20_000) == 7
    message = (tmp_path / "message").read_text()
    assert str(run) in message and "make room and start the run again" in message
    assert {path: path.read_bytes() for path in run.glob("checkpoints/0*/*")} == before
    assert finish(run) == 0
    assert results(run) == results(undisturbed)


def test_finished_run_trains_nothing(undisturbed, tmp_path):
    run = shutil.copytree(undisturbed, tmp_path / "again")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert finish(run) == 0
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def two_processes(folder: Path) -> None:
    torch.set_num_threads(1)
    loss, rank, asked = objective(dropout=0.3), torch.distributed.get_rank(), []

    def validate(model):
        asked.append(os.getpid())
        return {"score": -float(len(asked))}

    config = replace(CONFIG, epochs=4)
    log = train(loss, feature_batches(folder.with_name(f"pictures{rank}")), config, folder, validate)
    losses = [record["loss"] for record in log if "loss" in record]
    state = {"weights": weights(loss), "epochs": log[-1]["epoch"], "asked": asked, "losses": losses}
    torch.save(state, folder / f"{rank}.pt")


def launch_two(folder: Path) -> None:
    debug_launcher(two_processes, (folder,), num_processes=2)


def test_two_processes_agree(tmp_path):
    run = tmp_path / "run"
    process = server.Process(target=launch_two, args=(run,))
    process.start()
    process.join()
    assert process.exitcode == 0
    main, other = (torch.load(run / f"{rank}.pt") for rank in range(2))
    assert torch.equal(main["weights"], other["weights"])
    assert main["losses"] == other["losses"]  # those of all pictures, not of each process's own
    assert len(main["asked"]) == 3 and not other["asked"]  # only the main process validates,
    assert main["epochs"] == other["epochs"] == 3.0  # and both stop when its score says so
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in records if "val/score" in r] == [1.0, 2.0, 3.0]
    assert len([r for r in records if "loss" in r]) == 3 * 2  # 14 pictures / 2 processes / batches of 3, 2 an update
    assert len(list((run / "tensorboard").iterdir())) == 1


def zero(model) -> dict[str, float]:
    return {"score": 0.0}


def test_other_configuration_in_the_folder(tmp_path):
    batches, config = feature_batches(tmp_path / "pictures"), TrainConfig(epochs=1)
    train(objective(), batches, config, tmp_path / "run", zero)
    with pytest.raises(ValueError, match=r"another configuration .*'epochs': \(1, 2\).*resume=False") as error:
        train(objective(), batches, replace(config, epochs=2), tmp_path / "run", zero)
    assert "batch_size" not in str(error.value)  # only what differs
    log = train(objective(), batches, replace(config, epochs=2), tmp_path / "run", zero, resume=False)
    assert [record["epoch"] for record in log if "val/score" in record] == [1.0, 2.0]


def test_only_a_run_is_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds files but no run"):
        train(objective(), feature_batches(tmp_path / "pictures"), TrainConfig(), tmp_path, zero, resume=False)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_best_is_the_best_epoch(tmp_path):
    scores, seen = iter([1.0, 3.0, 2.0, 3.0]), []

    def validate(model):
        assert not model.training
        seen.append(weights(model))
        return {"score": next(scores)}

    logs = []
    config = TrainConfig(epochs=4, log_every=1)
    log = train(
        objective(), feature_batches(tmp_path / "pictures"), config, tmp_path / "run", validate,
        watch=lambda log: logs.append(len(log)),
    )  # fmt: skip
    for name, epoch in (("best", 1), ("last", 3)):  # of equal scores the first
        assert torch.equal(weights(load(tmp_path / "run" / name)), seen[epoch])
    assert logs == list(range(1, len(log) + 1)) == list(range(1, 4 * 5 + 4 + 1))


def test_rate_rises_and_falls_to_zero():
    assert [rate(update, 100, 0.1) for update in (0, 4, 9, 10)] == [0.1, 0.5, 1.0, 1.0]
    assert rate(55, 100, 0.1) == pytest.approx(0.5)
    assert rate(99, 100, 0.1) == pytest.approx(np.sin(np.pi / 180) ** 2)  # (1 + cos(pi - x)) / 2 = sin(x / 2)^2
    assert rate(100, 100, 0.1) == 0.0
    assert [rate(update, 100, 0.1, "linear") for update in (4, 10, 55, 100)] == pytest.approx([0.5, 1.0, 0.5, 0.0])
    assert rate(0, 100, 0.0) == rate(0, 1, 1.0) == 1.0


def test_logged_rate_is_the_one_used(tmp_path):
    config, used = TrainConfig(epochs=2, lr=1e-2, warmup=0.4, log_every=1), []
    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: used.append(optimizer.param_groups[-1]["lr"]))
    log = train(objective(), feature_batches(tmp_path / "pictures"), config, tmp_path / "run", zero)
    handle.remove()
    assert used == [record["lr"] for record in log if "lr" in record]
    assert used == pytest.approx([1e-2 * rate(update, 10, 0.4) for update in range(10)])


def test_parameter_groups():
    config, loss = TrainConfig(lr=1.0, encoder_lr=2.0, weight_decay=0.1), objective(trained_stages="all")
    wanted = {
        id(p): (2.0 if name.startswith("model.encoder") else 1.0, 0.1 if p.dim() > 1 else 0.0)
        for name, p in loss.named_parameters()
    }
    groups = parameter_groups(loss, config)
    assert {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]} == wanted
    assert len(groups) == 4
    frozen = {id(p) for group in parameter_groups(objective(), config) for p in group["params"]}
    assert len(frozen) == len(list(objective().model.parameters())) - len(list(objective().model.encoder.parameters()))


def test_gradients_are_clipped(tmp_path):
    norms = []

    def measure(optimizer, *_):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))

    handle = register_optimizer_step_pre_hook(measure)
    config = TrainConfig(epochs=1, clip=0.01, log_every=1)
    log = train(objective(), feature_batches(tmp_path / "pictures"), config, tmp_path / "run", zero)
    handle.remove()
    assert norms == pytest.approx([0.01] * 5, rel=1e-3)
    assert all(record["norm"] > 0.1 for record in log if "norm" in record)  # what it was before


def test_accumulated_batches_equal_one_large_batch(tmp_path):
    ends = []
    for batch_size, accumulation in (7, 2), (14, 1):
        loss = objective()
        config = TrainConfig(epochs=3, accumulation=accumulation, log_every=1)
        batches = feature_batches(tmp_path / "pictures", batch_size)
        log = train(loss, batches, config, tmp_path / str(batch_size), zero)
        ends.append((weights(loss), [r["norm"] for r in log if "norm" in r]))
    (small, small_norms), (large, large_norms) = ends
    assert small_norms == pytest.approx(large_norms, abs=1e-6) and len(large_norms) == 3
    torch.testing.assert_close(small, large, atol=1e-6, rtol=0)
    assert (large - weights(objective())).norm() > 0.01


def test_two_precisions_in_one_process(tmp_path):
    for precision in ("bf16", "no"):
        config = TrainConfig(epochs=1, mixed_precision=precision)
        train(objective(), feature_batches(tmp_path / "pictures"), config, tmp_path / precision, zero)
        saved = load_file(tmp_path / precision / "last" / "model.safetensors")
        assert saved["head.weight"].dtype == torch.float32


def test_in_bf16_muon_computes_in_bf16_too():
    for precision, dtype in (("bf16", torch.bfloat16), ("no", torch.float32)):
        config = TrainConfig(optimizer="muon", mixed_precision=precision)
        assert new_optimizer(objective(), config).dtype == dtype
    assert type(new_optimizer(objective(), TrainConfig(mixed_precision="bf16"))) is torch.optim.AdamW


class Spoiled(nn.Module):
    """An objective whose loss is no number from its sixth step on."""

    def __init__(self):
        super().__init__()
        self.inner, self.steps = objective(), 0

    @property
    def model(self):
        return self.inner.model

    def forward(self, batch):
        self.steps += 1
        loss, numbers = self.inner(batch)
        return (loss * torch.nan if self.steps > 5 else loss), numbers


def test_nothing_is_kept_once_the_loss_is_no_number(tmp_path):
    run, config = tmp_path / "run", TrainConfig(epochs=2, log_every=1)  # 5 steps an epoch
    with pytest.raises(FloatingPointError, match="update 6: loss or gradient is nan, .* Start a run with a lower rate"):
        train(Spoiled(), feature_batches(tmp_path / "pictures"), config, run, zero)
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert records[-1]["update"] == 5
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["0001-0000000"]
    assert all(torch.isfinite(tensor).all() for tensor in load_file(run / "last" / "model.safetensors").values())


def test_weights_and_biases_keeps_the_log_offline_and_the_tracker_may_change(tmp_path):
    pytest.importorskip("wandb", reason="needs Weights & Biases: pip install 'captioning[wandb]'")
    config, run = replace(CONFIG, epochs=1, tracker="wandb"), tmp_path / "run"
    train(objective(), feature_batches(tmp_path / "pictures"), config, run, zero)
    [kept] = (run / "wandb").glob("offline-run-*/run-run-*.wandb")
    patience = time.monotonic() + 20
    while b"val/score" not in kept.read_bytes() and time.monotonic() < patience:
        time.sleep(0.1)  # a process of its own writes it
    assert b"val/score" in kept.read_bytes() and not (run / "tensorboard").exists()
    train(objective(), feature_batches(tmp_path / "pictures"), replace(config, tracker="tensorboard"), run, zero)


def test_a_tracker_that_is_not_installed_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("captioning.learning.loop.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'captioning\[wandb\]'"):
        train(objective(), feature_batches(tmp_path / "p"), replace(CONFIG, tracker="wandb"), tmp_path / "run", zero)
