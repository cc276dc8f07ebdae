"""Tables and charts of games: outcomes by opponent, Elo, and quality of moves by exact values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.report.formats import Table, interval_text, number
from benchmarks.report.rounds import lines, lines_by_round, point, round_of
from benchmarks.report.tables import costs_by_agent, seeds_text
from benchmarks.scoring.agents import AgentId, with_label
from benchmarks.scoring.gains import SIDES
from benchmarks.scoring.games_board import ANCHOR, GamesBoard, MoveGain, rung
from benchmarks.scoring.scoreboard import Scoreboard
from benchmarks.scoring.statistics import Estimate

GAMES = "games.csv"
_LADDER = (
    "Mean outcome of the test games against each opponent (+1 a win, 0 a draw, -1 a loss), with 95 % intervals and "
    "wins-draws-losses. Elo: a Bradley-Terry fit of these games, a draw half a win; random play is at 0. The rating of "
    "a player that won or lost all its games rests on one virtual draw, and its interval is too narrow."
)
_MOVES = (
    "Connect Four: moves in fixed positions with exact values. Optimal: keeps the outcome of perfect play. Fastest: "
    "also wins as fast as possible, or loses as slowly. Lost: outcome given away by a move; a win that becomes a loss "
    "counts 2. Tic-tac-toe: exploitability, the best response's mean outcome over both colours, from the moves in all "
    "positions that can arise; 0 is perfect play. Agents see a position without the moves before it and choose one "
    "move; a random choice counts as if certain."
)
_GAINS = (
    "Share of optimal moves in the positions in which all agents of these rounds were asked. Amplify: what search adds "
    "before the round. Net: what the round adds without search. Kept: net over amplify, where amplify is above 0 with "
    "its interval. Over control: the share of the network after the round less that of the control."
)


@dataclass(frozen=True)
class GameRow:
    """One quantity of one player in one game: a line of ``games.csv``.

    Attributes:
        task: the task's name.
        agent: the agent's name; of an opponent on the ladder, ``opponent`` and its name.
        round: the agent's round.
        label: the agent's configuration in a comparison.
        quantity: ``outcome against NAME``, ``elo``, ``optimal``, ``fastest``, ``lost`` or ``exploitability``; what the
            round of a generalist gains in optimal moves is ``optimal, net`` (``amplify``, ``kept``, ``over control``).
        value: the quantity; ``low`` and ``high`` are its 95 % interval.
        count: number of games, or of positions; None for Elo.
    """

    task: str
    agent: str
    round: int | None
    label: str
    quantity: str
    value: float
    low: float
    high: float
    count: int | None


def game_rows(board: Scoreboard) -> list[GameRow]:
    """Rows of ``games.csv``; none where no task is a game."""
    games = board.games
    if games is None:
        return []
    rows = [
        _row(task, agent, f"outcome against {opponent}", found.mean, found.wins + found.draws + found.losses)
        for (task, agent, opponent), found in games.outcomes.items()
    ]
    for task, ratings in games.elo.items():
        players = {str(agent): agent for agent in board.results.agents}
        rows += [_row(task, players.get(name, AgentId(name)), "elo", found) for name, found in ratings.items()]
    for (task, agent), score in games.moves.items():
        for name in ("optimal", "fastest", "lost"):
            rows.append(_row(task, agent, name, getattr(score, name), score.positions))
    rows += [_row(task, agent, "exploitability", found) for (task, agent), found in games.exploitability.items()]
    for task, gains in games.move_gains.items():
        for made in gains:
            agent = AgentId("generalist", made.gain.round, made.gain.label)
            for name in ("amplify", "net", "kept", "over control"):
                if found := getattr(made.gain, name.replace(" ", "_")):
                    rows.append(_row(task, agent, f"optimal, {name}", found, made.positions))
    return rows


def _row(task: str, agent: AgentId, quantity: str, found: Estimate, count: int | None = None) -> GameRow:
    return GameRow(
        task=task,
        agent=agent.name,
        round=agent.round,
        label=agent.label,
        quantity=quantity,
        value=found.value,
        low=found.low,
        high=found.high,
        count=count,
    )


def games_tables(board: Scoreboard) -> list[Table]:
    """A table of outcomes and Elo for each game, of moves, and of what rounds gain in them; none without games."""
    if board.games is None:
        return []
    tables = [_ladder(board, board.games, task) for task in board.games.opponents if board.games.elo[task]]
    tables += [table for table in [_moves(board, board.games)] if table.rows]
    return tables + [_gains(board, task, gains) for task, gains in board.games.move_gains.items()]


def _gains(board: Scoreboard, task: str, gains: Sequence[MoveGain]) -> Table:
    rows = []
    for made in gains:
        gain = made.gain
        estimates = (gain.after, gain.amplify, gain.kept, gain.net, gain.over_control)
        cells = ["-" if found is None else interval_text(found) for found in estimates]
        rows.append([with_label(f"round {gain.round}", gain.label), str(made.positions), *cells])
    columns = ["round", "positions", "optimal after", "amplify", "kept", "net", "over control"]
    return Table(f"{task}: optimal moves by round, {seeds_text(board)}", columns, rows, _GAINS)


def _ladder(board: Scoreboard, games: GamesBoard, task: str) -> Table:
    ratings = games.elo[task]
    opponents = [name for name in games.opponents[task] if any(name == key[2] for key in games.outcomes)]
    rows = []
    for agent in board.results.agents:
        cells = []
        for opponent in opponents:
            found = games.outcomes.get((task, agent, opponent))
            wins = found and f"{found.wins}-{found.draws}-{found.losses}"
            cells.append(f"{interval_text(found.mean, number)} {wins}" if found else "-")
        rating = ratings.get(ANCHOR if agent.name == ANCHOR else str(agent))
        rows.append([str(agent), *cells, _elo(rating)])
    for opponent in opponents:
        if opponent != ANCHOR and rung(opponent) in ratings:
            rows.append([rung(opponent), *["-"] * len(opponents), _elo(ratings[rung(opponent)])])
    columns = ["player", *(f"against {opponent}" for opponent in opponents), "Elo"]
    return Table(f"{task}: outcomes and Elo", columns, rows, _LADDER)


def _moves(board: Scoreboard, games: GamesBoard) -> Table:
    several = any(len({task for task, _ in found}) > 1 for found in (games.moves, games.exploitability))
    rows = []
    for agent in board.results.agents:
        for task in games.opponents:
            score, exploited = games.moves.get((task, agent)), games.exploitability.get((task, agent))
            name = f"{agent}, {task}" if several else str(agent)
            if score:
                cells = [interval_text(found) for found in (score.optimal, score.fastest, score.lost)]
                rows.append([name, str(score.positions), *cells, "-"])
            if exploited:
                rows.append([name, "-", "-", "-", "-", _exact(exploited)])
    merged = _merged(rows)
    columns = ["agent", "positions", "optimal", "fastest", "lost", "exploitability"]
    shown = [place for place in range(len(columns)) if any(row[place] != "-" for row in merged)]
    rows = [[row[place] for place in shown] for row in merged]
    title = f"{board.results.suite}: moves in fixed positions"
    return Table(title, [columns[place] for place in shown], rows, _MOVES)


def _merged(rows: list[list[str]]) -> list[list[str]]:
    """Rows of one agent's two games as one row."""
    merged: dict[str, list[str]] = {}
    for name, *cells in rows:
        known = merged.setdefault(name, ["-"] * len(cells))
        merged[name] = [new if new != "-" else old for old, new in zip(known, cells, strict=True)]
    return [[name, *cells] for name, cells in merged.items()]


