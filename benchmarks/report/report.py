"""Compose the report of a run: the table on the screen and in ``table.md``, and one plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import artifacts, console
from benchmarks.harness import ScoreRow, scores_by_task
from benchmarks.report.plots import plot_fractions
from benchmarks.report.tables import score_table, to_markdown
from benchmarks.scores import TaskScore, score_tasks
from benchmarks.tasks import Suite
from benchmarks.tracking import Tracker

TABLE = "table.md"
PLOT = "fractions.png"


def write_report(
    suite: Suite, rows: Sequence[ScoreRow], reference_means: Mapping[str, float], *, run: Path, tracker: Tracker
) -> list[TaskScore]:
    """Score the run's rows, print the table, and write ``table.md`` and ``fractions.png`` into the run's folder.

    Args:
        suite: which tasks, in which order.
        rows: test episodes of every agent.
        reference_means: each expert's mean on gate episodes, by task name.
        run: the run's folder.
        tracker: told every f.

    Returns:
        One score per task and agent.

    Raises:
        GatitoError: if expert or random was not scored on a task.
    """
    tasks = [task.name for task in suite]
    references = {task.name: task.reference for task in suite}
    scores = score_tasks(scores_by_task(rows, suite.tasks), tasks, references, reference_means)
    seeds = sorted({row.train_seed for row in rows})
    table = score_table(scores, suite=suite.name, train_seeds=seeds)
    console.show_table(table.title, table.columns, table.rows, table.caption)
    text = to_markdown(table)
    if (run / PLOT).exists() and (run / TABLE).exists() and (run / TABLE).read_text() == text:
        return scores  # drawn and logged before
    plot_fractions(scores, run / PLOT, title=f"{suite.name}: fraction of the expert kept")
    fractions = {f"f/{row.task}/{row.agent}": row.fraction for row in scores if row.fraction is not None}
    tracker.write(run, "report", fractions, env_id=suite.name)
    artifacts.write_text(run / TABLE, text)
    return scores
