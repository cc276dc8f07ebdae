"""Play that is kept: who plays is recorded into shards, in parallel, resumably."""

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import console
from benchmarks.artifacts import Artifact, read_json, write_json
from benchmarks.errors import GatitoError
from benchmarks.failures import Failures
from benchmarks.parallel import Job, Report, run_jobs
from benchmarks.policy import Policy
from benchmarks.rollout import Episode, rollout
from benchmarks.seeds import Purpose, episode_seed
from benchmarks.tasks import Suite, Task, spaces
from benchmarks.trajectories import Trajectories, verify_shard, write_shard

_SEEDS_PER_SHARD = 10_000
_LANES = 8  # few: whoever plays when the steps are reached finishes, and long episodes would overshoot


@dataclass(frozen=True)
class Take:
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
        lanes: environments side by side. Only a network gains from several, and some take long to make.
        keep_given_up: whether episodes that the player gave up are kept up to there.
    """

    task: Task
    load: Callable[[], Policy]
    artifact: Artifact
    steps: int
    purpose: Purpose
    seed: int
    first_seed: int = 0
    shards: int = 1
    lanes: int = _LANES
    keep_given_up: bool = False

    @property
    def agent(self) -> str:
        """Who plays."""
        return str(self.artifact.config["agent"])


@dataclass(frozen=True)
class Shard:
    """What is told of a shard that was made: what its distributions are, how long it took, and episodes given up."""

    distribution_kind: str | None
    seconds: float
    discarded: int


def record(takes: Sequence[Take], *, workers: int, failures: Failures, suite: Suite) -> dict[str, float]:
    """Make recordings that are not there yet; tasks that fail are left out.

    Args:
        takes: what to record; the artifacts are started.
        workers: processes.
        failures: told which task failed.
        suite: whose tasks they are.

    Returns:
        Steps and mean returns by name, to be logged.

    Raises:
        GatitoError: if a shard that an interrupted recording left is damaged.
    """
    jobs, owners = [], []
    for take in takes:
        for shard in range(take.shards):
            steps = math.ceil(take.steps / take.shards)
            jobs.append(Job(f"record {take.task.name}", steps, {"take": take, "shard": shard}, take.task.name))
            owners.append(take)
    made = run_jobs(_record_shard, jobs, workers=workers, failures=failures)
    going = {task.name for task in failures.survivors(suite)}
    lines: dict[str, float] = {}
    for take in takes:
        shards = [made[job] for job, owner in zip(jobs, owners, strict=True) if owner is take and job in made]
        if take.task.name in going and len(shards) == take.shards:
            lines |= finish(take.task, take.artifact, shards)
    return lines


def finish(task: Task, artifact: Artifact, shards: Sequence[Shard]) -> dict[str, float]:
    """Finish a recording whose shards are there; steps and mean return by name, to be logged."""
    agent, discarded = artifact.config["agent"], sum(shard.discarded for shard in shards)
    facts = {"task": task.name, "agent": agent, "discarded": discarded}
    facts |= {"distribution_kind": shards[0].distribution_kind}
    artifact.finish(sum(shard.seconds for shard in shards), **facts)
    if discarded:
        console.warn(f"{task.name}: the {agent} gave {discarded} episodes up; they are not in its recording.")
    played = Trajectories(artifact.folder)
    return {
        f"record/steps/{task.name}/{agent}": float(played.steps),
        f"record/mean_return/{task.name}/{agent}": float(played.returns.mean()),
    }


def _record_shard(*, take: Take, shard: int, report: Report) -> Shard:
    """Play until the shard has its steps and write it; a shard that is there already is checked and kept."""
    start = time.monotonic()
    steps = math.ceil(take.steps / take.shards)
    policy, root = take.load(), take.artifact.folder
    folder, counted = root / f"shard-{shard:03d}", root / f"discarded-{shard:03d}.json"
    if folder.exists():
        verify_shard(folder)
    else:
        write_shard(folder, _finished(take, policy, shard, steps, counted, report), spaces(take.task)[0])
    report(steps)
    seconds, discarded = time.monotonic() - start, read_json(counted)["episodes"]
    return Shard(policy.distribution_kind.get(take.task.name), seconds, discarded)


def _finished(
    take: Take, policy: Policy, shard: int, steps: int, counted: Path, report: Callable[[int], None]
) -> Iterator[Episode]:
    """Episodes with so many steps between them, without those given up, whose number goes to a file at the end.

    Raises:
        GatitoError: if hardly an episode is played to its end.
    """
    first = take.first_seed + shard * _SEEDS_PER_SHARD
    seeds = (episode_seed(take.purpose, first + index, take.seed) for index in range(_SEEDS_PER_SHARD))
    kept = finished = discarded = 0
    before = -1
    while kept < steps and before < finished + discarded:  # else there are no more seeds
        before = finished + discarded
        further = {"enough_steps": steps - kept, "report": functools.partial(_report_from, report, kept, steps)}
        for episode in rollout(policy, {take.task: seeds}, lanes_per_task=take.lanes, keep_steps=True, **further):
            if episode.gave_up and not (take.keep_given_up and episode.length):
                discarded += 1
            else:
                finished, kept = finished + 1, kept + episode.length
                yield episode
            if discarded >= 40 and discarded > 20 * finished:
                raise GatitoError(
                    f"task {take.task.name}: its {take.agent} gave {discarded} of {discarded + finished} episodes up, "
                    "so there is nothing to record. Leave the task out with tasks=[…], or give it another expert."
                )
    write_json(counted, {"episodes": discarded})


def _report_from(report: Callable[[int], None], first: int, most: int, done: int) -> None:
    report(min(first + done, most))
