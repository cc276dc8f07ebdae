"""Play that is kept: who plays is recorded into shards, in parallel, resumably."""

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

SEEDS_PER_SHARD = 10_000
_NUM_ENVS = 8  # few: whoever plays when the steps are reached finishes, and long episodes would overshoot


@dataclass(frozen=True)
class RecordingJob:
    """One recording to be made.

    Attributes:
        task: what is played.
        load: makes the policy, in the process that plays it; picklable.
        artifact: where the recording goes; its config says under ``agent`` who plays.
        steps: steps in all, at least (the last episodes are finished).
        purpose: whose seeds the episodes have.
        seed: the training seed.
        first_seed: of the purpose's seeds, where this recording begins.
        shards: parts that it is made in; each is a unit of resuming and of parallel work.
        num_envs: environments side by side. Only a network gains from several, and some take long to make.
        keep_given_up: whether episodes that the player gave up are kept up to there.
        parameters: of the network that plays, where its thought is to be counted as compute: its policy tells what it
            has spent.
        tries: times that each seed is played, with other draws of the policy; the best episode of each is kept.
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
    keep_given_up: bool = False
    parameters: int = 0
    tries: int = 1

    @property
    def agent(self) -> str:
        """Who plays."""
        return str(self.artifact.config["agent"])


@dataclass(frozen=True)
class Shard:
    """What is told of a shard that was made: what its distributions are, how long it took, and episodes given up.

    And what the policy has spent on its decisions, if it counts that.
    """

    distribution_kind: str | None
    seconds: float
    discarded: int
    spent: Mapping[str, float] = field(default_factory=dict)


def record(takes: Sequence[RecordingJob], *, workers: int, failures: Failures, suite: Suite) -> dict[str, float]:
    """Make recordings that are not there yet; tasks that fail are left out.

    Args:
        takes: what to record; the artifacts are started.
        workers: processes.
        failures: told which task failed, also of shards that an interrupted recording left damaged.
        suite: whose tasks they are.

    Returns:
        Steps and mean returns by name, to be logged.
    """
    jobs: dict[Job, RecordingJob] = {}
    for take in takes:
        with failures.of(take.task.name):
            check_shards(take.artifact.folder, _shard_names(take.artifact.folder, take.shards), complete=False)
            steps = math.ceil(take.steps / take.shards)
            for shard in range(take.shards):
                job = Job(f"record {take.task.name}", steps, {"take": take, "shard": shard}, take.task.name)
                jobs[job] = take
    results = run_jobs(_record_shard, list(jobs), workers=workers, failures=failures)
    surviving = {task.name for task in failures.survivors(suite)}
    metrics: dict[str, float] = {}
    for take in takes:
        shards = [results[job] for job, owner in jobs.items() if owner is take and job in results]
        if take.task.name not in surviving or len(shards) != take.shards:
            continue
        with failures.of(take.task.name):
            summary = finish(take.task, take.artifact, shards, take.parameters)
            played = summary[f"record/steps/{take.task.name}/{take.agent}"]
            if played < take.steps:
                steps, most = f"{played:,.0f} of {take.steps:,} steps", take.shards * SEEDS_PER_SHARD
                console.warn(f"{take.task.name}: {steps}, for all {most:,} episodes are played; more shards have more.")
            metrics |= summary
    return metrics


def _shard_names(folder: Path, count: int) -> list[str]:
    return [shard_folder(folder, number).name for number in range(count)]


def finish(task: Task, artifact: Artifact, shards: Sequence[Shard], parameters: int = 0) -> dict[str, float]:
    """Finish a recording whose shards are there; steps and mean return by name, to be logged.

    Where a network of so many parameters has played, its manifest states the cost of that: two operations per parameter
    and observation, and the environment steps that it took, in thought as well.
    """
    check_shards(artifact.folder, _shard_names(artifact.folder, len(shards)))
    agent, discarded = artifact.config["agent"], sum(shard.discarded for shard in shards)
    facts = {"task": task.name, "agent": agent, "discarded": discarded}
    facts |= {"distribution_kind": shards[0].distribution_kind, "spent": total_cost([shard.spent for shard in shards])}
    if parameters:
        # Every decision is a step, also in tries of which nothing is kept.
        spent = facts["spent"]
        cost = Cost(0, 2.0 * parameters * spent["forward_passes"], int(spent["decisions"] + spent["simulator_steps"]))
        facts |= cost.facts()
    artifact.finish(sum(shard.seconds for shard in shards), **facts)
    if discarded:
        console.warn(f"{task.name}: the {agent} gave {discarded} episodes up; they are not in its recording.")
    played = Trajectories(artifact.folder)
    return {
        f"record/steps/{task.name}/{agent}": float(played.steps),
        f"record/mean_return/{task.name}/{agent}": float(played.returns.mean()),
    }


def _record_shard(*, take: RecordingJob, shard: int, report: Report) -> Shard:
    """Play until the shard has its steps and write it; a shard that is there already is checked and kept."""
    start = time.monotonic()
    steps = math.ceil(take.steps / take.shards)
    folder, fingerprint = shard_folder(take.artifact.folder, shard), take.artifact.fingerprint
    if folder.exists():
        facts = verify_shard(folder, fingerprint)
    else:
        facts: dict[str, Any] = {}
        with closing(take.load()) as policy:
            write_shard(
                folder,
                _finished(take, policy, shard, steps, facts, report),
                spaces(take.task)[0],
                fingerprint,
                lambda: facts,
            )
    report(steps)
    return Shard(facts["distribution_kind"], time.monotonic() - start, facts["discarded"], facts["spent"])


def _finished(
    take: RecordingJob,
    policy: Policy,
    shard: int,
    steps: int,
    facts: dict[str, Any],
    report: Callable[[int], None],
) -> Iterator[Episode]:
    """Episodes with so many steps between them, without those given up; ``facts`` are filled in at the end.

    Raises:
        GatitoError: if hardly an episode is played to its end.
    """
    first = take.first_seed + shard * SEEDS_PER_SHARD
    seeds = (episode_seed(take.purpose, first + index, take.seed) for index in range(SEEDS_PER_SHARD))
    kept = finished = discarded = 0
    before = -1
    while kept < steps and before < finished + discarded:  # else there are no more seeds
        before = finished + discarded
        report_further = functools.partial(_report_from, report, kept, steps)
        for episode in _episodes(take, policy, seeds, enough_steps=steps - kept, report=report_further):
            if episode.truncated_by_policy and not (take.keep_given_up and episode.length):
                discarded += 1
            else:
                finished, kept = finished + 1, kept + episode.length
                yield episode
            if discarded >= 40 and discarded > 20 * finished:
                raise GatitoError(
                    f"task {take.task.name}: its {take.agent} gave {discarded} of {discarded + finished} episodes up, "
                    "so there is nothing to record. Leave the task out with tasks=[…], or give it another expert."
                )
    kind = policy.distribution_kind.get(take.task.name)
    facts |= {"discarded": discarded, "spent": policy.inference_cost(), "distribution_kind": kind}


def _episodes(
    take: RecordingJob, policy: Policy, seeds: Iterator[int], enough_steps: int, report: Callable[[int], None]
) -> Iterator[Episode]:
    """One episode of each seed, until there are enough steps: the only one, or the best of several tries."""
    if take.tries == 1:
        yield from rollout(
            policy,
            {take.task: seeds},
            envs_per_task=take.num_envs,
            keep_steps=True,
            enough_steps=enough_steps,
            report=report,
        )
        return
    name, kept = policy.name, 0
    while kept < enough_steps and (batch := list(itertools.islice(seeds, take.num_envs))):
        best: dict[int, Episode] = {}
        for number in range(take.tries):
            policy.name = f"{name}-{number}"  # it seeds the policy's draws
            for episode in rollout(policy, {take.task: batch}, envs_per_task=take.num_envs, keep_steps=True):
                known = best.get(episode.seed)
                if known is None or _merit(episode) > _merit(known):
                    best[episode.seed] = episode
        policy.name = name
        for seed in batch:
            yield best[seed]
        kept += sum(episode.length for episode in best.values())
        report(min(kept, enough_steps))


def _merit(episode: Episode) -> tuple[bool, float]:
    return bool(episode.success), episode.total_return


def _report_from(report: Callable[[int], None], first: int, most: int, done: int) -> None:
    report(min(first + done, most))
