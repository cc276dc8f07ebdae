"""The scoreboard: every agent's fractions of the expert, per task and summed up, each with its interval."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.scoring import statistics
from benchmarks.scoring.gains import Gain, gains
from benchmarks.scoring.results import ANCHORS, Results, anchor_of, base_name
from benchmarks.scoring.scores import fraction, gate, ratio, samples_by_task
from benchmarks.scoring.statistics import Bootstrap, Estimate, Replicates, Sample, combine, count_interval, interval

THRESHOLDS = tuple(np.round(np.arange(0.0, 1.2001, 0.01), 2))
"""Fractions at which the threshold curve is drawn."""

AGGREGATES: Mapping[str, tuple[Callable[[np.ndarray], np.ndarray], tuple[float, float]]] = {
    "IQM": (statistics.iqm, (-np.inf, np.inf)),
    "mean": (statistics.mean, (-np.inf, np.inf)),
    "median": (statistics.median, (-np.inf, np.inf)),
    "worst decile": (statistics.worst_decile, (-np.inf, np.inf)),
    "optimality gap": (statistics.optimality_gap, (0.0, np.inf)),
}
"""What a suite's fractions are summed up to, and the values that it can have."""


@dataclass(frozen=True)
class TaskScore:
    """One agent on one task.

    Attributes:
        task: the task's name.
        agent: the agent's name.
        raw: mean score over test episodes and training seeds.
        f: the fraction of the expert, or None if the task's gate is shut.
        fieller: f's interval in closed form, a cross-check; None as above.
    """

    task: str
    agent: str
    raw: Estimate
    f: Estimate | None
    fieller: tuple[float, float] | None


@dataclass(frozen=True)
class SuiteScore:
    """One agent on all scored tasks.

    Attributes:
        agent: the agent's name.
        aggregates: by the names in :data:`AGGREGATES`.
        curve: the share of tasks at or above each of :data:`THRESHOLDS`.
    """

    agent: str
    aggregates: Mapping[str, Estimate]
    curve: tuple[Estimate, ...]

    def at_or_above(self, threshold: float) -> Estimate:
        """The share of tasks whose f is at least so much."""
        return self.curve[THRESHOLDS.index(threshold)]


@dataclass(frozen=True)
class Scoreboard:
    """Everything that a report says about the scores of a results folder.

    Attributes:
        results: the rows behind it.
        tasks: one score per task and agent, in the order of the suite and of the agents.
        suite: one per agent but random; empty if no task is scored.
        unscored: the reason by task whose gate is shut.
        weak_seeds: training seeds whose expert alone misses the reference, by task: never hidden, scored or not.
        improvements: probability that the first agent is better than the second, by pair.
        differences: first agent's IQM less the second's, by pair.
        gains: of rounds of amplification and distillation, where there are any.
    """

    results: Results
    tasks: tuple[TaskScore, ...]
    suite: tuple[SuiteScore, ...]
    unscored: Mapping[str, str]
    weak_seeds: Mapping[str, tuple[int, ...]]
    improvements: Mapping[tuple[str, str], Estimate] = field(default_factory=dict)
    differences: Mapping[tuple[str, str], Estimate] = field(default_factory=dict)
    gains: tuple[Gain, ...] = ()

    @functools.cached_property
    def preliminary(self) -> bool:
        """Whether some agent has one training seed alone: what another would give is unknown."""
        seeds: dict[str, set[int]] = {}
        for row in self.results.scores:
            seeds.setdefault(row.agent, set()).add(row.train_seed)
        return min(map(len, seeds.values())) < 2

    @functools.cached_property
    def judged(self) -> list[str]:
        """Agents other than random and expert."""
        return [agent for agent in self.results.agents if base_name(agent) not in ANCHORS]


