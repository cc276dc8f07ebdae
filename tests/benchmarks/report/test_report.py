import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import vl_convert

from benchmarks.base.artifacts import write_json
from benchmarks.report import charts, tables
from benchmarks.report.formats import Table, duration, listed, magnitude, number, to_latex, to_markdown
from benchmarks.report.report import write_report
from benchmarks.report.tables import (
    cost_table,
    gate_text,
    headline,
    improvement_table,
    raw_table,
    score_table,
    summary_table,
    tidy_scores,
)
from benchmarks.runs.tracking import Tracker, TrackingConfig
from benchmarks.scoring.scoreboard import score
from tests.conftest import make_results


def plays(level, seeds=2):
    """Scores whose mean is the level, with some spread."""
    return {seed: [level - 1.0, level + 1.0, level, level] for seed in range(seeds)}


def results(seeds=2, **tasks):
    levels = {"random": 0.0, "expert": 100.0, "specialist": 90.0, "generalist": 80.0, "retrieval": 60.0}
    agents = {agent: plays(level, seeds) for agent, level in levels.items()}
    weak = agents | {"expert": plays(0.1, seeds)}
    return make_results({"toy/a": agents, "toy/b": agents, "toy/weak_one": weak}, **tasks)


def board(**settings):
    return score(results(**settings), np.random.default_rng(0), 200)


def tracker(folder):
    return Tracker(TrackingConfig("none"), group="toy/r", exp_name="r", seed=0, folder=folder)


def test_the_headline_is_one_sentence_of_specialist_against_generalist_with_intervals():
    text = headline(board())
    assert text.startswith("One specialist per task keeps 0.900 [")
    assert "one generalist for all tasks 0.800 [" in text and "2 tasks and 2 training seeds" in text
    assert "sharing one network costs 0.100 [" in text and "excludes 0" in text
    assert text.count(". ") == 0 and text.endswith(".")


def test_one_training_seed_is_preliminary_in_every_table_and_sentence():
    single = board(seeds=1)
    assert headline(single).startswith("Preliminary, one training seed: one specialist")
    for make in (score_table, raw_table, summary_table, improvement_table):
        assert "preliminary: one training seed" in make(single).title
    assert {row.train_seeds for row in tidy_scores(single)} == {1}
    assert "preliminary" not in score_table(board()).title


def test_tables_show_each_number_with_its_interval_and_leave_no_task_out():
    table = score_table(board())
    assert table.columns == ["task", "random", "expert", "f retrieval", "f specialist", "f generalist"]
    assert re.fullmatch(r"0\.600 \[0\.\d{3}, 0\.\d{3}\]", table.rows[0][3])
    assert table.rows[2] == ["toy/weak_one", "0.00", "0.10", "unscored", "unscored", "unscored"]
    assert "2 of 3 tasks scored. toy/weak_one: unscored (weak expert" in table.caption
    summary = {row[0]: row for row in summary_table(board()).rows}
    assert summary["expert"][1] == "1.000 [1.000, 1.000]" and summary["generalist"][6] == "2 [2, 2]"
    assert improvement_table(board()).rows[0][2:4] == ["100 [100, 100]", "100 [100, 100]"]
    assert raw_table(board()).rows[1][1].startswith("0.00 [")


def test_an_expert_that_misses_its_reference_with_one_seed_is_reported():
    mixed = {agent: plays(level) for agent, level in {"random": 0.0, "generalist": 80.0}.items()}
    mixed["expert"] = {0: [100.0, 101.0, 99.0, 100.0], 1: [80.0, 81.0, 79.0, 80.0]}
    text = gate_text(score(make_results({"toy/a": mixed}, a={"reference": 85.0}), np.random.default_rng(0), 50))
    assert text == "1 of 1 tasks scored. toy/a: the expert of training seed 1 is below its reference."


def test_costs_are_means_over_training_seeds():
    row = next(row for row in cost_table(board()).rows if row[0] == "generalist")
    assert row[2:] == ["10", "1 M", "100", "1.5 s", "5000 µs"]


