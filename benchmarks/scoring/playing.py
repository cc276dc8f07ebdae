"""Play the test episodes of agents in worker processes."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.base.artifacts import Artifact
from benchmarks.play.game_records import GameRecord, GameWatch
from benchmarks.play.policy import Policy, total_cost
from benchmarks.play.rollout import Episode, rollout
from benchmarks.play.text_records import TextRecord, TextWatch
from benchmarks.play.watching import WatchedPolicy
from benchmarks.runs.parallel import Job, Report, run_jobs
from benchmarks.runs.run import Run
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.moves import Share, judged, moves_in_positions
from benchmarks.tasks import Suite

SAMPLES = 5
"""First test episodes of a job whose pictures are kept, in tasks of writing."""


@dataclass(frozen=True)
class Agent:
    """An agent to score.

    Attributes:
        id: the agent's identity in the rows.
        load: loads the policy, in the process that runs the episodes; picklable.
        made_from: the artifacts that the policy consists of: one per task by name, or one for all tasks as ``""``.
        recorded: folders of recordings whose episodes are scored instead of new ones, by task name.
        earlier: artifacts that this agent depends on, whose cost is part of its own.
        episodes: number of test episodes per task, from the first on; None for all.
        num_envs: parallel environments for a policy that plays each task separately; None if it plays all at once.
        how: further settings that decide how the policy acts.
        outside: whether it comes from outside the project: if it fails on a task, it alone is left out of the results.
    """

    id: AgentId
    load: Callable[[], Policy]
    made_from: Mapping[str, Artifact] = field(default_factory=dict)
    recorded: Mapping[str, Path] = field(default_factory=dict)
    earlier: Sequence[Artifact] = ()
    episodes: int | None = None
    num_envs: int | None = None
    how: Mapping[str, Any] = field(default_factory=dict)
    outside: bool = False

    @property
    def name(self) -> str:
        """The agent's name in tables."""
        return str(self.id)

    def on(self, suite: Suite) -> "Agent":
        """The same agent restricted to the suite's tasks."""
        kept = ("", *(task.name for task in suite))
        return replace(self, made_from={name: artifact for name, artifact in self.made_from.items() if name in kept})


@dataclass(frozen=True)
class Schedule:
    """The episodes that an agent plays, and how many in parallel.

    Attributes:
        seeds: seeds of the test episodes, the same for every task.
        num_envs: parallel environments per task, given the number of tasks that are played together.
        share: the job's share of the fixed positions of games.
    """

    seeds: Sequence[int]
    num_envs: Callable[[int], int]
    share: Share = field(default_factory=Share)


@dataclass(frozen=True)
class Played:
    """What an agent played.

    Attributes:
        episodes: its test episodes.
        seconds: their wall time, summed over processes.
        spent: the policy's inference cost of the episodes.
        moves: its actions in the fixed positions of games, by task name and position's number.
        games: the first test game of each board game.
        texts: what was written in tasks of writing.
    """

    episodes: Sequence[Episode]
    seconds: float
    spent: Mapping[str, float]
    moves: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    games: Sequence[GameRecord] = ()
    texts: Sequence[TextRecord] = ()

    @property
    def finite(self) -> bool:
        """Whether every episode has a return."""
        return all(math.isfinite(episode.total_return) for episode in self.episodes)


def play_agents(
    run: Run,
    agents: Sequence[Agent],
    schedules: Mapping[AgentId, Schedule],
    on_played: Callable[[Agent, Played], None] = lambda agent, played: None,
) -> dict[AgentId, Played]:
    """Play the test episodes of agents.

    If a task fails for one of the project's agents, it is added to the run's failures and left out for all agents. If
    an agent from outside fails, the agent is added to the failures, and missing in the result.

    Args:
        run: the run.
        agents: the agents; those from outside play last.
        schedules: the schedule of every agent.
        on_played: called when an agent has played all episodes of all tasks, while others still play.
    """
    ours = [agent for agent in agents if not agent.outside]
    played = _play_all(run, ours, schedules, on_played)
    for agent in (agent for agent in agents if agent.outside):
        alone = run.isolated(run.survivors(), "evaluate", quiet=True)
        played |= _play_all(alone, [agent], schedules, lambda agent, played: None)
        lines = [alone.failures.line(task.name) for task in alone.suite if task.name in alone.failures]
        if lines:
            del played[agent.id]
            more = f" ({len(lines) - 1} further tasks failed)" if len(lines) > 1 else ""
            run.failures.add_agent(agent.name, lines[0] + more)
    return played


