"""Evaluation: play every agent's test episodes and write the results folder's rows of scores, costs and curves.

Run by ``gatito stages=[evaluate]``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.base import console
from benchmarks.base.artifacts import Artifact, write_text
from benchmarks.base.csv_rows import read_csv, to_csv
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import Purpose, episode_seed
from benchmarks.base.settings import check_settings, setting
from benchmarks.play.game_records import GameRecord, read_games, write_games
from benchmarks.play.rollout import Episode
from benchmarks.play.text_records import Images, TextRecord, read_images, write_images
from benchmarks.play.trajectories import Trajectories
from benchmarks.runs.run import Run
from benchmarks.runs.wandb import log_lineage
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.moves import MoveRow, move_rows, positions_digests
from benchmarks.scoring.playing import Agent, Played, Schedule, play_agents
from benchmarks.scoring.results import Results, ScoreRow
from benchmarks.scoring.rows import (
    MOVES,
    SCORES,
    TEXTS,
    cost_row,
    curve_rows,
    finished_manifest,
    read_moves,
    read_scores,
    read_texts,
    score_rows,
    task_rows,
)
from benchmarks.scoring.scores import samples_by_task
from benchmarks.scoring.texts import TextRow, text_rows
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
        """Reject settings that cannot work.

        Raises:
            GatitoError: names the setting.
        """
        check_settings("evaluate", self)

    def plays(self, agent: Agent) -> int:
        """Number of test episodes per task that an agent plays."""
        return min(self.episodes, agent.episodes or self.episodes)

    def num_envs(self, tasks: int) -> int:
        """Parallel environments per task if this many tasks are played together."""
        return min(self.envs_per_task, max(1, self.max_envs // tasks))


def score_artifact(run: Run, agent: Agent, suite: Suite, config: EvaluateConfig) -> Artifact:
    """The artifact of an agent's scores on the tasks of a suite, with the settings and inputs that decide them."""
    settings = {"suite": suite.name, "tasks": {task.name: task.digest for task in suite}, "agent": agent.name}
    settings |= {"episodes": config.plays(agent), "seed": run.seed}
    if agent.how:
        settings["how"] = dict(agent.how)
    if positions := positions_digests(suite):
        settings["positions"] = positions
    inputs = {name or agent.name: artifact.fingerprint for name, artifact in agent.made_from.items()}
    return Artifact(run.folder / "scores" / agent.id.folder, "scores", settings, inputs)


@dataclass(frozen=True)
class _Scored:
    """What an agent's artifact of scores holds, of the tasks of a suite."""

    rows: Sequence[ScoreRow]
    moves: Sequence[MoveRow]
    texts: Sequence[TextRow]
    games: Sequence[GameRecord]
    images: Images
    seconds: float
    spent: Mapping[str, float]

    @staticmethod
    def played(suite: Suite, agent: Agent, seed: int, played: Played, recorded: Sequence[Episode]) -> "_Scored":
        """Of the episodes that it has played, and those that were recorded instead."""
        return _Scored(
            score_rows(suite, agent.id, seed, [*played.episodes, *recorded]),
            move_rows(suite, agent.id, seed, played.moves),
            text_rows(suite, agent.id, seed, played.texts),
            _of_tasks(played.games, suite),
            _images(played.texts),
            played.seconds,
            played.spent,
        )

    @staticmethod
    def read(suite: Suite, scores: Artifact) -> "_Scored":
        """Of an artifact, which may have more tasks."""
        manifest = finished_manifest(scores)
        return _Scored(
            read_scores(suite, scores),
            read_moves(suite, scores),
            read_texts(suite, scores),
            _of_tasks(read_games(scores.folder), suite),
            read_images(scores.folder),
            manifest["wall_seconds"],
            manifest["facts"].get("spent", {}),
        )

    def write(self, artifact: Artifact) -> None:
        """Write the artifact."""
        artifact.start()
        write_text(artifact.folder / SCORES, to_csv(self.rows, ScoreRow))
        if self.moves:
            write_text(artifact.folder / MOVES, to_csv(self.moves, MoveRow))
        if self.texts:
            write_text(artifact.folder / TEXTS, to_csv(self.texts, TextRow))
        write_games(artifact.folder, self.games)
        write_images(artifact.folder, self.images)
        steps = sum(row.length for row in self.rows)
        artifact.finish(self.seconds, episodes=len(self.rows), steps=steps, spent=dict(self.spent))


