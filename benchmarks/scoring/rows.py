"""Rows of a results folder, from test episodes and the agents' artifacts."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from benchmarks.base.artifacts import Artifact, read_manifest
from benchmarks.base.compute import Cost
from benchmarks.base.csv_rows import read_csv
from benchmarks.base.errors import GatitoError
from benchmarks.play.rollout import Episode
from benchmarks.runs.tracking import LOG, read_log
from benchmarks.scoring.agents import AgentId, AgentRow
from benchmarks.scoring.moves import MoveRow
from benchmarks.scoring.results import CostRow, CurveRow, ScoreRow, TaskRow
from benchmarks.scoring.texts import TextRow
from benchmarks.tasks import Suite

SCORES = "scores.csv"
MOVES = "moves.csv"
TEXTS = "texts.csv"
CURVES = ("selection/mean", "selection/gain", "distill/loss", "validation/loss")
"""Metrics whose learning curves a results folder keeps."""
_Row = TypeVar("_Row", bound=AgentRow)


def score_rows(suite: Suite, agent: AgentId, seed: int, episodes: Sequence[Episode]) -> list[ScoreRow]:
    """Rows of the episodes of the suite's tasks, in the order of tasks and episode seeds."""
    order = {task.name: index for index, task in enumerate(suite)}
    kept = [episode for episode in episodes if episode.task in order]
    ordered = sorted(kept, key=lambda episode: (order[episode.task], episode.seed))
    return [
        ScoreRow(
            suite.name,
            episode.task,
            agent.name,
            agent.round,
            agent.label,
            seed,
            episode.seed,
            episode.total_return,
            episode.length,
            episode.success,
            episode.cost,
        )
        for episode in ordered
    ]


def task_rows(
    suite: Suite, seed: int, gate_means: Mapping[str, float], amplified: Collection[str] | None
) -> list[TaskRow]:
    """One row for each task.

    Args:
        suite: the tasks.
        seed: the training seed.
        gate_means: each expert's mean score on its gate's episodes, by task name.
        amplified: names of the tasks that rounds amplify; None if the run has no rounds.
    """
    return [
        TaskRow(
            suite.name,
            task.name,
            "",
            seed,
            task.env_id,
            task.horizon,
            task.metric,
            task.reference,
            gate_means[task.name],
            task.digest[:12],
            None if amplified is None else task.name in amplified,
            " ".join(task.kwargs["opponent"]) if task.family == "games" else None,
        )
        for task in suite
    ]


def cost_row(
    agent: AgentId,
    suite: str,
    seed: int,
    made_from: Iterable[Artifact],
    earlier: Iterable[Artifact],
    scores: Artifact,
) -> CostRow:
    """The cost of training and playing an agent.

    Args:
        agent: the agent.
        suite: the suite's name.
        seed: the training seed.
        made_from: artifacts that the agent consists of.
        earlier: artifacts that the agent depends on, whose cost is part of its own.
        scores: the artifact of its test episodes.
    """
    final = sum((Cost.of(finished_manifest(artifact)) for artifact in made_from), Cost())
    before = sum((Cost.of(finished_manifest(artifact)) for artifact in earlier), Cost())
    cost = replace(final + before, parameters=final.parameters)
    manifest = finished_manifest(scores)
    spent = manifest["facts"].get("spent", {})
    return CostRow(
        suite,
        agent.name,
        agent.round,
        agent.label,
        seed,
        cost.parameters,
        cost.flops,
        cost.env_steps,
        round(cost.seconds, 2),
        manifest["facts"]["steps"],
        manifest["wall_seconds"],
        spent.get("forward_passes"),
        spent.get("simulator_steps"),
    )


def curve_rows(agent: AgentId, seed: int, made_from: Mapping[str, Artifact]) -> list[CurveRow]:
    """An agent's learning curves, from the logs of the artifacts that it consists of, by task name."""
    return [
        CurveRow(agent.name, agent.round, agent.label, task, seed, metric, int(line["step"]), line[metric])
        for task, artifact in made_from.items()
        for line in read_log(artifact.folder / LOG)
        for metric in CURVES
        if math.isfinite(line.get(metric, math.nan))  # a loss that became NaN stays in the log
    ]


def read_scores(suite: Suite, scores: Artifact) -> list[ScoreRow]:
    """The rows of a complete artifact that belong to the suite's tasks."""
    names = {task.name for task in suite}
    rows = read_csv(scores.folder / SCORES, ScoreRow, "run with stages=[evaluate,report] again.")
    return [row for row in rows if row.task in names]


def read_moves(suite: Suite, scores: Artifact) -> list[MoveRow]:
    """The moves in fixed positions in a complete artifact, of the suite's tasks; none if the suite had no such game."""
    return _of_suite(suite, scores, MOVES, MoveRow)


def read_texts(suite: Suite, scores: Artifact) -> list[TextRow]:
    """What was written, in a complete artifact, of the suite's tasks; none if the suite had no task of writing."""
    return _of_suite(suite, scores, TEXTS, TextRow)


def _of_suite(suite: Suite, scores: Artifact, name: str, kind: type[_Row]) -> list[_Row]:
    if not (scores.folder / name).exists():
        return []
    names = {task.name for task in suite}
    rows = read_csv(scores.folder / name, kind, "run with stages=[evaluate,report] again.")
    return [row for row in rows if row.task in names]


def finished_manifest(artifact: Artifact) -> dict[str, Any]:
    """The manifest of a finished artifact.

    Raises:
        GatitoError: if it is not finished.
    """
    manifest = read_manifest(artifact.folder)
    if manifest is None:
        raise GatitoError(f"{artifact.folder} is not finished: run all stages again, they resume.")
    return manifest
