"""The report's part on rounds of amplification and distillation: a table of gains, a chart, and ``rounds.csv``."""

from dataclasses import dataclass, field
from typing import Any

from benchmarks.report.formats import Table, interval_text, magnitude
from benchmarks.report.tables import costs_by_agent, seeds_text
from benchmarks.scoring.gains import ALL, AMPLIFIED, OTHERS, Gain
from benchmarks.scoring.results import CostRow, base_name, label_of, labelled, round_of
from benchmarks.scoring.scoreboard import Estimate, Scoreboard

_WIDTH = 560
_SIDES = ("generalist", "control", "amplified")
CAPTION = (
    "f as the mean over scored tasks; where only some are amplified, also over those and over the others, which show "
    "what it costs them. Amplify: what thought adds to the generalist before the round. Net: what the generalist has "
    "after learning from that. Kept: net over amplify, where amplify is clearly above 0. Over control: beside as many "
    "environment steps, up to a bound, and as much learning without an amplifier. Above: tasks whose f is above 1, its "
    "interval too. "
    "best_of_n, search and finetune are amplification; self_imitation is bounded by the generalist's own draws, "
    "decompose by what it can do of each part; scale and practice (DAgger) imitate the experts, who cap them."
)


@dataclass(frozen=True)
class RoundRow:
    """One agent of one round on one task: a line of ``rounds.csv``.

    Attributes:
        suite: the suite's name.
        task: the task's name.
        amplifier: its name.
        start: what the rounds began with.
        train_seed: the training seed.
        number: of the round; 0: before any.
        agent: ``generalist``, ``amplified`` or ``control``.
        f: fraction of the expert; None: the task is unscored.
        f_low: lower end of its interval.
        f_high: upper end.
        decision_cost: observations that networks were asked about per decision.
        env_steps: environment steps up to there, those in thought included.
    """

    suite: str
    task: str
    amplifier: str
    start: str
    train_seed: int
    number: int = field(metadata={"column": "round"})
    agent: str
    f: float | None
    f_low: float | None
    f_high: float | None
    decision_cost: float
    env_steps: int


def round_rows(board: Scoreboard, amplifier: str, start: str) -> list[RoundRow]:
    """The rows of one run, which has one training seed; none where it has no rounds."""
    if not board.gains:
        return []
    costs = {row.agent: row for row in board.results.costs}
    [seed] = board.results.train_seeds
    rows = []
    for score in board.tasks:
        side = base_name(score.agent)
        if side in _SIDES:
            cost = costs[score.agent]
            about = (board.results.suite, score.task, amplifier, start, seed, round_of(score.agent), side)
            told = (None, None, None) if score.f is None else (score.f.value, score.f.low, score.f.high)
            rows.append(RoundRow(*about, *told, decision_cost(cost), cost.env_steps))
    return rows


def decision_cost(cost: CostRow) -> float:
    """Observations that networks were asked about per decision."""
    return 1.0 if cost.play_passes is None else cost.play_passes / max(1, cost.play_steps)


def rounds_table(board: Scoreboard) -> Table | None:
    """Per round: f and the gains, as means over tasks; None where there are no rounds."""
    rows = []
    for gain in (gain for gain in board.gains if gain.task in (ALL, AMPLIFIED, OTHERS)):
        name = labelled(f"round {gain.number}{gain.task and ', '}{gain.task}", gain.label)
        tasks = [] if gain.task else [each.task for each in board.results.tasks]
        above = [
            each.task for each in board.gains if _same_round(each, gain) and each.task in tasks and each.after.low > 1
        ]
        told = [interval_text(gain.after), *map(_cell, (gain.amplify, gain.kept, gain.net, gain.over_control))]
        rows.append([name, *told, _cost(board, gain), ", ".join(above) or "-"])
    if not rows:
        return None
    columns = ["round", "f after", "amplify", "kept", "net", "over control", "passes a decision", "above 1"]
    return Table(f"{board.results.suite}: rounds, {seeds_text(board)}", columns, rows, CAPTION, words=1)


def rounds_chart(board: Scoreboard) -> dict[str, Any] | None:
    """Mean f against rounds, of the generalist, the control and the amplified policies; None where there are none."""
    if not board.gains:
        return None
    last = max(gain.number for gain in board.gains)
    steps = {agent: cost.env_steps for agent, cost in costs_by_agent(board).items()}
    rows = [
        {
            # An amplified policy is the generalist of the round before, which thinks.
            "round": round_of(score.agent) - (base_name(score.agent) == "amplified"),
            "side": labelled(base_name(score.agent), label_of(score.agent)),
            "f": score.aggregates["mean"].value,
            "low": score.aggregates["mean"].low,
            "high": score.aggregates["mean"].high,
            "environment steps": magnitude(steps.get(score.agent, 0)),
        }
        for score in board.suite
        if base_name(score.agent) in _SIDES
    ]
    x = {
        "field": "round",
        "type": "quantitative",
        "title": "round",
        "axis": {"values": [*range(last + 1)], "format": "d"},
    }
    y = {"field": "f", "type": "quantitative", "title": "mean f, 95 % intervals", "scale": {"zero": False}}
    colour = {"field": "side", "type": "nominal", "title": None, "legend": {"orient": "top", "symbolOpacity": 1}}
    numbers = [{"field": name, "format": ".3f"} for name in ("f", "low", "high")]
    tip = [{"field": "side"}, {"field": "round"}, *numbers, {"field": "environment steps"}]
    ends = y | {"field": "low"}
    grey = {"y": {"datum": 1}, "color": {"value": "#767676"}}
    return {
        "description": "Mean fraction of the expert, by round of amplification and distillation.",
        "data": {"values": rows},
        "width": _WIDTH,
        "height": 280,
        "encoding": {"color": colour},
        "layer": [
            {"mark": {"type": "rule", "strokeDash": [4, 4]}, "encoding": grey},
            {"mark": {"type": "line"}, "encoding": {"x": x, "y": y}},
            {"mark": {"type": "rule"}, "encoding": {"x": x, "y": ends, "y2": {"field": "high"}}},
            {"mark": {"type": "point", "filled": True, "size": 70}, "encoding": {"x": x, "y": y, "tooltip": tip}},
        ],
    }


def _same_round(one: Gain, other: Gain) -> bool:
    return (one.number, one.label) == (other.number, other.label)


def _cell(estimate: Estimate | None) -> str:
    return "-" if estimate is None else interval_text(estimate)


def _cost(board: Scoreboard, gain: Gain) -> str:
    rows = [row for row in board.results.costs if _is_amplified(row.agent, gain)]
    return f"{sum(map(decision_cost, rows)) / len(rows):.0f}" if rows else "-"


def _is_amplified(agent: str, gain: Gain) -> bool:
    return (base_name(agent), round_of(agent), label_of(agent)) == ("amplified", gain.number, gain.label)
