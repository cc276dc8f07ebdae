"""Charts of a report as Vega-Lite specifications, interactive on the page and written as PNG and SVG files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.base.artifacts import write_bytes, write_text
from benchmarks.report.formats import magnitude
from benchmarks.report.games import elo_compute, elo_rounds, optimal_rounds
from benchmarks.report.restraint import restraint_plane, restraint_rounds
from benchmarks.report.rounds import rounds_chart
from benchmarks.report.scaling import scaling_chart
from benchmarks.report.simulations import simulations_chart
from benchmarks.report.tables import costs_by_agent, left_out, shown_competitors
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.results import CurveRow
from benchmarks.scoring.scoreboard import THRESHOLDS, Scoreboard

Chart = dict[str, Any]

PUBLISHED = (
    ("published: Gato, 604 tasks", 0.5, 450 / 604),
    ("published: JAT, 157 tasks", 0.5, 89 / 157),
    ("published: JAT, 157 tasks", 1.0, 20 / 157),
)
"""System, fraction of the expert, share of tasks at or above it: Reed et al. 2022 (arXiv:2205.06175, "over 450 of 604")
and Gallouédec et al. 2024 (arXiv:2402.09844). Their tasks and experts differ: shown for scale, not as a comparison."""

PLOTS = (
    "fractions",
    "rounds",
    "thresholds",
    "compute",
    "restraint",
    "restraint-rounds",
    "elo",
    "elo-compute",
    "optimal-moves",
    "simulations",
    "scaling",
)
"""Charts that are also written as files; the others have a selection, which needs the page."""

# Contrast of at least 3:1 against white and the page's dark background; distinguishable with colour blindness.
_COLOURS = ("#3b7dd8", "#c8611a", "#2e8b57", "#a259c4", "#d0413c", "#1f8a8a", "#8a7a1f", "#767676")
_WIDTH = 560


def charts(board: Scoreboard) -> dict[str, Chart]:
    """Every chart for which there are rows, by file name."""
    drawn: dict[str, Chart] = {}
    if board.suite and board.competitors:
        drawn = {"fractions": fractions(board), "thresholds": thresholds(board)}
        if board.results.costs:
            drawn["compute"] = compute(board)
    for name, make in (
        ("rounds", rounds_chart),
        ("restraint", restraint_plane),
        ("restraint-rounds", restraint_rounds),
        ("elo", elo_rounds),
        ("elo-compute", elo_compute),
        ("optimal-moves", optimal_rounds),
        ("simulations", simulations_chart),
        ("scaling", scaling_chart),
    ):
        if chart := make(board):
            drawn[name] = chart
    for name, rows, y, x in (
        ("learning", _rows(board, "selection/mean"), "mean score on selection episodes", "environment steps"),
        ("distillation", _rows(board, "distill/loss"), "loss (nats per action)", "updates"),
    ):
        if rows:
            drawn[name] = learning(rows, y, x)
    if board.preliminary:
        drawn = {name: chart | {"title": "preliminary: one training seed"} for name, chart in drawn.items()}
    return drawn


def fractions(board: Scoreboard) -> Chart:
    """Bars of f with intervals, by task and agent; the dashed line is the expert."""
    agents = shown_competitors(board)
    rows = [
        {"task": score.task, "agent": str(score.agent), "f": score.f.value, "low": score.f.low, "high": score.f.high}
        for score in board.tasks
        if score.f is not None and score.agent in agents
    ]
    title = "f: fraction of the expert (dashed), 95 % intervals"
    x = {"type": "quantitative", "title": title, "axis": {"tickCount": 6}}
    numbers = [{"field": name, "format": ".3f"} for name in ("f", "low", "high")]
    place = {
        "y": {"field": "task", "type": "nominal", "sort": None, "title": None},
        "yOffset": {"field": "agent", "sort": [str(agent) for agent in agents]},
        "tooltip": [{"field": "task"}, {"field": "agent"}, *numbers],
    }
    return {
        "description": f"Fraction of the expert per task and agent, suite {board.results.suite}; the expert is at 1."
        + left_out(board),
        "data": {"values": rows},
        "width": _WIDTH,
        "height": len({row["task"] for row in rows}) * (12 * len(agents) + 10),
        "layer": [
            {
                "mark": {"type": "bar"},
                "encoding": place
                | {
                    "x": x | {"field": "f"},
                    "color": _colour(agents),
                },
            },
            {
                "mark": {"type": "rule", "strokeWidth": 1.5, "color": "#111111"},
                "encoding": place | {"x": x | {"field": "low"}, "x2": {"field": "high"}},
            },
            {
                "data": {"values": [{"expert": 1}]},
                "mark": {"type": "rule", "strokeDash": [5, 4], "color": "#767676"},
                "encoding": {"x": x | {"field": "expert"}},
            },
        ],
    }


def thresholds(board: Scoreboard) -> Chart:
    """Share of tasks at or above each fraction of the expert, with intervals as bands and published points."""
    agents = shown_competitors(board)
    rows = [
        {"agent": str(score.agent), "fraction": threshold, "share": point.value, "low": point.low, "high": point.high}
        for score in board.suite
        if score.agent in agents
        for threshold, point in zip(THRESHOLDS, score.curve, strict=True)
    ]
    context = [{"system": system, "fraction": fraction, "share": share} for system, fraction, share in PUBLISHED]
    x = {"field": "fraction", "type": "quantitative", "title": "fraction of the expert", "axis": {"tickCount": 6}}
    y = {"field": "share", "type": "quantitative", "title": "share of tasks at or above", "axis": {"format": "%"}}
    tooltip = [{"field": "agent"}, {"field": "fraction", "format": ".2f"}]
    tooltip += [{"field": name, "format": ".0%"} for name in ("share", "low", "high")]
    return {
        "description": "Share of tasks whose fraction of the expert is at or above each threshold, by agent."
        + left_out(board),
        "data": {"values": rows},
        "width": _WIDTH,
        "height": 300,
        "layer": [
            {
                "mark": {"type": "area", "opacity": 0.12, "interpolate": "step-before"},
                "encoding": {
                    "x": x,
                    "y": y | {"field": "low"},
                    "y2": {"field": "high"},
                    "color": _colour(agents),
                },
            },
            {
                "mark": {"type": "line", "interpolate": "step-before", "strokeWidth": 2.5},
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": _colour(agents),
                    "strokeDash": {
                        "field": "agent",
                        "sort": [str(agent) for agent in agents],
                        "legend": None,
                    },
                },
            },
            {
                "transform": [{"filter": "abs(datum.fraction * 10 - round(datum.fraction * 10)) < 0.001"}],
                "mark": {"type": "point", "filled": True, "size": 45},
                "encoding": {"x": x, "y": y, "color": _colour(agents), "tooltip": tooltip},
            },
            {
                "data": {"values": context},
                "mark": {"type": "point", "shape": "diamond", "size": 90, "color": "#767676", "strokeWidth": 2},
                "encoding": {"x": x, "y": y, "tooltip": [{"field": "system"}, *tooltip[1:3]]},
            },
            {
                "data": {"values": context},
                "mark": {"type": "text", "align": "left", "dx": 9, "color": "#767676"},
                "encoding": {"x": x, "y": y, "text": {"field": "system"}},
            },
        ],
    }


def compute(board: Scoreboard) -> Chart:
    """IQM of f against the floating-point operations of training."""
    costs = costs_by_agent(board)
    least = min((cost.flops for cost in costs.values() if cost.flops), default=1.0)
    rows = []
    for score in board.suite:
        if score.agent not in costs:
            continue
        flops, iqm = costs[score.agent].flops, score.aggregates["IQM"]
        rows.append(
            {
                "agent": str(score.agent),
                "position": len(rows),
                "label": str(score.agent) if flops else f"{score.agent} (no training)",
                "flops": flops or least / 10,  # a logarithmic axis cannot show zero
                "FLOPs": magnitude(flops),
                "IQM": iqm.value,
                "low": iqm.low,
                "high": iqm.high,
            }
        )
    x = {
        "field": "flops",
        "type": "quantitative",
        "scale": {"type": "log", "padding": 60},
        "title": "floating-point operations of the agent's own training",
        "axis": {"format": "~e", "tickCount": 5},
    }
    y = {"field": "IQM", "type": "quantitative", "title": "IQM of f", "scale": {"zero": False, "padding": 15}}
    tooltip = [
        {"field": "agent"},
        {"field": "FLOPs"},
        *({"field": name, "format": ".3f"} for name in ("IQM", "low", "high")),
    ]
    colour = _colour([score.agent for score in board.suite if score.agent in costs]) | {"legend": None}
    return {
        "description": "Interquartile mean of f against the training operations of each agent.",
        "data": {"values": rows},
        "width": _WIDTH,
        "height": 280,
        "encoding": {"x": x, "color": colour},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"y": y | {"field": "low"}, "y2": {"field": "high"}},
            },
            {"mark": {"type": "point", "filled": True, "size": 110}, "encoding": {"y": y, "tooltip": tooltip}},
            *(
                # Points of agents with equal training overlap: every other label goes to the left.
                {
                    "transform": [{"filter": f"datum.position % 2 == {side}"}],
                    "mark": {"type": "text", "align": ("left", "right")[side], "dx": (9, -9)[side], "dy": -7},
                    "encoding": {"y": y, "text": {"field": "label"}},
                }
                for side in (0, 1)
            ),
        ],
    }


def learning(rows: Sequence[CurveRow], y: str, x: str) -> Chart:
    """Learning curves by training seed, with a menu for agent and task."""
    values = [{"curve": _curve_name(row), "seed": row.train_seed, "step": row.step, "value": row.value} for row in rows]
    names = list(dict.fromkeys(value["curve"] for value in values))
    first = next((_curve_name(row) for row in rows if row.agent == "generalist"), names[0])
    return {
        "description": f"Learning curves, {y} against {x}, by training seed.",
        "data": {"values": values},
        "width": _WIDTH,
        "height": 260,
        "params": [{"name": "shown", "value": first, "bind": {"input": "select", "options": names, "name": "curve "}}],
        "transform": [{"filter": "datum.curve == shown"}],
        "mark": {"type": "line", "point": {"size": 18}},
        "encoding": {
            "x": {"field": "step", "type": "quantitative", "title": x, "axis": {"format": "~s"}},
            "y": {"field": "value", "type": "quantitative", "title": y, "scale": {"zero": False}},
            "color": {"field": "seed", "type": "nominal", "title": "training seed", "scale": {"range": list(_COLOURS)}},
            "tooltip": [{"field": "curve"}, {"field": "seed"}, {"field": "step"}, {"field": "value", "format": ".4~g"}],
        },
    }


def draw(chart: Chart, path: Path) -> None:
    """Write a chart as ``path.png`` and ``path.svg``."""
    import vl_convert  # starts a JavaScript engine, so it is imported only here

    spec = json.dumps(chart | {"background": "white", "config": {"font": "sans-serif", "axis": {"labelLimit": 260}}})
    write_bytes(path.with_suffix(".png"), vl_convert.vegalite_to_png(spec, scale=2))
    write_text(path.with_suffix(".svg"), vl_convert.vegalite_to_svg(spec))


def _rows(board: Scoreboard, metric: str) -> list[CurveRow]:
    return [row for row in board.results.curves if row.metric == metric]


def _curve_name(row: CurveRow) -> str:
    return f"{row.agent_id} {row.task}".strip()


def _colour(agents: Sequence[AgentId]) -> dict[str, Any]:
    """Colour encoding of agents; random and experts are grey."""
    order = [str(agent) for agent in agents if not agent.is_anchor]
    colours = [_COLOURS[number % (len(_COLOURS) - 1)] for number in range(len(order))]
    anchors = [str(agent) for agent in agents if agent.is_anchor]
    scale = {"domain": order + anchors, "range": colours + [_COLOURS[-1]] * len(anchors)}
    legend = {"orient": "top", "columns": 3, "labelLimit": 320, "symbolOpacity": 1}
    return {"field": "agent", "type": "nominal", "scale": scale, "title": None, "legend": legend}
