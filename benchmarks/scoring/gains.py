"""Gains of rounds of amplification and distillation, each with its interval.

- The amplify gain: f of the amplified policy minus f of the generalist before the round.
- The net gain: f of the generalist after the round minus f before.
- The share kept: net gain divided by amplify gain.
- The gain over the control, which spent equal compute without an amplifier.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.statistics import Estimate, Replicates, combine, interval

ALL, AMPLIFIED, OTHERS = "", "amplified tasks", "other tasks"
"""Groups of tasks that a gain can be a mean over: all scored tasks, those that rounds amplify, and the others."""

SIDES = ("generalist", "control", "amplified")
"""The names of agents that rounds make."""


@dataclass(frozen=True)
class Gain:
    """Gains of one round of one run, in fractions of the expert or another score.

    Attributes:
        round: the round's number, from 1.
        label: the run's configuration in a comparison; empty for a single run.
        task: a task, or :data:`ALL`, :data:`AMPLIFIED` or :data:`OTHERS` for the mean over a group of scored tasks.
        after: the generalist's score after the round.
        amplify: the amplify gain; None if the amplified policy was not scored.
        net: the net gain.
        kept: the share kept; None where the amplify gain's interval is not above zero.
        over_control: the generalist's score minus the control's after as many rounds; None without a control.
    """

    round: int
    label: str
    task: str
    after: Estimate
    amplify: Estimate | None
    net: Estimate
    kept: Estimate | None
    over_control: Estimate | None


@dataclass(frozen=True)
class _Round:
    """The agents of one round of one run; None if not scored."""

    after: AgentId
    before: AgentId
    amplified: AgentId | None
    control: AgentId | None


def gains(f: Mapping[AgentId, Replicates], tasks: Sequence[str], amplified: Collection[str] = ()) -> tuple[Gain, ...]:
    """Gains of every round, for all tasks, groups of tasks and single tasks.

    Args:
        f: replicates of every agent's fractions (or another score), with the scored tasks on the last axis.
        tasks: the scored tasks' names.
        amplified: names of the tasks that rounds amplify.
    """
    columns = {ALL: [*range(len(tasks))]}
    if 0 < sum(task in amplified for task in tasks) < len(tasks):
        columns[AMPLIFIED] = [column for column, task in enumerate(tasks) if task in amplified]
        columns[OTHERS] = [column for column, task in enumerate(tasks) if task not in amplified]
    columns |= {task: [column] for column, task in enumerate(tasks)}
    return tuple(_gain(f, agents, task, of_task) for agents in _rounds(f) for task, of_task in columns.items())


def _rounds(agents: Collection[AgentId]) -> list[_Round]:
    rounds = []
    for agent in agents:
        if agent.name == "generalist" and agent.round is not None:
            before = agent.in_same_run("generalist", agents, agent.round - 1 or None)
            # In a comparison, runs can share a round's result and differ in what came before: such a round has no gain.
            if before is not None:
                others = (agent.in_same_run(name, agents, agent.round) for name in ("amplified", "control"))
                rounds.append(_Round(agent, before, *others))
    return rounds


def _gain(f: Mapping[AgentId, Replicates], agents: _Round, task: str, columns: Sequence[int]) -> Gain:
    assert agents.after.round is not None
    mean = _mean_over(columns)
    net = _difference(mean, f[agents.after], f[agents.before])
    amplify = _difference(mean, f[agents.amplified], f[agents.before]) if agents.amplified else None
    over_control = _difference(mean, f[agents.after], f[agents.control]) if agents.control else None
    return Gain(
        agents.after.round,
        agents.after.label,
        task,
        after=_estimate(combine(mean, f[agents.after])),
        amplify=None if amplify is None else _estimate(amplify),
        net=_estimate(net),
        kept=None if amplify is None else _kept(net, amplify),
        over_control=None if over_control is None else _estimate(over_control),
    )


def _kept(net: Replicates, amplify: Replicates) -> Estimate | None:
    floor = _estimate(amplify).low
    if floor <= 0:
        return None
    # Replicates below the interval are raised to its end: a ratio with a denominator near zero would dominate the rest.
    return _estimate(combine(lambda numerator, denominator: numerator / np.maximum(denominator, floor), net, amplify))


def _mean_over(columns: Sequence[int]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: values[..., columns].mean(axis=-1)


def _difference(mean: Callable[[np.ndarray], np.ndarray], first: Replicates, second: Replicates) -> Replicates:
    return combine(lambda x, y: mean(x) - mean(y), first, second)


def _estimate(replicates: Replicates) -> Estimate:
    low, high = interval(replicates)
    return Estimate(float(replicates.estimate), float(low), float(high))
