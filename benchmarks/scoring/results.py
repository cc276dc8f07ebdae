"""The results of runs as tidy rows: what was played, on which tasks, at which cost; and what makes them fit to score.

A results folder holds four CSV files, a dataclass below for each. A run's folder is one, so is every folder under
``results/``: tables, plots and pages are drawn from these files alone.
"""

import functools
from collections import Counter
from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from benchmarks.base.csv_rows import read_csv, to_csv
from benchmarks.base.errors import GatitoError, unknown
from benchmarks.base.files import update_text
from benchmarks.base.seals import check_seal, seal

_Row = TypeVar("_Row")

AGENTS = {
    "random": "uniform actions",
    "expert": "the teacher of each task",
    "clone": "an MLP per task, cloned from the same recordings",
    "retrieval": "the recorded action of the nearest recorded observation",
    "specialist": "the generalist's architecture and share of the training, one task each",
    "multitask-rl": "the generalist's network, trained by PPO on all tasks, without demonstrations",
    "control": "the generalist after rounds of as much compute without an amplifier",
    "amplified": "the generalist before the round, with the amplifier",
    "generalist": "one network for all tasks",
}
"""Everybody who can be in a table, in its order. ``name round 2`` is an agent after that round of amplification and
distillation, ``name (label)`` the same agent of another run of a comparison."""

_ROUND = " round "

ANCHORS = ("random", "expert")
"""The agents at f = 0 and f = 1."""


@dataclass(frozen=True)
class ScoreRow:
    """One test episode of one agent: a line of ``scores.csv``."""

    suite: str
    task: str
    agent: str
    train_seed: int
    episode_seed: int
    total_return: float = field(metadata={"column": "return"})
    length: int
    success: bool | None


@dataclass(frozen=True)
class TaskRow:
    """One task with one training seed's expert: a line of ``tasks.csv``.

    Attributes:
        suite: the suite's name.
        task: the task's name.
        train_seed: training seed of the expert.
        env_id: the environment's registered id.
        horizon: time limit in steps.
        metric: what is scored, ``return`` or ``success``.
        reference: mean score that the expert must reach, or None.
        expert: the expert's name as an agent.
        gate_mean: the expert's mean score on its gate's episodes.
        preprocessing: digest of the way from the environment to an observation.
        amplified: whether rounds of amplification are for this task; None where there are none.
    """

    suite: str
    task: str
    train_seed: int
    env_id: str
    horizon: int
    metric: str
    reference: float | None
    expert: str
    gate_mean: float
    preprocessing: str
    amplified: bool | None = None


@dataclass(frozen=True)
class CostRow:
    """What one agent cost: a line of ``costs.csv``; see :class:`benchmarks.base.compute.Cost`.

    Attributes:
        suite: the suite's name.
        agent: the agent's name.
        train_seed: its training seed.
        parameters: trained numbers of all its networks.
        flops: floating-point operations of their training.
        env_steps: environment steps that it learnt from.
        train_seconds: wall time of its training, summed over networks.
        play_steps: environment steps of its test episodes.
        play_seconds: wall time of playing them, summed over processes.
        play_passes: observations that networks were asked about in them; None: nobody counted.
        imagined_steps: environment steps that were tried in thought before they were done.
    """

    suite: str
    agent: str
    train_seed: int
    parameters: int
    flops: float
    env_steps: int
    train_seconds: float
    play_steps: int
    play_seconds: float
    play_passes: int | None = None
    imagined_steps: int | None = None


@dataclass(frozen=True)
class CurveRow:
    """One point of a learning curve: a line of ``curves.csv``.

    Attributes:
        agent: who learns.
        task: on which task; empty: on all of them.
        train_seed: its training seed.
        metric: name as in the logs.
        step: of training: environment steps of experts, optimiser steps of networks.
        value: the metric's value.
    """

    agent: str
    task: str
    train_seed: int
    metric: str
    step: int
    value: float


