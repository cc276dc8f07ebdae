"""Ctrl-C and SIGTERM."""

import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.base import interrupts
from benchmarks.base.interrupts import Terminated, delayed_interrupts, raise_on_sigterm
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored where the tests run in the background of a script
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_sigterm_is_handled_like_ctrl_c_but_not_in_processes_of_torchrun(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    raise_on_sigterm()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    monkeypatch.delenv("RANK")
    raise_on_sigterm()
    with pytest.raises(KeyboardInterrupt) as caught:
        signal.raise_signal(signal.SIGTERM)
    assert caught.type is Terminated


def test_a_copy_of_a_sigterm_is_no_second_one():
    raise_on_sigterm()
    with pytest.raises(Terminated):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)  # as make passes one on that the whole group has received
    done = False
    interrupts._raised_at.clear()
    with pytest.raises(Terminated), delayed_interrupts():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        done = True
    assert done
    interrupts._raised_at[:] = [time.monotonic() - 2]
    with pytest.raises(Terminated):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("number, kind", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_an_interrupt_waits_for_the_end_of_the_block(number, kind):
    raise_on_sigterm()
    before, done = signal.getsignal(number), False
    with pytest.raises(kind), delayed_interrupts():
        signal.raise_signal(number)
        done = True
    assert done and signal.getsignal(number) is before


def test_a_second_interrupt_does_not_wait():
    done = False
    with pytest.raises(KeyboardInterrupt), delayed_interrupts():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done = True
    assert not done


def test_handlers_that_the_block_installs_are_replaced():
    with delayed_interrupts():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_terminated_command_says_that_the_same_one_resumes(engine, tmp_path):
    if engine == "ray":
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'gatito[ray]'")
    words = ["suite=classic", "tasks=[pendulum]", "stages=[experts]", "tracking=none", f"engine={engine}"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "gatito.py"), *words],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    began = time.monotonic()
    while not list(tmp_path.rglob("environment.json")) and time.monotonic() - began < 120:  # the run has begun
        time.sleep(0.1)
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert stderr.splitlines()[-1] == "error: interrupted. The same command resumes where it stopped.", stderr
    assert "Traceback" not in stderr
