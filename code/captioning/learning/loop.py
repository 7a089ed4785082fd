"""The only training loop, on `accelerate`: one process or many (`accelerate launch`), any objective of losses.py.

A run is a folder: `config.json`, `log.jsonl` and `tensorboard/` (or `wandb/`), `checkpoints/` (the newest only),
`best/` and `last/` (saved models). Everything random in step s is a function of (seed, s, process), and the data of an
epoch are a function of (seed, epoch), so a run that is killed and started again ends with the same weights: bit for
bit on the CPU, and on a GPU as far as its kernels repeat themselves.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker
from accelerate.utils import broadcast_object_list
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from captioning.disk import alone, room_for, sweep
from captioning.evaluation.runs import open_run
from captioning.learning.config import TrainConfig
from captioning.learning.muon import Muon
from captioning.writing import append, aside, dumps, replaced, write

Record = dict[str, float]
INTACT = "The last complete checkpoint is intact: make room and start the run again, it goes on from there"
OPTIMIZERS = {"adamw": partial(torch.optim.AdamW, fused=True), "muon": Muon}


def train(
    objective: nn.Module,
    batches: DataLoader,
    config: TrainConfig,
    run: Path,
    validate: Callable[[nn.Module], Record],
    watch: Callable[[list[Record]], None] = lambda log: None,
    resume: bool = True,
    about: dict | None = None,
) -> list[Record]:
    """Train `objective.model` on `batches` and return the log; `run/best` holds the weights with the best score.

    `validate(model)` is called after each epoch and returns at least `score` (higher is better); `watch(log)` is
    called with all records so far after each new one. With `resume` a run in the folder is continued (a finished one
    only returns its log); without, what is there is deleted. `about` (JSON) describes what `config` does not: the model
    and the data. Of several processes only the main one validates, watches and writes.

    Raises ValueError when the folder holds a run of another configuration, of something else (`about`) or of another
    number of processes, or is to be replaced and holds no run; BlockingIOError when another process trains it;
    FloatingPointError when the loss is no number any more; DiskFull: the last checkpoint stays good.
    """
    accelerator = start_accelerator(config)
    with alone(run) if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process:
            chosen = {name: value for name, value in asdict(config).items() if name != "tracker"}  # of no consequence
            open_run(run, (about or {}) | chosen | {"processes": accelerator.num_processes}, resume)
        accelerator.wait_for_everyone()
        loop = Loop(accelerator, objective, batches, config, run, validate, watch)
        loop.restore()
        writes = accelerator.is_main_process and not loop.finished
        with tracking(config, run, loop.update + 1) if writes else nullcontext() as loop.tracker:
            while not loop.finished:
                loop.run_epoch()
    return loop.log


@contextmanager
def tracking(config: TrainConfig, run: Path, step: int) -> Iterator[GeneralTracker]:
    """What shows the log as it grows; TensorBoard forgets what an earlier start had logged from `step` on."""
    if config.tracker == "wandb":
        if not find_spec("wandb"):
            raise ValueError("tracker='wandb' needs Weights & Biases: pip install 'captioning[wandb]'")
        made = int((run / "config.json").stat().st_mtime)  # all starts of a run are one there, too
        about = {"id": f"{run.name}-{made}", "name": run.name, "config": json.loads((run / "config.json").read_text())}
        quiet = {"silent": True, "console": "off"}
        tracker = WandBTracker("captioning", dir=str(run), mode="offline", settings=quiet, **about)
    else:
        tracker = TensorBoardTracker("tensorboard", run, purge_step=step)
    tracker.start()
    try:
        yield tracker
    finally:
        tracker.finish()


def start_accelerator(config: TrainConfig) -> Accelerator:
    AcceleratorState._reset_state()  # else a notebook could not train two models in different precisions
    return Accelerator(
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.accumulation,
        cpu=not torch.cuda.is_available(),
        # The other processes wait while the main one validates; by default they give up after 10 minutes.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=6))],
    )


def parameter_groups(objective: nn.Module, config: TrainConfig) -> list[dict]:
    """Encoder and the rest at their own rates; no weight decay on biases, norms and other vectors."""
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            rate = config.encoder_lr if name.startswith("model.encoder.") else config.lr
            decay = config.weight_decay if parameter.dim() > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()]


def new_optimizer(objective: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of a run; in bf16 the products of Muon are in bf16, too, as in torch's own."""
    optimizer = OPTIMIZERS[config.optimizer](parameter_groups(objective, config))
    if isinstance(optimizer, Muon) and config.mixed_precision == "bf16":
        optimizer.dtype = torch.bfloat16
    return optimizer


