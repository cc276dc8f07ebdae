"""Real clusters on this machine: Ray with several nodes, and Slurm with one."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=20
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldPort={controller}
SlurmdPort={daemon}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MpiDefault=none
SlurmdTimeout=10
KillWait=5
SchedulerParameters=sched_interval=2,batch_sched_delay=1
NodeName={host} CPUs=2 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def ray_cluster(nodes=2):
    """A Ray cluster whose head has no cores, and nodes of one core each."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'gatito[ray]'")
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_worker_niceness", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        yield cluster, [cluster.add_node(num_cpus=1) for _ in range(nodes)]
    finally:
        cluster.shutdown()


@dataclass
class Slurm:
    """A Slurm cluster of this machine."""

    folder: Path
    processes: dict = field(default_factory=dict)

    def start(self, name, *command):
        log = (self.folder / f"{name}.out").open("wb")
        self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def start_daemon(self):
        self.start("slurmd", "slurmd", "-D", "-f", str(self.folder / "slurm.conf"))

    def kill_daemon(self):
        """As when a node is lost: with all of its jobs' steps."""
        self.processes.pop("slurmd").kill()
        for step in self.steps():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(step, signal.SIGKILL)

    def steps(self):
        """Processes of jobs: those whose environment names this cluster and a job."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                environment = path.read_bytes()
                if b"SLURM_JOB_ID=" in environment and f"SLURM_CONF={self.folder}".encode() in environment:
                    found.append(int(path.parent.name))
        return found

    def running(self):
        return subprocess.run(
            ["squeue", "--noheader", "--array", "--format=%i", "--states=RUNNING"], capture_output=True, text=True
        ).stdout.split()

    def stop(self):
        subprocess.run(["scancel", "--user=root"], capture_output=True)
        for step in self.steps():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(step, signal.SIGKILL)
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            process.kill()


def free_port():
    with socket.socket() as server:
        server.bind(("", 0))
        return server.getsockname()[1]


@contextmanager
def slurm_cluster(folder):
    """A Slurm cluster of this machine, in the variable SLURM_CONF."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'gatito[slurm]'")
    missing = [command for command in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(command) is None]
    if missing:
        pytest.skip(f"Slurm is not installed here (no {missing[0]}): apt-get install slurm-wlm munge")
    if os.getuid():
        pytest.skip("Slurm's daemons can be started here by root only")
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    key, conf = folder / "munge.key", folder / "slurm.conf"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    host = socket.gethostname().partition(".")[0]
    conf.write_text(SLURM_CONF.format(host=host, folder=folder, controller=free_port(), daemon=free_port()))
    files = [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
    slurm, before = Slurm(folder), os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(conf)
    try:
        slurm.start("munged", "munged", "-F", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}", *files)
        slurm.start("slurmctld", "slurmctld", "-D", "-f", str(conf))
        slurm.start_daemon()
        for _ in range(60):
            asked = subprocess.run(["sinfo", "--noheader", "--format=%t"], capture_output=True, text=True)
            if asked.stdout.strip() == "idle":
                break
            time.sleep(1)
        else:
            pytest.skip(f"Slurm does not start here: {asked.stdout}{asked.stderr}{(folder / 'slurmd.log').read_text()}")
        yield slurm
    finally:
        slurm.stop()
        os.environ.pop("SLURM_CONF")
        os.environ |= {} if before is None else {"SLURM_CONF": before}