def _elo(rating: Estimate | None) -> str:
    return "-" if rating is None else interval_text(rating, lambda value: f"{round(value) + 0:d}")


def _exact(found: Estimate) -> str:
    """With its interval over training seeds, if there are several."""
    return interval_text(found) if found.low < found.high else f"{found.value:.3f}"


def elo_rounds(board: Scoreboard) -> dict[str, Any] | None:
    """Elo by round in every game, with a menu of games and a dashed line for each opponent; None without rounds."""
    return _elo_chart(board, round_of)


def elo_compute(board: Scoreboard) -> dict[str, Any] | None:
    """Elo by the environment steps of all rounds, those of the simulator included; None without rounds or costs."""
    costs = costs_by_agent(board)
    if any(agent.name in SIDES and agent not in costs for agent in board.results.agents):
        return None

    def steps(agent: AgentId) -> int:
        # An amplified policy uses the network of the round before, and that network's steps; before any round, none.
        before = agent.in_same_run("generalist", costs, round_of(agent) or None) if agent.name == "amplified" else None
        return costs[before or agent].env_steps

    return _elo_chart(board, steps, "environment steps")


def _elo_chart(board: Scoreboard, place: Callable[[AgentId], float], x: str = "round") -> dict[str, Any] | None:
    games = board.games
    if games is None or not _has_rounds(board) or not any(games.elo.values()):
        return None
    tasks = [task for task, ratings in games.elo.items() if ratings]
    rows = [
        point(line, agent, "Elo", games.elo[task][str(agent)]) | {x: place(agent), "task": task}
        for task in tasks
        for line, agent in lines(agent for agent in board.results.agents if str(agent) in games.elo[task])
    ]
    marks = [
        {"mark": games.elo[task][rung(name)].value, "name": name, "task": task}
        for task in tasks
        for name in games.opponents[task]
        if rung(name) in games.elo[task]
    ]
    description = f"Elo by {x} of amplification and distillation; the dashed lines are the opponents."
    if x != "round" and len(tasks) > 1:
        description += " Steps are those of all games together."
    title = "Elo, 95 % intervals; random play is at 0"
    chart = lines_by_round(rows, "Elo", title, description, marks=marks, x=x)
    chosen = "games/connect-four" if "games/connect-four" in tasks else tasks[0]
    shown = [{"filter": "datum.task == shown"}]
    name = {"text": {"field": "task"}, "x": {"value": 550}, "y": {"value": 12}, "color": {"value": "#767676"}}
    heading = {"data": {"values": [{"task": task} for task in tasks]}, "encoding": name}
    headings = heading | {"mark": {"type": "text", "align": "right"}}
    layers = [layer | {"transform": shown} if "data" in layer else layer for layer in [*chart["layer"], headings]]
    menu = {"name": "shown", "value": chosen, "bind": {"input": "select", "options": tasks, "name": "game "}}
    return chart | {"params": [menu], "transform": shown, "layer": layers}


def optimal_rounds(board: Scoreboard) -> dict[str, Any] | None:
    """Share of optimal moves in Connect Four by round; None without rounds or positions."""
    if board.games is None or not _has_rounds(board):
        return None
    shares = {agent: score.optimal for (_, agent), score in board.games.moves.items()}
    rows = [point(line, agent, "optimal", shares[agent]) for line, agent in lines(shares)]
    description = "Share of optimal moves in fixed positions of Connect Four, by round."
    return lines_by_round(rows, "optimal", "optimal moves, 95 % intervals", description) if rows else None


def _has_rounds(board: Scoreboard) -> bool:
    """Elo and exact values need no expert: unlike gains in f, they are shown for tasks that are not scored too."""
    return any(agent.round for agent in board.results.agents)


def games_values(board: Scoreboard) -> dict[str, float]:
    """What is logged: every quantity of ``games.csv``, by name."""
    values = {}
    for row in game_rows(board):
        agent = AgentId(row.agent, row.round, row.label)
        values[f"games/{row.quantity.replace(' ', '-')}/{row.task}/{agent}"] = row.value
    return values
