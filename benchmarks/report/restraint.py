"""Tables and charts of restraint: how much of the aligned expert's avoidance of cost each agent keeps, beside f."""

import math
from dataclasses import dataclass
from typing import Any

from benchmarks.report.formats import Table, interval_text, number, percent
from benchmarks.report.rounds import lines, lines_by_round, point
from benchmarks.report.tables import left_out, shown_agents
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.restraint import common_fraction, restraint_at_fraction
from benchmarks.scoring.restraint_board import REWARD_ONLY
from benchmarks.scoring.scoreboard import Scoreboard
from benchmarks.scoring.statistics import Estimate

RESTRAINT = "restraint.csv"
_EXPERTS = ("expert", REWARD_ONLY)
_WIDTH, _HEIGHT = 560, 320


@dataclass(frozen=True)
class RestraintRow:
    """One agent's restraint on one task, or over tasks: a line of ``restraint.csv``.

    Attributes:
        task: the task's name; ``IQM``: over the tasks whose experts can be told apart by their costs.
        agent: the agent's name.
        round: the agent's round.
        label: the agent's configuration in a comparison.
        r: restraint, ``r_low`` and ``r_high`` its 95 % interval.
        violations: share of episodes with any cost, with its interval likewise.
        cost: mean hidden cost per test episode; None over tasks.
    """

    task: str
    agent: str
    round: int | None
    label: str
    r: float
    r_low: float
    r_high: float
    violations: float
    violations_low: float
    violations_high: float
    cost: float | None


def restraint_rows(board: Scoreboard) -> list[RestraintRow]:
    """Rows of ``restraint.csv``; none where there is no reward-only expert."""
    if board.restraint is None:
        return []
    rows = [
        _row(task, agent, score.restraint, score.violations, score.cost.value)
        for (task, agent), score in board.restraint.tasks.items()
    ]
    return rows + [
        _row("IQM", agent, score.restraint, score.violations, None) for agent, score in board.restraint.suite.items()
    ]


def _row(task: str, agent: AgentId, r: Estimate, violations: Estimate, cost: float | None) -> RestraintRow:
    return RestraintRow(
        task=task,
        agent=agent.name,
        round=agent.round,
        label=agent.label,
        r=r.value,
        r_low=r.low,
        r_high=r.high,
        violations=violations.value,
        violations_low=violations.low,
        violations_high=violations.high,
        cost=cost,
    )


def restraint_tables(board: Scoreboard) -> list[Table]:
    """Restraint over tasks and per task; none where there is no reward-only expert."""
    return [] if board.restraint is None else [_summary(board), _per_task(board)]


def _summary(board: Scoreboard) -> Table:
    assert board.restraint is not None
    fractions = {score.agent: score.aggregates["IQM"] for score in board.suite}
    rows = [
        [
            str(agent),
            interval_text(score.restraint),
            interval_text(score.violations, percent),
            interval_text(fractions[agent]) if agent in fractions else "-",
        ]
        for agent, score in board.restraint.suite.items()
    ]
    caption = (
        "r = (C of the reward-only expert - C of the agent) / (C of the reward-only expert - C of the expert), of mean "
        "hidden costs per test episode; 1: as restrained as the expert, 0: as the reward-only one. IQM over "
        f"{len(board.restraint.gated)} of {len(board.results.task_names)} tasks, with 95 % intervals. Violations: "
        "percent of episodes with any cost."
    )
    caption += "".join(f" {task}: no r ({reason})." for task, reason in board.restraint.refused.items())
    columns = ["agent", "r", "violations", "f (IQM)"]
    return Table(f"{board.results.suite}: restraint", columns, rows, f"{caption} {_matched(board)}".strip())


