"""Formatting of tables and numbers in reports: Markdown, LaTeX, intervals, magnitudes."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.scoring.scoreboard import Estimate


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: one line above the table.
        columns: column headers.
        rows: the cells of each row.
        caption: sentences below the table.
        words: number of text columns, from the left; the others are numeric.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    caption: str
    words: int = 1


def to_markdown(table: Table) -> str:
    """The table in GitHub's Markdown, with text columns left-aligned."""
    numbers = len(table.columns) - table.words
    lines = [f"**{table.title}**", "", _line(table.columns), _line([*[":--"] * table.words, *["--:"] * numbers])]
    return "\n".join([*lines, *map(_line, table.rows), "", table.caption, ""])


def to_latex(table: Table) -> str:
    """The table as a LaTeX ``table`` environment; it needs the package booktabs."""
    numbers = len(table.columns) - table.words
    label = re.sub(r"[^a-z]+", "-", table.title.partition(",")[0].lower()).strip("-")
    lines = [r"\begin{table}", r"\centering", r"\small", rf"\caption{{{_tex(table.title)}. {_tex(table.caption)}}}"]
    lines += [rf"\label{{tab:{label}}}", rf"\begin{{tabular}}{{{'l' * table.words}{'r' * numbers}}}", r"\toprule"]
    lines += [" & ".join(map(_tex, table.columns)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(_tex, row)) + r" \\" for row in table.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def number(value: float) -> str:
    """A score: two decimals below 10, one from 10 on."""
    return _rounded(value, 1 if abs(value) >= 10 else 2)


def share(value: float) -> str:
    """A fraction of the expert with three decimals."""
    return _rounded(value, 3)


def interval_text(estimate: Estimate, show: Callable[[float], str] = share) -> str:
    """``0.981 [0.962, 0.999]``."""
    return f"{show(estimate.value)} [{show(estimate.low)}, {show(estimate.high)}]"


def magnitude(value: float) -> str:
    """``858 k``, ``1.6 T``; 0 is a dash."""
    if not value:
        return "-"
    for size, letter in ((1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """``3 min 20 s``; 0 is a dash."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds >= 0.005 else "-"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.0f}"


def plural(count: int, word: str) -> str:
    """A word, with a plural s unless the count is 1."""
    return word if count == 1 else f"{word}s"


def listed(parts: Sequence[str]) -> str:
    """``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _line(cells: Sequence[str]) -> str:
    # An unescaped bar would end the cell, and a line break the table.
    escaped = (" ".join(cell.replace("|", r"\|").splitlines()) for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _tex(text: str) -> str:
    text = re.sub(r"[\\~^]", " ", text)
    return (
        re.sub(r"([%&_#${}])", r"\\\1", text)
        .replace(">=", r"$\geq$")
        .replace("<", r"$<$")
        .replace(">", r"$>$")
        .replace("µ", r"$\mu$")
    )


def _rounded(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # adding 0.0 removes the sign of a negative zero
