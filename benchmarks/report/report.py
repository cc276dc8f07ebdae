"""Write the report of a results folder (tables, charts and a page) from the folder's rows alone."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from benchmarks.base import artifacts, console
from benchmarks.base.artifacts import digest, file_digest, read_json
from benchmarks.base.csv_rows import columns, to_csv
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import derive
from benchmarks.play.game_records import SAMPLE_GAMES
from benchmarks.play.text_records import SAMPLE_IMAGES
from benchmarks.report import charts, tables
from benchmarks.report.formats import Table, to_latex, to_markdown
from benchmarks.report.games import GAMES, GameRow, game_rows, games_tables, games_values
from benchmarks.report.page import render_page
from benchmarks.report.restraint import RESTRAINT, RestraintRow, restraint_rows, restraint_tables, restraint_values
from benchmarks.report.rounds import RoundRow, round_rows, rounds_table
from benchmarks.report.scaling import SCALING, ScalingRow, scaling_rows, scaling_tables
from benchmarks.report.simulations import simulations_tables
from benchmarks.report.tables import TidyScore, tidy_scores
from benchmarks.report.words import WORDS, WordsRow, words_rows, words_tables, words_values
from benchmarks.runs.failures import FAILURES, read_failures
from benchmarks.runs.tracking import Tracker
from benchmarks.runs.wandb import TableData, log_report
from benchmarks.scoring.agents import with_label
from benchmarks.scoring.results import FILES, Results
from benchmarks.scoring.scoreboard import THRESHOLDS, Scoreboard, score

PAGE = "index.html"
TABLES = ("table.md", "table.csv", "table.tex")
DRAWN = "report.json"
"""Digests of the report's inputs; while they are unchanged, the report is not written again."""


@dataclass(frozen=True)
class DrawnTables:
    """All tables of a results folder, from its rows.

    Attributes:
        board: the scores.
        by_return: the scores with return as the metric, see :func:`score_by_return`.
        tables: all of them but those of rounds, in their order.
        rounds: the tables of rounds, of restraint, of games, of writing and of scaling laws, if there are any.
        failed: lines about tasks that failed.
        files: the content of each of :data:`TABLES`, of :data:`RESTRAINT` where there is a hidden cost, of
            :data:`GAMES` where a task is a game, of :data:`WORDS` where one is of writing, and of :data:`SCALING`
            where sizes or amounts of data are compared, by name.
    """

    board: Scoreboard
    by_return: Scoreboard | None
    tables: list[Table]
    rounds: list[Table]
    failed: list[str]
    files: dict[str, str]


def draw_tables(results: Results, folder: Path) -> DrawnTables:
    """Score the results and draw all tables of a results folder; nothing is written."""
    board = score_results(results)
    by_return = score_by_return(board)
    every_table = tables.all_tables(board, by_return)
    rounds = [table for table in [rounds_table(board)] if table] + restraint_tables(board) + games_tables(board)
    rounds += simulations_tables(board) + words_tables(board) + scaling_tables(board)
    failed = list(tables.failed_lines(read_failures(folder)))
    blocks = [*every_table, *rounds]
    text = "\n".join([tables.headline(board), "", *(f"{line}\n" for line in failed), *map(to_markdown, blocks)])
    contents = (text, to_csv(tidy_scores(board), TidyScore), "\n".join(map(to_latex, blocks)))
    files: dict[str, str] = dict(zip(TABLES, contents, strict=True))
    for name, kind, rows in (
        (RESTRAINT, RestraintRow, restraint_rows(board)),
        (GAMES, GameRow, game_rows(board)),
        (WORDS, WordsRow, words_rows(board)),
        (SCALING, ScalingRow, scaling_rows(board)),
    ):
        if rows:
            files[name] = to_csv(rows, kind)
    return DrawnTables(board, by_return, every_table, rounds, failed, files)


def write_report(results: Results, folder: Path, *, tracker: Tracker) -> Scoreboard:
    """Score the results, print the tables and write the report's files into the folder.

    The files are ``table.md``, ``table.csv``, ``table.tex``, charts as ``.png`` and ``.svg``, and ``index.html``.

    Args:
        results: the folder's checked rows.
        folder: a results folder; its configuration, environment and clips are shown on the page.
        tracker: receives fractions, tables, charts, clips and the page whenever they are written.
    """
    drawn_tables = draw_tables(results, folder)
    board, by_return, failed = drawn_tables.board, drawn_tables.by_return, drawn_tables.failed
    console.say(tables.headline(board))
    for table in [*drawn_tables.tables[:2], *drawn_tables.rounds]:
        console.show_table(table.title, table.columns, table.rows, table.caption)
    inputs = _inputs(folder)
    if _is_drawn(folder, inputs):
        return board
    (folder / DRAWN).unlink(missing_ok=True)  # if the process dies from here on, the report is written again
    for name, content in drawn_tables.files.items():
        artifacts.write_text(folder / name, content)
    drawn = charts.charts(board)
    for name in charts.PLOTS:
        if name in drawn:
            charts.draw(drawn[name], folder / name)
    artifacts.write_text(folder / PAGE, render_page(board, by_return, drawn, folder, failed))
    _track(board, folder, tracker)
    drawings = [f"{name}.{kind}" for name in drawn for kind in ("png", "svg")]
    outputs = [name for name in (PAGE, *TABLES, RESTRAINT, GAMES, WORDS, *drawings) if (folder / name).exists()]
    written_digests = {name: file_digest(folder / name) for name in outputs}
    artifacts.write_json(folder / DRAWN, {"inputs": inputs, "outputs": written_digests})
    return board