@dataclass(frozen=True)
class Results:
    """All rows of one or several runs."""

    scores: tuple[ScoreRow, ...]
    tasks: tuple[TaskRow, ...]
    costs: tuple[CostRow, ...] = ()
    curves: tuple[CurveRow, ...] = ()

    @property
    def suite(self) -> str:
        """The suite's name."""
        return self.tasks[0].suite

    @functools.cached_property
    def task_names(self) -> list[str]:
        """Tasks in the order of the suite."""
        return list(dict.fromkeys(row.task for row in self.tasks))

    @functools.cached_property
    def agents(self) -> list[str]:
        """Agents in the order of :data:`AGENTS`, those of further runs and then of further rounds behind each."""
        order = list(AGENTS)
        names = dict.fromkeys(row.agent for row in self.scores)
        return sorted(names, key=lambda name: (order.index(base_name(name)), round_of(name)))

    @functools.cached_property
    def train_seeds(self) -> list[int]:
        """Training seeds of all agents."""
        return sorted({row.train_seed for row in self.scores})

    def by_return(self, scored: Collection[str]) -> "Results | None":
        """The same episodes of these tasks, judged by return where they are judged by success; None if none is.

        Return and success may disagree: a script that succeeds may dawdle.
        """
        tasks = tuple(row for row in self.tasks if row.task in scored)
        if not any(row.metric == "success" for row in tasks):
            return None
        # References and gate means are successes there; what has passed its gate has passed it.
        judged = (row if row.metric == "return" else _unjudged(row) for row in tasks)
        return replace(self, scores=tuple(row for row in self.scores if row.task in scored), tasks=tuple(judged))

    def write(self, folder: Path) -> None:
        """Write the four files and seal them."""
        for name, kind in FILES.items():
            update_text(folder / f"{name}.csv", to_csv(getattr(self, name), kind))
        seal(folder, [f"{name}.csv" for name in FILES])

    @staticmethod
    def read(folder: Path) -> "Results":
        """Read the four files and check them.

        Raises:
            GatitoError: if a file is missing, was changed since it was written, or a row does not fit; the line names
                the file and the rows.
        """
        check_seal(
            folder, [f"{name}.csv" for name in FILES], "run with stages=[evaluate,report], which writes it anew."
        )
        remedy = "run with stages=[evaluate,report] first, or name a folder with results."
        results = Results(
            **{name: tuple(read_csv(folder / f"{name}.csv", kind, remedy)) for name, kind in FILES.items()}
        )
        results.check(str(folder))
        return results

    def check(self, where: str) -> None:
        """Refuse rows that no fair table can be drawn from.

        Args:
            where: the folder, for the error's line.

        Raises:
            GatitoError: naming the rows: unknown agents or tasks, duplicates, mixed suites or preprocessing, and
                missing tasks, seeds or episodes.
        """
        scores = f"{where}/scores.csv"
        if not self.scores or not self.tasks:
            raise GatitoError(f"{where} has no rows to score: run with stages=[evaluate,report].")
        tasks = set(self.task_names)
        for number, row in enumerate(self.scores):
            if base_name(row.agent) not in AGENTS:
                raise GatitoError(f"{scores}, line {number + 2}: {unknown('agent', row.agent, AGENTS)}")
            if row.task not in tasks:
                raise GatitoError(f"{scores}, line {number + 2}: {unknown('task', row.task, tasks)}")
        _refuse(
            _repeated(self.scores, lambda row: (row.task, row.agent, row.train_seed, row.episode_seed)),
            f"{scores} has duplicate rows",
            "leave one of each, or give each run once.",
        )
        suites = {row.suite for row in (*self.scores, *self.tasks)}
        if len(suites) > 1:
            raise GatitoError(f"{where} mixes the suites {', '.join(sorted(suites))}: report each by itself.")
        for task in self.task_names:
            rows = [(number, row) for number, row in enumerate(self.tasks) if row.task == task]
            for what in ("preprocessing", "metric", "env_id", "horizon"):
                values = {getattr(row, what): f"line {number + 2} ({getattr(row, what)})" for number, row in rows}
                if len(values) > 1:
                    raise GatitoError(
                        f"{where}/tasks.csv: task {task} has different {what} in {' and '.join(values.values())}: a "
                        "report is never drawn from mixed pipelines; make the runs anew with one version and setting."
                    )
        _refuse(
            _repeated(self.tasks, lambda row: (row.task, row.expert, row.train_seed)),
            f"{where}/tasks.csv has duplicate rows",
            "leave one of each.",
        )
        self._check_missing(scores)

    def _check_missing(self, scores: str) -> None:
        played: dict[tuple[str, int, str], set[int]] = {}
        for row in self.scores:
            played.setdefault((row.agent, row.train_seed, row.task), set()).add(row.episode_seed)
        remedy = "run with stages=[evaluate,report] again."
        seeds: dict[str, set[int]] = {}
        for agent, seed, _ in played:
            seeds.setdefault(agent, set()).add(seed)
        present = {base_name(agent) for agent in seeds}
        missing = [f"{anchor} on every task" for anchor in ANCHORS if anchor not in present]
        pairs: dict[tuple[str, int], None] = {}
        for agent in seeds:  # means are compared: an agent and its anchors need the same training seeds
            group = [agent, *(anchor_of(agent, anchor, seeds) for anchor in ANCHORS if anchor in present)]
            needed = sorted({seed for member in group for seed in seeds.get(member, ())})
            pairs |= dict.fromkeys((member, seed) for member in group for seed in needed)
        missing += [
            f"{agent} on {task}, training seed {seed}"
            for agent, seed in pairs
            for task in self.task_names
            if (agent, seed, task) not in played
        ]
        known = {(row.expert, row.train_seed, row.task) for row in self.tasks}
        missing += [
            f"the tasks.csv row of {task} with {agent}, training seed {seed}"
            for agent, seed, task in played
            if base_name(agent) == "expert" and (agent, seed, task) not in known
        ]
        _refuse(missing, f"{scores} lacks rows", remedy)
        everybody: dict[tuple[str, int, str], set[int]] = {}  # what all who share a random agent have played
        for (agent, seed, task), episodes in played.items():
            everybody.setdefault((anchor_of(agent, "random", seeds), seed, task), set()).update(episodes)
        uneven = []
        for (agent, seed, task), episodes in played.items():
            wanted = everybody[anchor_of(agent, "random", seeds), seed, task]
            if len(episodes) < len(wanted) and base_name(agent) != "amplified":  # whose thought takes its time
                uneven.append(f"{agent} on {task}, training seed {seed}: {len(episodes)} of {len(wanted)}")
        _refuse(uneven, f"{scores}: test episodes that others have played are missing", remedy)


