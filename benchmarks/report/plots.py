"""Plots of score rows, drawn without a display."""

import io
import logging
from collections.abc import Sequence
from pathlib import Path

from benchmarks.artifacts import write_bytes
from benchmarks.report.tables import ANCHORS
from benchmarks.scores import TaskScore

_COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
)  # Okabe and Ito: safe for colour-blind


def plot_fractions(scores: Sequence[TaskScore], path: Path, *, title: str) -> None:
    """Bars of f per task and agent, with lines at random (0) and at the expert (1)."""
    # Imported here: it takes a second, and the figure classes need no backend.
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it announces its font cache

    tasks = list(dict.fromkeys(score.task for score in scores))
    agents = list(dict.fromkeys(score.agent for score in scores if score.agent not in ANCHORS))
    figure = Figure(figsize=(7, 1.4 + 0.5 * len(tasks) * max(1, len(agents) / 2)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / max(1, len(agents))
    for number, agent in enumerate(agents):
        for row, task in enumerate(tasks):
            score = next((score for score in scores if (score.task, score.agent) == (task, agent)), None)
            place = row + (number - (len(agents) - 1) / 2) * height
            if score is None or score.fraction is None:
                axes.text(0.02, place, "unscored: weak expert", va="center", fontsize=9, color="#555555")
                continue
            label = agent if row == 0 else None
            axes.barh(
                place,
                score.fraction,
                height=height * 0.9,
                color=_COLOURS[number % len(_COLOURS)],
                label=label,
            )
            axes.text(max(score.fraction, 1) + 0.02, place, f"{score.fraction:.2f}", va="center", fontsize=9)
    axes.axvline(0, color="#333333", linewidth=1)
    axes.axvline(1, color="#333333", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(tasks)), tasks)
    axes.invert_yaxis()
    axes.set_xlabel("f = (agent - random) / (expert - random); dashed: the expert")
    fractions = [score.fraction for score in scores if score.fraction is not None]
    axes.set_xlim(min(0.0, *fractions, 0.0) * 1.1, max(1.0, *fractions, 1.0) * 1.15)
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    if len(agents) > 1:
        axes.legend(frameon=False, fontsize=9)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    write_bytes(path, content.getvalue())
