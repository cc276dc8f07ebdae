"""Compose the report of a run: the table on the screen and in ``table.md``, and one plot."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks import artifacts, console
from benchmarks.harness import SCORES, read_scores, scores_by_task
from benchmarks.report.plots import plot_fractions
from benchmarks.report.tables import score_table, to_markdown
from benchmarks.scores import TaskScore, score_tasks
from benchmarks.tasks import Suite

TABLE = "table.md"
PLOT = "fractions.png"


def write_report(suite: Suite, reference_means: Mapping[str, float], *, run: Path) -> list[TaskScore]:
    """Score the run's rows, print the table, and write ``table.md`` and ``fractions.png`` into the run's folder.

    Args:
        suite: which tasks, in which order.
        reference_means: each expert's mean on gate episodes, by task name.
        run: the run's folder; ``scores.csv`` is read from it.

    Returns:
        One score per task and agent.

    Raises:
        GatitoError: if the rows are missing or cannot be read.
    """
    rows = read_scores(run / SCORES)
    tasks = [task.name for task in suite]
    references = {task.name: task.reference for task in suite}
    scores = score_tasks(scores_by_task(rows, suite.tasks), tasks, references, reference_means)
    seeds = sorted({row.train_seed for row in rows})
    table = score_table(scores, suite=suite.name, train_seeds=seeds)
    console.show_table(table.title, table.columns, table.rows, table.caption)
    artifacts.write_text(run / TABLE, to_markdown(table))
    plot_fractions(scores, run / PLOT, title=f"{suite.name}: fraction of the expert kept")
    return scores
