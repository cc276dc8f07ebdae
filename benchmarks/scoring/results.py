"""Results of runs as rows in long format, and the checks that they must pass before a report is made.

A results folder has four CSV files, one per dataclass below, ``moves.csv`` where agents were asked for moves in fixed
positions of games, and ``texts.csv`` where they wrote. Every run's folder is a results folder, and so is every folder
below ``results/``. Tables, charts and pages are generated from these files alone.
"""

import functools
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.base.csv_rows import read_csv, repeated, to_csv
from benchmarks.base.errors import GatitoError, refuse, unknown
from benchmarks.base.files import update_text
from benchmarks.base.seals import check_seal, seal
from benchmarks.scoring.agents import ANCHORS, AgentId, AgentRow, is_agent_name
from benchmarks.scoring.moves import MoveRow
from benchmarks.scoring.texts import TextRow


@dataclass(frozen=True)
class ScoreRow(AgentRow):
    """One test episode of one agent: a line of ``scores.csv``.

    Attributes:
        episode_seed: seed of the episode's start and random stream.
        total_return: undiscounted sum of rewards.
        length: environment steps.
        success: whether the task was solved; None if its environment does not report it.
        cost: sum of the environment's hidden costs; None if it has none. The column is missing if no row has a cost.
    """

    episode_seed: int
    total_return: float = field(metadata={"column": "return"})
    length: int
    success: bool | None
    cost: float | None = field(default=None, metadata={"optional": True})


@dataclass(frozen=True)
class TaskRow:
    """One task with the expert of one training seed: a line of ``tasks.csv``.

    Attributes:
        suite: the suite's name.
        task: the task's name.
        label: the expert's configuration in a comparison; empty where all runs share the expert.
        train_seed: the expert's training seed.
        env_id: the environment's registered id.
        horizon: time limit in environment steps.
        metric: what is scored, ``return`` or ``success``.
        reference: mean score that the expert must reach; None: any.
        gate_mean: the expert's mean score on its gate episodes.
        preprocessing: digest of everything between the environment and an observation.
        amplified: whether the task is one that rounds amplify; None if the run has no rounds.
        opponents: names of a game's opponents with a space between them, from which the episode's seed draws one; None:
            not a game. The column is missing if no row has opponents.
    """

    suite: str
    task: str
    label: str
    train_seed: int
    env_id: str
    horizon: int
    metric: str
    reference: float | None
    gate_mean: float
    preprocessing: str
    amplified: bool | None = None
    opponents: str | None = field(default=None, metadata={"optional": True})

    @property
    def expert_id(self) -> AgentId:
        """Identity of the task's expert."""
        return AgentId("expert", None, self.label)


@dataclass(frozen=True)
class CostRow:
    """The cost of training and playing one agent: a line of ``costs.csv``; see :class:`benchmarks.base.compute.Cost`.

    Attributes:
        suite: the suite's name.
        agent: the agent's name; with ``round`` and ``label`` its :class:`AgentId`.
        round: the agent's round.
        label: the agent's configuration in a comparison.
        train_seed: the agent's training seed.
        parameters: trained parameters of all its networks.
        flops: floating-point operations of their training.
        env_steps: environment steps that the agent learned from.
        train_seconds: wall time of training, summed over networks.
        play_steps: environment steps of the test episodes.
        play_seconds: wall time of the test episodes, summed over processes.
        forward_passes: observations that networks evaluated during the test episodes; None: not counted.
        simulator_steps: steps of cloned environments during the test episodes; None: not counted.
    """

    suite: str
    agent: str
    round: int | None
    label: str
    train_seed: int
    parameters: int
    flops: float
    env_steps: int
    train_seconds: float
    play_steps: int
    play_seconds: float
    forward_passes: int | None = None
    simulator_steps: int | None = None

    @property
    def agent_id(self) -> AgentId:
        """The agent's identity."""
        return AgentId(self.agent, self.round, self.label)


@dataclass(frozen=True)
class CurveRow:
    """One point of a learning curve: a line of ``curves.csv``.

    Attributes:
        agent: name of the agent that learns; with ``round`` and ``label`` its :class:`AgentId`.
        round: the agent's round.
        label: the agent's configuration in a comparison.
        task: the task that is learned; empty: all tasks.
        train_seed: the agent's training seed.
        metric: the metric's name, as in the logs.
        step: progress of training: environment steps of experts, updates of networks.
        value: the metric's value.
    """

    agent: str
    round: int | None
    label: str
    task: str
    train_seed: int
    metric: str
    step: int
    value: float

    @property
    def agent_id(self) -> AgentId:
        """The agent's identity."""
        return AgentId(self.agent, self.round, self.label)