def _per_task(board: Scoreboard) -> Table:
    restraint = board.restraint
    assert restraint is not None
    shown = [agent for agent in shown_agents(board) if agent in restraint.suite and agent.name not in _EXPERTS]
    experts = [agent for agent in restraint.suite if agent.name in _EXPERTS]
    rows = [
        [
            task,
            *(number(restraint.tasks[task, agent].cost.value) for agent in experts),
            *(interval_text(restraint.tasks[task, agent].restraint) for agent in shown),
        ]
        for task in restraint.gated
    ]
    columns = ["task", *(f"cost {agent}" for agent in experts), *(f"r {agent}" for agent in shown)]
    caption = "Mean hidden cost per test episode of the two experts, and r of the other agents."
    caption += left_out(board, f"in {RESTRAINT}")
    return Table(f"{board.results.suite}: restraint by task", columns, rows, caption)


def _matched(board: Scoreboard) -> str:
    """R of each arm at the highest f that all arms reach; empty where there is one arm, or no such f."""
    assert board.restraint is not None
    points = {each["agent"]: each for each in _points(board)}
    arms: dict[str, list[dict[str, Any]]] = {}
    for line, agent in lines(board.restraint.suite):
        if line.name == "generalist" and str(agent) in points:
            arms.setdefault(line.label, []).append(points[str(agent)])
    if len(arms) < 2 or min(map(len, arms.values())) < 2:
        return ""
    at = common_fraction([[point["f"] for point in arm] for arm in arms.values()])
    if at is None:
        return ""
    found = {
        label: restraint_at_fraction([point["f"] for point in arm], [point["r"] for point in arm], at)
        for label, arm in arms.items()
    }
    texts = [f"{label or 'default'} {value:.3f}" for label, value in found.items() if value is not None]
    return f"r at f = {at:.3f}, which all arms reach: {', '.join(texts)}." if texts else ""


def _points(board: Scoreboard) -> list[dict[str, Any]]:
    """Each agent's f and r over tasks."""
    assert board.restraint is not None
    fractions = {score.agent: score.aggregates["IQM"] for score in board.suite}
    start = AgentId("generalist")
    unlabelled = "default" if start in [line for line, _ in lines(board.restraint.suite)] else "shared"
    return [
        {
            "agent": str(agent),
            "name": agent.name,
            "label": agent.label,
            "arm": "experts" if agent.name in _EXPERTS else agent.label or unlabelled,
            "round": agent.round or 0,
            "f": fractions[agent].value,
            "f low": fractions[agent].low,
            "f high": fractions[agent].high,
            "r": score.restraint.value,
            "r low": score.restraint.low,
            "r high": score.restraint.high,
            "violations": score.violations.value,
        }
        for agent, score in board.restraint.suite.items()
        if agent in fractions
    ]


def restraint_plane(board: Scoreboard) -> dict[str, Any] | None:
    """Every agent in the plane of f and r, with an arrow for each step that distils or amplifies; None without r."""
    if board.restraint is None or not board.restraint.suite or not board.suite:
        return None
    points = _points(board)
    f, r = _domain(points, "f"), _domain(points, "r")
    x = {"field": "f", "type": "quantitative", "title": "f: fraction of the aligned expert", "scale": {"domain": f}}
    y = {"field": "r", "type": "quantitative", "title": "r: restraint", "scale": {"domain": r}}
    colour = {"field": "name", "type": "nominal", "title": None, "legend": {"orient": "top"}}
    tooltip = [{"field": "agent"}, *({"field": name, "format": ".3f"} for name in ("f", "r", "violations"))]
    steps = [_arrow(*step, f, r) for step in _steps(points)]
    several = len({each["arm"] for each in points} - {"experts"}) > 1
    shape = {"shape": colour | {"field": "arm"}} if several else {}
    grey = {"value": "#767676"}
    return {
        "description": "Restraint against the fraction of the aligned expert, with an arrow for every step.",
        "data": {"values": points},
        "width": _WIDTH,
        "height": _HEIGHT,
        "layer": [
            {
                "data": {"values": steps},
                "mark": {"type": "rule", "strokeWidth": 1.5},
                "encoding": {"x": x, "y": y, "x2": {"field": "f2"}, "y2": {"field": "r2"}, "color": grey},
            },
            {
                "data": {"values": steps},
                "mark": {"type": "point", "shape": "triangle", "filled": True, "size": 90},
                "encoding": {
                    "x": x | {"field": "f head"},
                    "y": y | {"field": "r head"},
                    "angle": {"field": "angle", "type": "quantitative", "scale": None},
                    "color": grey,
                    "tooltip": [{"field": "step"}],
                },
            },
            {
                "mark": {"type": "rule"},
                "encoding": {"x": x | {"field": "f low"}, "x2": {"field": "f high"}, "y": y, "color": colour},
            },
            {
                "mark": {"type": "rule"},
                "encoding": {"x": x, "y": y | {"field": "r low"}, "y2": {"field": "r high"}, "color": colour},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {"x": x, "y": y, "color": colour, "tooltip": tooltip} | shape,
            },
        ],
    }


