"""What a person sees while waiting: progress bars, tables, warnings and errors, alike in every stage.

Texts hold names that others chose, so none is read as Rich's markup.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

# A table in a file is not squeezed into the 80 columns that a file is taken to have.
OUT = Console(width=None if sys.stdout.isatty() else 140)
ERR = Console(stderr=True)


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
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=ERR,
        transient=True,
        disable=not ERR.is_terminal,
    )
    with bars:
        yield bars


def say(text: str) -> None:
    """A result, on standard output."""
    OUT.print(Text(text))


def note(text: str) -> None:
    """One line about what goes on."""
    ERR.print(Text(text, "cyan"), soft_wrap=True)


def warn(text: str) -> None:
    """One line about something that is wrong but does not stop the run."""
    ERR.print(Text.assemble(("warning:", "yellow"), f" {text}"), soft_wrap=True)


def fail(text: str, details: Sequence[str] = ()) -> None:
    """The one line that an error gets, and one below it for each of its parts."""
    ERR.print(Text.assemble(("error:", "red"), f" {' '.join(text.split())}"), soft_wrap=True)
    for line in details:
        ERR.print(Text(f"  {' '.join(line.split())}"), soft_wrap=True)


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> None:
    """Print a table on standard output; the first column is left-aligned, the others right-aligned.

    Widths are the terminal's: a cell such as ``0.981 [0.962, 0.999]`` is broken at its spaces where it must.
    """
    table = Table(title=Text(title), title_justify="left", caption_justify="left")
    table.caption = Text(caption) if caption else None
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    OUT.print(table)
