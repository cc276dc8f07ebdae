"""Slow: every engine gives the same numbers, keeps failures apart, survives lost nodes, and names what is missing."""

import os
import re
import subprocess
import sys
import threading
import time

import pytest

from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.runs.engines.settings import EngineConfig, open_engine
from benchmarks.runs.engines.software import Software
from benchmarks.runs.failures import Failures
from benchmarks.runs.parallel import Job, run_jobs, using
from tests.benchmarks.runs.engines.clusters import ray_cluster, slurm_cluster
from tests.benchmarks.runs.test_parallel import jobs, run
from tests.conftest import gatito
from tests.test_gatito import TINY

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]
RUN = [*TINY, "tasks=[cartpole,pendulum]", "name=r", "workers=2", "experts.selection_episodes=3", "record.shards=3"]
RUN += ["suite.tasks.classic-cartpole.expert.env_steps=600", "suite.tasks.classic-pendulum.expert.env_steps=600"]
RUN += ["experts.gate_episodes=5"]
SAME = ("scores.csv", "**/*.safetensors", "trajectories/**/*.npy", "experts/**/gate.json", "table.csv")


@pytest.fixture(params=["ray", "slurm"])
def cluster(request, tmp_path, monkeypatch):
    """The words that send a run to a real cluster of two cores, and the cluster."""
    monkeypatch.chdir(tmp_path)
    if request.param == "ray":
        with ray_cluster() as (nodes, added):
            yield EngineConfig("ray", address=nodes.address), (nodes, added)
    else:
        with slurm_cluster(tmp_path / "slurm") as slurm:
            yield EngineConfig("slurm", partition="debug"), slurm


def words(config):
    address = {} if config.address is None else {"address": config.address}
    partition = {} if config.partition is None else {"partition": config.partition}
    return [f"engine={config.name}", *(f"engine.{name}={value}" for name, value in (address | partition).items())]


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for pattern in SAME for path in sorted(folder.glob(pattern))}


def test_a_run_has_the_same_numbers_as_on_one_machine(cluster, tmp_path):
    config, _ = cluster
    for name, extra in (("here", []), ("there", words(config))):
        (tmp_path / name).mkdir()
        done = gatito(*RUN, *extra, cwd=tmp_path / name, timeout=900)
        assert done.returncode == 0, done.stderr
    here, there = (files_of(tmp_path / name / "results" / "runs" / "r") for name in ("here", "there"))
    assert len(here) > 20 and here.keys() == there.keys()
    assert [str(path) for path in here if here[path] != there[path]] == []
    assert not list((tmp_path / "there" / "results" / "runs" / "r").glob(".jobs*"))


def test_failures_are_kept_apart(cluster, tmp_path):
    config, _ = cluster
    job_list = jobs(a="return", b="raise", c="die", d="bug", e="return")
    with open_engine(config, tmp_path / "run", 2) as engine, using(engine):
        failures = Failures([str(job.task) for job in job_list])
        with pytest.raises(RuntimeError, match="(?s)work d:\nTraceback.*KeyError: 'absent'"):
            run_jobs(lambda **call: __import__("tests.benchmarks.runs.test_parallel", fromlist=["work"]).work(**call),
                     job_list, workers=2, failures=failures)  # fmt: skip
        assert failures.line("b") == "b cannot continue: fix it."
        assert re.match(r"the worker process of work c died of SIGSEGV\(-11\) in \S+, line \d+", failures.line("c"))
        job_list = jobs(a="fatal", b="sleep", c="write")
        job_list[2].arguments["folder"] = tmp_path
        with pytest.raises(FatalError, match="the file x is damaged"):
            run(job_list, workers=1)
        assert not (tmp_path / "c").exists()


def count_to(*, number, file, report):
    """A job with a checkpoint: it counts in a file, and notes every start."""
    with file.with_suffix(".starts").open("a") as starts:
        starts.write("started\n")
    while (done := int(file.read_text()) if file.exists() else 0) < number:
        time.sleep(0.1)
        file.with_suffix(".new").write_text(str(done + 1))
        file.with_suffix(".new").replace(file)
        report(done + 1)
    return number


