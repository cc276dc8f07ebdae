"""The scaling laws of a sweep over sizes and amounts of data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.results import Results
from benchmarks.scoring.scaling import BestSize, Point, PowerLaw, best_sizes, fit_power_law, grouped
from benchmarks.scoring.scores import ratio
from benchmarks.scoring.statistics import Sample, iqm

LOSS = "validation/loss"
_LEAST = 1e-4  # a shortfall has a logarithm: networks at or above their experts lack this much


@dataclass(frozen=True)
class ScalingBoard:
    """Scaling of the generalist over the runs of a comparison.

    Attributes:
        points: every trained network.
        laws: by what is measured (``loss``, ``shortfall``) and what varies (``parameters``, ``data``, ``flops``).
        best: the best size of each compute budget.
    """

    points: tuple[Point, ...]
    laws: Mapping[tuple[str, str], PowerLaw]
    best: tuple[BestSize, ...]


def scaling_board(
    results: Results, samples: Mapping[tuple[str, AgentId], Sample], scored: Sequence[str], rng: np.random.Generator
) -> ScalingBoard | None:
    """Fit the laws; None unless generalists of three or more sizes, or amounts of data, have a validation loss.

    Args:
        results: rows that pass :meth:`Results.check`.
        samples: the scores by task and agent.
        scored: the tasks that pass their gates.
        rng: generator of the bootstraps.
    """
    points = tuple(_points(results, samples, scored))
    if max(len(grouped(points, "parameters")), len(grouped(points, "data"))) < 3:
        return None
    laws = {
        (measured, varied): law
        for measured in ("loss", "shortfall")
        for varied, groups in _groups(points).items()
        if (law := fit_power_law([(x, [getattr(p, measured) for p in alike]) for x, alike in groups], rng))
    }
    return ScalingBoard(points, laws, tuple(best_sizes(points, rng)))


def _groups(points: Sequence[Point]) -> dict[str, list[tuple[float, list[Point]]]]:
    """What each law is fitted to: all else is as large as it was measured, and the size is the best one."""
    budgets = grouped(grouped(points, "data")[-1][1], "flops")
    sizes = grouped(budgets[-1][1], "parameters")
    best, _ = _lowest(sizes)
    of_best = [point for size, alike in grouped(points, "parameters") if size == best for point in alike]
    return {
        "parameters": sizes,
        "data": grouped(grouped(of_best, "flops")[-1][1], "data"),
        "flops": [(flops, _lowest(grouped(alike, "parameters"))[1]) for flops, alike in budgets],
    }


def _lowest(groups: Sequence[tuple[float, list[Point]]]) -> tuple[float, list[Point]]:
    return min(groups, key=lambda group: float(np.mean([point.loss for point in group[1]])))


def _points(results: Results, samples: Mapping[tuple[str, AgentId], Sample], scored: Sequence[str]) -> list[Point]:
    losses = {
        (row.agent_id, row.train_seed): row.value
        for row in sorted(results.curves, key=lambda row: row.step)
        if row.metric == LOSS
    }
    points = []
    for cost in results.costs:
        key = cost.agent_id, cost.train_seed
        if key not in losses or not all(cost.train_seed in samples[task, cost.agent_id] for task in scored):
            continue
        expert, random = (
            np.array([_mean(samples[task, cost.agent_id.anchor(name, results.agents)]) for task in scored])
            for name in ("expert", "random")
        )
        agent = np.array([samples[task, cost.agent_id][cost.train_seed].mean() for task in scored])
        shortfall = max(_LEAST, 1 - float(iqm(ratio(agent, expert, random)))) if scored else _LEAST
        points.append(Point(cost.parameters, cost.env_steps, cost.flops, cost.train_seed, losses[key], shortfall))
    return points


def _mean(sample: Sample) -> float:
    return float(np.mean([values.mean() for values in sample.values()]))
