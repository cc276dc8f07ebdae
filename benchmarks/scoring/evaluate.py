"""Agents x suite -> tidy rows: what every agent scores in every test episode, what it cost, how it learnt.

Run by ``gatito stages=[evaluate]``.
"""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.base.artifacts import Artifact, read_manifest, write_text
from benchmarks.base.compute import Cost
from benchmarks.base.csv_rows import read_csv, to_csv
from benchmarks.base.errors import GatitoError, check_at_least
from benchmarks.base.seeds import Purpose, episode_seed
from benchmarks.play.policy import Policy, spent_by, total_spent
from benchmarks.play.rollout import Episode, rollout
from benchmarks.play.trajectories import Trajectories
from benchmarks.runs.parallel import Job, Report, run_jobs
from benchmarks.runs.run import Run
from benchmarks.runs.tracking import LOG, read_log
from benchmarks.runs.wandb import log_lineage
from benchmarks.scoring.results import CostRow, CurveRow, Results, ScoreRow, TaskRow
from benchmarks.scoring.scores import samples_by_task
from benchmarks.tasks import Suite

SCORES = "scores.csv"
CURVES = ("selection/mean", "selection/gain", "distill/loss")
"""The metrics of learning curves that results folders keep."""


@dataclass
class EvaluateConfig:
    """``conf/evaluate/*.yaml``.

    Attributes:
        episodes: test episodes per task and agent, on the same seeds for every agent.
        envs_per_task: environments of one task side by side in one process, at most.
        max_envs: environments of all tasks in one process, at most (but one of each task): a suite of many tasks
            has fewer of each. One of Meta-World's takes 26 MB and a third of a second to make.
    """

    episodes: int = 100
    envs_per_task: int = 50
    max_envs: int = 256

    def check(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            GatitoError: naming the setting.
        """
        check_at_least("evaluate", self, episodes=2, envs_per_task=1, max_envs=1)

    def lanes_for(self, tasks: int) -> int:
        """Environments of each task side by side where so many tasks are played together."""
        return min(self.envs_per_task, max(1, self.max_envs // tasks))


@dataclass(frozen=True)
class Agent:
    """Somebody to be scored.

    Attributes:
        name: as in the score rows, see ``results.AGENTS``.
        load: makes the policy, in the process that plays it; picklable.
        made_from: the artifacts that the policy is: one for each task by its name, or one for all tasks by ``""``.
        recorded: tasks on which it does not play, by the folders of the recordings that its episodes are taken from.
        earlier: what else was made for it before, so that its cost is this agent's as well.
        episodes: that it plays of each task, the first of all test episodes; None: all.
        lanes: environments side by side, where it thinks so much that each task is played by itself; None: it does not.
        how: settings that decide how it plays, beside what it is.
    """

    name: str
    load: Callable[[], Policy]
    made_from: Mapping[str, Artifact] = field(default_factory=dict)
    recorded: Mapping[str, Path] = field(default_factory=dict)
    earlier: Sequence[Artifact] = ()
    episodes: int | None = None
    lanes: int | None = None
    how: Mapping[str, Any] = field(default_factory=dict)

    def plays(self, config: EvaluateConfig) -> int:
        """How many test episodes of each task."""
        return min(config.episodes, self.episodes or config.episodes)

    def on(self, suite: Suite) -> "Agent":
        """The agent as a player of these tasks alone."""
        kept = ("", *(task.name for task in suite))
        return replace(self, made_from={name: made for name, made in self.made_from.items() if name in kept})


def score_artifact(run: Run, agent: Agent, suite: Suite, config: EvaluateConfig) -> Artifact:
    """The artifact of an agent's scores on the tasks of a suite: its folder, and what decides its content."""
    settings = {"suite": suite.name, "tasks": {task.name: task.digest for task in suite}, "agent": agent.name}
    settings |= {"episodes": agent.plays(config), "seed": run.seed}
    if agent.how:
        settings["how"] = dict(agent.how)
    inputs = {name or agent.name: artifact.fingerprint for name, artifact in agent.made_from.items()}
    return Artifact(run.folder / "scores" / agent.name, "scores", settings, inputs)


def evaluate(
    run: Run,
    agents: Sequence[Agent],
    gate_means: Mapping[str, float],
    config: EvaluateConfig,
    amplified: Collection[str] | None = None,
) -> Results:
    """Score every agent on every task of the suite, what is not there yet, and write the run's results.

    A task that fails with one agent is left out of the results of all.

    Args:
        run: the run.
        agents: that play; their artifacts must be finished.
        gate_means: each expert's mean score on its gate's episodes, by task name.
        config: how much is played.
        amplified: the tasks that rounds of amplification are for; None: there are none.

    Raises:
        GatitoError: if an agent's files are missing or damaged.
    """
    suite, seed = run.survivors(), run.seed
    jobs: list[Job] = []
    made = {agent.name: score_artifact(run, agent, suite, config) for agent in agents}
    missing = []
    seeds = [episode_seed(Purpose.TEST, index, seed) for index in range(config.episodes)]
    for agent in agents:
        if made[agent.name].is_complete() or made[agent.name].adopt(run.runs_folder):
            continue
        missing.append(agent.name)
        parts = min(run.workers, agent.plays(config))
        playing = Suite(suite.name, tuple(task for task in suite if task.name not in agent.recorded))
        own = seeds[: agent.plays(config)]
        alone = [Suite(suite.name, (task,)) for task in playing] if agent.lanes else [playing] if playing.tasks else []
        jobs += [_part(agent, each, own[part::parts], config) for each in alone for part in range(parts)]
    played = _play_parts(jobs, run)
    survivors = run.survivors()
    if not survivors.tasks:
        return Results((), ())
    for agent in agents:
        if agent.name in missing:
            parts = [told for job, told in played if job.arguments["agent"] is agent]
            episodes = [episode for part in parts for episode in part.episodes]
            rows = score_rows(survivors, agent.name, seed, [*episodes, *_recorded(agent, seeds)])
            seconds = sum(part.seconds for part in parts)
            spent = total_spent([part.spent for part in parts])
        elif survivors != suite:  # it is scored already, on a task that another has failed since
            rows = _rows_on(survivors, made[agent.name])
            seconds = _manifest(made[agent.name])["wall_seconds"]
            spent = _manifest(made[agent.name])["facts"].get("spent", {})
        else:
            continue
        artifact = made[agent.name] = score_artifact(run, agent.on(survivors), survivors, config)
        artifact.start()
        write_text(artifact.folder / SCORES, to_csv(rows, ScoreRow))
        artifact.finish(seconds, episodes=len(rows), steps=sum(row.length for row in rows), spent=spent)
    everything = _collect([agent.on(survivors) for agent in agents], survivors, gate_means, made, seed, amplified)
    everything.write(run.folder)
    if missing:
        means = {
            f"evaluate/{task}/{agent}": float(sample[seed].mean())
            for (task, agent), sample in samples_by_task(everything).items()
            if agent in missing
        }
        run.tracker.write(
            run.folder / "scores",
            "evaluate",
            means,
            log_more=partial(log_lineage, made=[made[name] for name in missing], folder=run.folder),
            env_id=suite.name,
            episodes=config.episodes,
        )
    return everything


def _recorded(agent: Agent, seeds: Sequence[int]) -> list[Episode]:
    """As many episodes of an agent's recordings as test episodes are played, in their places."""
    episodes = []
    for task, folder in agent.recorded.items():
        told = Trajectories(folder)
        if len(told) < len(seeds):
            raise GatitoError(
                f"the recorded {agent.name} of task {task} has {len(told)} episodes, but {len(seeds)} are to be "
                f"scored: set evaluate.episodes={len(told)}."
            )
        rows = zip(seeds, told.returns, told.lengths, told.successes, strict=False)
        episodes += [
            Episode(task, seed, float(total), int(length), success, False, None)
            for seed, total, length, success in rows
        ]
    return episodes


def score_rows(suite: Suite, agent: str, seed: int, episodes: Sequence[Episode]) -> list[ScoreRow]:
    """Tidy rows of the suite's tasks, in their order and in that of episode seeds."""
    order = {task.name: index for index, task in enumerate(suite)}
    counted = [episode for episode in episodes if episode.task in order]
    ordered = sorted(counted, key=lambda episode: (order[episode.task], episode.seed))
    return [
        ScoreRow(
            suite.name,
            episode.task,
            agent,
            seed,
            episode.seed,
            episode.total_return,
            episode.length,
            episode.success,
        )
        for episode in ordered
    ]


def _collect(
    agents: Sequence[Agent],
    suite: Suite,
    gate_means: Mapping[str, float],
    played: Mapping[str, Artifact],
    seed: int,
    amplified: Collection[str] | None,
) -> Results:
    """The run's results out of its artifacts."""
    scores = [row for agent in agents for row in _rows_on(suite, played[agent.name])]
    tasks = [
        TaskRow(
            suite.name,
            task.name,
            seed,
            task.env_id,
            task.horizon,
            task.metric,
            task.reference,
            "expert",
            gate_means[task.name],
            task.digest[:12],
            None if amplified is None else task.name in amplified,
        )
        for task in suite
    ]
    costs, curves = [], []
    for agent in agents:
        own = sum((Cost.of(_manifest(artifact)) for artifact in agent.made_from.values()), Cost())
        before = sum((Cost.of(_manifest(artifact)) for artifact in agent.earlier), Cost())
        cost = replace(own + before, parameters=own.parameters)
        manifest = _manifest(played[agent.name])
        costs.append(
            CostRow(
                suite.name,
                agent.name,
                seed,
                cost.parameters,
                cost.flops,
                cost.env_steps,
                round(cost.seconds, 2),
                manifest["facts"]["steps"],
                manifest["wall_seconds"],
                manifest["facts"].get("spent", {}).get("passes"),
                manifest["facts"].get("spent", {}).get("steps"),
            )
        )
        for task, artifact in agent.made_from.items():
            curves += [
                CurveRow(agent.name, task, seed, metric, int(line["step"]), line[metric])
                for line in read_log(artifact.folder / LOG)
                for metric in CURVES
                if math.isfinite(line.get(metric, math.nan))  # a loss that became NaN is in the log alone
            ]
    return Results(tuple(scores), tuple(tasks), tuple(costs), tuple(curves))


def _rows_on(suite: Suite, scores: Artifact) -> list[ScoreRow]:
    """The rows of a finished artifact that are of the suite's tasks."""
    names = {task.name for task in suite}
    rows = read_csv(scores.folder / SCORES, ScoreRow, "run with stages=[evaluate,report] again.")
    return [row for row in rows if row.task in names]


def _manifest(artifact: Artifact) -> dict[str, Any]:
    manifest = read_manifest(artifact.folder)
    if manifest is None:
        raise GatitoError(f"{artifact.folder} is not finished: run all stages again, they resume.")
    return manifest


@dataclass(frozen=True)
class _Played:
    """Episodes, the seconds that they took, and what the policy has spent on them, if it counts."""

    episodes: list[Episode]
    seconds: float
    spent: Mapping[str, float]


def _part(agent: Agent, suite: Suite, seeds: Sequence[int], config: EvaluateConfig) -> Job:
    """A job of some test episodes of all tasks of the suite: they share one batched forward pass."""
    arguments = {"agent": agent, "suite": suite, "seeds": seeds, "config": config}
    task = suite.tasks[0].name if len(suite.tasks) == 1 else None
    return Job(f"evaluate {agent.name}", len(seeds) * len(suite.tasks), arguments, task)


def _play_parts(jobs: Sequence[Job], run: Run) -> list[tuple[Job, _Played]]:
    """Play every job. One that fails is played again without the tasks that failed.

    If its process died and nothing says at which task, it is played again task by task.
    """
    played: list[tuple[Job, _Played]] = []
    left = list(jobs)
    while left:
        known = len(run.failures)
        results = run_jobs(_play, left, workers=run.workers, failures=run.failures)
        played += results.items()
        failed = [job.arguments for job in left if job not in results]
        left = []
        for part in failed:
            suite = run.failures.survivors(part["suite"])
            alone = [Suite(suite.name, (task,)) for task in suite]
            suites = alone if len(run.failures) == known else [suite] if suite.tasks else []
            left += [_part(part["agent"], each, part["seeds"], part["config"]) for each in suites]
    return played


def _play(*, agent: Agent, suite: Suite, seeds: Sequence[int], config: EvaluateConfig, report: Report) -> _Played:
    """All episodes of these seeds."""
    start = time.monotonic()
    episodes: list[Episode] = []
    lanes = agent.lanes or config.lanes_for(len(suite.tasks))
    policy = agent.load()
    for episode in rollout(policy, {task: seeds for task in suite}, envs_per_task=lanes):
        episodes.append(episode)
        report(len(episodes))
    return _Played(episodes, time.monotonic() - start, spent_by(policy))
