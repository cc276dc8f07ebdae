"""Rounds of amplification and distillation in the report: a table of gains, a chart, and ``rounds.csv``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.base.csv_rows import to_csv
from benchmarks.base.files import update_text
from benchmarks.base.seals import seal
from benchmarks.report.formats import Table, interval_text, magnitude
from benchmarks.report.tables import costs_by_agent, seeds_text
from benchmarks.scoring.agents import AgentId, with_label
from benchmarks.scoring.comparison import ROUNDS
from benchmarks.scoring.gains import ALL, AMPLIFIED, OTHERS, SIDES, Gain
from benchmarks.scoring.results import CostRow
from benchmarks.scoring.scoreboard import Scoreboard
from benchmarks.scoring.statistics import Estimate

_WIDTH = 560
CAPTION = (
    "f: mean over scored tasks; if only some tasks are amplified, also the mean over those and over the other tasks. "
    "Amplify: f of the generalist with the amplifier less f without it, before the round. Net: f of the generalist "
    "after the round less f before. Kept: net over amplify, where amplify is above 0 with its interval. Over control: "
    "f less that of a generalist that spent as many environment steps (up to a bound) and updates without an "
    "amplifier. Above 1: tasks whose f is above 1 with its interval. best_of_n, search and finetune amplify beyond "
    "what the generalist was shown; self_imitation is bounded by the generalist's own samples, decompose by the "
    "generalist's skill on each part, scale and DAgger by the experts, whom they imitate."
)


@dataclass(frozen=True)
class RoundRow:
    """One agent of one round on one task: a line of ``rounds.csv``.

    Attributes:
        suite: the suite's name.
        task: the task's name.
        amplifier: the amplifier's name.
        start: the generalist before the first round: ``trained``, ``weak`` or ``random``.
        train_seed: the training seed.
        agent: ``generalist``, ``amplified`` or ``control``.
        round: the round's number; None: before any round.
        label: the run's configuration in a comparison.
        f: fraction of the expert; None: the task is unscored.
        f_low: lower end of its 95 % interval.
        f_high: upper end of its 95 % interval.
        forward_passes_per_decision: observations that networks evaluated per decision.
        env_steps: environment steps up to and including this round, with those of the simulator.
    """

    suite: str
    task: str
    amplifier: str
    start: str
    train_seed: int
    agent: str
    round: int | None
    label: str
    f: float | None
    f_low: float | None
    f_high: float | None
    forward_passes_per_decision: float
    env_steps: int


def round_rows(board: Scoreboard, amplifier: str, start: str) -> list[RoundRow]:
    """Rows of ``rounds.csv`` for one run, which has one training seed; none if the run has no rounds.

    Args:
        board: the run's scores.
        amplifier: the amplifier's name.
        start: how the rounds began, see :class:`RoundRow`.
    """
    if not board.gains:
        return []
    costs = {row.agent_id: row for row in board.results.costs}
    [seed] = board.results.train_seeds
    rows = []
    for score in board.tasks:
        agent, cost = score.agent, costs.get(score.agent)
        if agent.name not in SIDES or cost is None:
            continue
        rows.append(
            RoundRow(
                board.results.suite,
                score.task,
                amplifier,
                start,
                seed,
                agent.name,
                agent.round,
                agent.label,
                f=score.f and score.f.value,
                f_low=score.f and score.f.low,
                f_high=score.f and score.f.high,
                forward_passes_per_decision=passes_per_decision(cost),
                env_steps=cost.env_steps,
            )
        )
    return rows


def write_rounds(board: Scoreboard, folder: Path, amplifier: str, start: str) -> None:
    """Write ``rounds.csv`` into a run's folder; a run without rounds has no such file."""
    rows = round_rows(board, amplifier, start)
    if rows:
        update_text(folder / ROUNDS, to_csv(rows, RoundRow))
        seal(folder, [ROUNDS])


def passes_per_decision(cost: CostRow) -> float:
    """Observations that networks evaluated per decision; 1 for an agent that does not count them."""
    return 1.0 if cost.forward_passes is None else cost.forward_passes / max(1, cost.play_steps)


def rounds_table(board: Scoreboard) -> Table | None:
    """Table of f and the gains per round, as means over tasks; None if there are no rounds."""
    rows = []
    for gain in (gain for gain in board.gains if gain.task in (ALL, AMPLIFIED, OTHERS)):
        name = f"round {gain.round}" + (f", {gain.task}" if gain.task else "")
        estimates = (gain.amplify, gain.kept, gain.net, gain.over_control)
        cells = [interval_text(gain.after), *("-" if value is None else interval_text(value) for value in estimates)]
        above = ", ".join(_tasks_above_1(board, gain)) if gain.task == ALL else ""
        rows.append([with_label(name, gain.label), *cells, _passes(board, gain), above or "-"])
    if not rows:
        return None
    columns = ["round", "f after", "amplify", "kept", "net", "over control", "forward passes per decision", "above 1"]
    return Table(f"{board.results.suite}: rounds, {seeds_text(board)}", columns, rows, CAPTION, words=1)


