"""Slow: distillation by ``torchrun`` on a cluster has the learning curve of as many processes on one machine."""

import os
import re
import socket
import subprocess
import sys

import pytest

from tests.benchmarks.runs.engines.clusters import free_port, ray_cluster, slurm_cluster
from tests.conftest import ROOT
from tests.generalist.distill.test_distributed import SETTINGS, losses

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]
COMMAND = [str(ROOT / "gatito.py"), *SETTINGS, "distill.gradient_accumulation=2", "distill.dagger.rounds=0"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


@pytest.fixture
def distil(tmp_path):
    """Runs a command in a folder and returns its losses."""

    def run(name, *command, **environment):
        folder = tmp_path / name
        folder.mkdir()
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(losses(folder)) == 12
        return losses(folder)

    return run


def test_two_nodes_of_ray(distil, tmp_path):
    """With the program of the documentation."""
    text = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
    block = re.search(r"```py\n(# torchrun_on_ray.py .*?)```", text, re.DOTALL)
    assert block is not None
    program = tmp_path / "torchrun_on_ray.py"
    program.write_text(block[1], encoding="utf-8")
    here = distil("here", *TORCHRUN, "--standalone", "--nproc-per-node=2", *COMMAND)
    with ray_cluster() as (cluster, _):
        there = distil("there", sys.executable, str(program), "2", "1", *COMMAND, RAY_ADDRESS=cluster.address)
    assert there == pytest.approx(here, rel=1e-6)


def test_a_job_of_slurm(distil, tmp_path):
    here = distil("here", *TORCHRUN, "--standalone", "--nproc-per-node=2", *COMMAND)
    meeting = f"--rdzv-endpoint={socket.gethostname()}:{free_port()}"
    with slurm_cluster(tmp_path / "slurm"):
        srun = ["srun", "--nodes=1", "--ntasks-per-node=1", "--cpus-per-task=2"]
        torchrun = [*TORCHRUN, "--nnodes=1", "--nproc-per-node=2", "--rdzv-backend=c10d", meeting]
        there = distil("there", *srun, *torchrun, *COMMAND)
    assert there == pytest.approx(here, rel=1e-6)
