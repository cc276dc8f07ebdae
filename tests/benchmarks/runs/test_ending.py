"""Commands end quickly, quietly and with their exit code, whatever environments and pipes do."""

import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.runs.engines import progress
from tests.conftest import ROOT

ENV = os.environ | {"PYTHONPATH": str(ROOT)}


def python(code, **settings):
    return subprocess.run([sys.executable, "-c", code], env=ENV, capture_output=True, text=True, timeout=60, **settings)


def test_a_thread_that_never_ends_does_not_keep_a_command_waiting():
    code = (
        "import threading, time; from benchmarks.runs import ending; ending._SECONDS = 0.5;"
        "threading.Thread(target=time.sleep, args=(3600,)).start(); print('told'); ending.end(3)"
    )
    start = time.monotonic()
    done = python(code)
    assert (done.returncode, done.stdout) == (3, "told\n") and time.monotonic() - start < 30


def test_help_into_a_closed_pipe_is_quiet_and_the_version_is_gatitos():
    command = f"{sys.executable} {ROOT / 'gatito.py'}"
    done = subprocess.run(
        ["bash", "-c", f"{command} --help | head -2; {command} --version"],
        env=ENV, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stderr == "" and done.stdout.splitlines()[-1].startswith("gatito 0.")


@pytest.mark.parametrize(
    "code, status",
    [("raise KeyboardInterrupt", -signal.SIGINT), ("import signal; signal.raise_signal(15)", 128 + signal.SIGTERM)],
)
def test_an_interrupt_while_packages_are_imported_gets_one_line(code, status):
    done = python(f"import benchmarks.base.early_interrupts; {code}")
    assert done.returncode == status
    assert done.stderr == "error: interrupted. The same command resumes where it stopped.\n"
    lines = (ROOT / "gatito.py").read_text().splitlines()
    first = [line for line in lines if line.startswith(("import ", "from "))][:2]
    assert first[0].startswith("import gatito_path") and first[1].startswith("from benchmarks.base.early_interr")


def test_temporary_files_of_killed_commands_are_removed_and_others_kept(tmp_path):
    code = (
        "import os; from benchmarks.runs.engines import progress\n"
        "with progress.temporary_folder() as mine:\n"
        "    (mine / 'board').touch()\n"
        "    if os.fork() == 0:\n"
        "        with progress.temporary_folder() as other:\n"
        "            print(sorted(path.exists() for path in (mine, other)), flush=True)\n"
        "            os._exit(0)\n"  # like a kill
        "    os.wait()\n"
        "with progress.temporary_folder() as mine: print(len(list(mine.parent.iterdir())), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENV | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == ["[True, True]", "1"], done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", ["open", "flock"])
def test_a_folder_that_another_process_removes_before_it_is_locked_is_made_again(before, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    module = {"open": os, "flock": fcntl}[before]
    call = getattr(module, before)
    removed = []

    def later(*args, **where):
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].rmdir()
        return call(*args, **where)

    monkeypatch.setattr(module, before, later)
    with progress.temporary_folder() as folder:
        assert folder.is_dir() and folder != removed[0]
    assert not list(tmp_path.iterdir())
