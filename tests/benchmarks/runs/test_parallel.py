"""Jobs that fail in several ways: the others finish, and every failure is reported."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from joblib.externals.loky import ProcessPoolExecutor

from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.runs.engines import local
from benchmarks.runs.engines.local import LocalEngine
from benchmarks.runs.engines.progress import silent_board
from benchmarks.runs.failures import Failures
from benchmarks.runs.parallel import Job, run_jobs
from benchmarks.tasks import make_env
from tests.conftest import ROOT, make_task


def work(*, task, does, report, folder=None):
    report(1)
    if does == "raise":
        raise GatitoError(f"{task} cannot continue: fix it.")
    if does == "wrap":
        try:
            raise GatitoError(f"{task} cannot continue: fix it.")
        except GatitoError:
            raise ValueError("on the way out") from None
    if does == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if does == "die once" and not (folder / "died").exists():
        (folder / "died").touch()
        os._exit(139)
    if does == "fatal":
        raise FatalError("the file x is damaged.")
    if does == "exit":
        sys.exit(3)
    if does == "bug":
        return {}["absent"]
    if does == "sleep":
        time.sleep(1.0)
    if does == "write":
        (folder / task).write_text("done")
    return f"{task} done"


def jobs(**does):
    return [Job(f"work {name}", 1, {"task": name, "does": what}, name) for name, what in does.items()]


def run(job_list, workers=2):
    failures = Failures([str(job.task) for job in job_list])
    return run_jobs(work, job_list, workers=workers, failures=failures), failures


@pytest.mark.parametrize("workers", [1, 2])
def test_failed_jobs_are_reported_and_others_finish(workers, capfd):
    job_list = jobs(a="return", b="raise", c="die", d="wrap", e="return")
    results, failures = run(job_list, workers)
    assert list(results.items()) == [(job_list[0], "a done"), (job_list[4], "e done")]
    with pytest.raises(GatitoError, match="3 of 5 tasks failed") as error:
        failures.stop_if_any()
    reasons = {line.partition(": ")[0]: line.partition(": ")[2] for line in error.value.lines}
    assert list(reasons) == ["b", "c", "d"]
    assert reasons["b"] == "b cannot continue: fix it."
    assert re.match(
        r"the worker process of work c died of SIGSEGV\(-11\) in \S+test_parallel.py, line \d+ \(often", reasons["c"]
    )
    assert reasons["d"] == "d cannot continue: fix it."
    warned = capfd.readouterr().err
    assert warned.count("the others continue") == 3 and len(warned.splitlines()) == 3


def play(*, report, where, tasks):
    for name in tasks:
        task = make_task(
            "tests.odd_environments:Hangs-v0",
            f"toy/{name}",
            kwargs={"where": where if name == "bad" else "nowhere"},
            step_seconds=1,
        )
        env = make_env(task)
        env.reset(seed=0)
        for _ in range(3):
            env.step(1)
    return "played"


@pytest.mark.parametrize("where", ["native", "deaf"])
def test_a_process_that_cannot_be_interrupted_is_killed_and_its_task_named(where, monkeypatch):
    monkeypatch.setattr("benchmarks.runs.watchman.GRACE_SECONDS", 1)
    job_list = [
        Job("play", 1, {"where": where, "tasks": ["good", "bad"]}),  # of several tasks
        Job("play", 1, {"where": where, "tasks": ["good"]}, "toy/good"),
    ]
    failures = Failures(["toy/good", "toy/bad"])
    begun = time.monotonic()
    results = run_jobs(play, job_list, workers=1, failures=failures)
    assert results == {job_list[1]: "played"} and "toy/good" not in failures
    assert "task toy/bad did not return from a call within 1 seconds" in failures.line("toy/bad")
    assert time.monotonic() - begun < 60  # not tried again


def test_a_dying_process_fails_only_its_job_which_is_retried(tmp_path):
    job_list = jobs(a="die once", b="sleep", c="return", d="return")
    job_list[0].arguments["folder"] = tmp_path
    results, failures = run(job_list)
    assert list(results.values()) == ["a done", "b done", "c done", "d done"]
    assert len(failures) == 0


def test_a_dying_process_leaves_out_its_job_of_several_tasks(tmp_path):
    results, failures = run([Job("work", 1, {"task": "a", "does": "die"}), *jobs(b="return")])
    assert list(results.values()) == ["b done"] and len(failures) == 0


@pytest.mark.parametrize("bug, line", [("bug", "KeyError: 'absent'"), ("exit", "SystemExit: 3")])
def test_a_bug_keeps_its_traceback_once_the_others_are_done(bug, line, tmp_path):
    job_list = jobs(a=bug, b="sleep", c="write")
    job_list[2].arguments["folder"] = tmp_path
    with pytest.raises(RuntimeError, match=f"(?s)work a:\nTraceback.*in work\n.*{line}"):
        run(job_list, workers=1)
    assert (tmp_path / "c").read_text() == "done"


def test_fatal_errors_stop_other_jobs(tmp_path):
    job_list = jobs(a="fatal", b="sleep", c="write")
    job_list[2].arguments["folder"] = tmp_path
    with pytest.raises(FatalError, match="the file x is damaged"):
        run(job_list, workers=1)
    assert not (tmp_path / "c").exists()


def test_ctrl_c_waits_for_a_starting_process():
    done = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore the signal
    try:
        with pytest.raises(KeyboardInterrupt), local._uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("made")
        assert done == ["made"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_worker_that_was_killed_while_it_had_no_work_is_replaced():
    [pid] = run_jobs(pid_of, [Job("pid", 1, {})], workers=1, failures=Failures([])).values()
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    results, failures = run(jobs(a="return"))
    assert list(results.values()) == ["a done"] and len(failures) == 0


def pid_of(*, report):
    return os.getpid()


def fill(*, megabytes, report):
    filled = np.ones((megabytes, 1 << 20), dtype=np.uint8)
    return os.getpid(), int(filled[:, 0].sum())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux measures the largest memory of a part of a process")
def test_the_memory_of_a_job_is_not_that_of_an_earlier_one_in_its_process():
    here = np.ones((600, 1 << 20), dtype=np.uint8)  # the parent's memory is not the job's
    job_list = [Job("fill", 1, {"megabytes": megabytes}) for megabytes in (200, 1)]
    local.close_pools()  # a process that starts now is one of this parent
    with silent_board(job_list) as board:
        outcomes = [outcome for _, outcome in LocalEngine().outcomes(fill, job_list, board, 1)]
    assert outcomes[0].value[0] == outcomes[1].value[0]  # one process
    assert outcomes[0].peak_bytes - outcomes[1].peak_bytes > 150e6
    assert outcomes[1].peak_bytes < here.nbytes


INTERRUPTED = """
import signal
import time
from benchmarks.runs.failures import Failures
from benchmarks.runs.parallel import Job, run_jobs

