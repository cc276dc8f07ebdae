"""Peak memory of recording and of distilling, with ten times the data against once the data."""

import functools
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.base.artifacts import Artifact
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories, write_shard
from benchmarks.tasks import Task, spaces
from benchmarks.tasks.task import TaskConfig
from tests.speed.cases import Case, Measurement

_STEPS = 4000
_TASKS = {
    "atari/pong": {"family": "atari", "env_id": "ALE/Pong-v5"},
    "babyai/boss-level": {"family": "babyai", "env_id": "BabyAI-BossLevel-v0", "metric": "success"},
    "mujoco/halfcheetah": {"env_id": "HalfCheetah-v5"},
}


def cases() -> list[Case]:
    """Frames, grids with text, and vectors."""
    return [
        Case(
            stage,
            f"{name}, peak memory",
            "a tenth of the data",
            0.909,  # at most 1.1 times as much
            functools.partial(_prepare, work, name),
            cost=True,
        )
        for name in _TASKS
        for stage, work in (("record", _record), ("distill", _distill))
    ]


def _prepare(work: Callable[..., None], name: str) -> tuple[Measurement, Measurement]:
    folder = tempfile.TemporaryDirectory()
    sizes = (10 * _STEPS, _STEPS)
    for steps in sizes:
        _peak(folder, _record, name, steps)
    ours, theirs = (functools.partial(_peak, folder, work, name, steps) for steps in sizes)
    return ours, theirs


def _peak(folder: tempfile.TemporaryDirectory[str], work: Callable[..., None], name: str, steps: int) -> float:
    """Peak memory of a new process in bytes, without memory-mapped files."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_watched, args=(work, name, steps, Path(folder.name) / str(steps), sender))
    process.start()
    sender.close()
    peak = receiver.recv()
    process.join()
    return peak


def _watched(work: Callable[..., None], name: str, steps: int, folder: Path, sender: Any) -> None:
    import torch

    torch.set_num_threads(1)
    peaks = [0]

    def watch() -> None:
        while True:
            peaks.append(max(peaks.pop(), _own_bytes()))
            time.sleep(0.02)

    threading.Thread(target=watch, daemon=True).start()
    work(Task.resolve(name, TaskConfig(**_TASKS[name])), steps, folder)
    sender.send(float(peaks[0]))


def _own_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon", "VmSwap")))


def _record(task: Task, steps: int, folder: Path) -> None:
    artifact = Artifact(folder, "trajectories", {})
    artifact.start()
    seeds = {task: iter(range(1_000_000))}
    played = rollout(RandomPolicy(), seeds, envs_per_task=8, keep_steps=True, enough_steps=steps)
    write_shard(folder / "shard-000", played, spaces(task)[0])
    artifact.finish(0.0, distribution_kind=None)


def _distill(task: Task, steps: int, folder: Path) -> None:
    """A few updates, and sequences from the whole recording."""
    import torch

    from generalist.config.settings import ModelConfig
    from generalist.distill.data import Mixture, Source
    from generalist.network.network import make_network
    from tests.speed.tasks import codec_of

    network = make_network(ModelConfig(), codec_of())
    source = Source(task, Trajectories(folder), weight=1.0)
    mixture = Mixture([source], network, batch_size=16, sequence_length=32, seed=0, soft=False)
    optimizer = torch.optim.AdamW(network.parameters())
    for step in range(10):
        network.loss(mixture.batch(step))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    for step in range(10, 200):
        mixture.batch(step)