class Loop:
    """The state of a run between two updates, and how it is saved, restored and moved on."""

    def __init__(self, accelerator, objective, batches, config, run, validate, watch):
        self.accelerator, self.config, self.run, self.validate, self.watch = accelerator, config, run, validate, watch
        self.epoch = self.step = self.update = self.bad_epochs = 0  # step counts batches within the epoch
        self.best, self.stopped, self.log = None, False, []  # best: no score yet
        self.minutes, self.counted, self.sound = 0.0, time.perf_counter(), 0.0
        optimizer = new_optimizer(objective, config)
        self.objective, self.optimizer, self.batches = accelerator.prepare(objective, optimizer, batches)
        updates = math.ceil(len(self.batches) / config.accumulation) * config.epochs
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda update: rate(update, updates, config.warmup, config.decay)
        )
        accelerator.register_for_checkpointing(self.schedule)
        accelerator.register_save_state_pre_hook(partial(save_trained, main=accelerator.is_main_process))
        accelerator.register_load_state_pre_hook(load_trained)
        self.model = accelerator.unwrap_model(self.objective).model
        self.average = None
        if config.average:
            self.average = AveragedModel(
                self.model, multi_avg_fn=get_ema_multi_avg_fn(config.average), use_buffers=True
            )
            accelerator.register_for_checkpointing(self.average)

    @property
    def finished(self) -> bool:
        return self.stopped or self.epoch >= self.config.epochs

    def run_epoch(self) -> None:
        batches = self.batches
        batches.set_epoch(self.epoch)
        if self.step:
            batches = self.accelerator.skip_first_batches(batches, self.step)
            batches.set_epoch(self.epoch)
        bar = tqdm(
            batches, desc=f"epoch {self.epoch + 1}/{self.config.epochs}", initial=self.step, total=len(self.batches),
            leave=False, disable=None if self.accelerator.is_main_process else True,  # None: only in a terminal
        )  # fmt: skip
        self.objective.train()
        for batch in bar:
            self.train_step(batch, bar)
        self.epoch, self.step = self.epoch + 1, 0
        self.finish_epoch()

    def train_step(self, batch, bar) -> None:
        place = self.epoch * len(self.batches) + self.step
        torch.manual_seed((self.config.seed * 1_000_003 + place) * 1_000 + self.accelerator.process_index)
        with self.accelerator.accumulate(self.objective):
            loss, numbers = self.objective(batch)
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                norm = self.accelerator.clip_grad_norm_(self.objective.parameters(), self.config.clip)
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.step += 1
        if not self.accelerator.sync_gradients:
            return
        self.update += 1
        # fp16 finds its scale by overflowing: there only the loss tells.
        self.sound = loss.detach() if self.config.mixed_precision == "fp16" else loss.detach() + norm
        if self.average is not None:
            self.average.update_parameters(self.model)
        if self.update % self.config.log_every == 0:
            device = self.accelerator.device
            record = {name: self.accelerator.reduce(x.to(device), "mean").item() for name, x in numbers.items()}
            bar.set_postfix({name: f"{value:.3f}" for name, value in record.items()})
            self.record(record | {"norm": float(norm), "lr": self.schedule.get_last_lr()[-1]})
        self.schedule.step()
        if self.update % self.config.checkpoint_every == 0 and self.step < len(self.batches):
            self.save()

    def finish_epoch(self) -> None:
        model = (self.model if self.average is None else self.average.module).eval()
        # One process's scores for all, so that they agree on when to stop.
        [scores] = broadcast_object_list([self.validate(model) if self.accelerator.is_main_process else None])
        improved = scores["score"] > (-math.inf if self.best is None else self.best)
        self.best, self.bad_epochs = (scores["score"], 0) if improved else (self.best, self.bad_epochs + 1)
        self.stopped = bool(self.config.patience) and self.bad_epochs >= self.config.patience
        self.count_minutes()
        self.record({f"val/{name}": value for name, value in scores.items()} | {"minutes": self.minutes})
        with room_for(self.run, INTACT):
            if self.accelerator.is_main_process:
                save_model(model, self.run / "last")
                if improved:
                    save_model(model, self.run / "best")
        self.save()

    def record(self, numbers: Record) -> None:
        self.check_finite()
        record = {"epoch": self.epoch + self.step / len(self.batches), "update": self.update} | numbers
        self.log.append(record)
        if self.accelerator.is_main_process:
            append(self.run / "log.jsonl", f"{dumps(record)}\n".encode())
            self.tracker.log(numbers, self.update)
            self.watch(self.log)

    def save(self) -> None:
        """A checkpoint becomes visible by a rename, when all of it is on disk; then its predecessors go."""
        self.check_finite()
        self.count_minutes()
        folder = self.run / "checkpoints"
        aside, final = folder / "partial", folder / f"{self.epoch:04d}-{self.step:07d}"
        with room_for(self.run, INTACT):
            self.accelerator.save_state(str(aside))
            self.accelerator.wait_for_everyone()  # each process has written its part
            if self.accelerator.is_main_process:
                names = ("epoch", "step", "update", "best", "bad_epochs", "stopped", "minutes", "log")
                (aside / "loop.json").write_text(dumps({name: getattr(self, name) for name in names}))
                aside.rename(final)
                for old in sorted(folder.iterdir())[:-1]:
                    shutil.rmtree(old)
        self.accelerator.wait_for_everyone()

    def check_finite(self) -> None:
        """Nothing is kept once the loss or the gradient is no number."""
        if not math.isfinite(self.sound):
            raise FloatingPointError(
                f"{self.run}, update {self.update}: loss or gradient is {float(self.sound)}, expected a finite number. "
                "Start a run with a lower rate; the last checkpoint of this one is from before."
            )

    def count_minutes(self) -> None:
        """Wall time of the run, validation included, over all of its starts."""
        now = time.perf_counter()
        self.minutes, self.counted = self.minutes + (now - self.counted) / 60, now

    def restore(self) -> None:
        """Go on from the newest checkpoint, if there is one; log lines written after it are dropped."""
        folder = self.run / "checkpoints"
        found = sorted(folder.glob("[0-9]*"))
        if found:
            self.accelerator.load_state(str(found[-1]))
            for name, value in json.loads((found[-1] / "loop.json").read_text()).items():
                setattr(self, name, value)
        if self.accelerator.is_main_process:
            shutil.rmtree(folder / "partial", ignore_errors=True)
            sweep(self.run)
            write(self.run / "log.jsonl", "".join(dumps(record) + "\n" for record in self.log))
        self.accelerator.wait_for_everyone()