def score(results: Results, rng: np.random.Generator, resamples: int = 10_000) -> Scoreboard:
    """Score every agent of checked results.

    Args:
        results: see :meth:`Results.check`.
        rng: the bootstrap's.
        resamples: of the bootstrap.
    """
    agents, tasks = results.agents, results.task_names
    samples = samples_by_task(results)
    unscored = _judge(results, samples)
    scored = [task for task in tasks if task not in unscored]
    bootstrap = Bootstrap(rng, resamples)
    raw = {agent: bootstrap.means([samples[task, agent] for task in tasks]) for agent in agents}
    anchors = {agent: [anchor_of(agent, anchor, agents) for anchor in ("expert", "random")] for agent in agents}
    places = [tasks.index(task) for task in scored]
    means = {agent: combine(lambda values: values[..., places], replicates) for agent, replicates in raw.items()}
    f = {}
    for agent in agents:
        parts = [means[name] for name in (agent, *anchors[agent])]
        fraction(*(part.estimate for part in parts))  # raises if a gate let through what has no fraction
        f[agent] = combine(ratio, *parts)
    rows = []
    intervals = {agent: (interval(raw[agent]), interval(f[agent]) if scored else None) for agent in agents}
    for place, task in enumerate(tasks):
        for agent in agents:
            whole, part = intervals[agent]
            estimate = _estimate(raw[agent].estimate, whole, place)
            if task in unscored or part is None:
                rows.append(TaskScore(task, agent, estimate, None, None))
                continue
            closed = _fieller(*(samples[task, name] for name in (agent, *anchors[agent])))
            of_expert = _estimate(f[agent].estimate, part, scored.index(task))
            rows.append(TaskScore(task, agent, estimate, of_expert, closed))
    rivals = [agent for agent in agents if base_name(agent) != "random"]
    pairs = [(x, y) for x in rivals for y in rivals if x != y]
    return Scoreboard(
        results,
        tuple(rows),
        tuple(_suite_score(agent, f[agent]) for agent in agents if base_name(agent) != "random") if scored else (),
        unscored,
        _weak_seeds(results),
        _improvements(bootstrap, samples, scored, pairs) if scored else {},
        _differences(f, pairs) if scored else {},
        gains(f, scored, {row.task for row in results.tasks if row.amplified}) if scored else (),
    )


def _judge(results: Results, samples: Mapping[tuple[str, str], Sample]) -> dict[str, str]:
    """Why tasks are unscored; in a comparison, every run's expert must pass."""
    unscored = {}
    for task in results.task_names:
        for expert in (agent for agent in results.agents if base_name(agent) == "expert"):
            rows = [row for row in results.tasks if (row.task, row.expert) == (task, expert)]
            references = [row.reference for row in rows if row.reference is not None]
            random = anchor_of(expert, "random", results.agents)
            means = {row.train_seed: row.gate_mean for row in rows}
            judged = gate(samples[task, expert], samples[task, random], max(references, default=None), means)
            if not judged.passed:
                unscored[task] = judged.reason
    return unscored


def _weak_seeds(results: Results) -> dict[str, tuple[int, ...]]:
    weak: dict[str, list[int]] = {}
    for row in results.tasks:
        if row.reference is not None and row.gate_mean < row.reference:
            weak.setdefault(row.task, []).append(row.train_seed)
    return {task: tuple(sorted(set(seeds))) for task, seeds in weak.items()}  # runs of a comparison may share a seed


def _estimate(value: np.ndarray, limits: tuple[np.ndarray, np.ndarray], place: int | tuple[()] = ()) -> Estimate:
    return Estimate(float(value[place]), float(limits[0][place]), float(limits[1][place]))


def _fieller(agent: Sample, expert: Sample, random: Sample) -> tuple[float, float] | None:
    """The closed form over training seeds, or over episodes where there is one seed; None where they do not pair up."""
    if set(agent) != set(expert) or set(agent) != set(random):
        return None
    units = [
        np.array([sample[seed].mean() for seed in agent]) if len(agent) > 1 else next(iter(sample.values()))
        for sample in (agent, expert, random)
    ]
    if len({len(values) for values in units}) > 1:
        return None
    return statistics.fieller(units[0] - units[2], units[1] - units[2])


def _suite_score(agent: str, f: Replicates) -> SuiteScore:
    aggregates = {}
    for name, (function, bounds) in AGGREGATES.items():
        replicates = combine(function, f)
        aggregates[name] = _estimate(replicates.estimate, interval(replicates, bounds))
    curve = combine(lambda values: statistics.share_at_or_above(values, THRESHOLDS), f)
    limits = count_interval(curve)
    return SuiteScore(agent, aggregates, tuple(_estimate(curve.estimate, limits, k) for k in range(len(THRESHOLDS))))


def _improvements(
    bootstrap: Bootstrap,
    samples: Mapping[tuple[str, str], Sample],
    tasks: Sequence[str],
    pairs: Sequence[tuple[str, str]],
) -> dict[tuple[str, str], Estimate]:
    improvements: dict[tuple[str, str], Estimate] = {}
    for x, y in pairs:
        if (y, x) in improvements:
            other = improvements[y, x]
            improvements[x, y] = Estimate(1 - other.value, 1 - other.high, 1 - other.low)
            continue
        replicates = statistics.improvement(
            bootstrap, [samples[task, x] for task in tasks], [samples[task, y] for task in tasks]
        )
        improvements[x, y] = _estimate(replicates.estimate, count_interval(replicates))
    return improvements


def _differences(f: Mapping[str, Replicates], pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Estimate]:
    differences = {}
    for x, y in pairs:
        gap = combine(lambda one, other: statistics.iqm(one) - statistics.iqm(other), f[x], f[y])
        differences[x, y] = _estimate(gap.estimate, interval(gap))
    return differences