def work(*, report):
    print("begun", flush=True)
    time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background of a script
run_jobs(work, [Job("work", 1, {}), Job("work", 1, {})], workers=2, failures=Failures([]))
"""


def test_ctrl_c_ends_all_at_once():
    """The signal comes when the first process is working and the second is starting."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, stderr = process.communicate(timeout=30)
    assert process.returncode not in (0, None) and "KeyboardInterrupt" in stderr
    assert time.monotonic() - begun < 10
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # another process collects dead processes
            os.killpg(process.pid, 0)
            time.sleep(0.1)


def test_a_process_that_ended_while_it_was_idle_is_replaced_by_a_new_one(monkeypatch):
    """Its pool would start another process, and might not notice the death of that one: the run would hang."""
    pool = ProcessPoolExecutor(1, timeout=0.2)
    assert pool.submit(int).result() == 0
    while pool._processes:
        time.sleep(0.05)
    monkeypatch.setattr(pool, "submit", lambda *call: pytest.fail("the old pool was used"))
    monkeypatch.setattr(local, "_idle", [(pool, time.monotonic())])
    results, failures = run(jobs(a="die", b="return"))
    assert list(results.values()) == ["b done"] and list(failures._failed) == ["a"]


KILLED = """
import os
import signal
import time
from benchmarks.runs.failures import Failures
from benchmarks.runs.parallel import Job, run_jobs

def work(*, parent, report):
    os.kill(parent, signal.SIGKILL)

run_jobs(work, [Job("work", 1, {"parent": os.getpid()})], workers=1, failures=Failures([]))
"""


def test_a_killed_command_leaves_no_words_of_its_helpers():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # the pipe ends when the last process of the command has ended
    done = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGKILL, "", "")
