"""What a round of amplification and distillation brings: three gains, each with its interval.

The amplify gain is what thought adds to the generalist as it was; the net gain is what the generalist itself has after
it learnt from that; the share kept is the one over the other. The control, which spent as much without an amplifier,
says what of the net gain is the amplifier's.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from benchmarks.scoring.results import base_name, in_round, label_of, labelled, round_of
from benchmarks.scoring.statistics import Estimate, Replicates, combine, interval

ALL, AMPLIFIED, OTHERS = "", "amplified tasks", "other tasks"
"""What a gain may be a mean over: all scored tasks, those that the rounds are for, and those that they are not for."""

_Of: TypeAlias = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Gain:
    """A round of one run, in fractions of the expert.

    Attributes:
        number: of the round, from 1.
        label: of the run in a comparison; empty where there is one.
        task: the task, or :data:`ALL`, :data:`AMPLIFIED`, :data:`OTHERS`: the mean over those that are scored.
        after: the generalist's f after the round.
        amplify: the amplified policy's f less the generalist's before the round; None: it was not scored.
        net: the generalist's f after the round less that before.
        kept: the one over the other; None where the amplify gain is not clearly above zero.
        over_control: the generalist's f less the control's after as many rounds; None: there is no control.
    """

    number: int
    label: str
    task: str
    after: Estimate
    amplify: Estimate | None
    net: Estimate
    kept: Estimate | None
    over_control: Estimate | None


def gains(f: Mapping[str, Replicates], tasks: Sequence[str], amplified: Collection[str] = ()) -> tuple[Gain, ...]:
    """The gains of every round that agents say they are from.

    Args:
        f: replicates of the fractions of all agents, whose last axis are the scored tasks.
        tasks: their names.
        amplified: those that the rounds are for.
    """
    places = {ALL: [*range(len(tasks))]}
    if 0 < sum(task in amplified for task in tasks) < len(tasks):
        places[AMPLIFIED] = [place for place, task in enumerate(tasks) if task in amplified]
        places[OTHERS] = [place for place, task in enumerate(tasks) if task not in amplified]
    places |= {task: [place] for place, task in enumerate(tasks)}
    made = []
    for agent in f:
        if base_name(agent) == "generalist" and round_of(agent):
            before = _of_its_run(f, agent, "generalist", round_of(agent) - 1)
            if before:  # else rounds of several runs came to the same, from different ones
                made += [_gain(f, agent, before, name, _mean_of(own)) for name, own in places.items()]
    return tuple(made)


def _gain(f: Mapping[str, Replicates], agent: str, before: str, task: str, of: _Of) -> Gain:
    number = round_of(agent)
    amplified, control = (_of_its_run(f, agent, name, number) for name in ("amplified", "control"))
    net = _difference(f, agent, before, of)
    amplify = _difference(f, amplified, before, of) if amplified else None
    told = None if amplify is None else _estimate(amplify)
    kept = None
    if amplify is not None and told is not None and told.low > 0:
        # Of a gain that may be next to nothing, the few replicates below its interval would be all that is seen.
        kept = _estimate(combine(lambda one, other: one / np.maximum(other, told.low), net, amplify))
    over = _estimate(_difference(f, agent, control, of)) if control else None
    after = _estimate(combine(of, f[agent]))
    return Gain(number, label_of(agent), task, after, told, _estimate(net), kept, over)


def _of_its_run(names: Collection[str], agent: str, name: str, number: int) -> str | None:
    """Another agent of an agent's run; one that all runs of a comparison share has no label."""
    wanted = in_round(name, number)
    return next((each for each in (labelled(wanted, label_of(agent)), wanted) if each in names), None)


def _difference(f: Mapping[str, Replicates], one: str, other: str, of: _Of) -> Replicates:
    return combine(lambda x, y: of(x) - of(y), f[one], f[other])


def _mean_of(places: Sequence[int]) -> _Of:
    return lambda values: values[..., places].mean(axis=-1)


def _estimate(replicates: Replicates) -> Estimate:
    low, high = interval(replicates)
    return Estimate(float(replicates.estimate), float(low), float(high))
