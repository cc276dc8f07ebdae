"""Record what experts and the random policy do, with the expert's action distribution beside its action.

Run by ``gatito stages=[record]``.
"""

import functools
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.base.artifacts import Artifact
from benchmarks.base.errors import GatitoError, check_at_least
from benchmarks.base.seeds import Purpose
from benchmarks.play.policy import Noisy, Policy, RandomPolicy
from benchmarks.play.recording import RecordingJob, Shard, finish, record
from benchmarks.play.trajectories import write_shard
from benchmarks.runs.failures import Failures
from benchmarks.runs.parallel import Job, Report, run_jobs
from benchmarks.runs.tracking import Tracker
from benchmarks.runs.wandb import log_lineage
from benchmarks.tasks import Suite, Task, spaces
from experts.datasets import dataset_episodes
from experts.recipe import DATASET, PLAYERS
from experts.train import algorithm_of, load_expert


@dataclass
class RecordConfig:
    """``conf/record/*.yaml``.

    Attributes:
        env_steps: expert steps per task, at least (the last episodes are finished).
        random_env_steps: steps of the random policy per task, at least.
        noise: probability per step that a uniform action is played in place of the expert's; labels stay clean.
        shards: parts that a recording is made in; each is a unit of resuming and of parallel work.
    """

    env_steps: int = 40_000
    random_env_steps: int = 4_000
    noise: float = 0.1
    shards: int = 4

    def check(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            GatitoError: naming the setting.
        """
        check_at_least("record", self, env_steps=1, random_env_steps=1, noise=0, shards=1)
        if self.noise > 1 or self.shards > 100:
            raise GatitoError("record.noise must be at most 1, and record.shards at most 100.")


def recording_artifact(
    run: Path, task: Task, agent: str, config: RecordConfig, seed: int, expert: Artifact | None
) -> Artifact:
    """Where the recording of an agent on a task lives, and what decides it."""
    settings = {"task": task.digest, "agent": agent, "record": asdict(config), "seed": seed}
    inputs = {"expert": expert.fingerprint} if expert else {}
    return Artifact(run / "trajectories" / task.name / agent, "trajectories", settings, inputs)


def record_suite(
    suite: Suite,
    experts: dict[str, Artifact],
    config: RecordConfig,
    *,
    run: Path,
    seed: int,
    workers: int,
    tracker: Tracker,
    failures: Failures,
) -> dict[str, dict[str, Artifact]]:
    """Record every task's expert and the random policy, what is not there yet; tasks that fail are left out.

    Returns:
        Finished recordings by task name and agent (``expert``, ``random``).

    Raises:
        GatitoError: if an expert's files are damaged.
    """
    made: dict[str, dict[str, Artifact]] = {}
    takes: list[RecordingJob] = []
    imports: list[Job] = []
    for task in suite:
        expert = experts[task.name]
        algorithm = algorithm_of(expert.folder)
        made[task.name] = {
            "expert": recording_artifact(run, task, "expert", config, seed, expert),
            "random": recording_artifact(run, task, "random", config, seed, None),
        }
        for agent, artifact in made[task.name].items():
            if artifact.is_complete() or artifact.adopt(run.parent):
                continue
            artifact.start()
            about: dict[str, Any] = {"shards": config.shards, "seed": seed}
            if agent == "random":
                takes.append(
                    RecordingJob(
                        task, RandomPolicy, artifact, config.random_env_steps, Purpose.RECORDING_RANDOM, **about
                    )
                )
            elif algorithm == DATASET:
                arguments = {"task": task, "dataset": expert.config["recipe"]["dataset"], "artifact": artifact}
                imports.append(Job(f"record {task.name}", 1, arguments, task.name))
            else:
                if algorithm in PLAYERS:
                    about |= {"num_envs": 1}
                load = functools.partial(_load_noisy, expert.folder, task, config.noise)
                takes.append(RecordingJob(task, load, artifact, config.env_steps, Purpose.RECORDING, **about))
    imported = run_jobs(_import_dataset, imports, workers=workers, failures=failures)
    lines = record(takes, workers=workers, failures=failures, suite=suite)
    for job, shard in imported.items():
        lines |= finish(job.arguments["task"], job.arguments["artifact"], [shard])
    new = [*(take.artifact for take in takes), *(job.arguments["artifact"] for job in imported)]
    if lines:
        told = functools.partial(log_lineage, made=[artifact for artifact in new if artifact.is_complete()], folder=run)
        tracker.write(run / "trajectories", "record", lines, log_more=told, env_id=suite.name, **asdict(config))
    going = {task.name for task in failures.survivors(suite, "record")}
    return {name: agents for name, agents in made.items() if name in going}


def _load_noisy(folder: Path, task: Task, noise: float) -> Policy:
    return Noisy(load_expert(folder, task), noise)


def _import_dataset(*, task: Task, dataset: str, artifact: Artifact, report: Report) -> Shard:
    start = time.monotonic()
    write_shard(artifact.folder / "shard-000", dataset_episodes(task, dataset), spaces(task)[0])
    report(1)
    return Shard(None, time.monotonic() - start, 0)
