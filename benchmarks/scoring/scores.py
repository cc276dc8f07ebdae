"""Scores: the fraction of expert performance, and the gate that decides on which tasks it is meaningful.

For a task with mean scores S (agent), E (expert) and R (random), f = (S - R) / (E - R). S / E would break where returns
are negative. A task with a weak expert is listed as unscored; no score is ever imputed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.results import Results
from benchmarks.scoring.statistics import Sample, standard_error
from benchmarks.tasks.metrics import METRICS, ScoredEpisode

MIN_Z = 4.4
"""Least distance between expert and random, in standard errors. Above Student's 97.5 % quantile (4.3 for three training
seeds, less for more) the interval of f is bounded (Fieller 1954). The quantile for two seeds is 12.7, so intervals from
two seeds can be wide."""


def metric_value(metric: str, episode: ScoredEpisode) -> float:
    """An episode's score by the metric of this name.

    Raises:
        GatitoError: if the metric needs what the environment does not report.
    """
    return float(METRICS.load(metric)(episode))


def fraction(agent: np.ndarray, expert: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Fraction f = (S - R) / (E - R) of mean scores, 0 at random and 1 at the expert; shapes broadcast.

    Raises:
        ValueError: if an expert is no better than random, so that f has no meaning.
    """
    if not np.all(np.greater(expert, random)):
        raise ValueError("no fraction: the expert's mean is not above random's")
    return ratio(agent, expert, random)


def ratio(agent: np.ndarray, expert: np.ndarray, random: np.ndarray) -> np.ndarray:
    """:func:`fraction` without its check, for resampled means, which may rarely put an expert at random's level."""
    return (agent - random) / (expert - random)


@dataclass(frozen=True)
class Gate:
    """Whether a task is scored.

    Attributes:
        passed: whether the task is scored.
        reason: why it is not; empty if it is.
    """

    passed: bool
    reason: str


def gate(
    expert: Sample, random: Sample, reference: float | None = None, gate_means: Mapping[int, float] | None = None
) -> Gate:
    """Decide whether a task is scored, from its expert over all training seeds.

    The gate passes if E - R is at least ``MIN_Z`` standard errors and at least one standard deviation of the expert's
    episodes, and the expert's mean on its gate episodes reaches the task's reference.

    Args:
        expert: the expert's scores on test episodes, by training seed.
        random: the random policy's scores.
        reference: mean that the expert must reach; None: any.
        gate_means: the expert's mean on gate episodes, by training seed; its test means if not given.
    """
    if min(len(values) for sample in (expert, random) for values in sample.values()) < 2:
        return Gate(False, "fewer than two episodes")
    means = {seed: float(values.mean()) for seed, values in expert.items()}
    gap = float(np.mean(list(means.values())) - np.mean([values.mean() for values in random.values()]))
    error = float(np.hypot(standard_error(expert), standard_error(random)))
    deviation = float(np.concatenate(list(expert.values())).std(ddof=1))
    if gap <= 0:
        return Gate(False, "weak expert: not above random")
    if error > 0 and gap / error < MIN_Z:
        return Gate(False, f"weak expert: only {gap / error:.1f} standard errors above random")
    if gap < deviation:
        return Gate(False, "weak expert: less than one standard deviation above random")
    reached = float(np.mean(list((means if gate_means is None else gate_means).values())))
    if reference is not None and reached < reference:
        return Gate(False, f"weak expert: {reached:.4g} is below its reference {reference:g}")
    return Gate(True, "")


def samples_by_task(results: Results) -> dict[tuple[str, AgentId], Sample]:
    """Scores by each task's metric: ``(task, agent)`` → training seed → scores in the order of episode seeds."""
    metrics = {row.task: row.metric for row in results.tasks}
    values: dict[tuple[str, AgentId], dict[int, list[tuple[int, float]]]] = {}
    for row in results.scores:
        seeds = values.setdefault((row.task, row.agent_id), {})
        seeds.setdefault(row.train_seed, []).append((row.episode_seed, metric_value(metrics[row.task], row)))
    return {
        key: {seed: np.array([value for _, value in sorted(scores)]) for seed, scores in sorted(seeds.items())}
        for key, seeds in values.items()
    }