def _is_drawn(folder: Path, inputs: Mapping[str, str]) -> bool:
    """Whether the report was written from these inputs, and none of its files is missing or changed."""
    if not (folder / DRAWN).exists():
        return False
    try:
        record = read_json(folder / DRAWN, {"inputs": dict, "outputs": dict})
    except GatitoError:  # the record is damaged; write the report again
        return False
    files = {folder / name: expected for name, expected in record["outputs"].items()}
    unchanged = all(path.is_file() and file_digest(path) == expected for path, expected in files.items())
    return record["inputs"] == inputs and unchanged


def score_results(results: Results) -> Scoreboard:
    """The scoreboard with a bootstrap seed that depends on the suite only, so that equal rows give equal digits."""
    return score(results, np.random.default_rng(derive("report", results.suite)))


def round_rows_by_seed(results: Results, amplifier: str, start: str) -> list[RoundRow]:
    """The rows of ``rounds.csv`` of pooled runs, one training seed after another, see :func:`round_rows`."""
    boards = [score_results(results.of_seed(seed)) for seed in results.train_seeds]
    return [row for board in boards for row in round_rows(board, amplifier, start)]


def score_by_return(board: Scoreboard) -> Scoreboard | None:
    """The scored tasks with return as their metric; None if no scored task has success as its metric."""
    names = [task for task in board.results.task_names if task not in board.unscored]
    results = board.results.by_return(names)
    return None if results is None else score_results(results)


def _inputs(folder: Path) -> dict[str, str]:
    """Digests of a report's input files, and of the code that writes it."""
    paths = [folder / f"{name}.csv{suffix}" for name in FILES for suffix in ("", ".gz")]
    paths += [*sorted(folder.glob("config*.yaml")), folder / "environment.json", folder / FAILURES]
    paths += [folder / SAMPLE_GAMES, folder / SAMPLE_IMAGES]
    paths += sorted((folder / "clips").rglob("clip.*"))
    package = Path(__file__).parent
    code = [*sorted(package.glob("*.*")), *sorted((package.parent / "scoring").glob("*.py"))]
    digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in paths if path.exists()}
    return digests | {"code": digest([file_digest(path) for path in code])}


def _track(board: Scoreboard, folder: Path, tracker: Tracker) -> None:
    values = {f"f/{row.task}/{row.agent}": row.f.value for row in board.tasks if row.f is not None}
    for gain in board.gains:
        tasks = with_label(gain.task or board.results.suite, gain.label)
        estimates = {"amplify": gain.amplify, "net": gain.net, "kept": gain.kept, "over_control": gain.over_control}
        values |= {f"rounds/{gain.round}/{name}/{tasks}": found.value for name, found in estimates.items() if found}
    values |= restraint_values(board) | games_values(board) | words_values(board)
    for row in board.suite:
        values |= {f"suite/{name}/{row.agent}": estimate.value for name, estimate in row.aggregates.items()}
    rows = [astuple(row) for row in tidy_scores(board)]
    names = list(columns(TidyScore))
    of_aggregates = ("suite", "task", "agent", "round", "label", "train_seeds", "f", "f_low", "f_high")
    kept = [names.index(name) for name in of_aggregates]
    task_table: TableData = (names, rows[: len(board.tasks)])
    suite_table: TableData = (
        ["suite", "aggregate", "agent", "round", "label", "train_seeds", "value", "low", "high"],
        [[row[column] for column in kept] for row in rows[len(board.tasks) :]],
    )
    curves = {str(row.agent): (THRESHOLDS, [point.value for point in row.curve]) for row in board.suite}
    fractions = {
        str(agent): {row.task: row.f.value for row in board.tasks if row.agent == agent and row.f is not None}
        for agent in board.competitors
    }
    clips = {task: folder / "clips" / task / "clip.mp4" for task in board.results.task_names}
    tracker.write(
        folder,
        "report",
        values,
        env_id=board.results.suite,
        log_more=lambda run: log_report(
            run,
            task_table=task_table,
            suite_table=suite_table,
            thresholds=curves,
            fractions=fractions,
            clips={task: path for task, path in clips.items() if path.exists()},
            page=folder / PAGE,
        ),
    )