def test_markdown_and_latex_have_the_same_cells():
    table = score_table(board())
    lines = to_markdown(table).splitlines()
    assert lines[2] == "| task | random | expert | f retrieval | f specialist | f generalist |"
    assert lines[6].startswith("| toy/weak_one | 0.00 | 0.10 | unscored |")
    latex = to_latex(table)
    assert r"toy/weak\_one & 0.00 & 0.10 & unscored" in latex and r"95 \% intervals" in latex
    for word in (r"\begin{tabular}{lrrrrr}", r"\toprule", r"\bottomrule", r"\end{table}"):
        assert latex.count(word) == 1


@pytest.mark.parametrize(
    "shown, expected",
    [
        (number(-82.94), "-82.9"),
        (number(0.5), "0.50"),
        (number(-0.001), "0.00"),
        (magnitude(0), "-"),
        (magnitude(858_130), "858 k"),
        (magnitude(1.234e13), "12.3 T"),
        (duration(203.4), "3 min 23 s"),
        (duration(1.234), "1.2 s"),
        (duration(0), "-"),
        (listed(["a"]), "a"),
        (listed(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_numbers_are_formatted(shown, expected):
    assert shown == expected


@pytest.mark.parametrize("name", ["fractions", "thresholds", "compute", "learning"])
def test_every_chart_is_valid_and_labelled(name, tmp_path):
    rows = results()
    curves = [replace(row, metric="selection/mean") for row in rows.curves]
    rows = replace(rows, curves=tuple(curves))
    chart = charts.charts(score(rows, np.random.default_rng(0), 50))[name]
    assert chart["description"].endswith(".")
    charts.draw(chart, tmp_path / name)
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / f"{name}.svg").read_text()
    assert svg.startswith("<svg") and "undefined" not in svg and "NaN" not in svg
    assert vl_convert.vegalite_to_vega(json.dumps(chart))["marks"]


def test_published_points_are_marked_as_context():
    chart = json.dumps(charts.thresholds(board()))
    assert "Gato, 604 tasks" in chart and "JAT, 157 tasks" in chart


def test_a_report_is_made_once_and_again_when_its_rows_change(tmp_path):
    rows = results()
    rows.write(tmp_path)
    (tmp_path / "config.yaml").write_text("suite: toy\n")
    write_report(rows, tmp_path, tracker=tracker(tmp_path))
    names = {"table.md", "table.csv", "table.tex", "index.html", "fractions.svg", "thresholds.png", "compute.svg"}
    assert names <= {path.name for path in tmp_path.iterdir()}
    first = {name: (tmp_path / name).stat().st_mtime_ns for name in names}
    write_report(rows, tmp_path, tracker=tracker(tmp_path))
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in names} == first
    for name in ("index.html", "fractions.svg", "table.md"):  # empty and missing files are made again
        (tmp_path / name).write_text("")
        write_report(rows, tmp_path, tracker=tracker(tmp_path))
        assert (tmp_path / name).read_text()
    for content in ("[]", "{", '{"inputs": 3}'):
        (tmp_path / "report.json").write_text(content)
        write_report(rows, tmp_path, tracker=tracker(tmp_path))
    (tmp_path / "config.yaml").write_text("suite: other\n")
    write_report(rows, tmp_path, tracker=tracker(tmp_path))
    assert (tmp_path / "index.html").stat().st_mtime_ns > first["index.html"]


def test_pipes_and_line_breaks_in_names_are_escaped_in_markdown():
    lines = to_markdown(Table("t", ["task", "f"], [["a|b\nc", "1"]], "")).splitlines()
    assert lines[-3] == r"| a\|b c | 1 |"


def test_the_csv_table_has_every_number(tmp_path):
    rows = results()
    rows.write(tmp_path)
    write_report(rows, tmp_path, tracker=tracker(tmp_path))
    lines = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    generalist = next(line for line in lines if (line["task"], line["agent"]) == ("toy/a", "generalist"))
    assert float(generalist["f"]) == pytest.approx(0.8)
    assert float(generalist["f_low"]) <= 0.8 <= float(generalist["f_high"])
    assert float(generalist["fieller_low"]) <= 0.8 <= float(generalist["fieller_high"])
    weak = next(line for line in lines if line["task"] == "toy/weak_one")
    assert weak["f"] == "" and weak["gate"].startswith("weak expert")
    assert {"IQM", "optimality gap", "share at f >= 0.5"} <= {line["task"] for line in lines}


def test_the_page_escapes_its_contents_and_loads_nothing_from_the_network(tmp_path):
    rows = results()
    rows.write(tmp_path)
    (tmp_path / "config.yaml").write_text("name: </pre><script>alert(1)</script>\n")
    write_json(tmp_path / "environment.json", {"command": "gatito & co", "packages": {}, "git_commit": None} | MACHINE)
    write_report(rows, tmp_path, tracker=tracker(tmp_path))
    page = (tmp_path / "index.html").read_text()
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page
    assert "gatito &amp; co" in page
    assert not re.search(r'(src|href)="(https?:)?//', page)


MACHINE = {"processor": "p", "cores": 2, "system": "s", "python": "3"}


def test_tasks_scored_by_success_also_show_returns(tmp_path):
    """The agent succeeds as often as the expert, with half of its return."""
    from benchmarks.report.report import score_by_return, score_results

    returns = {
        "toy/arm": {"random": {0: [0.0, 0.0, 0.0]}, "expert": {0: [8.0, 8.0, 8.1]}, "generalist": {0: [4.0, 4.0, 4.1]}},
        "toy/cart": {
            "random": {0: [0.0, 0.1, 0.0]},
            "expert": {0: [9.0, 9.0, 9.1]},
            "generalist": {0: [9.0, 9.1, 9.0]},
        },
    }
    results = make_results(returns, arm={"metric": "success", "reference": 0.9}, cart={})
    board = score_results(results)
    by_return = score_by_return(board)
    f = {(score.task, score.agent.name): score.f for score in board.tasks}
    again = {(score.task, score.agent.name): score.f for score in by_return.tasks}
    assert f["toy/arm", "generalist"].value == 1.0
    assert again["toy/arm", "generalist"].value == pytest.approx(0.5, abs=0.01)
    assert again["toy/cart", "generalist"].value == f["toy/cart", "generalist"].value
    assert score_by_return(score_results(make_results(returns))) is None
    results.write(tmp_path)
    write_report(
        results, tmp_path, tracker=Tracker(TrackingConfig("none"), group="g", exp_name="e", seed=0, folder=tmp_path)
    )
    assert "summary by return in place of success" in (tmp_path / "table.md").read_text()
    assert "By return in place of success" in (tmp_path / "index.html").read_text()


def test_wide_tables_show_the_last_of_many_rounds():
    agents = ["random", "expert", "generalist", *(f"generalist round {number}" for number in range(1, 13))]
    returns = {agent: {0: [number, number + 1]} for number, agent in enumerate(agents)}
    board = score(make_results({"toy/a": returns | {"expert": {0: [30, 31]}}}), np.random.default_rng(0), 50)
    shown = ["generalist", "generalist round 12"]
    assert tables.score_table(board).columns == ["task", "random", "expert", *(f"f {name}" for name in shown)]
    assert tables.raw_table(board).columns == ["task", "random", "expert", *shown]
    wide = tables.improvement_table(board)
    assert wide.columns == ["agent", "expert", *shown] and [row[0] for row in wide.rows] == wide.columns[1:]
    assert "Rounds before the last are" in wide.caption and len(tables.summary_table(board).rows) == 3
    few = score(make_results({"toy/a": dict(list(returns.items())[:8])}), np.random.default_rng(0), 50)
    assert len(tables.raw_table(few).columns) == 9 and "Rounds before" not in tables.raw_table(few).caption
