"""Scores of games of all agents of a results folder: on hand-made rows, and through the evaluation."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import Purpose, episode_seed
from benchmarks.report.charts import charts
from benchmarks.report.games import elo_rounds, game_rows, games_tables, games_values, optimal_rounds
from benchmarks.report.simulations import simulations_tables
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.moves import MoveRow
from benchmarks.scoring.results import Results
from benchmarks.scoring.scoreboard import score
from benchmarks.tasks.games.environment import opponent_of
from benchmarks.tasks.games.positions import COUNT, moves_and_values, tic_tac_toe_positions
from tests.conftest import agent_id, make_results

FOUR, THREE, OPPONENTS = "games/connect-four", "games/tic-tac-toe", ("random", "mcts-10", "self")
GENERALIST, AMPLIFIED, AFTER = AgentId("generalist"), AgentId("amplified", 1), AgentId("generalist", 1)
_VALUES = moves_and_values()[1]
_BEST, _WORST = np.nanargmax(_VALUES, axis=1), np.nanargmin(_VALUES, axis=1)
_FIRST_FREE = [min({*"012345678"} - {*moves}) for moves in tic_tac_toe_positions().moves]


def wins_against(opponent):
    """The return of each of 40 test episodes of an agent that beats this opponent and loses to all others."""
    opponents = [opponent_of(episode_seed(Purpose.TEST, index, 0), OPPONENTS) for index in range(40)]
    return {0: [1.0 if name == opponent else -1.0 for name in opponents]}


def rows(agents):
    """Results of both games; every agent loses to all opponents but the named one."""
    returns = {task: {agent: wins_against(best) for agent, best in agents.items()} for task in (FOUR, THREE)}
    columns = {"opponents": " ".join(OPPONENTS), "amplified": True}
    results = make_results(
        returns,
        "games",
        **{"connect-four": columns | {"env_id": "connect_four"}, "tic-tac-toe": columns | {"env_id": "tic_tac_toe"}},
    )
    moves = []
    for number, agent in enumerate(map(agent_id, agents)):
        chosen = np.where(np.arange(COUNT) < number * COUNT // 4, _BEST, _WORST)
        text = "".join(
            str(action) if agent != AMPLIFIED or not place % 10 else "." for place, action in enumerate(chosen)
        )
        for task, judged in ((FOUR, text), (THREE, "".join(_FIRST_FREE))):
            moves.append(MoveRow("games", task, agent.name, agent.round, agent.label, 0, judged))
    return replace(results, moves=tuple(moves))


AGENTS = {
    "random": None,
    "expert": "mcts-10",
    "generalist": None,
    "amplified round 1": "mcts-10",
    "generalist round 1": "random",
}
SHOWN = ["random", "expert", "amplified round 1", "generalist", "generalist round 1"]


@pytest.fixture(scope="module")
def board():
    return score(rows(AGENTS), np.random.default_rng(0), 100)


def test_outcomes_are_those_of_the_opponents_that_the_seeds_draw(board):
    games = board.games
    assert games.opponents == {FOUR: OPPONENTS, THREE: OPPONENTS}
    opponents = [opponent_of(episode_seed(Purpose.TEST, index, 0), OPPONENTS) for index in range(40)]
    found = games.outcomes[FOUR, AgentId("expert"), "mcts-10"]
    assert (found.wins, found.draws, found.losses) == (opponents.count("mcts-10"), 0, 0) and found.mean.value == 1
    assert games.outcomes[FOUR, AFTER, "random"].wins == opponents.count("random")
    assert games.outcomes[FOUR, AFTER, "mcts-10"].losses == opponents.count("mcts-10")
    assert {opponent for _, _, opponent in games.outcomes} == {"random", "mcts-10"}, "nobody is his own opponent"


def test_the_ladder_has_agents_and_opponents_and_random_play_is_its_anchor(board):
    ratings = board.games.elo[FOUR]
    assert ratings["random"].value == 0
    assert set(ratings) == {"random", "opponent mcts-10", *(name for name in AGENTS if name != "random")}
    assert ratings["generalist"].value < ratings["generalist round 1"].value
    assert ratings["amplified round 1"].value == pytest.approx(ratings["expert"].value)


def test_moves_are_judged_where_an_agent_was_asked(board):
    moves = board.games.moves
    assert {agent: found.positions for (_, agent), found in moves.items()} == {
        agent: COUNT // 10 if agent == AMPLIFIED else COUNT for agent in map(agent_id, AGENTS)
    }
    after, before = moves[FOUR, AFTER], moves[FOUR, AgentId("random")]
    assert after.optimal.value == after.fastest.value == after.optimal.high == 1 and after.lost.value == 0
    assert before.optimal.value == 0 and 1 <= before.lost.value <= 2
    half = moves[FOUR, GENERALIST]
    assert half.optimal.value == 0.5 and half.optimal.low < 0.5 < half.optimal.high
    exploited = board.games.exploitability[THREE, GENERALIST]
    assert exploited.low == exploited.value == exploited.high > 0.5


def test_results_without_games_have_no_such_scores():
    found = score(
        make_results({"toy/a": {"random": {0: [0, 1]}, "expert": {0: [9, 10]}}}), np.random.default_rng(0), 50
    )
    assert found.games is None and not games_tables(found) and not game_rows(found) and not games_values(found)
    assert elo_rounds(found) is None and optimal_rounds(found) is None


def test_tables_csv_and_logged_values_show_every_quantity(board):
    four, three, moves, _ = games_tables(board)
    assert four.title == f"{FOUR}: outcomes and Elo" and three.title == f"{THREE}: outcomes and Elo"
    assert four.columns == ["player", "against random", "against mcts-10", "Elo"]
    assert [row[0] for row in four.rows] == [*SHOWN, "opponent mcts-10"]
    assert four.rows[0][-1] == "0 [0, 0]" and four.rows[-1][1:3] == ["-", "-"]
    assert four.rows[1][2].startswith("1.00 [1.00, 1.00] ") and four.rows[1][2].endswith("-0-0")
    assert [row[:2] for row in moves.rows] == [[name, "200" if "amp" in name else "2000"] for name in SHOWN]
    assert moves.rows[3][2].startswith("0.500 [") and moves.columns[-1] == "exploitability"
    found = {(row.task, row.agent, row.round, row.quantity): row for row in game_rows(board)}
    assert found[FOUR, "generalist", None, "optimal"].value == 0.5
    assert found[FOUR, "generalist", None, "optimal"].count == COUNT
    assert found[FOUR, "opponent mcts-10", None, "elo"].value == board.games.elo[FOUR]["opponent mcts-10"].value
    values = games_values(board)
    assert len(values) == len(found)
    assert values[f"games/optimal/{FOUR}/amplified round 1"] == board.games.moves[FOUR, AMPLIFIED].optimal.value
    assert values[f"games/outcome-against-mcts-10/{THREE}/expert"] == 1


def test_gains_in_optimal_moves_are_of_the_positions_in_which_all_were_asked(board):
    [made] = board.games.move_gains[FOUR]
    gain = made.gain
    assert THREE not in board.games.move_gains and gain.round == 1 and made.positions == COUNT // 10
    assert (gain.after.value, gain.amplify.value, gain.net.value, gain.kept.value) == (1.0, 0.25, 0.5, 2.0)
    assert gain.over_control is None and gain.net.low < 0.5 < gain.net.high
    *_, table = games_tables(board)
    assert table.title.startswith(f"{FOUR}: optimal moves by round")
    [row] = table.rows
    assert row[:2] == ["round 1", "200"] and row[3].startswith("0.250 [") and row[-1] == "-"
    found = {row.quantity: row.value for row in game_rows(board) if row.quantity.startswith("optimal, ")}
    assert found == {"optimal, amplify": 0.25, "optimal, net": 0.5, "optimal, kept": 2.0}
    assert {row.count for row in game_rows(board) if row.quantity.startswith("optimal, ")} == {COUNT // 10}


def test_gains_in_optimal_moves_do_not_depend_on_agents_without_rounds(board):
    one = "." * 9 + "0" + "." * (COUNT - 10)
    few = [
        replace(row, moves=one) if row.agent == "expert" and row.task == FOUR else row for row in board.results.moves
    ]
    found = score(replace(board.results, moves=tuple(few)), np.random.default_rng(0), 100).games.move_gains
    assert [made.positions for made in found[FOUR]] == [COUNT // 10]


def test_rounds_without_a_network_before_and_after_have_no_table_of_gains():
    found = score(rows({name: AGENTS[name] for name in list(AGENTS)[:4]}), np.random.default_rng(0), 50)
    assert AFTER not in found.results.agents and not found.games.move_gains
    assert all(table.rows for table in games_tables(found))


def test_a_chart_shows_elo_by_environment_steps(board):
    steps = {GENERALIST: 0, AFTER: 700, AMPLIFIED: 600}
    costs = tuple(replace(row, env_steps=steps.get(row.agent_id, 9)) for row in board.results.costs)
    chart = charts(replace(board, results=replace(board.results, costs=costs)))["elo-compute"]
    assert {(row["environment steps"], row["side"]) for row in chart["data"]["values"]} == {
        (0, "amplified"),  # before its round
        (0, "generalist"),
        (700, "generalist"),
    }


def test_runs_with_several_numbers_of_simulations_show_what_search_buys():
    labels = [f"network={name}, amplifier.num_simulations={count}" for name in "ab" for count in (4, 16)]
    agents = {"random": None, "expert": "mcts-10"}
    agents |= {f"{name} ({label})": "random" for label in labels for name in ("generalist", "amplified")}
    results = rows(agents)
    moves = []
    for row in results.moves:  # the share of optimal moves: 0.25 of the network alone, 0.5 with 4, 0.75 with 16
        quarters = 1 if row.agent == "generalist" else 2 if row.label.endswith("=4") else 3
        chosen = np.where(np.arange(COUNT) < quarters * COUNT // 4, _BEST, _WORST)
        moves.append(replace(row, moves="".join(map(str, chosen))) if row.task == FOUR else row)
    board = score(replace(results, moves=tuple(moves)), np.random.default_rng(0), 50)
    optimal, elo, _ = simulations_tables(board)  # tic-tac-toe has Elo alone
    assert optimal.title == f"{FOUR}: optimal moves by simulations a move, preliminary: one training seed"
    assert elo.title.startswith(f"{FOUR}: Elo by")
    assert optimal.columns == ["simulations", "0", "4", "16"]
    assert [[cell[:5] for cell in row[1:]] for row in optimal.rows] == [["0.250", "0.500", "0.750"]] * 2
    assert [row[0] for row in optimal.rows] == ["network=a", "network=b"]
    points = charts(board)["simulations"]["data"]["values"]
    assert [(point["network"], point["simulations"], point["optimal"]) for point in points[:3]] == [
        ("network=a", 0, 0.25),
        ("network=a", 4, 0.5),
        ("network=a", 16, 0.75),
    ]
    one = rows({name: best for name, best in agents.items() if "=16" not in name})
    assert not simulations_tables(score(one, np.random.default_rng(0), 50))
    trained = rows(
        {name.replace(" (", " round 1 (") if "ampl" in name else name: best for name, best in agents.items()}
    )
    found = score(trained, np.random.default_rng(0), 50)
    assert not simulations_tables(found), "rounds with other numbers of simulations train other networks"
    assert "simulations" not in charts(found)


def test_charts_show_elo_and_optimal_moves_by_round(board):
    drawn = charts(board)
    elo, optimal = drawn["elo"], drawn["optimal-moves"]
    assert [(row["round"], row["side"], row["task"]) for row in elo["data"]["values"] if row["task"] == FOUR] == [
        (0, "amplified", FOUR),
        (0, "generalist", FOUR),
        (1, "generalist", FOUR),
    ]
    assert elo["params"][0]["bind"]["options"] == [FOUR, THREE] and elo["params"][0]["value"] == FOUR
    marks = elo["layer"][0]["data"]["values"]
    assert [(mark["name"], mark["task"]) for mark in marks] == [
        (name, task) for task in (FOUR, THREE) for name in ("random", "mcts-10")
    ]
    assert [mark["mark"] for mark in marks[:2]] == [0, board.games.elo[FOUR]["opponent mcts-10"].value]
    assert [row["optimal"] for row in optimal["data"]["values"] if row["side"] == "generalist"] == [0.5, 1.0]


def test_rows_that_do_not_fit_the_positions_are_refused(board):
    short = replace(board.results, moves=(replace(board.results.moves[0], moves="01"),))
    with pytest.raises(GatitoError, match="random on games/connect-four does not have a move for each of 2000"):
        score(short, np.random.default_rng(0), 50)
    some = replace(board.results.moves[1], moves="." + board.results.moves[1].moves[1:])
    with pytest.raises(GatitoError, match="random on games/tic-tac-toe lacks moves"):
        score(replace(board.results, moves=(some,)), np.random.default_rng(0), 50)
    doubled = replace(board.results, moves=board.results.moves[:1] * 2)
    with pytest.raises(GatitoError, match="moves.csv has duplicate rows: line 2"):
        doubled.check("folder")


def test_moves_and_opponents_are_kept_in_files(board, tmp_path):
    board.results.write(tmp_path)
    assert Results.read(tmp_path) == board.results
    replace(board.results, moves=()).write(tmp_path)
    assert not (tmp_path / "moves.csv").exists() and Results.read(tmp_path).moves == ()
