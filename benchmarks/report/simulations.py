"""What search buys as its simulations grow, in runs that differ in ``amplifier.num_simulations``.

Only amplified policies before any round are compared: rounds with other numbers of simulations train other networks.
"""

import re
from collections.abc import Mapping
from typing import Any

from benchmarks.report.formats import Table, interval_text, share
from benchmarks.report.tables import seeds_text
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.scoreboard import Scoreboard
from benchmarks.scoring.statistics import Estimate

_SETTING = re.compile(r"(?:^|, )amplifier\.num_simulations=(\d+)")
_CAPTION = "0: the network alone."
_WIDTH, _HEIGHT = 560, 280


def simulations_tables(board: Scoreboard) -> list[Table]:
    """Optimal moves and Elo by network and number of simulations; none unless two numbers are compared."""
    tables = []
    for (task, quantity), found in _compared(board).items():
        columns = sorted({simulations for _, simulations in found})
        rows = [
            [network or "network", *(_cell(found.get((network, count)), quantity) for count in columns)]
            for network in dict.fromkeys(network for network, _ in found)
        ]
        title = f"{task}: {quantity} by simulations a move, {seeds_text(board)}"
        tables.append(Table(title, ["simulations", *map(str, columns)], rows, _CAPTION))
    return tables


def simulations_chart(board: Scoreboard) -> dict[str, Any] | None:
    """Share of optimal moves by simulations, a line for each task and network; None unless two numbers are compared."""
    compared = {task: shares for (task, quantity), shares in _compared(board).items() if quantity == "optimal moves"}
    rows = [
        {
            "simulations": count,
            "network": ", ".join([*([task] if len(compared) > 1 else []), network or "network"]),
            "optimal": found.value,
            "low": found.low,
            "high": found.high,
        }
        for task, shares in compared.items()
        for (network, count), found in shares.items()
    ]
    if not rows:
        return None
    x = {"field": "simulations", "type": "ordinal", "title": "simulations a move; 0: the network alone"}
    y = {"field": "optimal", "type": "quantitative", "title": "optimal moves, 95 % intervals", "scale": {"zero": False}}
    colour = {
        "field": "network",
        "type": "nominal",
        "title": None,
        "sort": None,
        "legend": {"orient": "top", "columns": 1, "labelLimit": _WIDTH},
    }
    numbers = [{"field": name, "format": ".3f"} for name in ("optimal", "low", "high")]
    return {
        "description": "Share of optimal moves in fixed positions of Connect Four, by simulations of the search.",
        "data": {"values": rows},
        "width": _WIDTH,
        "height": _HEIGHT,
        "encoding": {"x": x | {"axis": {"labelAngle": 0}}, "color": colour},
        "layer": [
            {"mark": {"type": "line"}, "encoding": {"y": y}},
            {"mark": {"type": "rule"}, "encoding": {"y": y | {"field": "low"}, "y2": {"field": "high"}}},
            {
                "mark": {"type": "point", "filled": True, "size": 70},
                "encoding": {"y": y, "tooltip": [{"field": "network"}, {"field": "simulations"}, *numbers]},
            },
        ],
    }


def _compared(board: Scoreboard) -> dict[tuple[str, str], dict[tuple[str, int], Estimate]]:
    """By task and quantity: estimates by network (the rest of the label) and simulations, the network alone at 0."""
    games = board.games
    if games is None:
        return {}
    amplified = [agent for agent in board.results.agents if agent.name == "amplified" and agent.round is None]
    settings = {agent: _split(agent.label) for agent in amplified}
    if len({setting[1] for setting in settings.values() if setting}) < 2:
        return {}
    found: dict[tuple[str, str], dict[tuple[str, int], Estimate]] = {}
    for task in games.opponents:
        moves = {agent: score.optimal for (name, agent), score in games.moves.items() if name == task}
        elo = {agent: games.elo[task][str(agent)] for agent in board.results.agents if str(agent) in games.elo[task]}
        for quantity, estimates in (("optimal moves", moves), ("Elo", elo)):
            if points := _points(estimates, settings):
                found[task, quantity] = points
    return found


def _points(
    estimates: Mapping[AgentId, Estimate], settings: Mapping[AgentId, tuple[str, int] | None]
) -> dict[tuple[str, int], Estimate]:
    points = {}
    for agent, setting in settings.items():
        if setting is None or agent not in estimates:
            continue
        network, simulations = setting
        if alone := agent.in_same_run("generalist", estimates):
            points.setdefault((network, 0), estimates[alone])
        points[network, simulations] = estimates[agent]
    return points


def _split(label: str) -> tuple[str, int] | None:
    """``a=1, amplifier.num_simulations=4`` → ``("a=1", 4)``; None if the label does not have the setting."""
    found = _SETTING.search(label)
    if found is None:
        return None
    return (label[: found.start()] + label[found.end() :]).removeprefix(", "), int(found.group(1))


def _cell(found: Estimate | None, quantity: str) -> str:
    if found is None:
        return "-"
    return interval_text(found, share if quantity == "optimal moves" else lambda value: f"{round(value) + 0:d}")
