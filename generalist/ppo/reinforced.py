"""A network to train from rewards, and the process that trains it."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError
from benchmarks.runs.parallel import Job, Report, current_engine, run_jobs
from benchmarks.runs.run import Run
from benchmarks.runs.wandb import log_lineage
from benchmarks.tasks import Task
from generalist.config.codec import CodecConfig
from generalist.config.ppo import PPOConfig
from generalist.config.settings import ModelConfig


@dataclass(frozen=True)
class Reinforced:
    """A network to train from rewards.

    Attributes:
        artifact: the artifact that it is written to; started.
        tasks: the tasks that it learns.
        start: folder of the starting network; None for random weights.
        config: the settings of the training.
        model: the sizes of a network with random weights.
        codec: the inputs and outputs of a network with random weights.
        seed: the training seed.
        group: the config group of the settings, for error messages.
        device: where it is trained, see ``distill.device``.
    """

    artifact: Artifact
    tasks: tuple[Task, ...]
    start: Path | None
    config: PPOConfig
    model: ModelConfig
    codec: CodecConfig
    seed: int
    group: str
    device: str

    @property
    def per_iteration(self) -> int:
        """Environment steps between two updates."""
        return self.config.num_envs * self.config.rollout_length * len(self.tasks)


def make_reinforced(learner: Reinforced, job_type: str, run: Run) -> None:
    """Train in a separate process, with as many threads as there are workers, unless the network exists.

    Args:
        learner: the network to train.
        job_type: the name of the training, for progress and tracking.
        run: the run.

    Raises:
        GatitoError: if the training fails; the last checkpoint is kept.
    """
    artifact = learner.artifact
    if artifact.is_complete() or artifact.adopt(run.runs_folder):
        return
    artifact.start()
    total = learner.config.iterations * learner.per_iteration
    job = Job(job_type, total, {"learner": learner, "threads": current_engine().threads_of_one(run.workers)})
    mirror = run.tracker.mirror(artifact.folder, job_type, env_id=run.suite.name, **asdict(learner.config))
    try:
        done = run_jobs(_make, [job], workers=1, failures=run.failures, on_poll=mirror.pump)
    finally:
        mirror.finish(log_more=partial(log_lineage, made=[artifact], folder=run.folder))
    failed = [task.name for task in learner.tasks if task.name in run.failures]
    if failed:
        raise GatitoError(
            f"{job_type} stopped because task {failed[0]} failed: {run.failures.line(failed[0])} The same command "
            "resumes from the last checkpoint; tasks=[…] leaves the task out."
        )
    if job not in done:
        raise GatitoError(
            f"the process of {job_type} died (often: out of memory): run the same command again, which resumes from "
            f"the last checkpoint, or lower {learner.group}.num_envs."
        )


def _make(*, learner: Reinforced, threads: int, report: Report) -> None:
    from generalist.ppo.training import reinforce

    reinforce(learner, report, threads=threads)
