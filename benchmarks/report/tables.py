"""Score tables, as rows of text that the console and Markdown share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.scores import TaskScore

ANCHORS = ("random", "expert")


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: one line above.
        columns: heads.
        rows: cells, as many as heads in each row.
        caption: a sentence below.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    caption: str


def score_table(scores: Sequence[TaskScore], *, suite: str, train_seeds: Sequence[int]) -> Table:
    """Per task, the mean score of every agent (± one standard error) and f of those between random and expert."""
    tasks = list(dict.fromkeys(score.task for score in scores))
    agents = list(dict.fromkeys(score.agent for score in scores))
    judged = [agent for agent in agents if agent not in ANCHORS]
    cells = {(score.task, score.agent): score for score in scores}
    rows = []
    for task in tasks:
        row = [task]
        row += [_mean(cells[task, agent]) if (task, agent) in cells else "-" for agent in agents]
        row += [_fraction(cells.get((task, agent))) for agent in judged]
        rows.append(row)
    summary = ["mean f", *[""] * len(agents)]
    for agent in judged:
        values = [score.fraction for score in scores if score.agent == agent and score.fraction is not None]
        summary.append(f"{np.mean(values):.3f}" if values else "-")
    rows.append(summary)
    episodes = (
        "f = (agent - random) / (expert - random) of mean scores on the same test episodes; ± one standard error."
    )
    seeds = f"{len(train_seeds)} training seeds" if len(train_seeds) > 1 else "one training seed: preliminary"
    reasons = {score.task: score.gate.reason for score in scores if not score.gate.passed}
    gate = f"{len(tasks) - len(reasons)} of {len(tasks)} tasks scored"
    listed = "".join(f" {task}: unscored ({reason})." for task, reason in reasons.items())
    title = f"suite {suite}, {seeds} ({', '.join(map(str, train_seeds))})"
    return Table(title, ["task", *agents, *[f"f {agent}" for agent in judged]], rows, f"{gate}.{listed} {episodes}")


def to_markdown(table: Table) -> str:
    """GitHub's Markdown, the first column left-aligned."""
    lines = [
        f"**{table.title}**",
        "",
        _line(table.columns),
        _line([":--", *["--:"] * (len(table.columns) - 1)]),
    ]
    lines += [_line(row) for row in table.rows]
    return "\n".join([*lines, "", table.caption, ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _mean(score: TaskScore) -> str:
    return f"{score.mean:.1f} ± {score.error:.1f}" if abs(score.mean) >= 10 else f"{score.mean:.2f} ± {score.error:.2f}"


def _fraction(score: TaskScore | None) -> str:
    if score is None:
        return "-"
    return "unscored" if score.fraction is None else f"{score.fraction:.3f}"
