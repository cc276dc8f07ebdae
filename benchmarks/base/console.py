"""What a person sees while waiting: progress bars, tables, warnings and errors, alike in every stage."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

# A table in a file is not squeezed into the 80 columns that a file is taken to have.
OUT = Console(width=None if sys.stdout.isatty() else 140)
ERR = Console(stderr=True)


@contextmanager
def progress() -> Iterator[Progress]:
    """Progress bars on standard error; they vanish when the block ends, so that logs stay readable."""
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=ERR,
        transient=True,
        disable=not ERR.is_terminal,
    )
    with bars:
        yield bars


def say(text: str) -> None:
    """A result, on standard output."""
    OUT.print(escape(text), highlight=False)


def note(text: str) -> None:
    """One line about what goes on."""
    ERR.print(f"[cyan]{escape(text)}[/cyan]", highlight=False, soft_wrap=True)


def warn(text: str) -> None:
    """One line about something that is wrong but does not stop the run."""
    ERR.print(f"[yellow]warning:[/yellow] {escape(text)}", highlight=False, soft_wrap=True)


def fail(text: str, details: Sequence[str] = ()) -> None:
    """The one line that an error gets, and one below it for each of its parts."""
    ERR.print(f"[red]error:[/red] {escape(' '.join(text.split()))}", highlight=False, soft_wrap=True)
    for line in details:
        ERR.print(f"  {escape(' '.join(line.split()))}", highlight=False, soft_wrap=True)


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> None:
    """Print a table on standard output; the first column is left-aligned, the others right-aligned.

    Widths are the terminal's: a cell such as ``0.981 [0.962, 0.999]`` is broken at its spaces where it must.
    """
    table = Table(title=title, caption=caption or None, title_justify="left", caption_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    OUT.print(table)
