"""Writers on the machines of a Ray cluster, or on the cores of this one: `pip install 'captioning[ray]'`.

The picture files and the weights must be there under the same names on every machine, as on a shared disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from captioning.rebuild import pipeline
from captioning.rebuild.pipeline import Task, Work


def answers(task: Task, work: Iterable[Work]) -> Iterator[dict[str, Any]]:
    """What `pipeline.answers` gives, in the same order: a writer on every GPU, or without one on every core but one."""
    import ray
    from ray.util import ActorPool

    if not ray.is_initialized():
        ray.init(include_dashboard=False)
    found = ray.cluster_resources()
    gpus = int(found.get("GPU", 0))
    asker = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0)(Asker)
    pool = ActorPool([asker.remote(task) for _ in range(gpus or max(1, int(found["CPU"]) - 1))])
    yield from pool.map(lambda actor, batch: actor.answer.remote(*batch), list(work))


class Asker:
    """A writer in a process of its own."""

    def __init__(self, task: Task):
        self.task = task

    def answer(self, ids: list[str], images: list[str], seed: int) -> dict[str, Any]:
        return pipeline.answered(self.task, ids, images, seed)
