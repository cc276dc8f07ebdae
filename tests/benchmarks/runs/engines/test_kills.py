"""Slow: five nodes or jobs are killed at random points of a run, which ends with the numbers of an undisturbed one."""

import random
import subprocess
import sys
import threading
import time

import pytest

from benchmarks.runs.engines.settings import EngineConfig, open_engine
from benchmarks.runs.failures import Failures
from benchmarks.runs.parallel import Job, run_jobs, using
from tests.benchmarks.runs.engines.clusters import slurm_cluster
from tests.benchmarks.runs.engines.test_engines import cluster, count_to, files_of, words  # noqa: F401
from tests.conftest import ROOT, gatito
from tests.test_gatito import TINY

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]
RUN = [*TINY, "tasks=[cartpole,pendulum,acrobot]", "name=r", "workers=2", "evaluate.episodes=20", "record.shards=1"]
RUN += ["experts.gate_episodes=20", "experts.selection_episodes=5", "experts.checkpoints=20", "distill.updates=100"]
RUN += [f"suite.tasks.classic-{task}.expert.env_steps=40_000" for task in ("cartpole", "acrobot")]
RUN += ["suite.tasks.classic-pendulum.expert.env_steps=2_000", "controls=none"]
KILLS, LEAST_KILLS, SEED, MOST_SECONDS = 5, 3, 0, 900  # a fast machine is done before the last ones
AWAY_SECONDS = 3


class RayNodes:
    """Removes one of the two nodes and adds another."""

    def __init__(self, rng, real):
        self._rng = rng
        self._cluster, self._nodes = real

    def kill(self):
        self._cluster.remove_node(self._nodes.pop(self._rng.randrange(len(self._nodes))))
        time.sleep(AWAY_SECONDS)
        self._nodes.append(self._cluster.add_node(num_cpus=1))
        return "node"


class SlurmJobs:
    """Takes a running job back into the queue, cancels one, or kills the node."""

    def __init__(self, rng, real):
        self._rng, self._slurm = rng, real
        self._ways = ["requeue", "scancel", "node", "requeue", "node"]
        rng.shuffle(self._ways)

    def kill(self):
        if not (running := self._slurm.running()):
            return None
        way, job = self._ways.pop(), self._rng.choice(running)
        if way == "requeue":
            subprocess.run(["scontrol", "requeue", job], check=True)
        elif way == "scancel":
            subprocess.run(["scancel", job], check=True)
        else:
            self._slurm.kill_daemon()
            time.sleep(AWAY_SECONDS)
            self._slurm.start_daemon()
        return way


def test_a_job_that_is_queued_again_is_no_dead_one(tmp_path, monkeypatch):
    """Slurm sends SIGTERM to all processes of the job: its worker's death is not to be its answer."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "count"

    def requeue():
        for _ in range(3):  # a job that dies twice has failed
            before = int(file.read_text()) if file.exists() else 0
            while not (file.exists() and int(file.read_text()) > before + 5):
                time.sleep(0.2)
            [job] = slurm.running()
            subprocess.run(["scontrol", "requeue", job], check=True)

    with (
        slurm_cluster(tmp_path / "slurm") as slurm,
        open_engine(EngineConfig("slurm"), tmp_path / "run", 1) as engine,
        using(engine),
    ):
        thread = threading.Thread(target=requeue, daemon=True)
        thread.start()
        job = Job("count", 100, {"number": 100, "file": file})
        assert list(run_jobs(count_to, [job], workers=1, failures=Failures([])).values()) == [100]
        thread.join()
    assert len(file.with_suffix(".starts").read_text().splitlines()) == 4


def test_a_run_whose_nodes_are_killed_has_the_numbers_of_an_undisturbed_one(cluster, tmp_path):  # noqa: F811
    config, real = cluster
    rng = random.Random(SEED)
    killer = RayNodes(rng, real) if config.name == "ray" else SlurmJobs(rng, real)
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    start = time.monotonic()
    done = gatito(*RUN, cwd=tmp_path / "here", timeout=MOST_SECONDS)
    assert done.returncode == 0, done.stderr
    between = 0.4 * (time.monotonic() - start) / KILLS  # the kills themselves take time, too
    killed, command = [], [sys.executable, str(ROOT / "gatito.py"), *RUN, *words(config), "engine.retries=10"]
    with (tmp_path / "log").open("w") as log:
        run = subprocess.Popen(command, cwd=tmp_path / "there", stdout=log, stderr=log)
        start = time.monotonic()
        try:
            while run.poll() is None and time.monotonic() - start < MOST_SECONDS and len(killed) < KILLS:
                time.sleep(rng.uniform(0.5, 1.5) * between)
                if run.poll() is None and (way := killer.kill()):
                    killed.append((way, round(time.monotonic() - start)))
            run.wait(timeout=MOST_SECONDS)
        finally:
            run.kill()
    print(f"{config.name}: {killed}, done after {time.monotonic() - start:.0f} s")
    assert run.returncode == 0, (tmp_path / "log").read_text()
    assert len(killed) >= LEAST_KILLS
    here, there = (files_of(tmp_path / name / "results" / "runs" / "r") for name in ("here", "there"))
    assert len(here) > 15 and here.keys() == there.keys()
    assert [str(path) for path in here if here[path] != there[path]] == []
