"""Record a policy's episodes into shards, in parallel and resumably."""

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.base import console
from benchmarks.base.artifacts import Artifact
from benchmarks.base.compute import Cost
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import Purpose, episode_seed
from benchmarks.play.policy import Policy, total_cost
from benchmarks.play.rollout import Episode, rollout
from benchmarks.play.trajectories import Trajectories, check_shards, shard_folder, verify_shard, write_shard
from benchmarks.runs.failures import Failures
from benchmarks.runs.parallel import Job, Report, run_jobs
from benchmarks.tasks import Suite, Task, spaces
from benchmarks.tasks.games import is_self_play

SEEDS_PER_SHARD = 10_000
_NUM_ENVS = 8  # few, since running episodes are finished, and long ones would exceed the number of steps


@dataclass(frozen=True)
class Player:
    """What is recorded in place of an expert.

    Attributes:
        fingerprint: of its files.
        load: loads its policy, in the process that runs the episodes; picklable.
    """

    fingerprint: str
    load: Callable[[], Policy]


@dataclass(frozen=True)
class RecordingJob:
    """A recording to make.

    Attributes:
        task: the task.
        load: loads the policy, in the process that runs the episodes; picklable.
        artifact: the artifact of the recording; its config has the agent's name under ``agent``.
        steps: the least number of steps (the last episodes are finished).
        purpose: the purpose of the episodes' seeds.
        seed: the training seed.
        first_seed: index of the first episode seed of the purpose.
        shards: number of parts; each is a unit of resuming and of parallel work.
        num_envs: parallel environments. Only networks benefit from several, and some are slow to make.
        keep_abandoned: whether episodes that the policy abandoned are kept up to that step.
        parameters: parameters of the network, if the compute of its decisions is part of the recording's cost.
        tries: number of times that each seed is played, with different random streams; the best episode is kept.
        without_cost: whether episodes with any hidden cost are left out.
        cost_weight: weight of the hidden cost in the comparison of several tries.
        keep_values: whether the policy's values are recorded.
    """

    task: Task
    load: Callable[[], Policy]
    artifact: Artifact
    steps: int
    purpose: Purpose
    seed: int
    first_seed: int = 0
    shards: int = 1
    num_envs: int = _NUM_ENVS
    keep_abandoned: bool = False
    parameters: int = 0
    tries: int = 1
    without_cost: bool = False
    cost_weight: float = 0.0
    keep_values: bool = False

    @property
    def agent(self) -> str:
        """The agent's name."""
        return str(self.artifact.config["agent"])


@dataclass(frozen=True)
class Shard:
    """The result of recording a shard.

    Attributes:
        distribution_kind: the kind of its distributions; None without distributions.
        seconds: wall time.
        discarded: number of abandoned episodes that were discarded.
        spent: the policy's inference cost.
    """

    distribution_kind: str | None
    seconds: float
    discarded: int
    spent: Mapping[str, float] = field(default_factory=dict)


def record(recordings: Sequence[RecordingJob], *, workers: int, failures: Failures, suite: Suite) -> dict[str, float]:
    """Make missing recordings; tasks that fail are left out.

    Args:
        recordings: the recordings to make; their artifacts are started.
        workers: number of processes.
        failures: receives the tasks that fail, also because of damaged shards of an interrupted recording.
        suite: the suite of the tasks.

    Returns:
        Steps, mean returns and episodes per second by name, for logging.
    """
    jobs: dict[Job, RecordingJob] = {}
    for recording in recordings:
        folder, name = recording.artifact.folder, recording.task.name
        with failures.of(name):
            check_shards(folder, _shard_names(folder, recording.shards), complete=False)
            steps = math.ceil(recording.steps / recording.shards)
            for shard in range(recording.shards):
                job = Job(
                    f"record {name}",
                    steps,
                    {"recording": recording, "shard": shard},
                    name,
                    measured_as=(f"record {recording.agent}", name),
                )
                jobs[job] = recording
    results = run_jobs(_record_shard, list(jobs), workers=workers, failures=failures)
    surviving = {task.name for task in failures.survivors(suite)}
    metrics: dict[str, float] = {}
    for recording in recordings:
        name = recording.task.name
        shards = [results[job] for job, owner in jobs.items() if owner is recording and job in results]
        if name not in surviving or len(shards) != recording.shards:
            continue
        with failures.of(name):
            summary = finish(recording.task, recording.artifact, shards, recording.parameters)
            played = summary[f"record/steps/{name}/{recording.agent}"]
            if played < recording.steps:
                steps, most = f"{played:,.0f} of {recording.steps:,} steps", recording.shards * SEEDS_PER_SHARD
                console.warn(f"{name}: only {steps}, since all {most:,} episodes are played; more shards have more.")
            metrics |= summary
    return metrics


def _shard_names(folder: Path, count: int) -> list[str]:
    return [shard_folder(folder, number).name for number in range(count)]


