"""Games on the report's page, and in the check of a results folder."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.base.csv_rows import to_csv
from benchmarks.play.game_records import GameRecord, Ply, write_games
from benchmarks.report.charts import charts
from benchmarks.report.page import render_page
from benchmarks.report.verify import verify_folder
from benchmarks.runs.tracking import Tracker, TrackingConfig
from benchmarks.scoring.moves import MoveRow
from benchmarks.scoring.rows import MOVES
from benchmarks.scoring.scoreboard import score
from tests.benchmarks.scoring.test_games_board import AGENTS, THREE, rows

GAME = GameRecord(
    THREE,
    600_000_000,
    "o",
    "mcts-10",
    -1.0,
    (
        Ply(False, "4", ".../.x./...", None),
        Ply(True, "0", "o../.x./...", -0.254),
        Ply(False, "<8>", "o../.x./..x", None),
    ),
    "generalist",
    1,
)


@pytest.fixture(scope="module")
def results():
    return rows(AGENTS)


def page(results, folder):
    board = score(results, np.random.default_rng(0), 50)
    return render_page(board, None, charts(board), folder)


def test_the_page_shows_tables_charts_and_sample_games(results, tmp_path):
    write_games(tmp_path, [GAME, replace(GAME, agent="expert", round=None, outcome=1.0), replace(GAME, outcome=0.0)])
    html = page(results, tmp_path)
    assert '<a href="#games">Games</a>' in html and 'id="chart-elo"' in html and 'id="chart-optimal-moves"' in html
    assert f"<h3>{THREE}: outcomes and Elo</h3>" in html and "<h3>games: moves in fixed positions</h3>" in html
    places = [
        html.index(f"<summary>{title} against mcts-10 in 3 moves</summary>")
        for title in ("expert (o) won", "generalist round 1 (o) lost", "generalist round 1 (o) drew")
    ]
    assert places == sorted(places)
    assert '<pre aria-label="Board after move 2">o..\n.x.\n...</pre>2. <strong>0</strong>' in html
    assert "value -0.25" in html and html.count("-0.25") == 3, "the opponent's moves have no value"
    assert "&lt;8&gt;" in html and "<8>" not in html


def test_without_sample_games_the_page_shows_none(results, tmp_path):
    assert "Sample games" not in page(results, tmp_path)


def test_moves_that_are_not_those_of_the_agents_scores_are_found(results, tmp_path):
    from benchmarks.report.report import write_report

    results.write(tmp_path)
    tracker = Tracker(TrackingConfig("none"), group="g", exp_name="r", seed=0, folder=tmp_path)
    write_report(results, tmp_path, tracker=tracker)
    assert not [line for line in verify_folder(tmp_path) if "games.csv" in line or MOVES in line]
    part = tmp_path / "scores" / "expert" / MOVES
    part.parent.mkdir(parents=True)
    row = next(row for row in results.moves if row.agent == "expert" and row.task == THREE)
    part.write_text(to_csv([replace(row, moves=row.moves[::-1])], MoveRow))
    assert f"scores/expert/{MOVES}: expert on {THREE}, moves is not so in the folder's {MOVES}" in verify_folder(
        tmp_path
    )
    table = (tmp_path / "games.csv").read_text()
    (tmp_path / "games.csv").write_text(table.replace("optimal,0.5,", "optimal,0.75,"))
    assert "games.csv: games/connect-four, generalist: value is 0.75, the rows give 0.5" in verify_folder(tmp_path)
