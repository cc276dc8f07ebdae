"""The scoreboard: every agent's fraction of the expert, per task and aggregated over tasks, with intervals."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.base.errors import FatalError, text_of
from benchmarks.base.registry import Registry
from benchmarks.scoring import statistics
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.gains import Gain, gains
from benchmarks.scoring.games_board import GamesBoard, games_board
from benchmarks.scoring.restraint_board import RestraintBoard, restraint_board
from benchmarks.scoring.results import Results
from benchmarks.scoring.scaling_board import ScalingBoard, scaling_board
from benchmarks.scoring.scores import fraction, gate, ratio, samples_by_task
from benchmarks.scoring.statistics import Bootstrap, Estimate, Replicates, Sample, combine, count_interval, interval
from benchmarks.scoring.words_board import WordsBoard, words_board

MARKS = (0.5, 0.9, 1.0)
"""Fractions at or above which tasks are counted."""
THRESHOLDS = tuple(np.round(np.arange(0.0, 1.2001, 0.01), 2))
"""Fractions at which the threshold curve is drawn."""


def share_name(mark: float) -> str:
    """The name of the share of tasks at or above a fraction, as in ``table.csv``."""
    return f"share at f >= {mark:g}"


@dataclass(frozen=True)
class Aggregate:
    """An aggregate statistic of fractions over tasks.

    Attributes:
        function: ``(..., tasks)`` → ``(...)``, over the last axis.
        help: one sentence for the caption of the summary table; may be empty.
        low: its least possible value, for clipping intervals.
        high: its greatest possible value.
        counts: whether it is a count or a share of tasks, whose interval is made for steps.
    """

    function: Callable[[np.ndarray], np.ndarray]
    help: str = ""
    low: float = -np.inf
    high: float = np.inf
    counts: bool = False


AGGREGATES: Registry[Aggregate] = Registry(
    "aggregate",
    {
        "IQM": Aggregate(statistics.iqm, "IQM: mean of the middle half of the tasks."),
        "mean": Aggregate(statistics.mean),
        "median": Aggregate(statistics.median),
        "worst decile": Aggregate(
            statistics.worst_decile, "Worst decile: mean of the lowest tenth, at least one task."
        ),
        "optimality gap": Aggregate(statistics.optimality_gap, "Optimality gap: mean of max(0, 1 - f).", low=0.0),
    },
    attributes=("function", "help", "low", "high", "counts"),
    reserved=[share_name(mark) for mark in MARKS],
)
"""Aggregate statistics by name, in the order of the summary table's columns."""


@dataclass(frozen=True)
class TaskScore:
    """One agent on one task.

    Attributes:
        task: the task's name.
        agent: the agent.
        raw: mean score over test episodes and training seeds.
        f: fraction of the expert; None if the task is unscored.
        fieller: f's interval in closed form, a cross-check; None if there is none.
    """

    task: str
    agent: AgentId
    raw: Estimate
    f: Estimate | None
    fieller: tuple[float, float] | None


@dataclass(frozen=True)
class SuiteScore:
    """One agent on all scored tasks.

    Attributes:
        agent: the agent.
        aggregates: by the names in :data:`AGGREGATES`.
        curve: share of tasks at or above each of :data:`THRESHOLDS`.
    """

    agent: AgentId
    aggregates: Mapping[str, Estimate]
    curve: tuple[Estimate, ...]

    def at_or_above(self, threshold: float) -> Estimate:
        """Share of tasks whose f is at or above a threshold."""
        return self.curve[THRESHOLDS.index(threshold)]


