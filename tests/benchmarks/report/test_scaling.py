"""Scaling laws in table, file, chart and page."""

from dataclasses import replace

import numpy as np
import pytest
import vl_convert

from benchmarks.report.charts import charts
from benchmarks.report.page import render_page
from benchmarks.report.scaling import scaling_rows, scaling_tables
from benchmarks.scoring.scoreboard import score
from tests.benchmarks.scoring.test_scaling import points, scaling_results


@pytest.fixture(scope="module")
def board():
    return score(scaling_results(points()), np.random.default_rng(0), 20)


def test_the_table_has_a_row_for_each_law_and_one_for_each_budget(board):
    laws, sizes = scaling_tables(board)
    assert [row[:2] for row in laws.rows] == [
        [measured, varied] for measured in ("loss", "1 - IQM of f") for varied in ("parameters", "environment steps")
    ]
    assert all("[" in row[2] and "[" in row[3] for row in laws.rows)
    assert len(sizes.rows) == 2 and all("[" in row[1] for row in sizes.rows)


def test_the_file_has_every_number(board):
    rows = scaling_rows(board)
    assert [row.quantity for row in rows].count("exponent") == 4
    best = [row for row in rows if row.measured == "best size"]
    assert [row.value for row in best] == pytest.approx([1e6, 1e6 * 10**0.5], rel=0.02)
    assert all(row.low < row.value < row.high and row.flops for row in best)


def test_a_best_size_beyond_the_measured_ones_is_said_in_words(board):
    [*_, best] = board.scaling.best
    unknown = [replace(best, parameters=None, largest=largest) for largest in (True, False)]
    _, table = scaling_tables(replace(board, scaling=replace(board.scaling, best=tuple(unknown))))
    assert [row[1] for row in table.rows] == ["the largest or more", "the smallest or less"]


def test_chart_and_page(board, tmp_path):
    drawn = charts(board)
    assert vl_convert.vegalite_to_svg(drawn["scaling"]).count(">environment steps<") == 2
    html = render_page(board, None, drawn, tmp_path)
    assert '<a href="#scaling">Scaling</a>' in html and "best size by compute" in html
