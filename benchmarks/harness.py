"""Agents x suite -> tidy rows: what every agent scores in every test episode, what it cost, how it learnt.

Run by ``gatito stages=[evaluate]``.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.artifacts import Artifact, read_manifest, write_text
from benchmarks.compute import Cost
from benchmarks.dashboards import log_lineage
from benchmarks.errors import GatitoError, check_at_least
from benchmarks.parallel import Report, run_jobs
from benchmarks.policy import Policy
from benchmarks.results import CostRow, CurveRow, Results, ScoreRow, TaskRow
from benchmarks.rollout import Episode, rollout
from benchmarks.scores import samples_by_task
from benchmarks.seeds import Purpose, episode_seed
from benchmarks.tasks import Suite
from benchmarks.tidy import read_csv, to_csv
from benchmarks.tracking import LOG, Tracker, read_log

SCORES = "scores.csv"
CURVES = ("selection/mean", "distill/loss")
"""The metrics of learning curves that results folders keep."""


@dataclass
class EvaluateConfig:
    """``conf/evaluate/*.yaml``.

    Attributes:
        episodes: test episodes per task and agent, on the same seeds for every agent.
        lanes: environments of one task side by side in one process.
    """

    episodes: int = 100
    lanes: int = 50

    def check(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            GatitoError: naming the setting.
        """
        check_at_least("evaluate", self, episodes=2, lanes=1)


@dataclass(frozen=True)
class Agent:
    """Somebody to be scored.

    Attributes:
        name: as in the score rows, see ``results.AGENTS``.
        load: makes the policy, in the process that plays it; picklable.
        made_from: the artifacts that the policy is: one for each task by its name, or one for all tasks by ``""``.
    """

    name: str
    load: Callable[[], Policy]
    made_from: Mapping[str, Artifact] = field(default_factory=dict)


def score_artifact(run: Path, agent: Agent, suite: Suite, config: EvaluateConfig, seed: int) -> Artifact:
    """Where an agent's scores live in a run, and what decides them."""
    settings = {"suite": suite.name, "tasks": {task.name: task.digest for task in suite}, "agent": agent.name}
    settings |= {"episodes": config.episodes, "seed": seed}
    inputs = {name or agent.name: artifact.fingerprint for name, artifact in agent.made_from.items()}
    return Artifact(run / "scores" / agent.name, "scores", settings, inputs)


def evaluate(
    agents: Sequence[Agent],
    suite: Suite,
    gate_means: Mapping[str, float],
    config: EvaluateConfig,
    *,
    run: Path,
    seed: int,
    workers: int,
    tracker: Tracker,
) -> Results:
    """Score every agent on every task of the suite, what is not there yet, and write the run's results.

    Args:
        agents: who plays; their artifacts must be finished.
        suite: what is played.
        gate_means: each expert's mean score on its gate's episodes, by task name.
        config: how much is played.
        run: the run's folder.
        seed: the training seed.
        workers: processes.
        tracker: told every mean.

    Raises:
        GatitoError: if an environment raises, or an agent's files are missing or damaged.
    """
    jobs: list[tuple[str, int, dict[str, Any]]] = []
    made = {agent.name: score_artifact(run, agent, suite, config, seed) for agent in agents}
    missing = []
    seeds = [episode_seed(Purpose.TEST, index, seed) for index in range(config.episodes)]
    for agent in agents:
        if made[agent.name].is_complete() or made[agent.name].adopt(run.parent):
            continue
        made[agent.name].start()
        missing.append(agent.name)
        parts = min(workers, len(seeds))
        for part in range(parts):
            arguments = {"load": agent.load, "suite": suite, "seeds": seeds[part::parts], "lanes": config.lanes}
            jobs.append((f"evaluate {agent.name}", len(seeds[part::parts]) * len(suite.tasks), arguments))
    results = run_jobs(_play, jobs, workers=workers)
    for name in missing:
        parts = [played for job, played in zip(jobs, results, strict=True) if job[0] == f"evaluate {name}"]
        rows = score_rows(suite, name, seed, [episode for episodes, _ in parts for episode in episodes])
        write_text(made[name].folder / SCORES, to_csv(rows, ScoreRow))
        steps = sum(row.length for row in rows)
        made[name].finish(sum(seconds for _, seconds in parts), episodes=len(rows), steps=steps)
    everything = _collect(agents, suite, gate_means, made, seed)
    everything.write(run)
    if missing:
        means = {
            f"evaluate/{task}/{agent}": float(sample[seed].mean())
            for (task, agent), sample in samples_by_task(everything).items()
            if agent in missing
        }
        tracker.write(
            run / "scores",
            "evaluate",
            means,
            log_more=partial(log_lineage, made=[made[name] for name in missing], folder=run),
            env_id=suite.name,
            episodes=config.episodes,
        )
    return everything


def score_rows(suite: Suite, agent: str, seed: int, episodes: Sequence[Episode]) -> list[ScoreRow]:
    """Tidy rows in the order of the suite's tasks and of episode seeds."""
    order = {task.name: index for index, task in enumerate(suite)}
    ordered = sorted(episodes, key=lambda episode: (order[episode.task], episode.seed))
    return [
        ScoreRow(
            suite.name,
            episode.task,
            agent,
            seed,
            episode.seed,
            episode.total_return,
            episode.length,
            episode.success,
        )
        for episode in ordered
    ]


def _collect(
    agents: Sequence[Agent], suite: Suite, gate_means: Mapping[str, float], played: Mapping[str, Artifact], seed: int
) -> Results:
    """The run's results out of its artifacts."""
    remedy = "run with stages=[evaluate,report] again."
    scores = [row for agent in agents for row in read_csv(played[agent.name].folder / SCORES, ScoreRow, remedy)]
    tasks = [
        TaskRow(
            suite.name,
            task.name,
            seed,
            task.env_id,
            task.horizon,
            task.metric,
            task.reference,
            "expert",
            gate_means[task.name],
            task.digest[:12],
        )
        for task in suite
    ]
    costs, curves = [], []
    for agent in agents:
        cost = sum((Cost.of(_manifest(artifact)) for artifact in agent.made_from.values()), Cost())
        manifest = _manifest(played[agent.name])
        costs.append(
            CostRow(
                suite.name,
                agent.name,
                seed,
                cost.parameters,
                cost.flops,
                cost.env_steps,
                round(cost.seconds, 2),
                manifest["facts"]["steps"],
                manifest["wall_seconds"],
            )
        )
        for task, artifact in agent.made_from.items():
            curves += [
                CurveRow(agent.name, task, seed, metric, int(line["step"]), line[metric])
                for line in read_log(artifact.folder / LOG)
                for metric in CURVES
                if math.isfinite(line.get(metric, math.nan))  # a loss that became NaN is in the log alone
            ]
    return Results(tuple(scores), tuple(tasks), tuple(costs), tuple(curves))


def _manifest(artifact: Artifact) -> dict[str, Any]:
    manifest = read_manifest(artifact.folder)
    if manifest is None:
        raise GatitoError(f"{artifact.folder} is not finished: run all stages again, they resume.")
    return manifest


def _play(
    *, load: Callable[[], Policy], suite: Suite, seeds: list[int], lanes: int, report: Report
) -> tuple[list[Episode], float]:
    """All episodes of these seeds, and the seconds that they took."""
    start = time.monotonic()
    episodes: list[Episode] = []
    for episode in rollout(load(), {task: seeds for task in suite}, lanes_per_task=lanes):
        episodes.append(episode)
        report(len(episodes))
    return episodes, time.monotonic() - start