@dataclass(frozen=True)
class Scoreboard:
    """All scores that a report of a results folder shows.

    Attributes:
        results: the rows that are scored.
        tasks: one score per task and agent, in the order of the suite and of the agents.
        suite: one score per agent except random; empty if no task is scored.
        unscored: tasks that failed the gate, each with the reason.
        weak_seeds: training seeds whose expert misses the reference, by task, whether the task is scored or not.
        improvements: probability that the first agent of a pair is better than the second.
        differences: IQM of the first agent of a pair minus the second's.
        gains: gains of rounds of amplification and distillation.
        restraint: of every agent, where there is a reward-only expert; else None.
        games: outcomes, Elo and quality of moves, where a task is a game; else None.
        words: exact matches and bits per byte, where a task is one of writing; else None.
        scaling: laws of loss and performance, where networks of several sizes or amounts of data have a validation
            loss; else None.
    """

    results: Results
    tasks: tuple[TaskScore, ...]
    suite: tuple[SuiteScore, ...]
    unscored: Mapping[str, str]
    weak_seeds: Mapping[str, tuple[int, ...]]
    improvements: Mapping[tuple[AgentId, AgentId], Estimate] = field(default_factory=dict)
    differences: Mapping[tuple[AgentId, AgentId], Estimate] = field(default_factory=dict)
    gains: tuple[Gain, ...] = ()
    restraint: RestraintBoard | None = None
    games: GamesBoard | None = None
    words: WordsBoard | None = None
    scaling: ScalingBoard | None = None

    @functools.cached_property
    def preliminary(self) -> bool:
        """Whether some agent has a single training seed, so that the variation between seeds is unknown."""
        return min(self.seed_counts.values()) < 2

    @functools.cached_property
    def seed_counts(self) -> dict[AgentId, int]:
        """Number of training seeds per agent."""
        seeds: dict[AgentId, set[int]] = {}
        for row in self.results.scores:
            seeds.setdefault(row.agent_id, set()).add(row.train_seed)
        return {agent: len(found) for agent, found in seeds.items()}

    @functools.cached_property
    def competitors(self) -> list[AgentId]:
        """Agents other than random and expert."""
        return [agent for agent in self.results.agents if not agent.is_anchor]


def score(results: Results, rng: np.random.Generator, resamples: int = 10_000) -> Scoreboard:
    """Score every agent.

    Args:
        results: rows that pass :meth:`Results.check`.
        rng: random generator of the bootstrap.
        resamples: number of bootstrap resamples.
    """
    agents, tasks = results.agents, results.task_names
    samples = samples_by_task(results)
    unscored = _unscored(results, samples)
    scored = [task for task in tasks if task not in unscored]
    bootstrap = Bootstrap(rng, resamples)
    raw = {agent: bootstrap.means([samples[task, agent] for task in tasks]) for agent in agents}
    f = _fractions(raw, [tasks.index(task) for task in scored])
    rivals = [agent for agent in agents if agent.name != "random"]
    pairs = [(x, y) for x in rivals for y in rivals if x != y]
    return Scoreboard(
        results,
        _task_scores(results, samples, raw, f, scored),
        tuple(_suite_score(agent, f[agent]) for agent in rivals) if scored else (),
        unscored,
        _weak_seeds(results),
        _improvements(bootstrap, samples, scored, pairs) if scored else {},
        _differences(f, pairs) if scored else {},
        gains(f, scored, {row.task for row in results.tasks if row.amplified}) if scored else (),
        restraint_board(results, bootstrap),
        games_board(results, bootstrap),
        words_board(results, bootstrap),
        scaling_board(results, samples, scored, rng),
    )


def _fractions(raw: Mapping[AgentId, Replicates], scored: Sequence[int]) -> dict[AgentId, Replicates]:
    """Fractions of the expert on the scored tasks, given as columns of the raw scores."""
    means = {agent: combine(lambda values: values[..., scored], replicates) for agent, replicates in raw.items()}
    f = {}
    for agent in raw:
        parts = [means[name] for name in (agent, agent.anchor("expert", raw), agent.anchor("random", raw))]
        fraction(*(part.estimate for part in parts))  # raises if the gate passed a task on which f is undefined
        f[agent] = combine(ratio, *parts)
    return f


def _task_scores(
    results: Results,
    samples: Mapping[tuple[str, AgentId], Sample],
    raw: Mapping[AgentId, Replicates],
    f: Mapping[AgentId, Replicates],
    scored: Sequence[str],
) -> tuple[TaskScore, ...]:
    raw_limits = {agent: interval(replicates) for agent, replicates in raw.items()}
    f_limits = {agent: interval(replicates) for agent, replicates in f.items()} if scored else {}
    rows = []
    for column, task in enumerate(results.task_names):
        for agent in results.agents:
            mean = _estimate(raw[agent].estimate, raw_limits[agent], column)
            if task not in scored:
                rows.append(TaskScore(task, agent, mean, None, None))
                continue
            of_expert = _estimate(f[agent].estimate, f_limits[agent], scored.index(task))
            expert, random = agent.anchor("expert", raw), agent.anchor("random", raw)
            closed_form = _fieller(samples[task, agent], samples[task, expert], samples[task, random])
            rows.append(TaskScore(task, agent, mean, of_expert, closed_form))
    return tuple(rows)