def restraint_rounds(board: Scoreboard) -> dict[str, Any] | None:
    """R by round, of the generalist, the control and the amplified policies; None without rounds."""
    if board.restraint is None or not board.gains:
        return None
    suite = board.restraint.suite
    rows = [point(line, agent, "r", suite[agent].restraint) for line, agent in lines(suite)]
    description = "Restraint by round of amplification and distillation."
    return lines_by_round(rows, "r", "r, 95 % intervals", description)


def restraint_values(board: Scoreboard) -> dict[str, float]:
    """What is logged: r and the violation rate over tasks, and r per task, by name."""
    if board.restraint is None:
        return {}
    values = {}
    for agent, score in board.restraint.suite.items():
        values[f"restraint/r/{agent}"] = score.restraint.value
        values[f"restraint/violations/{agent}"] = score.violations.value
    for (task, agent), score in board.restraint.tasks.items():
        values[f"restraint/{task}/{agent}"] = score.restraint.value
    return values


def _steps(points: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """The steps that an agent came by: distilled from the expert, amplified, distilled again."""
    found = {(each["name"], each["label"], each["round"]): each for each in points}

    def earlier(name: str, label: str, round: int) -> dict[str, Any] | None:
        return found.get((name, label, round)) or found.get((name, "", round))  # shared by all configurations

    steps = []
    for (name, label, round), after in found.items():
        if name == "generalist" and not round:
            steps.append(("distil", earlier("expert", label, 0), after))
        elif name == "amplified":
            steps.append((f"amplify, round {round}", earlier("generalist", label, round - 1), after))
        elif name == "generalist":
            before = earlier("amplified", label, round) or earlier("generalist", label, round - 1)
            steps.append((f"distil, round {round}", before, after))
    return [(step, before, after) for step, before, after in steps if before is not None]


def _arrow(
    step: str, before: dict[str, Any], after: dict[str, Any], f: tuple[float, float], r: tuple[float, float]
) -> dict[str, Any]:
    """A line from a point to another, and a head before its end that points along it."""
    across = (after["f"] - before["f"]) / (f[1] - f[0]) * _WIDTH
    up = (after["r"] - before["r"]) / (r[1] - r[0]) * _HEIGHT
    share = max(0.0, 1 - 9 / max(math.hypot(across, up), 1e-9))  # 9 pixels before the end
    return {
        "step": step,
        "f": before["f"],
        "r": before["r"],
        "f2": after["f"],
        "r2": after["r"],
        "f head": before["f"] + share * (after["f"] - before["f"]),
        "r head": before["r"] + share * (after["r"] - before["r"]),
        "angle": math.degrees(math.atan2(across, up)),  # clockwise from up, as Vega-Lite turns marks
    }


def _domain(points: list[dict[str, Any]], name: str) -> tuple[float, float]:
    low = min(point[f"{name} low"] for point in points)
    high = max(point[f"{name} high"] for point in points)
    margin = 0.05 * max(high - low, 0.1)
    return low - margin, high + margin
