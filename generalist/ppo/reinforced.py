"""A network that is to be made from rewards, and the process that makes it."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.runs.failures import Failures
from benchmarks.runs.parallel import Job, Report, run_jobs
from benchmarks.runs.tracking import Tracker
from benchmarks.runs.wandb import log_lineage
from benchmarks.tasks import Task
from generalist.config.codec import CodecConfig
from generalist.config.ppo import PPOConfig
from generalist.config.settings import ModelConfig


@dataclass(frozen=True)
class Reinforced:
    """A network to be made from rewards.

    Attributes:
        artifact: where it goes; started.
        tasks: what it learns.
        start: folder of the network that it is at first; None: random weights.
        config: how it is trained.
        model: its size, where it starts from random weights.
        codec: likewise, its inputs and outputs.
        seed: the training seed.
        group: where the settings stand, for errors.
    """

    artifact: Artifact
    tasks: tuple[Task, ...]
    start: Path | None
    config: PPOConfig
    model: ModelConfig
    codec: CodecConfig
    seed: int
    group: str

    @property
    def per_iteration(self) -> int:
        """Environment steps between two updates."""
        return self.config.num_envs * self.config.rollout_length * len(self.tasks)


def make_reinforced(
    learner: Reinforced, what: str, suite: str, *, run: Path, workers: int, tracker: Tracker, failures: Failures
) -> None:
    """Train in a process of its own, with as many threads as there are workers, unless the network is there.

    Args:
        learner: what to make.
        what: the stage, for progress and tracking.
        suite: whose tasks they are.
        run: the run's folder.
        workers: threads.
        tracker: told the learning curve.
        failures: told which task failed.

    Raises:
        GatitoError: if it comes to nothing; the last checkpoint is kept.
    """
    made = learner.artifact
    if made.is_complete() or made.adopt(run.parent):
        return
    made.start()
    job = Job(what, learner.config.iterations * learner.per_iteration, {"learner": learner, "threads": workers})
    mirror = tracker.mirror(made.folder, what, env_id=suite, **asdict(learner.config))
    try:
        done = run_jobs(_make, [job], workers=1, failures=failures, on_poll=mirror.pump)
    finally:
        mirror.finish(log_more=partial(log_lineage, made=[made], folder=run))
    failed = [task.name for task in learner.tasks if task.name in failures]
    if failed:
        raise GatitoError(
            f"{what} stopped, for task {failed[0]} failed: mend it and run the same command again, which goes on from "
            "the last checkpoint, or leave it out with tasks=[…]."
        )
    if job not in done:
        raise GatitoError(
            f"the process of {what} died (often: out of memory): run the same command again, which goes on from the "
            f"last checkpoint, or lower {learner.group}.lanes."
        )


def _make(*, learner: Reinforced, threads: int, report: Report) -> None:
    from generalist.ppo.training import reinforce

    reinforce(learner, report, threads=threads)