def test_jobs_of_a_lost_node_resume_elsewhere_from_their_checkpoint(cluster, tmp_path):
    config, real = cluster
    files = [tmp_path / f"{number}" for number in range(4)]
    job_list = [Job("count", 150, {"number": 150, "file": file}) for file in files]

    def lose():
        while not (files[0].exists() and files[1].exists() and int(files[1].read_text()) > 20):
            time.sleep(0.2)
        if config.name == "ray":
            real[0].remove_node(real[1][1])
            return
        victim, *_ = [job for job in real.running() if job.endswith("_0")]
        subprocess.run(["scancel", "--signal=KILL", "--full", victim], check=False)  # not requeued: it is lost
        subprocess.run(["scontrol", "requeue", next(job for job in real.running() if job.endswith("_1"))], check=True)
        time.sleep(4)
        real.kill_daemon()
        time.sleep(2)
        real.start_daemon()

    with open_engine(config, tmp_path / "run", 2) as engine, using(engine):
        thread = threading.Thread(target=lose)
        thread.start()
        results = run_jobs(count_to, job_list, workers=2, failures=Failures([]))
        thread.join()
    assert list(results.values()) == [150] * 4
    starts = [len(file.with_suffix(".starts").read_text().splitlines()) for file in files]
    assert sum(starts) > 4


@pytest.mark.parametrize("hidden", ["results/runs", "."])
def test_a_worker_that_does_not_see_the_folders_is_named_before_anything_is_made(hidden, tmp_path, monkeypatch):
    """The node has an empty folder in place of the shared one, as a machine without the network file system has."""
    place = tmp_path / "work" / hidden
    place.mkdir(parents=True)
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", str(place)], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    monkeypatch.chdir(tmp_path / "work")
    with ray_cluster(nodes=0) as (cluster, _):
        start = f"mount -t tmpfs none {place}; exec ray start --address={cluster.address} --num-cpus=1 --block"
        environment = os.environ | {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}  # noqa: PTH120
        node = subprocess.Popen(["unshare", "-m", "sh", "-c", start], cwd="/", env=environment,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        try:
            time.sleep(12)
            engine = open_engine(EngineConfig("ray", address=cluster.address), tmp_path / "work/results/runs/r", 1)
            with pytest.raises(FatalError, match=r"worker \S+ does not see the runs folder \S+/results/runs/r: put"):
                engine.__enter__()
        finally:
            node.terminate()
            node.wait(timeout=20)
    assert not list((tmp_path / "work").rglob(".jobs*"))


@pytest.mark.parametrize(
    "there, line",
    [
        (
            lambda here: Software("3.12.1", here.code, here.packages),
            r"worker \S+ has Python 3\.11\.\d+, not 3\.12\.1: ",
        ),
        (lambda here: Software(here.python, "x", here.packages), r"worker \S+ has other code of gatito \(in /"),
        (
            lambda here: Software(here.python, here.code, here.packages | {"torch": "1.0"}),
            r"worker \S+ has torch \S+, not 1\.0: give all machines the same environment",
        ),
    ],
)
def test_other_software_there_gets_one_line(cluster, there, line, tmp_path, monkeypatch):
    config, _ = cluster
    other = there(Software.here())
    monkeypatch.setattr(Software, "here", staticmethod(lambda: other))
    with pytest.raises(FatalError, match=line), open_engine(config, tmp_path / "run", 1):
        pass
    assert not list((tmp_path / "run").glob("*"))


def test_a_partition_that_does_not_exist_and_a_refused_job_get_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with slurm_cluster(tmp_path / "slurm"):
        for settings, line in (
            ({"partition": "debgu"}, "unknown engine.partition 'debgu'. Did you mean 'debug'? Valid: debug."),
            ({"constraint": "gpu80gb"}, "Slurm refuses the job (Batch job submission failed: Invalid feature spec"),
        ):
            with pytest.raises(GatitoError) as error, open_engine(EngineConfig("slurm", **settings), tmp_path / "r", 1):
                pass
            assert str(error.value).startswith(line)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm" / "slurm.conf"))
    with (
        pytest.raises(FatalError, match="Slurm does not answer"),
        open_engine(EngineConfig("slurm"), tmp_path / "r", 1),
    ):
        pass
