import json
import os
import subprocess
import sys

import pytest

from benchmarks.base.errors import FatalError
from benchmarks.runs import lock as locks
from benchmarks.runs.lock import LOCK, lock


def take(folder):
    with lock(folder):
        pass


def left(folder, **changes):
    """A lock as this process would write it, with changes."""
    with lock(folder):
        owner = json.loads((folder / LOCK).read_text())
    folder.mkdir(exist_ok=True)
    (folder / LOCK).write_text(json.dumps(owner | changes))


def ended_process():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_a_second_command_in_a_run_gets_one_line_that_names_the_first(tmp_path):
    with lock(tmp_path / "run"), pytest.raises(FatalError, match="is in use by") as error:
        take(tmp_path / "run")
    assert f"process {os.getpid()} on " in str(error.value) and "name=NAME" in str(error.value)
    assert "\n" not in str(error.value) and "remove the file" not in str(error.value)
    take(tmp_path / "run")


def test_an_empty_folder_goes_with_its_lock(tmp_path):
    take(tmp_path / "runs" / "run")
    assert list(tmp_path.iterdir()) == []
    with lock(tmp_path / "runs" / "run"):
        (tmp_path / "runs" / "run" / "scores.csv").touch()
    assert [path.name for path in (tmp_path / "runs" / "run").iterdir()] == ["scores.csv"]


def test_an_error_and_an_interrupt_release_the_lock(tmp_path):
    for kind in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(kind), lock(tmp_path):
            raise kind
        assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize(
    "changes",
    [{"process": ended_process()}, {"process": 1, "begun": "long ago"}, {"boot": "another boot"}],
    ids=["process gone", "number reused", "machine booted"],
)
def test_a_lock_that_a_kill_left_is_recognised(tmp_path, changes):
    left(tmp_path, **changes)
    take(tmp_path)


@pytest.mark.parametrize("changes", [{"machine": "elsewhere"}, {"namespace": "pid:[1]"}])
def test_a_lock_of_another_machine_gets_a_remedy(tmp_path, changes):
    left(tmp_path, process=ended_process(), **changes)
    with pytest.raises(FatalError, match=rf"if that process is gone, remove the file {tmp_path / LOCK}"):
        take(tmp_path)
    (tmp_path / LOCK).unlink()  # as the message advises
    take(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", "\x00", '{"process": "1"}'])
def test_an_empty_lock_has_no_owner(tmp_path, content):
    (tmp_path / LOCK).write_text(content)
    take(tmp_path)


@pytest.mark.parametrize("number", locks._READ_ONLY)
def test_a_folder_that_cannot_be_written_is_not_locked(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, "no")

    monkeypatch.setattr(locks, "_take", refuse)
    with lock(tmp_path):
        assert not (tmp_path / LOCK).exists()


def test_only_temporary_files_of_killed_runs_are_removed(tmp_path):
    (tmp_path / "minari" / ".export-x7.tmp").mkdir(parents=True)
    (tmp_path / "minari" / ".export-x7.tmp" / "data").touch()
    (tmp_path / ".table.md.x7.tmp").touch()
    (tmp_path / "outside.tmp").touch()
    (tmp_path / ".link.tmp").symlink_to(tmp_path / "minari")
    (tmp_path / "minari" / ".hidden").touch()
    take(tmp_path)
    left_over = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left_over == {"minari", "minari/.hidden", "outside.tmp"}
