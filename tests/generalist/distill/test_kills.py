"""Slow: a distillation with DAgger rounds that is killed at twenty random points ends with the same weights."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, gatito
from tests.test_whole_loop import works_on

pytestmark = pytest.mark.slow

COMMAND = [
    "suite=classic",
    "tasks=[cartpole,pendulum]",
    "name=r",
    "workers=2",
    "tracking=none",
    "experts=released",
    f"experts.released={ROOT / 'results' / 'experts'}",
    "model.layers=2",
    "model.width=32",
    "record.env_steps=2000",
    "record.random_env_steps=500",
    "distill.updates=600",
    "distill.batch_size=16",
    "distill.ema=0.99",
    "distill.dagger.rounds=2",
    "distill.dagger.env_steps=1000",
    "distill.checkpoint_every=15",
]


def kill_once(folder, rng):
    """Whether a distillation was killed after its first write; False if it had already finished."""
    since = time.time()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "gatito.py"), *COMMAND, "stages=[distill]"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    run = folder / "results" / "runs" / "r"
    while process.poll() is None and not works_on(run, "generalist/*", since):
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 2.5))
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    _, stderr = process.communicate()
    assert "Traceback" not in stderr, stderr
    return alive


def test_twenty_kills_of_a_distillation_leave_its_weights_the_same(tmp_path):
    rng = random.Random(1)
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    undisturbed.mkdir()
    done = gatito(*COMMAND, "stages=[experts,record]", cwd=undisturbed)
    assert done.returncode == 0, done.stderr
    shutil.copytree(undisturbed, disturbed)
    done = gatito(*COMMAND, "stages=[distill]", cwd=undisturbed, timeout=600)
    assert done.returncode == 0, done.stderr
    folder = disturbed / "results" / "runs" / "r" / "generalist"
    kills = 0
    for _ in range(60):
        if kills == 20:
            break
        if (folder / "manifest.json").exists():  # it finished before enough kills: start again
            shutil.rmtree(folder)
            for student in (disturbed / "results" / "runs" / "r" / "trajectories").glob("*/*/student-*"):
                shutil.rmtree(student)
        kills += kill_once(disturbed, rng)
    assert kills == 20
    done = gatito(*COMMAND, "stages=[distill]", cwd=disturbed, timeout=600)
    assert done.returncode == 0, done.stderr
    expected = undisturbed / "results" / "runs" / "r" / "generalist"
    for name in ("model.safetensors", "round-1/model.safetensors", "round-2/model.safetensors"):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