def rounds_chart(board: Scoreboard) -> dict[str, Any] | None:
    """Chart of mean f by round for the generalist, the control and the amplified policies; None without rounds."""
    if not board.gains:
        return None
    steps = {agent: cost.env_steps for agent, cost in costs_by_agent(board).items()}
    means = {score.agent: score.aggregates["mean"] for score in board.suite}
    rows = [
        point(line, agent, "f", means[agent]) | {"environment steps": magnitude(steps.get(agent, 0))}
        for line, agent in lines(means)
    ]
    description = "Mean fraction of the expert, by round of amplification and distillation."
    return lines_by_round(rows, "f", "mean f, 95 % intervals", description, ["environment steps"])


def lines(agents: Iterable[AgentId]) -> list[tuple[AgentId, AgentId]]:
    """The lines of a chart by round: for each point its line (an agent without a round), and the agent.

    A network with which all configurations of a comparison began is the first point of each one's line.
    """
    agents = [agent for agent in agents if agent.name in SIDES]
    found = [(AgentId(agent.name, None, agent.label), agent) for agent in agents]
    start = AgentId("generalist")
    later = {agent.label for agent in agents if agent.name == start.name and agent.round}
    begun = sorted(label for label in later if label and AgentId(start.name, None, label) not in agents)
    if start in agents and begun:
        found = [(line, agent) for line, agent in found if agent != start or start.label in later]
        found = [*((AgentId(start.name, None, label), start) for label in begun), *found]
    return found


def round_of(agent: AgentId) -> int:
    """The round at which charts show an agent: an amplified policy uses the generalist of the round before."""
    return max(0, (agent.round or 0) - (agent.name == "amplified"))


def point(line: AgentId, agent: AgentId, field: str, found: Estimate) -> dict[str, Any]:
    """A row of :func:`lines_by_round`."""
    return {"round": round_of(agent), "side": str(line), field: found.value, "low": found.low, "high": found.high}


def lines_by_round(
    rows: Sequence[Mapping[str, Any]],
    field: str,
    title: str,
    description: str,
    further: Sequence[str] = (),
    marks: Sequence[Mapping[str, Any]] = ({"mark": 1, "name": ""},),
    x: str = "round",
) -> dict[str, Any]:
    """Chart of a quantity by round, a line with intervals for each side; the dashed line is 1.

    Args:
        rows: with ``side``, what the other axis has, the quantity, and ``low`` and ``high`` of its interval.
        field: the quantity's name.
        title: of its axis.
        description: of the chart, for those who do not see it.
        further: texts of the rows that a tooltip shows as well.
        marks: dashed lines, each with its height ``mark`` and the ``name`` that is written beside it.
        x: what the other axis has, such as environment steps.
    """
    rounds = sorted({row[x] for row in rows})
    axis = {"values": rounds, "format": "d", "labelOverlap": True} if x == "round" else {"format": "~s"}
    place = {"field": x, "type": "quantitative", "title": x, "axis": axis}
    y = {"field": field, "type": "quantitative", "title": title, "scale": {"zero": False}}
    colour = {
        "field": "side",
        "type": "nominal",
        "title": None,
        "legend": {"orient": "top", "symbolOpacity": 1, "columns": 4},
    }
    numbers = [{"field": name, "format": ".3f"} for name in (field, "low", "high")]
    tooltip = [
        {"field": "side"},
        {"field": x},
        *numbers,
        *({"field": name} for name in further),
    ]
    grey = {"y": y | {"field": "mark"}, "color": {"value": "#767676"}}
    name = {"text": {"field": "name"}, "x": {"value": 4}}
    text = {"type": "text", "align": "left", "dy": -6}
    ends = {"x": place, "y": y | {"field": "low"}, "y2": {"field": "high"}}
    return {
        "description": description,
        "data": {"values": list(rows)},
        "width": _WIDTH,
        "height": 280,
        "encoding": {"color": colour},
        "layer": [
            {"data": {"values": list(marks)}, "mark": {"type": "rule", "strokeDash": [4, 4]}, "encoding": grey},
            {"data": {"values": list(marks)}, "mark": text, "encoding": grey | name},
            {"mark": {"type": "line"}, "encoding": {"x": place, "y": y}},
            {"mark": {"type": "rule"}, "encoding": ends},
            {
                "mark": {"type": "point", "filled": True, "size": 70},
                "encoding": {"x": place, "y": y, "tooltip": tooltip},
            },
        ],
    }


def _tasks_above_1(board: Scoreboard, gain: Gain) -> list[str]:
    """Tasks whose f after the round is above 1, with its interval."""
    tasks = {row.task for row in board.results.tasks}
    return [
        other.task
        for other in board.gains
        if (other.round, other.label) == (gain.round, gain.label) and other.task in tasks and other.after.low > 1
    ]


def _passes(board: Scoreboard, gain: Gain) -> str:
    amplified = AgentId("amplified", gain.round, gain.label)
    rows = [row for row in board.results.costs if row.agent_id == amplified]
    return f"{sum(map(passes_per_decision, rows)) / len(rows):.0f}" if rows else "-"
