"""Agents x suite -> tidy score rows, one per test episode, for every agent that is scored.

Run by ``gatito stages=[evaluate]``.
"""

import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.artifacts import Artifact, write_text
from benchmarks.errors import GatitoError, check_at_least
from benchmarks.parallel import Report, run_jobs
from benchmarks.policy import Policy
from benchmarks.rollout import Episode, rollout
from benchmarks.scores import metric_value
from benchmarks.seeds import Purpose, episode_seed
from benchmarks.tasks import Suite, Task
from benchmarks.tracking import Tracker

SCORES = "scores.csv"
COLUMNS = ("suite", "task", "agent", "train_seed", "episode_seed", "return", "length", "success")


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
        name: as in the score rows.
        load: makes the policy, in the process that plays it; picklable.
        inputs: fingerprints of what the policy is made from.
    """

    name: str
    load: Callable[[], Policy]
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoreRow:
    """One test episode of one agent; the columns of ``scores.csv``."""

    suite: str
    task: str
    agent: str
    train_seed: int
    episode_seed: int
    total_return: float
    length: int
    success: bool | None


def score_artifact(run: Path, agent: Agent, suite: Suite, config: EvaluateConfig, seed: int) -> Artifact:
    """Where an agent's scores live in a run, and what decides them."""
    settings = {"suite": suite.name, "tasks": {task.name: task.digest for task in suite}, "agent": agent.name}
    settings |= {"episodes": config.episodes, "seed": seed}
    return Artifact(run / "scores" / agent.name, "scores", settings, agent.inputs)


def evaluate(
    agents: Sequence[Agent],
    suite: Suite,
    config: EvaluateConfig,
    *,
    run: Path,
    seed: int,
    workers: int,
    tracker: Tracker,
) -> list[ScoreRow]:
    """Score every agent on every task of the suite, what is not there yet, and write the run's ``scores.csv``.

    Returns:
        The rows of all agents.

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
    metrics: dict[str, float] = {}
    for name in missing:
        parts = [played for job, played in zip(jobs, results, strict=True) if job[0] == f"evaluate {name}"]
        rows = score_rows(suite, name, seed, [episode for episodes, _ in parts for episode in episodes])
        write_text(made[name].folder / SCORES, to_csv(rows))
        steps = sum(row.length for row in rows)
        made[name].finish(sum(seconds for _, seconds in parts), episodes=len(rows), steps=steps)
        metrics |= {
            f"evaluate/{task}/{agent}": float(values.mean())
            for (task, agent), values in scores_by_task(rows, suite.tasks).items()
        }
    if metrics:
        tracker.write(run / "scores", "evaluate", metrics, env_id=suite.name, episodes=config.episodes)
    everything = [row for artifact in made.values() for row in read_scores(artifact.folder / SCORES)]
    write_text(run / SCORES, to_csv(everything))
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


def to_csv(rows: Sequence[ScoreRow]) -> str:
    """``scores.csv``: one line an episode; ``success`` is 1, 0, or empty where the environment never speaks of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        success = "" if row.success is None else int(row.success)
        numbers = (row.train_seed, row.episode_seed, repr(row.total_return), row.length, success)
        writer.writerow((row.suite, row.task, row.agent, *numbers))
    return text.getvalue()


def read_scores(path: Path) -> list[ScoreRow]:
    """Read a ``scores.csv``.

    Raises:
        GatitoError: if it is missing, or a line cannot be read (it is numbered).
    """
    if not path.exists():
        raise GatitoError(f"{path} is missing: run with stages=[evaluate,report] first.")
    rows = []
    with path.open(newline="") as file:
        reader = csv.reader(file)
        header = tuple(next(reader, ()))
        if header != COLUMNS:
            raise GatitoError(f"{path}: the columns are {','.join(header)} instead of {','.join(COLUMNS)}.")
        for line in reader:
            try:
                suite, task, agent, train_seed, episode, value, length, success = line
                told = None if success == "" else bool(int(success))
                rows.append(
                    ScoreRow(suite, task, agent, int(train_seed), int(episode), float(value), int(length), told)
                )
            except ValueError as error:
                raise GatitoError(f"{path}, line {reader.line_num}, is no score row: {error}.") from None
    return rows


def scores_by_task(rows: Sequence[ScoreRow], tasks: Sequence[Task]) -> dict[tuple[str, str], np.ndarray]:
    """Each task's own metric, shape ``(episodes,)``, by ``(task, agent)``."""
    metrics = {task.name: task.metric for task in tasks}
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.task in metrics:
            values.setdefault((row.task, row.agent), []).append(metric_value(metrics[row.task], row))
    return {key: np.array(value) for key, value in values.items()}


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