def _unscored(results: Results, samples: Mapping[tuple[str, AgentId], Sample]) -> dict[str, str]:
    """Tasks that fail the gate, with the reason; in a comparison, every run's expert must pass."""
    unscored = {}
    for task in results.task_names:
        for expert in (agent for agent in results.agents if agent.name == "expert"):
            rows = [row for row in results.tasks if (row.task, row.expert_id) == (task, expert)]
            references = [row.reference for row in rows if row.reference is not None]
            random = expert.anchor("random", results.agents)
            means = {row.train_seed: row.gate_mean for row in rows}
            verdict = gate(samples[task, expert], samples[task, random], max(references, default=None), means)
            if not verdict.passed:
                unscored[task] = verdict.reason
    return unscored


def _weak_seeds(results: Results) -> dict[str, tuple[int, ...]]:
    weak: dict[str, list[int]] = {}
    for row in results.tasks:
        if row.reference is not None and row.gate_mean < row.reference:
            weak.setdefault(row.task, []).append(row.train_seed)
    return {task: tuple(sorted(set(seeds))) for task, seeds in weak.items()}  # compared runs may share a seed


def _estimate(value: np.ndarray, limits: tuple[np.ndarray, np.ndarray], index: int | tuple[()] = ()) -> Estimate:
    return Estimate(float(value[index]), float(limits[0][index]), float(limits[1][index]))


def _fieller(agent: Sample, expert: Sample, random: Sample) -> tuple[float, float] | None:
    """Fieller's interval over training seeds, or over episodes if there is one seed; None if they cannot be paired."""
    if set(agent) != set(expert) or set(agent) != set(random):
        return None
    units = [
        np.array([sample[seed].mean() for seed in agent]) if len(agent) > 1 else next(iter(sample.values()))
        for sample in (agent, expert, random)
    ]
    if len({len(values) for values in units}) > 1:
        return None
    return statistics.fieller(units[0] - units[2], units[1] - units[2])


def _suite_score(agent: AgentId, f: Replicates) -> SuiteScore:
    aggregates = {}
    for name in AGGREGATES:
        aggregate = AGGREGATES.load(name)
        replicates = combine(functools.partial(_applied, name, aggregate), f)
        bounds = (aggregate.low, aggregate.high)
        limits = count_interval(replicates) if aggregate.counts else interval(replicates, bounds)
        aggregates[name] = _estimate(replicates.estimate, limits)
    curve = combine(lambda values: statistics.share_at_or_above(values, THRESHOLDS), f)
    limits = count_interval(curve)
    return SuiteScore(agent, aggregates, tuple(_estimate(curve.estimate, limits, k) for k in range(len(THRESHOLDS))))


def _applied(name: str, aggregate: Aggregate, fractions: np.ndarray) -> np.ndarray:
    """An aggregate of fractions, ``(…, tasks)`` → ``(…)``.

    Raises:
        FatalError: if its function fails, or returns another shape or NaN.
    """
    try:
        found = np.asarray(aggregate.function(fractions), dtype=np.float64)
    except Exception as error:
        raise FatalError(f"aggregate {name} fails on fractions {fractions.shape}: {text_of(error)}") from error
    if found.shape != fractions.shape[:-1]:
        raise FatalError(
            f"aggregate {name} turns fractions {fractions.shape} into {found.shape}: its function must work on the "
            "last axis, such as f.min(axis=-1)."
        )
    if np.isnan(found).any() and not np.isnan(fractions).any():
        raise FatalError(f"aggregate {name} is not a number for some fractions: let its function return numbers only.")
    return found


def _improvements(
    bootstrap: Bootstrap,
    samples: Mapping[tuple[str, AgentId], Sample],
    tasks: Sequence[str],
    pairs: Sequence[tuple[AgentId, AgentId]],
) -> dict[tuple[AgentId, AgentId], Estimate]:
    improvements: dict[tuple[AgentId, AgentId], Estimate] = {}
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


def _differences(
    f: Mapping[AgentId, Replicates], pairs: Sequence[tuple[AgentId, AgentId]]
) -> dict[tuple[AgentId, AgentId], Estimate]:
    differences = {}
    for x, y in pairs:
        gap = combine(lambda first, second: statistics.iqm(first) - statistics.iqm(second), f[x], f[y])
        differences[x, y] = _estimate(gap.estimate, interval(gap))
    return differences