FILES = {"scores": ScoreRow, "tasks": TaskRow, "costs": CostRow, "curves": CurveRow}


def base_name(agent: str) -> str:
    """``generalist round 2 (model=mini)`` → ``generalist``."""
    return agent.partition(" (")[0].partition(_ROUND)[0]


def round_of(agent: str) -> int:
    """``generalist round 2 (model=mini)`` → 2; 0 before any round."""
    return int(agent.partition(" (")[0].partition(_ROUND)[2] or 0)


def in_round(agent: str, number: int) -> str:
    """The agent's name after a round; that of the start is its own."""
    return f"{agent}{_ROUND}{number}" if number else agent


def label_of(agent: str) -> str:
    """``generalist (model=mini)`` → ``model=mini``; empty where there is none."""
    return agent.partition(" (")[2].removesuffix(")")


def labelled(agent: str, label: str) -> str:
    """The agent's name in a comparison."""
    return f"{agent} ({label})" if label else agent


def anchor_of(agent: str, anchor: str, agents: Container[str]) -> str:
    """Which random or expert an agent is measured against: that of its own run where there are several."""
    own = labelled(anchor, label_of(agent))
    return own if own in agents else anchor


def _repeated(rows: Sequence[_Row], key: Callable[[_Row], tuple[object, ...]]) -> list[str]:
    counts = Counter(map(key, rows))
    return [
        f"line {number + 2} ({', '.join(map(str, key(row)))})"
        for number, row in enumerate(rows)
        if counts[key(row)] > 1
    ]


def _refuse(problems: Sequence[str], what: str, remedy: str) -> None:
    """Raise if there is a problem; the first few are named and all are counted."""
    if problems:
        listed = "; ".join(problems[:4]) + (f"; and {len(problems) - 4} more" if len(problems) > 4 else "")
        raise GatitoError(f"{what}: {listed}: {remedy}")


def _unjudged(row: TaskRow) -> TaskRow:
    return replace(row, metric="return", reference=None)
