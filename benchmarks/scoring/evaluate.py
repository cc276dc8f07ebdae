"""Evaluation: play every agent's test episodes and write the results folder's rows of scores, costs and curves.

Run by ``gatito stages=[evaluate]``.
"""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.base import console
from benchmarks.base.artifacts import Artifact, write_text
from benchmarks.base.csv_rows import read_csv, to_csv
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import Purpose, episode_seed
from benchmarks.base.settings import check_settings, setting
from benchmarks.play.policy import Policy, spent_by, total_spent
from benchmarks.play.rollout import Episode, rollout
from benchmarks.play.trajectories import Trajectories
from benchmarks.runs.parallel import Job, Report, run_jobs
from benchmarks.runs.run import Run
from benchmarks.runs.wandb import log_lineage
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.results import Results, ScoreRow
from benchmarks.scoring.rows import SCORES, cost_row, curve_rows, finished_manifest, read_scores, score_rows, task_rows
from benchmarks.scoring.scores import samples_by_task
from benchmarks.tasks import Suite


@dataclass
class EvaluateConfig:
    """How agents are scored."""

    episodes: int = setting(100, "Test episodes per task, on the same seeds for every agent.", at_least=2)
    envs_per_task: int = setting(50, "Most parallel environments of one task in a process.", at_least=1, decides=False)
    max_envs: int = setting(
        256,
        "Most environments of all tasks in a process (at least one of each): a suite of many tasks has fewer of each.",
        at_least=1,
        decides=False,
    )

    def check(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            GatitoError: naming the setting.
        """
        check_settings("evaluate", self)

    def lanes_for(self, tasks: int) -> int:
        """Environments of each task side by side when a number of tasks are played together."""
        return min(self.envs_per_task, max(1, self.max_envs // tasks))


@dataclass(frozen=True)
class Agent:
    """An agent to score.

    Attributes:
        id: the agent's identity in the rows.
        load: creates the policy, in the process that plays it; picklable.
        made_from: the artifacts that the policy consists of: one per task by name, or one for all tasks as ``""``.
        recorded: folders of recordings whose episodes are scored in place of new ones, by task name.
        earlier: artifacts that were made on the way to this agent, whose cost is part of its own.
        episodes: number of test episodes that it plays per task, the first ones; None: all.
        lanes: environments side by side for a policy that plans, which plays each task by itself; None: no planning.
        how: further settings that decide how the policy acts.
    """

    id: AgentId
    load: Callable[[], Policy]
    made_from: Mapping[str, Artifact] = field(default_factory=dict)
    recorded: Mapping[str, Path] = field(default_factory=dict)
    earlier: Sequence[Artifact] = ()
    episodes: int | None = None
    lanes: int | None = None
    how: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The agent's name as tables show it."""
        return str(self.id)

    def plays(self, config: EvaluateConfig) -> int:
        """Number of test episodes per task."""
        return min(config.episodes, self.episodes or config.episodes)

    def on(self, suite: Suite) -> "Agent":
        """The same agent restricted to the suite's tasks."""
        kept = ("", *(task.name for task in suite))
        return replace(self, made_from={name: artifact for name, artifact in self.made_from.items() if name in kept})


def score_artifact(run: Run, agent: Agent, suite: Suite, config: EvaluateConfig) -> Artifact:
    """The artifact of an agent's scores on the tasks of a suite, with the settings and inputs that decide them."""
    settings = {"suite": suite.name, "tasks": {task.name: task.digest for task in suite}, "agent": agent.name}
    settings |= {"episodes": agent.plays(config), "seed": run.seed}
    if agent.how:
        settings["how"] = dict(agent.how)
    inputs = {name or agent.name: artifact.fingerprint for name, artifact in agent.made_from.items()}
    return Artifact(run.folder / "scores" / agent.id.folder, "scores", settings, inputs)


def evaluate(
    run: Run,
    agents: Sequence[Agent],
    gate_means: Mapping[str, float],
    config: EvaluateConfig,
    amplified: Collection[str] | None = None,
) -> Results:
    """Score every agent on every task, unless its scores are complete already, and write the run's results.

    A task that fails for one agent is left out of the results of all agents.

    Args:
        run: the run.
        agents: the agents to score; their artifacts must be complete.
        gate_means: each expert's mean score on its gate's episodes, by task name.
        config: settings of the evaluation.
        amplified: names of the tasks that rounds amplify; None if the run has no rounds.

    Raises:
        GatitoError: if an agent's files are missing or damaged.
    """
    suite, seed = run.survivors(), run.seed
    jobs: list[Job] = []
    scores = {agent.id: score_artifact(run, agent, suite, config) for agent in agents}
    missing: list[AgentId] = []
    seeds = [episode_seed(Purpose.TEST, index, seed) for index in range(config.episodes)]
    for agent in agents:
        finished = scores[agent.id].is_complete() or scores[agent.id].adopt(run.runs_folder)
        if finished and _is_sound(scores[agent.id]):
            continue
        missing.append(agent.id)
        parts = min(run.workers, agent.plays(config))
        agent_seeds = seeds[: agent.plays(config)]
        jobs += [
            _part(agent, played_together, agent_seeds[part::parts], config)
            for played_together in _groups(agent, suite)
            for part in range(parts)
        ]
    played = _play_parts(jobs, run)
    for episode in (episode for _, part in played for episode in part.episodes):
        if not math.isfinite(episode.total_return):
            line = f"the return of an episode (seed {episode.seed}) is {episode.total_return}: scale its rewards down."
            run.failures.add(episode.task, f"task {episode.task}: {line}")
    recorded = {agent.id: _recorded(run, agent, seeds) for agent in agents if agent.id in missing}
    survivors = run.survivors()
    if not survivors.tasks:
        return Results((), ())
    for agent in agents:
        if agent.id in missing:
            parts = [part for job, part in played if job.arguments["agent"] is agent]
            episodes = [episode for part in parts for episode in part.episodes]
            rows = score_rows(survivors, agent.id, seed, [*episodes, *recorded[agent.id]])
            seconds = sum(part.seconds for part in parts)
            spent = total_spent([part.spent for part in parts])
        elif survivors != suite:  # scored already, on a task at which another agent has failed since
            rows = read_scores(survivors, scores[agent.id])
            seconds = finished_manifest(scores[agent.id])["wall_seconds"]
            spent = finished_manifest(scores[agent.id])["facts"].get("spent", {})
        else:
            continue
        artifact = scores[agent.id] = score_artifact(run, agent.on(survivors), survivors, config)
        artifact.start()
        write_text(artifact.folder / SCORES, to_csv(rows, ScoreRow))
        artifact.finish(seconds, episodes=len(rows), steps=sum(row.length for row in rows), spent=spent)
    results = _collect([agent.on(survivors) for agent in agents], survivors, gate_means, scores, seed, amplified)
    results.write(run.folder)
    if missing:
        means = {
            f"evaluate/{task}/{agent}": float(sample[seed].mean())
            for (task, agent), sample in samples_by_task(results).items()
            if agent in missing
        }
        run.tracker.write(
            run.folder / "scores",
            "evaluate",
            means,
            log_more=partial(log_lineage, made=[scores[agent] for agent in missing], folder=run.folder),
            env_id=suite.name,
            episodes=config.episodes,
        )
    return results


def _groups(agent: Agent, suite: Suite) -> list[Suite]:
    """Tasks that an agent plays together in one process: each by itself if it plans, all of them if not."""
    playing = tuple(task for task in suite if task.name not in agent.recorded)
    if agent.lanes:
        return [Suite(suite.name, (task,)) for task in playing]
    return [Suite(suite.name, playing)] if playing else []


def _recorded(run: Run, agent: Agent, seeds: Sequence[int]) -> list[Episode]:
    """The first recorded episodes in place of test episodes, on the tasks that an agent does not play."""
    episodes = []
    for task, folder in agent.recorded.items():
        with run.failures.of(task):
            recording = Trajectories(folder)
            if len(recording) < len(seeds):
                raise GatitoError(
                    f"the recorded {agent.name} of task {task} has {len(recording)} episodes, but {len(seeds)} are to "
                    f"be scored: set evaluate.episodes={len(recording)}, or leave the task out with tasks=[…]."
                )
            rows = zip(seeds, recording.returns, recording.lengths, recording.successes, strict=False)
            episodes += [
                Episode(task, seed, float(total), int(length), success, False, None)
                for seed, total, length, success in rows
            ]
    return episodes


def _collect(
    agents: Sequence[Agent],
    suite: Suite,
    gate_means: Mapping[str, float],
    artifacts: Mapping[AgentId, Artifact],
    seed: int,
    amplified: Collection[str] | None,
) -> Results:
    """The run's results, read from its artifacts."""
    scores = [row for agent in agents for row in read_scores(suite, artifacts[agent.id])]
    tasks = task_rows(suite, seed, gate_means, amplified)
    costs = [
        cost_row(agent.id, suite.name, seed, agent.made_from.values(), agent.earlier, artifacts[agent.id])
        for agent in agents
    ]
    curves = [row for agent in agents for row in curve_rows(agent.id, seed, agent.made_from)]
    return Results(tuple(scores), tuple(tasks), tuple(costs), tuple(curves))


def _is_sound(scores: Artifact) -> bool:
    """Whether the rows of a finished artifact can be read. One that holds a NaN is played again."""
    try:
        read_csv(scores.folder / SCORES, ScoreRow, "")
    except GatitoError as error:
        console.warn(f"{error} It is played again.")
        return False
    return True


@dataclass(frozen=True)
class _Played:
    """Episodes, their wall time in seconds, and the policy's inference cost, if it counts it."""

    episodes: list[Episode]
    seconds: float
    spent: Mapping[str, float]


def _part(agent: Agent, suite: Suite, seeds: Sequence[int], config: EvaluateConfig) -> Job:
    """A job that plays some test episodes of all tasks of the suite, which share one batched forward pass."""
    arguments = {"agent": agent, "suite": suite, "seeds": seeds, "config": config}
    task = suite.tasks[0].name if len(suite.tasks) == 1 else None
    return Job(f"evaluate {agent.name}", len(seeds) * len(suite.tasks), arguments, task)


def _play_parts(jobs: Sequence[Job], run: Run) -> list[tuple[Job, _Played]]:
    """Run every job; a job that fails is repeated without the tasks that failed.

    If its process died without naming a task, it is repeated task by task.
    """
    played: list[tuple[Job, _Played]] = []
    pending = list(jobs)
    while pending:
        known = len(run.failures)
        results = run_jobs(_play, pending, workers=run.workers, failures=run.failures)
        played += results.items()
        failed = [job.arguments for job in pending if job not in results]
        pending = []
        for arguments in failed:
            suite = run.failures.survivors(arguments["suite"])
            single = [Suite(suite.name, (task,)) for task in suite]
            suites = single if len(run.failures) == known else [suite] if suite.tasks else []
            pending += [_part(arguments["agent"], part, arguments["seeds"], arguments["config"]) for part in suites]
    return played


def _play(*, agent: Agent, suite: Suite, seeds: Sequence[int], config: EvaluateConfig, report: Report) -> _Played:
    """Play all episodes of a job, in a worker process."""
    start = time.monotonic()
    episodes: list[Episode] = []
    lanes = agent.lanes or config.lanes_for(len(suite.tasks))
    with closing(agent.load()) as policy:
        for episode in rollout(policy, {task: seeds for task in suite}, envs_per_task=lanes):
            episodes.append(episode)
            report(len(episodes))
    return _Played(episodes, time.monotonic() - start, spent_by(policy))
