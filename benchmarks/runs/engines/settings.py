"""The settings of engines, and how a run gets its engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.base.settings import setting
from benchmarks.runs.engines.job import Engine
from benchmarks.runs.engines.local import LocalEngine


@dataclass
class EngineConfig:
    """Where jobs run."""

    name: str = setting(
        "local",
        "Where jobs run: in processes of this machine, on a Ray cluster, or on a Slurm cluster. The machines share the "
        "runs folder and the working folder.",
        choices=("local", "ray", "slurm"),
    )
    address: str | None = setting(
        None,
        "Ray: the cluster's address, HOST:PORT, or auto for the one of this machine; null: start a fresh one here.",
    )
    cpus: int = setting(1, "CPU cores of a job.", at_least=1)
    gpus: int = setting(0, "GPUs of a job.", at_least=0)
    memory_gb: float | None = setting(None, "Memory of a job, in GB; null: not limited.", above=0)
    retries: int = setting(
        3, "How often a job starts again whose node is lost, that was cancelled, or whose time is up.", at_least=0
    )
    partition: str | None = setting(None, "Slurm: the partition; null: the cluster's default.")
    minutes: int = setting(
        1440, "Slurm: time limit of a job; a job that needs more is queued again and resumes.", at_least=1
    )
    account: str | None = setting(None, "Slurm: the account that pays; null: the user's default.")
    constraint: str | None = setting(None, "Slurm: features that nodes must have, such as gpu80gb.")


@contextmanager
def open_engine(config: EngineConfig, folder: Path, workers: int | None) -> Iterator[Engine]:
    """Connect to the engine of a run, and check that its machines can do the run's jobs.

    Args:
        config: the settings.
        folder: the run's folder.
        workers: the number of jobs at a time; None for as many as the engine has room for.

    Raises:
        FatalError: if there is no such cluster, or a machine of it lacks the folder or has other software.
    """
    if config.name == "ray":
        from benchmarks.runs.engines.ray_engine import open_ray

        with open_ray(config, folder, workers) as engine:
            yield engine
    elif config.name == "slurm":
        from benchmarks.runs.engines.slurm import open_slurm

        with open_slurm(config, folder) as engine:
            yield engine
    else:
        yield LocalEngine()
