"""Record what experts and the random policy do, with the expert's action distribution beside its action.

Run by ``gatito stages=[record]``.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.artifacts import Artifact
from benchmarks.parallel import Report, run_jobs
from benchmarks.policy import Noisy, Policy, RandomPolicy
from benchmarks.rollout import rollout
from benchmarks.seeds import Purpose, episode_seed
from benchmarks.tasks import Suite, Task
from benchmarks.trajectories import Trajectories, write_shard
from experts.train import load_expert


@dataclass
class RecordConfig:
    """``conf/record/*.yaml``.

    Attributes:
        steps: expert steps per task, at least (the last episodes are finished).
        random_steps: steps of the random policy per task, at least.
        noise: probability per step that a uniform action is played in place of the expert's; labels stay clean.
        shards: parts that a recording is made in; each is a unit of resuming and of parallel work.
    """

    steps: int = 40_000
    random_steps: int = 4_000
    noise: float = 0.1
    shards: int = 4


_SEEDS_PER_SHARD = 10_000


def recording_artifact(
    run: Path, task: Task, agent: str, config: RecordConfig, seed: int, expert: Artifact | None
) -> Artifact:
    """Where the recording of an agent on a task lives, and what decides it."""
    settings = {"task": task.digest, "agent": agent, "record": asdict(config), "seed": seed}
    inputs = {"expert": expert.fingerprint} if expert else {}
    return Artifact(run / "trajectories" / task.name / agent, "trajectories", settings, inputs)


def record_suite(
    suite: Suite, experts: dict[str, Artifact], config: RecordConfig, *, run: Path, seed: int, workers: int
) -> dict[str, dict[str, Artifact]]:
    """Record every task's expert and the random policy, what is not there yet.

    Returns:
        Finished recordings by task name and agent (``expert``, ``random``).

    Raises:
        GatitoError: if an environment raises or an expert's files are damaged.
    """
    made: dict[str, dict[str, Artifact]] = {}
    jobs: list[tuple[str, int, dict[str, Any]]] = []
    open_recordings: list[tuple[Task, str, Artifact]] = []
    start = time.monotonic()
    for task in suite:
        expert = experts[task.name]
        made[task.name] = {
            "expert": recording_artifact(run, task, "expert", config, seed, expert),
            "random": recording_artifact(run, task, "random", config, seed, None),
        }
        for agent, artifact in made[task.name].items():
            if artifact.is_complete() or artifact.adopt(run.parent):
                continue
            artifact.start()
            open_recordings.append((task, agent, artifact))
            load: Callable[[], Policy] = RandomPolicy
            if agent == "expert":
                load = functools.partial(_load_noisy, expert.folder, task, config.noise)
            steps = (config.steps if agent == "expert" else config.random_steps) // config.shards
            for shard in range(config.shards):
                arguments = {"task": task, "load": load, "artifact": artifact, "shard": shard}
                jobs.append((f"record {task.name}", steps, {**arguments, "steps": steps, "seed": seed}))
    kinds = run_jobs(_record_shard, jobs, workers=workers)
    for task, agent, artifact in open_recordings:
        kind = next(kind for kind, job in zip(kinds, jobs, strict=True) if job[2]["artifact"] is artifact)
        artifact.finish(time.monotonic() - start, task=task.name, agent=agent, distribution_kind=kind)
    return made


def open_recordings(made: dict[str, dict[str, Artifact]], agent: str) -> dict[str, Trajectories]:
    """The recordings of one agent, opened and checked, by task name."""
    return {task: Trajectories(artifacts[agent].folder) for task, artifacts in made.items()}


def _load_noisy(folder: Path, task: Task, noise: float) -> Policy:
    return Noisy(load_expert(folder, task), noise)


def _record_shard(
    *,
    task: Task,
    load: Callable[[], Policy],
    artifact: Artifact,
    shard: int,
    steps: int,
    seed: int,
    report: Report,
) -> str | None:
    """Play until the shard has its steps and write it; a shard that is there already is kept.

    Returns:
        The kind of distribution recorded, or None.
    """
    policy = load()
    folder = artifact.folder / f"shard-{shard:03d}"
    if not folder.exists():
        purpose = Purpose.RECORDING_RANDOM if policy.name == "random" else Purpose.RECORDING
        first = shard * _SEEDS_PER_SHARD
        seeds = (episode_seed(purpose, first + index, seed) for index in range(_SEEDS_PER_SHARD))
        # Few lanes: whoever plays when the steps are reached finishes, and long episodes would overshoot.
        played = rollout(
            policy,
            {task: seeds},
            lanes_per_task=8,
            keep_steps=True,
            enough_steps=steps,
            report=lambda n: report(min(n, steps)),
        )
        write_shard(folder, sorted(played, key=lambda episode: episode.seed))
    report(steps)
    return policy.distribution_kind.get(task.name)
