"""The report as one self-contained HTML page: it opens from disk, without network."""

import base64
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from benchmarks.base.artifacts import read_json
from benchmarks.base.environment import ENVIRONMENT
from benchmarks.play.game_records import read_games
from benchmarks.play.text_records import read_images
from benchmarks.report.charts import Chart
from benchmarks.report.clips import CLIP, EPISODES
from benchmarks.report.formats import interval_text, number, plural, share
from benchmarks.report.games import games_tables
from benchmarks.report.restraint import restraint_tables
from benchmarks.report.rounds import rounds_table
from benchmarks.report.scaling import scaling_tables
from benchmarks.report.simulations import simulations_tables
from benchmarks.report.tables import (
    cost_table,
    gate_text,
    headline,
    improvement_table,
    left_out,
    shown_agents,
    summary_by_return,
    summary_table,
)
from benchmarks.report.words import text_samples, words_tables
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.results import Results
from benchmarks.scoring.scoreboard import Estimate, Scoreboard

_SECTIONS = {
    "summary": "Summary",
    "tasks": "Tasks",
    "rounds": "Rounds",
    "games": "Games",
    "words": "Words",
    "restraint": "Restraint",
    "scaling": "Scaling",
    "thresholds": "Thresholds",
    "improvement": "Improvement",
    "compute": "Compute",
    "learning": "Learning",
    "clips": "Clips",
    "reproduce": "Reproduce",
}


def render_page(
    board: Scoreboard,
    by_return: Scoreboard | None,
    drawn: Mapping[str, Chart],
    folder: Path,
    failed: Sequence[str] = (),
) -> str:
    """The page of a results folder, with the folder's config, environment and clips if they exist.

    Args:
        board: the scores.
        by_return: the scores by return; None if no task has success as its metric.
        drawn: the charts.
        folder: the results folder.
        failed: one line for each task that failed.
    """
    import jinja2  # here: most commands write no page

    results = board.results
    files = jinja2.FileSystemLoader(Path(__file__).parent)
    template = jinja2.Environment(loader=files, autoescape=True, undefined=jinja2.StrictUndefined).get_template(
        "page.html"
    )
    scored = len(results.task_names) - len(board.unscored)
    absent = {name: name not in drawn for name in ("rounds", "thresholds", "restraint")}
    absent |= {"games": board.games is None, "words": board.words is None, "scaling": board.scaling is None}
    absent |= {"learning": not {"learning", "distillation"} & set(drawn)}
    seeds = len(results.train_seeds)
    episodes = len(results.scores)
    return template.render(
        suite=results.suite,
        headline=headline(board),
        preliminary=board.preliminary,
        facts=[
            f"{scored} of {len(results.task_names)} tasks scored",
            f"{seeds} training {plural(seeds, 'seed')}",
            f"{len(results.agents)} agents",
            f"{episodes:,} test episodes".replace(",", " "),
        ],
        sections=[(name, title) for name, title in _SECTIONS.items() if not absent.get(name)],
        warnings=[*failed, *([gate_text(board)] if board.unscored or board.weak_seeds else [])],
        summary=summary_table(board),
        by_return=None if by_return is None else summary_by_return(by_return),
        rounds=rounds_table(board),
        restraint=restraint_tables(board),
        games=games_tables(board) + simulations_tables(board),
        words=words_tables(board),
        scaling=scaling_tables(board),
        improvement=improvement_table(board),
        cost=cost_table(board),
        example=results.task_names[0].partition("/")[2],
        tasks_caption=gate_text(board) + left_out(board),
        task_columns=["task", *map(str, shown_agents(board))],
        task_rows=_task_rows(board),
        charts=drawn,
        charts_json=_json(drawn),
        library=Markup(_library()),
        clips=_clips(folder, results.task_names),
        sample_games=_sample_games(folder, results),
        sample_texts=text_samples(results, read_images(folder)),
        command=_environment(folder).get("command", "gatito stages=[report]"),
        environment=_environment_text(_environment(folder)),
        configs=[(path.name, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("config*.yaml"))],
    )


def _task_rows(board: Scoreboard) -> list[dict[str, Any]]:
    cells = {(score.task, score.agent): score for score in board.tasks}
    rows = []
    for task in board.results.task_names:
        scores = [cells[task, agent] for agent in shown_agents(board)]
        rows.append(
            {"name": task, "cells": [{"f": _cell(score.f), "raw": _cell(score.raw, number)} for score in scores]}
        )
    return rows


def _cell(estimate: Estimate | None, show: Callable[[float], str] = share) -> dict[str, Any]:
    if estimate is None:
        return {"sort": "", "value": "unscored", "interval": ""}
    value, _, interval = interval_text(estimate, show).partition(" ")
    return {"sort": estimate.value, "value": value, "interval": interval}


def _clips(folder: Path, tasks: list[str]) -> list[dict[str, str]]:
    clips = []
    for task in tasks:
        path = folder / "clips" / task / CLIP
        if not path.exists():
            continue
        played = read_json(path.with_name(EPISODES), {"agents": dict})["agents"]
        shown = [f"{agent} (return {number(episode['return'])})" for agent, episode in played.items()]
        label = f"{task}: video of {' and '.join(shown)}, side by side from left to right"
        data = base64.b64encode(path.read_bytes()).decode()
        clips.append({"task": task, "caption": ", ".join(shown), "label": label, "data": data})
    return clips


def _sample_games(folder: Path, results: Results) -> list[dict[str, Any]]:
    """The recorded games of each task, with a line that tells colour, opponent and outcome."""
    games = read_games(folder)
    shown = []
    for task in results.task_names:
        lines = []
        for game in sorted(
            (game for game in games if game.task == task), key=lambda game: AgentId(game.agent, game.round).order
        ):
            ending = "won" if game.outcome > 0 else "lost" if game.outcome < 0 else "drew"
            agent = AgentId(game.agent, game.round, game.label)
            moves = f"{len(game.plies)} {plural(len(game.plies), 'move')}"
            title = f"{agent} ({game.colour}) {ending} against {game.opponent} in {moves}"
            lines.append({"title": title, "plies": game.plies})
        if lines:
            shown.append({"task": task, "games": lines})
    return shown


def _environment(folder: Path) -> dict[str, Any]:
    path = folder / ENVIRONMENT
    return read_json(path, dict) if path.exists() else {}


def _environment_text(environment: Mapping[str, Any]) -> str:
    if not environment:
        return ""
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    machine = f"{environment['processor']}, {environment['cores']} cores, {environment['system']}"
    commit = f" Commit {environment['git_commit']}." if environment.get("git_commit") else ""
    return f"Made on {machine}, Python {environment['python']}, with {packages}.{commit}"


@functools.cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed, as bundled with vl-convert."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its argument is optional
    return bundle.replace("</script", "<\\/script")


def _json(value: object) -> Markup:
    """JSON that cannot close the script element around it."""
    return Markup(json.dumps(value).replace("<", "\\u003c"))
