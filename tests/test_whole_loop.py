"""Slow: runs that are killed again and again end with the table of one that is not."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, gatito

pytestmark = pytest.mark.slow

COMMAND = [
    "suite=classic",
    "name=r",
    "workers=2",
    "model.layers=2",
    "model.width=32",
    "model.feedforward=64",
    "record.steps=4000",
    "record.random_steps=1000",
    "distill.steps=200",
    "distill.windows=16",
    "distill.checkpoint_every=10",
    "evaluate.episodes=10",
    "experts.selection_episodes=5",
    "experts.gate_episodes=10",
    "suite.tasks.classic-cartpole.expert.steps=20000",
    "suite.tasks.classic-acrobot.expert.steps=20000",
    "suite.tasks.classic-lunarlander.expert.steps=20000",
    "suite.tasks.classic-pendulum.expert.steps=8000",
    "suite.tasks.classic-mountaincar.expert.steps=3000",
]
MARKS = {
    "experts": "experts/classic/*/started.json",
    "record": "trajectories/classic/*/*/started.json",
    "distill": "generalist/started.json",
    "evaluate": "scores/*/started.json",
    "report": "scores.csv",
}


def killed(folder, mark, delay):
    """Start the command, kill it and all its processes a while after the stage has begun; whether it was alive then."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "gatito.py"), *COMMAND],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    run = folder / "results" / "runs" / "r"
    while process.poll() is None and not any(run.glob(mark)):
        time.sleep(0.02)
    time.sleep(delay)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def test_twenty_kills_change_nothing(tmp_path):
    rng = random.Random(0)
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    undisturbed.mkdir()
    disturbed.mkdir()
    start = time.monotonic()
    done = gatito(*COMMAND, cwd=undisturbed, timeout=900)
    assert done.returncode == 0, done.stderr
    wall = time.monotonic() - start

    kills = {stage: 0 for stage in MARKS}
    # Late delays reach deep into a stage; the first kills come soon after it began. Long stages get more of them.
    plan = [("experts", wall / 8)] * 7 + [("record", 3)] * 4 + [("distill", 6)] * 5 + [("evaluate", 4)] * 4
    for stage, longest in plan:
        kills[stage] += killed(disturbed, MARKS[stage], rng.uniform(0, longest))
    while sum(kills.values()) < 20:  # a stage that was over too soon: anywhere will do
        assert not (disturbed / "results" / "runs" / "r" / "table.md").exists() or sum(kills.values()) >= 20
        kills["report"] += killed(disturbed, "config.yaml", rng.uniform(0, 3))
    done = gatito(*COMMAND, cwd=disturbed, timeout=900)
    assert done.returncode == 0, done.stderr

    for name in ("scores.csv", "table.md"):
        expected = (undisturbed / "results" / "runs" / "r" / name).read_text()
        assert (disturbed / "results" / "runs" / "r" / name).read_text() == expected, kills
    start = time.monotonic()
    assert gatito(*COMMAND, cwd=disturbed).returncode == 0
    print(f"undisturbed {wall:.0f} s, kills {kills}, again {time.monotonic() - start:.1f} s")
