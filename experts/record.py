"""Record what experts and the random policy do, with the expert's action distribution beside its action.

Run by ``gatito stages=[record]``.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import console
from benchmarks.artifacts import Artifact, read_json, write_json
from benchmarks.dashboards import log_lineage
from benchmarks.errors import GatitoError, check_at_least
from benchmarks.failures import Failures
from benchmarks.parallel import Job, Report, run_jobs
from benchmarks.policy import Noisy, Policy, RandomPolicy
from benchmarks.rollout import Episode, rollout
from benchmarks.seeds import Purpose, episode_seed
from benchmarks.tasks import Suite, Task, spaces
from benchmarks.tracking import Tracker
from benchmarks.trajectories import Trajectories, verify_shard, write_shard
from experts.datasets import dataset_episodes
from experts.recipe import DATASET, PLAYERS
from experts.train import algorithm_of, load_expert


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

    def check(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            GatitoError: naming the setting.
        """
        check_at_least("record", self, steps=1, random_steps=1, noise=0, shards=1)
        if self.noise > 1 or self.shards > 100:
            raise GatitoError("record.noise must be at most 1, and record.shards at most 100.")


_SEEDS_PER_SHARD = 10_000
_LANES = 8  # few: whoever plays when the steps are reached finishes, and long episodes would overshoot


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
    jobs: list[Job] = []
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
            if agent == "expert" and algorithm == DATASET:
                dataset = expert.config["recipe"]["dataset"]
                arguments: dict[str, Any] = {"task": task, "dataset": dataset, "artifact": artifact}
                jobs.append(Job(f"record {task.name}", 1, arguments, task.name))
                continue
            load: Callable[[], Policy] = RandomPolicy
            if agent == "expert":
                load = functools.partial(_load_noisy, expert.folder, task, config.noise)
            wanted = config.steps if agent == "expert" else config.random_steps
            steps = math.ceil(wanted / config.shards)
            # Only a network gains from deciding for several at once, and some environments take long to make.
            lanes = 1 if agent == "expert" and algorithm in PLAYERS else _LANES
            for shard in range(config.shards):
                arguments = {"task": task, "load": load, "artifact": artifact, "shard": shard}
                arguments |= {"steps": steps, "seed": seed, "lanes": lanes}
                jobs.append(Job(f"record {task.name}", steps, arguments, task.name))
    recorded = run_jobs(_record, jobs, workers=workers, failures=failures)
    going = {task.name for task in failures.survivors(suite, "record")}
    finished = {}  # every artifact once, with its shards
    for job, told in recorded.items():
        artifact, task = job.arguments["artifact"], job.arguments["task"]
        if task.name in going:
            finished.setdefault(artifact.folder, (artifact, task, []))[2].append(told)
    lines = {}
    for artifact, task, shards in finished.values():
        agent, kind = artifact.config["agent"], shards[0].distribution_kind
        discarded = sum(shard.discarded for shard in shards)
        facts = {"task": task.name, "agent": agent, "distribution_kind": kind, "discarded": discarded}
        artifact.finish(sum(shard.seconds for shard in shards), **facts)
        if discarded:
            console.warn(f"{task.name}: the {agent} gave {discarded} episodes up; they are not in its recording.")
        played = Trajectories(artifact.folder)
        lines[f"record/steps/{task.name}/{agent}"] = float(played.steps)
        lines[f"record/mean_return/{task.name}/{agent}"] = float(played.returns.mean())
    if lines:
        lineage = functools.partial(log_lineage, made=[artifact for artifact, _, _ in finished.values()], folder=run)
        tracker.write(run / "trajectories", "record", lines, log_more=lineage, env_id=suite.name, **asdict(config))
    return {name: agents for name, agents in made.items() if name in going}


@dataclass(frozen=True)
class _Shard:
    distribution_kind: str | None
    seconds: float
    discarded: int


def _load_noisy(folder: Path, task: Task, noise: float) -> Policy:
    return Noisy(load_expert(folder, task), noise)


def _record(**arguments: Any) -> _Shard:  # noqa: ANN401
    return (_import_dataset if "dataset" in arguments else _record_shard)(**arguments)


def _import_dataset(*, task: Task, dataset: str, artifact: Artifact, report: Report) -> _Shard:
    start = time.monotonic()
    write_shard(artifact.folder / "shard-000", dataset_episodes(task, dataset), spaces(task)[0])
    report(1)
    return _Shard(None, time.monotonic() - start, 0)


def _record_shard(
    *,
    task: Task,
    load: Callable[[], Policy],
    artifact: Artifact,
    shard: int,
    steps: int,
    seed: int,
    lanes: int,
    report: Report,
) -> _Shard:
    """Play until the shard has its steps and write it; a shard that is there already is checked and kept."""
    start = time.monotonic()
    policy = load()
    folder, counted = artifact.folder / f"shard-{shard:03d}", artifact.folder / f"discarded-{shard:03d}.json"
    if folder.exists():
        verify_shard(folder)
    else:
        purpose = Purpose.RECORDING_RANDOM if policy.name == "random" else Purpose.RECORDING
        first = shard * _SEEDS_PER_SHARD
        seeds = (episode_seed(purpose, first + index, seed) for index in range(_SEEDS_PER_SHARD))
        played = _finished(policy, task, seeds, steps, lanes, counted, lambda n: report(min(n, steps)))
        write_shard(folder, played, spaces(task)[0])
    report(steps)
    seconds, discarded = time.monotonic() - start, read_json(counted)["episodes"]
    return _Shard(policy.distribution_kind.get(task.name), seconds, discarded)


def _finished(
    policy: Policy,
    task: Task,
    seeds: Iterator[int],
    steps: int,
    lanes: int,
    counted: Path,
    report: Callable[[int], None],
) -> Iterator[Episode]:
    """Episodes with so many steps between them, without those given up, whose number goes to a file at the end.

    Raises:
        GatitoError: if hardly an episode is played to its end.
    """
    kept = finished = discarded = 0
    before = -1
    while kept < steps and before < finished + discarded:  # else there are no more seeds
        before = finished + discarded
        further = {"enough_steps": steps - kept, "report": functools.partial(_report_from, report, kept)}
        for episode in rollout(policy, {task: seeds}, lanes_per_task=lanes, keep_steps=True, **further):
            if episode.gave_up:
                discarded += 1
            else:
                finished, kept = finished + 1, kept + episode.length
                yield episode
            if discarded >= 40 and discarded > 20 * finished:
                raise GatitoError(
                    f"task {task.name}: its {policy.name} gave {discarded} of {discarded + finished} episodes up, so "
                    "there is nothing to record. Leave the task out with tasks=[…], or give it another expert."
                )
    write_json(counted, {"episodes": discarded})


def _report_from(report: Callable[[int], None], first: int, done: int) -> None:
    report(first + done)
