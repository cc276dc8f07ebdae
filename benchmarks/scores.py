"""Scores: the fraction of expert performance, and the gate that says on which tasks it means anything.

For a task with mean scores S (agent), E (expert) and R (random), f = (S - R) / (E - R). It is never S / E, which breaks
where returns are negative, and a task whose expert is weak is listed as unscored: nothing is ever imputed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from benchmarks.errors import GatitoError

MIN_Z = 4.4
"""The expert must be so many standard errors above random (then f's own interval is bounded; Fieller 1954)."""


class Played(Protocol):
    """What a score needs of an episode."""

    @property
    def total_return(self) -> float:
        """Undiscounted sum of rewards."""
        ...

    @property
    def success(self) -> bool | None:
        """Whether the task was solved, None if its environment never says."""
        ...


def metric_value(metric: str, episode: Played) -> float:
    """An episode's score: its undiscounted return, or 1.0 or 0.0 for success.

    Raises:
        GatitoError: if success is asked for and the environment never speaks of it.
    """
    if metric == "return":
        return episode.total_return
    if episode.success is None:
        raise GatitoError("the metric is success, but the environment reports none: set metric: return in the suite.")
    return float(episode.success)


def fraction(agent: float, expert: float, random: float) -> float:
    """F = (S - R) / (E - R): 0 at random, 1 at the expert.

    Raises:
        ValueError: if the expert is no better than random, where f means nothing.
    """
    if not expert > random:
        raise ValueError(f"no fraction: the expert's mean {expert} is not above random's {random}")
    return (agent - random) / (expert - random)


@dataclass(frozen=True)
class Gate:
    """Whether a task counts, and if not, why.

    Attributes:
        passed: whether it counts.
        reason: empty, or what the expert lacks.
    """

    passed: bool
    reason: str


def gate(
    expert: np.ndarray,
    random: np.ndarray,
    reference: float | None = None,
    reference_mean: float | None = None,
) -> Gate:
    """Judge an expert.

    It passes if E - R is at least ``MIN_Z`` standard errors and at least one standard deviation of the expert's scores,
    and if its mean on the gate's own seeds reaches the task's reference.

    Args:
        expert: shape ``(episodes,)``, its scores on test episodes.
        random: shape ``(episodes,)``, random's scores.
        reference: mean that the expert must reach, or None.
        reference_mean: the expert's mean on gate episodes; its test mean if not given.
    """
    if len(expert) < 2 or len(random) < 2:
        return Gate(False, "too few episodes to tell")
    gap = float(expert.mean() - random.mean())
    error = math.hypot(_standard_error(expert), _standard_error(random))
    deviation = float(expert.std(ddof=1))
    if gap <= 0:
        return Gate(False, "weak expert: not above random")
    if error > 0 and gap / error < MIN_Z:
        return Gate(False, f"weak expert: only {gap / error:.1f} standard errors above random")
    if gap < deviation:
        return Gate(False, "weak expert: less than one standard deviation above random")
    mean = float(expert.mean()) if reference_mean is None else reference_mean
    if reference is not None and mean < reference:
        return Gate(False, f"weak expert: {mean:.4g} is below its reference {reference:g}")
    return Gate(True, "")


@dataclass(frozen=True)
class TaskScore:
    """One agent on one task.

    Attributes:
        task: the task's name.
        agent: the agent's name.
        mean: mean score over test episodes.
        error: standard error of that mean.
        fraction: f, or None if the task's gate is shut.
        gate: the task's gate.
    """

    task: str
    agent: str
    mean: float
    error: float
    fraction: float | None
    gate: Gate


def score_tasks(
    scores: Mapping[tuple[str, str], np.ndarray],
    tasks: Sequence[str],
    references: Mapping[str, float | None],
    reference_means: Mapping[str, float],
) -> list[TaskScore]:
    """Score every agent on every task.

    Args:
        scores: test scores, shape ``(episodes,)``, by ``(task, agent)``; ``expert`` and ``random`` must be among them.
        tasks: task names in the order of the suite.
        references: each task's reference, or None.
        reference_means: each expert's mean on gate episodes.

    Raises:
        GatitoError: if expert or random was not scored on a task.
    """
    agents = list(dict.fromkeys(agent for _, agent in scores))
    rows = []
    for task in tasks:
        for needed in ("random", "expert"):
            if (task, needed) not in scores:
                raise GatitoError(f"no scores of agent {needed} on task {task}: run with stages=[evaluate,report].")
        random, expert = scores[task, "random"], scores[task, "expert"]
        judged = gate(expert, random, references.get(task), reference_means.get(task))
        for agent in agents:
            if (task, agent) not in scores:
                continue
            values = scores[task, agent]
            mean = float(values.mean())
            f = fraction(mean, float(expert.mean()), float(random.mean())) if judged.passed else None
            rows.append(TaskScore(task, agent, mean, _standard_error(values), f, judged))
    return rows


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0
