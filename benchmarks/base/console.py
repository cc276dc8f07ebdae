"""Console output: progress bars, tables, warnings and errors, the same in every stage.

Texts contain names that users choose, so none is interpreted as Rich's markup.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

# Rich assumes 80 columns for a file, which is too narrow for tables.
OUT = Console(width=None if sys.stdout.isatty() else 140)
ERR = Console(stderr=True)


class _RateColumn(ProgressColumn):
    """Units per second: environment steps, moves of self-play, episodes, or updates."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.3g}/s" if speed else "", style="dim")


@contextmanager
def progress() -> Iterator[Progress]:
    """Progress bars on standard error; they vanish when the block ends, so that logs stay readable."""
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        _RateColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=ERR,
        transient=True,
        disable=not ERR.is_terminal,
    )
    with bars:
        yield bars


def say(text: str) -> None:
    """Print a result on standard output."""
    OUT.print(Text(text))


def note(text: str) -> None:
    """Print one line about the progress of a command."""
    ERR.print(Text(text, "cyan"), soft_wrap=True)


def warn(text: str) -> None:
    """Print one line about a problem that does not stop the run."""
    ERR.print(Text.assemble(("warning:", "yellow"), f" {text}"), soft_wrap=True)


def fail(text: str, details: Sequence[str] = ()) -> None:
    """Print an error in one line, with one line below it for each detail."""
    ERR.print(Text.assemble(("error:", "red"), f" {' '.join(text.split())}"), soft_wrap=True)
    for line in details:
        ERR.print(Text(f"  {' '.join(line.split())}"), soft_wrap=True)


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> None:
    """Print a table on standard output; the first column is left-aligned, the others right-aligned.

    In a narrow terminal, a cell such as ``0.981 [0.962, 0.999]`` is wrapped at its spaces.
    """
    table = Table(title=Text(title), title_justify="left", caption_justify="left")
    table.caption = Text(caption) if caption else None
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    OUT.print(table)