FILES = {
    "scores": ScoreRow,
    "tasks": TaskRow,
    "costs": CostRow,
    "curves": CurveRow,
    "moves": MoveRow,
    "texts": TextRow,
}
"""The files of a results folder, by the names of the fields of :class:`Results`."""
_OPTIONAL = ("moves", "texts")  # files that a folder without such rows does not have


@dataclass(frozen=True)
class Results:
    """All rows of one or several runs."""

    scores: tuple[ScoreRow, ...]
    tasks: tuple[TaskRow, ...]
    costs: tuple[CostRow, ...] = ()
    curves: tuple[CurveRow, ...] = ()
    moves: tuple[MoveRow, ...] = ()
    texts: tuple[TextRow, ...] = ()

    @property
    def suite(self) -> str:
        """The suite's name."""
        return self.tasks[0].suite

    @functools.cached_property
    def task_names(self) -> list[str]:
        """Tasks in the order of the suite."""
        return list(dict.fromkeys(row.task for row in self.tasks))

    @functools.cached_property
    def agents(self) -> list[AgentId]:
        """Agents in the order of the tables, each followed by its later rounds and other configurations."""
        return sorted(dict.fromkeys(row.agent_id for row in self.scores), key=lambda agent: agent.order)

    @functools.cached_property
    def train_seeds(self) -> list[int]:
        """Training seeds of all agents."""
        return sorted({row.train_seed for row in self.scores})

    def of_seed(self, seed: int) -> "Results":
        """The scores and costs of one training seed."""
        scores = tuple(row for row in self.scores if row.train_seed == seed)
        costs = tuple(row for row in self.costs if row.train_seed == seed)
        return Results(scores, self.tasks, costs)

    def by_return(self, scored: Collection[str]) -> "Results | None":
        """The same episodes of the scored tasks with return as every task's metric.

        Return and success can disagree: a policy that succeeds may be slow.

        Returns:
            None if no scored task has success as its metric.
        """
        tasks = tuple(row for row in self.tasks if row.task in scored)
        if not any(row.metric == "success" for row in tasks):
            return None
        # References of such tasks are success rates, and their experts have passed the gate already.
        tasks = tuple(row if row.metric == "return" else replace(row, metric="return", reference=None) for row in tasks)
        return replace(
            self, scores=tuple(row for row in self.scores if row.task in scored), tasks=tasks, moves=(), texts=()
        )

    def write(self, folder: Path) -> None:
        """Write the files and seal them."""
        written = [name for name in FILES if name not in _OPTIONAL or getattr(self, name)]
        for name, kind in FILES.items():
            if name in written:
                update_text(folder / f"{name}.csv", to_csv(getattr(self, name), kind))
            else:
                (folder / f"{name}.csv").unlink(missing_ok=True)
            (folder / f"{name}.csv.gz").unlink(missing_ok=True)
        seal(folder, [f"{name}.csv" for name in written])

    @staticmethod
    def read(folder: Path, *, sealed: bool = True) -> "Results":
        """Read and check the files, plain or compressed; ``sealed``: as they were written.

        Raises:
            GatitoError: if a file is missing, was changed since it was written, or its rows fail a check; the message
                names the file and the rows.
        """
        names = [f"{name}.csv{suffix}" for name in FILES for suffix in ("", ".gz")]
        if sealed:
            check_seal(folder, names, "run with stages=[evaluate,report], which writes it again.")
        remedy = "run with stages=[evaluate,report] first, or name a folder with results."
        there = [name for name in FILES if name not in _OPTIONAL or any(folder.glob(f"{name}.csv*"))]
        results = Results(**{name: tuple(read_csv(folder / f"{name}.csv", FILES[name], remedy)) for name in there})
        results.check(str(folder))
        return results

    def check(self, folder: str) -> None:
        """Reject rows that would make a table unfair.

        Args:
            folder: the results folder, for the error message.

        Raises:
            GatitoError: names the rows: unknown agents or tasks, duplicates, mixed suites or preprocessing, and missing
                tasks, seeds or episodes.
        """
        scores = f"{folder}/scores.csv"
        if not self.scores or not self.tasks:
            raise GatitoError(f"{folder} has no rows to score: run with stages=[evaluate,report].")
        tasks = set(self.task_names)
        for number, row in enumerate(self.scores):
            if not is_agent_name(row.agent):
                raise GatitoError(
                    f"{scores}, line {number + 2}: {row.agent!r} is not a valid agent name (letters, digits, - and _): "
                    "correct the file."
                )
            if row.task not in tasks:
                raise GatitoError(f"{scores}, line {number + 2}: {unknown('task', row.task, tasks)}")
        refuse(
            repeated(self.scores, lambda row: (row.task, row.agent_id, row.train_seed, row.episode_seed)),
            f"{scores} has duplicate rows",
            "keep one of each, or name each run once.",
        )
        refuse(
            repeated(self.moves, lambda row: (row.task, row.agent_id, row.train_seed)),
            f"{folder}/moves.csv has duplicate rows",
            "keep one of each, or name each run once.",
        )
        refuse(
            repeated(self.texts, lambda row: (row.task, row.agent_id, row.train_seed, row.episode_seed)),
            f"{folder}/texts.csv has duplicate rows",
            "keep one of each, or name each run once.",
        )
        suites = {row.suite for row in (*self.scores, *self.tasks)}
        if len(suites) > 1:
            raise GatitoError(f"{folder} mixes the suites {', '.join(sorted(suites))}: report each by itself.")
        self._check_tasks(f"{folder}/tasks.csv")
        self._check_missing(scores)
        self._check_episodes(scores)

    def _check_tasks(self, file: str) -> None:
        """All rows of a task must describe the same pipeline, without duplicates."""
        for task in self.task_names:
            rows = [(number, row) for number, row in enumerate(self.tasks) if row.task == task]
            for column in ("preprocessing", "metric", "env_id", "horizon"):
                lines = {getattr(row, column): f"line {number + 2} ({getattr(row, column)})" for number, row in rows}
                if len(lines) > 1:
                    raise GatitoError(
                        f"{file}: task {task} has different {column} in {' and '.join(lines.values())}: a report "
                        "cannot mix pipelines; repeat the runs with one version and one setting."
                    )
        refuse(
            repeated(self.tasks, lambda row: (row.task, row.expert_id, row.train_seed)),
            f"{file} has duplicate rows",
            "keep one of each.",
        )

    def _check_missing(self, file: str) -> None:
        """Every agent needs every task, and the same training seeds as its anchors."""
        played = dict.fromkeys((row.agent_id, row.train_seed, row.task) for row in self.scores)
        seeds: dict[AgentId, set[int]] = {}
        for agent, seed, _ in played:
            seeds.setdefault(agent, set()).add(seed)
        present = {agent.name for agent in seeds}
        missing = [f"{anchor} on every task" for anchor in ANCHORS if anchor not in present]
        pairs: dict[tuple[AgentId, int], None] = {}
        for agent in seeds:
            group = [agent, *(agent.anchor(anchor, seeds) for anchor in ANCHORS if anchor in present)]
            needed = sorted({seed for member in group for seed in seeds.get(member, ())})
            pairs |= dict.fromkeys((member, seed) for member in group for seed in needed)
        missing += [
            f"{agent} on {task}, training seed {seed}"
            for agent, seed in pairs
            for task in self.task_names
            if (agent, seed, task) not in played
        ]
        described = {(row.expert_id, row.train_seed, row.task) for row in self.tasks}
        missing += [
            f"the tasks.csv row of {task} with {agent}, training seed {seed}"
            for agent, seed, task in played
            if agent.name == "expert" and (agent, seed, task) not in described
        ]
        refuse(missing, f"{file} lacks rows", _REPEAT)

    def _check_episodes(self, file: str) -> None:
        """All agents of a run must have the same test episodes; amplified policies may have fewer."""
        played: dict[tuple[AgentId, int, str], set[int]] = {}
        for row in self.scores:
            played.setdefault((row.agent_id, row.train_seed, row.task), set()).add(row.episode_seed)
        agents = {agent for agent, _, _ in played}
        wanted: dict[tuple[AgentId, int, str], set[int]] = {}  # by the run's random agent
        for (agent, seed, task), episodes in played.items():
            wanted.setdefault((agent.anchor("random", agents), seed, task), set()).update(episodes)
        uneven = []
        for (agent, seed, task), episodes in played.items():
            count = len(wanted[agent.anchor("random", agents), seed, task])
            if len(episodes) < count and agent.name != "amplified":
                uneven.append(f"{agent} on {task}, training seed {seed}: {len(episodes)} of {count}")
        refuse(uneven, f"{file}: test episodes that other agents have are missing", _REPEAT)


_REPEAT = "run with stages=[evaluate,report] again."
