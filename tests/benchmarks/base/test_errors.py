import errno
import io
import os

import pytest

from benchmarks.base import console, errors
from benchmarks.base.errors import one_line


@pytest.mark.parametrize("number", sorted(errors._REFUSALS))
def test_file_system_errors_get_one_line_with_the_file(number):
    line = one_line(OSError(number, os.strerror(number), "results/runs/x/scores.csv"))
    assert line and line.startswith("results/runs/x/scores.csv: ") and "run the same command again" in line


def test_a_bug_keeps_its_traceback():
    assert one_line(KeyError("x")) is None and one_line(FileNotFoundError(errno.ENOENT, "no", "x")) is None


@pytest.mark.parametrize("name", ["[/b]", "[bold]x", "a[red]", "\\", "[/]"])
def test_names_are_shown_unchanged(name, capsys, monkeypatch):
    shown = []
    monkeypatch.setattr(console, "OUT", console.Console(file=io.StringIO(), record=True, width=100))
    monkeypatch.setattr(console, "ERR", console.Console(file=io.StringIO(), record=True, width=100))
    console.show_table(name, [name, name], [[name, name]], name)
    assert console.OUT.export_text().count(name) == 6
    for print_line in (console.note, console.warn, console.fail, console.say):
        print_line(name)
    with console.progress() as bars:
        bars.disable = False
        bars.add_task(name, total=1, note=name)
        shown = bars.get_renderable()
        console.ERR.print(shown)
    assert name in console.ERR.export_text()