def rate(update: int, updates: int, warmup: float, decay: str = "cosine") -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine, or a line, down to 0."""
    rising = max(1, round(updates * warmup))
    if update < rising:
        return (update + 1) / rising
    passed = (update - rising) / max(1, updates - rising)
    return 1 - passed if decay == "linear" else 0.5 * (1 + math.cos(math.pi * passed))


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """What training changes: trained parameters and buffers. Of a model with adapters that is little."""
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    buffers = {name: tensor for name, tensor in module.state_dict().items() if name not in parameters}
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad} | buffers


def save_trained(modules: list[nn.Module], weights: list[dict], folder: str, main: bool) -> None:
    """In place of whole models: what is frozen is there again when the run starts again."""
    for _ in range(len(weights)):
        weights.pop()
    [module] = modules
    if main:
        state = {name: tensor.contiguous() for name, tensor in trained_state(module).items()}
        with aside(Path(folder) / "model.safetensors") as partial:
            save_file(state, partial)


@torch.no_grad()
def load_trained(modules: list[nn.Module], folder: str) -> None:
    state = trained_state(modules.pop())
    saved = load_file(f"{folder}/model.safetensors")
    if missing := sorted(state.keys() - saved.keys()):
        raise ValueError(f"{folder}: the checkpoint of another model, {len(missing)} weights missing: {missing[:5]}")
    for name, tensor in state.items():
        tensor.copy_(saved[name])


def save_model(model: nn.Module, folder: Path) -> None:
    """Write the model aside and put it in place, so that the folder never holds half of one."""
    with replaced(folder) as partial:
        model.save_pretrained(partial)