def finish(task: Task, artifact: Artifact, shards: Sequence[Shard], parameters: int = 0) -> dict[str, float]:
    """Finish a recording whose shards exist; returns steps, mean return and episodes per second by name, for logging.

    With ``parameters``, the manifest states the cost of the network's decisions: two operations per parameter and
    observation, and the environment steps, including simulated ones.
    """
    check_shards(artifact.folder, _shard_names(artifact.folder, len(shards)))
    agent, discarded = artifact.config["agent"], sum(shard.discarded for shard in shards)
    facts: dict[str, Any] = {"task": task.name, "agent": agent, "discarded": discarded}
    facts |= {"self_play": True} if is_self_play(task) else {}
    facts |= {"distribution_kind": shards[0].distribution_kind, "spent": total_cost([shard.spent for shard in shards])}
    if parameters:
        # Every decision is a step, also in tries that are not kept.
        spent = facts["spent"]
        cost = Cost(0, 2.0 * parameters * spent["forward_passes"], int(spent["decisions"] + spent["simulator_steps"]))
        facts |= cost.facts()
    seconds = sum(shard.seconds for shard in shards)
    artifact.finish(seconds, **facts)
    if discarded:
        console.warn(f"{task.name}: the {agent} abandoned {discarded} episodes; they are not in its recording.")
    played = Trajectories(artifact.folder)
    return {
        f"record/steps/{task.name}/{agent}": float(played.steps),
        f"record/mean_return/{task.name}/{agent}": float(played.returns.mean()),
        f"record/episodes_per_second/{task.name}/{agent}": len(played) / max(seconds, 1e-9),
    }


def _record_shard(*, recording: RecordingJob, shard: int, report: Report) -> Shard:
    """Play until the shard has its steps, and write it; an existing shard is verified and kept."""
    start = time.monotonic()
    steps = math.ceil(recording.steps / recording.shards)
    folder, fingerprint = shard_folder(recording.artifact.folder, shard), recording.artifact.fingerprint
    if folder.exists():
        facts = verify_shard(folder, fingerprint)
    else:
        facts: dict[str, Any] = {}
        with closing(recording.load()) as policy:
            write_shard(
                folder,
                _finished(recording, policy, shard, steps, facts, report),
                spaces(recording.task)[0],
                fingerprint,
                lambda: facts,
            )
    report(steps)
    return Shard(facts["distribution_kind"], time.monotonic() - start, facts["discarded"], facts["spent"])


def _finished(
    recording: RecordingJob,
    policy: Policy,
    shard: int,
    steps: int,
    facts: dict[str, Any],
    report: Callable[[int], None],
) -> Iterator[Episode]:
    """Yield episodes with ``steps`` steps in total, without abandoned ones; ``facts`` are filled in at the end.

    Raises:
        GatitoError: if almost all episodes are abandoned.
    """
    first = recording.first_seed + shard * SEEDS_PER_SHARD
    seeds = (episode_seed(recording.purpose, first + index, recording.seed) for index in range(SEEDS_PER_SHARD))
    kept = finished = discarded = costly = 0
    before = -1
    while kept < steps and before < finished + discarded + costly:  # else there are no more seeds
        before = finished + discarded + costly
        report_further = functools.partial(_report_from, report, kept, steps)
        for episode in _episodes(recording, policy, seeds, enough_steps=steps - kept, report=report_further):
            if episode.truncated_by_policy and not (recording.keep_abandoned and episode.length):
                discarded += 1
            elif recording.without_cost and episode.cost:
                costly += 1
            else:
                finished, kept = finished + 1, kept + episode.length
                yield episode
            if discarded >= 40 and discarded > 20 * finished:
                raise GatitoError(
                    f"task {recording.task.name}: its {recording.agent} abandoned {discarded} of "
                    f"{discarded + finished} episodes, so there is nothing to record. Leave the task out with "
                    "tasks=[…], or give it another expert."
                )
            if costly >= 40 and costly > 20 * finished:
                raise GatitoError(
                    f"task {recording.task.name}: {costly} of {costly + finished} episodes have a hidden cost, so "
                    "record.without_cost=true leaves nothing to record. Leave the task out with tasks=[…]."
                )
    kind = policy.distribution_kind.get(recording.task.name)
    facts |= {"costly": costly} if recording.without_cost else {}
    facts |= {"discarded": discarded, "spent": policy.inference_cost(), "distribution_kind": kind}


def _episodes(
    recording: RecordingJob, policy: Policy, seeds: Iterator[int], enough_steps: int, report: Callable[[int], None]
) -> Iterator[Episode]:
    """One episode per seed, the best of several tries, until there are enough steps."""
    if recording.tries == 1:
        yield from rollout(
            policy,
            {recording.task: seeds},
            envs_per_task=recording.num_envs,
            keep_steps=True,
            enough_steps=enough_steps,
            keep_values=recording.keep_values,
            report=report,
        )
        return
    name, kept = policy.name, 0
    while kept < enough_steps and (batch := list(itertools.islice(seeds, recording.num_envs))):
        best: dict[int, Episode] = {}
        for number in range(recording.tries):
            policy.name = f"{name}-{number}"  # it seeds the policy's random streams
            for episode in rollout(policy, {recording.task: batch}, envs_per_task=recording.num_envs, keep_steps=True):
                previous, weight = best.get(episode.seed), recording.cost_weight
                if previous is None or _merit(episode, weight) > _merit(previous, weight):
                    best[episode.seed] = episode
        policy.name = name
        for seed in batch:
            yield best[seed]
        kept += sum(episode.length for episode in best.values())
        report(min(kept, enough_steps))


def _merit(episode: Episode, cost_weight: float) -> tuple[bool, float]:
    return bool(episode.success), episode.total_return - cost_weight * (episode.cost or 0.0)


def _report_from(report: Callable[[int], None], first: int, most: int, done: int) -> None:
    report(min(first + done, most))