def _play_all(
    run: Run,
    agents: Sequence[Agent],
    schedules: Mapping[AgentId, Schedule],
    on_played: Callable[[Agent, Played], None],
) -> dict[AgentId, Played]:
    suite = run.survivors()
    jobs = []
    for agent in agents:
        schedule = schedules[agent.id]
        parts = min(run.workers, len(schedule.seeds))
        jobs += [
            _part(agent, group, replace(schedule, seeds=schedule.seeds[part::parts], share=Share(part, parts)))
            for group in _groups(agent, suite)
            for part in range(parts)
        ]
    parts_of = {agent.id: [job for job in jobs if job.arguments["agent"] is agent] for agent in agents}
    done: dict[Job, Played] = {}

    def keep(job: Job, part: Played) -> None:
        done[job] = part
        agent = job.arguments["agent"]
        if all(own in done for own in parts_of[agent.id]):
            on_played(agent, _joined_parts([done[own] for own in parts_of[agent.id]]))

    results = _play_parts(jobs, run, keep)
    for episode in (episode for _, part in results for episode in part.episodes):
        if not math.isfinite(episode.total_return):
            line = f"the return of an episode (seed {episode.seed}) is {episode.total_return}: scale its rewards down."
            run.failures.add(episode.task, f"task {episode.task}: {line}")
    return {
        agent.id: _joined_parts([part for job, part in results if job.arguments["agent"] is agent]) for agent in agents
    }


def _joined_parts(parts: Sequence[Played]) -> Played:
    """Everything that an agent has played."""
    return Played(
        [episode for part in parts for episode in part.episodes],
        sum(part.seconds for part in parts),
        total_cost([part.spent for part in parts]),
        _joined([part.moves for part in parts]),
        [game for part in parts for game in part.games],
        [text for part in parts for text in part.texts],
    )


def _joined(parts: Sequence[Mapping[str, Mapping[int, int]]]) -> dict[str, dict[int, int]]:
    """The moves of several parts."""
    moves: dict[str, dict[int, int]] = {}
    for part in parts:
        for task, chosen in part.items():
            moves.setdefault(task, {}).update(chosen)
    return moves


def _groups(agent: Agent, suite: Suite) -> list[Suite]:
    """Groups of tasks that an agent plays in one process: single tasks if it sets ``num_envs``, otherwise all."""
    playing = tuple(task for task in suite if task.name not in agent.recorded)
    if agent.num_envs:
        return [Suite(suite.name, (task,)) for task in playing]
    return [Suite(suite.name, playing)] if playing else []


def _part(agent: Agent, suite: Suite, schedule: Schedule) -> Job:
    """A job that plays some test episodes of all tasks of the suite, which share one batched forward pass."""
    arguments = {"agent": agent, "suite": suite, "schedule": schedule}
    task = suite.tasks[0].name if len(suite.tasks) == 1 else None
    measured_as = (f"evaluate {agent.id.name}", task or suite.name)
    total = len(schedule.seeds) * len(suite.tasks)
    return Job(f"evaluate {agent.name}", total, arguments, task, measured_as)


def _play_parts(jobs: Sequence[Job], run: Run, on_part: Callable[[Job, Played], None]) -> list[tuple[Job, Played]]:
    """Run every job; a job that fails is repeated without the tasks that failed.

    If its process died without naming a task, it is repeated task by task.
    """
    played: list[tuple[Job, Played]] = []
    pending = list(jobs)
    while pending:
        known = len(run.failures)
        results = run_jobs(_play, pending, workers=run.workers, failures=run.failures, on_result=on_part)
        played += results.items()
        failed = [job.arguments for job in pending if job not in results]
        pending = []
        for arguments in failed:
            suite = run.failures.survivors(arguments["suite"])
            single = [Suite(suite.name, (task,)) for task in suite]
            suites = single if len(run.failures) == known else [suite] if suite.tasks else []
            pending += [_part(arguments["agent"], part, arguments["schedule"]) for part in suites]
    return played


def _play(*, agent: Agent, suite: Suite, schedule: Schedule, report: Report) -> Played:
    """Play all episodes of a job, in a worker process."""
    start = time.monotonic()
    episodes: list[Episode] = []
    games: list[GameRecord] = []
    texts: list[TextRecord] = []
    game_watch, text_watch = GameWatch(schedule.seeds[0]), TextWatch(schedule.seeds[:SAMPLES])
    num_envs = agent.num_envs or schedule.num_envs(len(suite.tasks))
    with closing(WatchedPolicy(agent.load(), (game_watch, text_watch))) as policy:
        for episode in rollout(policy, {task: schedule.seeds for task in suite}, envs_per_task=num_envs):
            episodes.append(episode)
            if text := text_watch.record(episode):
                texts.append(text)
            if not schedule.share.part and (game := game_watch.record(episode)):
                games.append(replace(game, agent=agent.id.name, round=agent.id.round, label=agent.id.label))
            report(len(episodes))
        seconds, spent = time.monotonic() - start, policy.inference_cost()
        moves = {task.name: moves_in_positions(policy, task, schedule.share, agent.num_envs) for task in judged(suite)}
    return Played(episodes, seconds, spent, moves, games, texts)