def evaluate(
    run: Run,
    agents: Sequence[Agent],
    gate_means: Mapping[str, float],
    config: EvaluateConfig,
    amplified: Collection[str] | None = None,
) -> Results:
    """Score every agent on every task, unless its scores are complete, and write the run's results.

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
    scores = {agent.id: score_artifact(run, agent, suite, config) for agent in agents}
    seeds = [episode_seed(Purpose.TEST, index, seed) for index in range(config.episodes)]
    missing = [agent for agent in agents if not _is_scored(scores[agent.id], run)]
    schedules = {agent.id: Schedule(seeds[: config.plays(agent)], config.num_envs) for agent in missing}

    kept: set[AgentId] = set()

    def keep(agent: Agent, own: Played) -> None:
        """Write the scores of an agent while others play, so that a kill does not lose them."""
        if run.survivors() == suite and not agent.recorded and own.finite:
            _Scored.played(suite, agent, seed, own, []).write(scores[agent.id])
            kept.add(agent.id)

    played = play_agents(run, missing, schedules, keep)
    recorded = {agent.id: _recorded(run, agent, seeds) for agent in missing}
    survivors = run.survivors()
    agents = [agent for agent in agents if agent.name not in run.failures.agents]
    if not survivors.tasks:
        return Results((), ())
    for agent in agents:
        if survivors == suite and (agent.id in kept or agent.id not in played):
            continue
        if agent.id in played:
            scored = _Scored.played(survivors, agent, seed, played[agent.id], recorded[agent.id])
        else:  # scored before, also on a task at which another agent has failed since
            scored = _Scored.read(survivors, scores[agent.id])
        scores[agent.id] = score_artifact(run, agent.on(survivors), survivors, config)
        scored.write(scores[agent.id])
    results = _collect([agent.on(survivors) for agent in agents], survivors, gate_means, scores, seed, amplified)
    results.write(run.folder)
    games = [game for agent in agents for game in read_games(scores[agent.id].folder)]
    write_games(run.folder, _of_tasks(games, survivors))
    write_images(run.folder, read_images(scores[agents[0].id].folder))  # all agents have the same episodes
    if played:
        means = {
            f"evaluate/{task}/{agent}": float(sample[seed].mean())
            for (task, agent), sample in samples_by_task(results).items()
            if agent in played
        }
        run.tracker.write(
            run.folder / "scores",
            "evaluate",
            means,
            log_more=partial(log_lineage, made=[scores[agent] for agent in played], folder=run.folder),
            env_id=suite.name,
            episodes=config.episodes,
        )
    return results


def _of_tasks(games: Sequence[GameRecord], suite: Suite) -> list[GameRecord]:
    """The games of the suite's tasks, in their order."""
    return [game for task in suite for game in games if game.task == task.name]


def _images(texts: Sequence[TextRecord]) -> Images:
    """The pictures of the first test episodes."""
    images: dict[str, dict[str, str]] = {}
    for text in texts:
        if text.image is not None:
            images.setdefault(text.task, {})[str(text.seed)] = text.image
    return images


def _is_scored(scores: Artifact, run: Run) -> bool:
    return (scores.is_complete() or scores.adopt(run.runs_folder)) and _is_sound(scores)


def _recorded(run: Run, agent: Agent, seeds: Sequence[int]) -> list[Episode]:
    """The first recorded episodes, which replace test episodes on tasks that an agent does not play."""
    episodes = []
    for task, folder in agent.recorded.items():
        with run.failures.of(task):
            recording = Trajectories(folder)
            if len(recording) < len(seeds):
                raise GatitoError(
                    f"the recorded {agent.name} of task {task} has {len(recording)} episodes, but {len(seeds)} are "
                    f"scored: set evaluate.episodes={len(recording)}, or leave the task out with tasks=[…]."
                )
            rows = zip(seeds, recording.returns, recording.lengths, recording.successes, recording.costs, strict=False)
            episodes += [
                Episode(task, seed, float(total), int(length), success, False, None, cost)
                for seed, total, length, success, cost in rows
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
    moves = [row for agent in agents for row in read_moves(suite, artifacts[agent.id])]
    texts = [row for agent in agents for row in read_texts(suite, artifacts[agent.id])]
    return Results(tuple(scores), tuple(tasks), tuple(costs), tuple(curves), tuple(moves), tuple(texts))


def _is_sound(scores: Artifact) -> bool:
    """Whether the rows of a finished artifact can be read; rows with a NaN are played again."""
    try:
        read_csv(scores.folder / SCORES, ScoreRow, "")
        for name, kind in ((MOVES, MoveRow), (TEXTS, TextRow)):
            if (scores.folder / name).exists():
                read_csv(scores.folder / name, kind, "")
    except GatitoError as error:
        console.warn(f"{error} It is played again.")
        return False
    return True
