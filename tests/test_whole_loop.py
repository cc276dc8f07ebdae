"""Slow: runs that are killed repeatedly end with the same table."""

import os
import random
import shutil
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
    "record.env_steps=4000",
    "record.random_env_steps=1000",
    "distill.updates=300",
    "distill.batch_size=16",
    "controls.clone.width=32",
    "clips.seconds=1",
    "distill.checkpoint_every=10",
    "evaluate.episodes=10",
    "experts.selection_episodes=5",
    "experts.gate_episodes=10",
    "suite.tasks.classic-cartpole.expert.env_steps=20000",
    "suite.tasks.classic-acrobot.expert.env_steps=20000",
    "suite.tasks.classic-lunarlander.expert.env_steps=20000",
    "suite.tasks.classic-pendulum.expert.env_steps=8000",
    "suite.tasks.classic-mountaincar.expert.env_steps=6000",
]
STAGES = {  # a stage's files, the maximum delay of a kill after the first one (seconds), and the number of kills
    "experts": ("experts/**/*", 8.0, 8),
    "record": ("trajectories/**/*", 1.5, 4),
    "distill": ("generalist/*", 4.0, 6),
    "controls": ("controls/**/*", 4.0, 4),
    "evaluate": ("scores/**/*", 1.0, 3),
    "clips": ("clips/**/*", 0.5, 2),
    "report": ("table.md", 1.0, 1),
}
PART = {  # files that are removed from a complete stage, so that there is work to kill
    "experts": "experts/classic/lunarlander",
    "record": "trajectories/classic/pendulum/expert",
    "distill": "generalist",
    "controls": "controls/specialist/classic/lunarlander",
    "evaluate": "scores/generalist",
    "clips": "clips/classic/lunarlander",
    "report": "report.json",
}


def start(folder):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "gatito.py"), *COMMAND],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def works_on(run, pattern, since):
    """Whether this stage has written a file since that time."""
    for path in run.glob(pattern):
        try:
            if path.is_file() and path.stat().st_mtime > since:
                return True
        except FileNotFoundError:  # a temporary file that is gone already
            continue
    return False


def kill_in(folder, stage, rng, alone):
    """Run the command and kill it in a stage; False if the stage finished earlier.

    ``alone``: kill the parent only, its workers have to follow by themselves.
    """
    pattern, longest, _ = STAGES[stage]
    run = folder / "results" / "runs" / "r"
    part = run / PART[stage]
    if (part / "manifest.json").exists():
        shutil.rmtree(part)
    elif part.is_file():
        part.unlink()
    process = start(folder)
    since = time.time()
    while process.poll() is None and not works_on(run, pattern, since):
        time.sleep(0.01)
    time.sleep(rng.uniform(0, longest))
    alive = process.poll() is None
    if alive and alone:
        process.kill()
    elif alive:
        os.killpg(process.pid, signal.SIGKILL)
    _, stderr = process.communicate()
    assert "Traceback" not in stderr, stderr
    if alive and alone:
        wait_for_workers(process.pid)
    return alive


def wait_for_workers(group):
    """Workers whose parent was killed end within seconds."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("workers live on after their parent")


def test_twenty_kills_change_nothing(tmp_path):
    rng = random.Random(0)
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    undisturbed.mkdir()
    disturbed.mkdir()
    begun = time.monotonic()
    done = gatito(*COMMAND, cwd=undisturbed, timeout=900)
    assert done.returncode == 0, done.stderr
    wall = time.monotonic() - begun

    kills = dict.fromkeys(STAGES, 0)
    for stage, (_, _, wanted) in STAGES.items():
        for turn in range(3 * wanted):  # a kill that comes too late is tried again
            if kills[stage] < wanted:
                kills[stage] += kill_in(disturbed, stage, rng, alone=turn % 3 == 2)
    done = gatito(*COMMAND, cwd=disturbed, timeout=900)
    assert done.returncode == 0, done.stderr
    assert sum(kills.values()) >= 20, kills

    run = disturbed / "results" / "runs" / "r"
    for name in ("scores.csv", "tasks.csv", "table.csv", "table.md"):
        expected = (undisturbed / "results" / "runs" / "r" / name).read_text()
        # What follows in table.md is the wall time of the parts.
        assert (run / name).read_text().partition(": compute")[0] == expected.partition(": compute")[0], kills
    assert (run / "index.html").exists()
    begun = time.monotonic()
    again = gatito(*COMMAND, cwd=disturbed)
    assert again.returncode == 0 and "f generalist" in again.stdout
    print(f"undisturbed {wall:.0f} s, kills {kills}, once complete {time.monotonic() - begun:.1f} s")
