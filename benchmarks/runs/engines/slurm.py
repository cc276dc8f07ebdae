"""Jobs on a Slurm cluster: array jobs that submitit writes, submits and reads.

A job whose node is lost, or that is preempted or out of time, is queued again and resumes from what it wrote into the
runs folder. submitit keeps calls and answers as pickles in the folder ``.jobs-XXXX.tmp/slurm``, which belongs to this
user alone and lives as long as the jobs do.
"""

import logging
import os
import shlex
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle

from benchmarks.base.errors import FatalError, text_of, unknown
from benchmarks.base.project import CODE
from benchmarks.runs.engines.job import Outcome
from benchmarks.runs.engines.remote import Answer, Batch, Call, RemoteEngine, perform, shared_folder, unseen
from benchmarks.runs.engines.settings import EngineConfig
from benchmarks.runs.engines.software import Software

_LOOK_SECONDS = 0.5
_QUEUE_SECONDS = 5.0
_LOOKS_BEFORE_LOST = 3  # a requeued job may be missing for a moment, and files come late on network file systems
_MOST_AT_A_TIME = 256
_ENDED_BY_SLURM = "SIGTERM"
_MOST_GRACE_SECONDS = 900.0  # between SIGTERM and SIGKILL
_COMMANDS = ("sinfo", "sbatch", "squeue", "scancel", "scontrol", "srun")


@contextmanager
def open_slurm(config: EngineConfig, folder: Path) -> Iterator["SlurmEngine"]:
    """Check the cluster: its partition, and by a first job that a node of it can do the run's jobs.

    Raises:
        FatalError: if there is no Slurm, no such partition, Slurm refuses the job's settings, or the node lacks the
            run's folder or has other software.
    """
    missing = [command for command in _COMMANDS if shutil.which(command) is None]
    if missing:
        raise FatalError(
            f"engine=slurm needs Slurm's commands, and there is no {missing[0]} here: start gatito on a login node."
        )
    try:
        import submitit
    except ImportError:
        raise FatalError("engine=slurm needs the package submitit: pip install 'gatito[slurm]'.") from None
    logging.getLogger("submitit").setLevel(logging.CRITICAL)
    partitions = dict.fromkeys(_ask("sinfo", "--noheader", "--format=%R").split())
    if config.partition is not None and config.partition not in partitions:
        raise unknown("engine.partition", config.partition, partitions)
    where = [] if config.partition is None else [f"--partition={config.partition}"]
    cores = [line.rpartition("/")[2] for line in _ask("sinfo", "--noheader", "--format=%C", *where).split()]
    capacity = max(1, min(sum(map(int, cores)) // config.cpus, _MOST_AT_A_TIME))
    engine = SlurmEngine(submitit, config, folder, capacity)
    engine.check()
    yield engine


@dataclass(frozen=True)
class _Perform:
    """What a Slurm job calls; submitit calls ``checkpoint`` when the job's time is up."""

    call: Call

    def __call__(self) -> bytes:
        answer = perform(self.call)
        if _ENDED_BY_SLURM in (answer.outcome.death or ""):
            # Slurm takes the job away, in order to queue it again or for good: its worker's death is no answer.
            time.sleep(_MOST_GRACE_SECONDS)
        return cloudpickle.dumps(answer)

    def checkpoint(self) -> Any:  # noqa: ANN401
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass(frozen=True)
class _Look:
    """The first job: the error if its node cannot do the run's jobs; empty if it can."""

    folder: Path
    working_folder: Path
    software: Software

    def __call__(self) -> bytes:
        return cloudpickle.dumps(self.software.difference() or unseen(self.folder, self.working_folder))


class SlurmEngine(RemoteEngine):
    """Runs jobs as Slurm array jobs."""

    def __init__(self, submitit: Any, config: EngineConfig, folder: Path, capacity: int) -> None:  # noqa: ANN401
        """An engine on the cluster of this machine."""
        super().__init__(folder, capacity, config.cpus)
        self._submitit, self._config = submitit, config
        limit = _ask("scontrol", "show", "config").partition("MaxArraySize")[2].split("\n")[0].strip(" =")
        self._most = max(1, int(limit or 1001) - 1)

    def send(self, calls: Sequence[Call], labels: Sequence[str], workers: int) -> Batch:
        """Send calls as array jobs, one array after another."""
        folder = calls[0].folder / "slurm"
        executor = self._executor(folder, labels[0], workers)
        return _SlurmBatch(executor, folder, [_Perform(call) for call in calls], self._most, self._config.retries)

    def check(self) -> None:
        """Run a first job that looks at its node.

        Raises:
            FatalError: if Slurm refuses the job, or the node cannot do the run's jobs.
        """
        with shared_folder(self._folder) as shared:
            folder = shared / "slurm"
            look = _Look(shared, Path.cwd(), Software.here())
            batch = _SlurmBatch(self._executor(folder, "check", 1), folder, [look], self._most)
            try:
                while not (answers := batch.answers()):
                    time.sleep(_LOOK_SECONDS)
            finally:
                batch.cancel()
            [(_, answer)] = answers
            if not isinstance(answer, Answer):
                problem = answer
            else:
                reason = answer.outcome.death or f" ({(answer.outcome.bug or '').strip().splitlines()[-1]})"
                problem = (
                    f"a Slurm job cannot run this gatito{reason}: give all machines the same environment and checkout, "
                    "and a shared runs folder, under the same paths."
                )
            if problem:
                raise FatalError(problem)

    def _executor(self, folder: Path, label: str, workers: int) -> Any:  # noqa: ANN401
        config = self._config
        executor = self._submitit.SlurmExecutor(folder, max_num_timeout=config.retries)
        executor.update_parameters(
            job_name=f"gatito {label}".strip()[:60],
            time=config.minutes,
            cpus_per_task=config.cpus,
            gpus_per_node=config.gpus or None,
            mem=f"{int(config.memory_gb * 1000)}M" if config.memory_gb else None,
            partition=config.partition,
            account=config.account,
            constraint=config.constraint,
            array_parallelism=max(1, workers),
            srun_args=[f"--cpus-per-task={config.cpus}"],  # srun does not take it from the batch job
            setup=[f"export PYTHONPATH={shlex.quote(str(CODE))}${{PYTHONPATH:+:$PYTHONPATH}}"],
            additional_parameters={"requeue": True},
        )
        return executor


@dataclass
class _SlurmBatch:
    """Calls that become array jobs, one array after another.

    A job answers even if its worker dies. One that leaves the queue without an answer was taken away by others (its
    node was lost, or it was cancelled), so it is sent again, at most ``retries`` times.
    """

    executor: Any
    folder: Path
    calls: Sequence[Any]
    most: int
    retries: int = 0
    _sent: int = 0
    _jobs: dict[str, tuple[int, Any]] = field(default_factory=dict)  # by file name of the answer
    _missing: dict[str, int] = field(default_factory=dict)
    _resent: Counter[int] = field(default_factory=Counter)  # by index of the call
    _looked: float = 0.0

    def answers(self) -> list[tuple[int, Any]]:
        if not self._jobs and self._sent < len(self.calls):
            self._submit(range(self._sent, min(self._sent + self.most, len(self.calls))))
            self._sent = min(self._sent + self.most, len(self.calls))
        names = [entry.name for entry in os.scandir(self.folder) if entry.name in self._jobs]
        answers = [(self._jobs[name][0], self._read(name)) for name in names]
        if time.monotonic() - self._looked > _QUEUE_SECONDS:
            self._looked = time.monotonic()
            for name in self._lost():
                place = self._jobs[name][0]
                names.append(name)
                if self._resent[place] < self.retries:
                    self._resent[place] += 1
                    self._submit([place])
                else:
                    answers.append((place, self._death(name)))
        for name in names:
            del self._jobs[name]
        return answers

    def cancel(self) -> None:
        if self._jobs:
            subprocess.run(["scancel", *self._ids()], capture_output=True, check=False)
            self._jobs.clear()
        self._sent = len(self.calls)

    def _submit(self, places: Sequence[int]) -> None:
        """Send calls, by their indices, as one array."""
        try:
            jobs = self.executor.submit_array([self.calls[place] for place in places])
        except Exception as error:
            reason = text_of(error).rpartition("sbatch: error: ")[2][:300]
            raise FatalError(
                f"Slurm refuses the job ({reason}): correct engine.partition, engine.account, engine.constraint, "
                "engine.minutes, engine.cpus, engine.gpus or engine.memory_gb."
            ) from None
        for place, job in zip(places, jobs, strict=True):
            self._jobs[job.paths.result_pickle.name] = (place, job)
        self._looked = time.monotonic()

    def _read(self, name: str) -> Any:  # noqa: ANN401
        _, job = self._jobs[name]
        error = job.exception()
        path = job.paths.result_pickle
        answer = Answer(Outcome(bug=str(error))) if error is not None else cloudpickle.loads(job.result())
        path.unlink(missing_ok=True)
        return answer

    def _lost(self) -> list[str]:
        """Jobs that left the queue without an answer."""
        asked = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={','.join(self._ids())}"]
        done = subprocess.run(asked, capture_output=True, encoding="utf-8", errors="replace", check=False)
        if done.returncode and "Invalid job id" not in done.stderr:
            return []  # the controller is away
        queued = set(done.stdout.split())
        lost = []
        for name, (_, job) in self._jobs.items():
            self._missing[name] = 0 if job.job_id in queued else self._missing.get(name, 0) + 1
            if self._missing[name] >= _LOOKS_BEFORE_LOST:
                lost.append(name)
        return lost

    def _death(self, name: str) -> Answer:
        _, job = self._jobs[name]
        lines = (job.stderr() or "").strip().splitlines()
        said = f", which ended with: {lines[-1][:200]}" if lines else ""
        return Answer(Outcome(death=f" with its Slurm job {job.job_id}{said}"))

    def _ids(self) -> list[str]:
        return sorted({job.job_id.partition("_")[0] for _, job in self._jobs.values()})


def _ask(*command: str) -> str:
    """What one of Slurm's commands says.

    Raises:
        FatalError: if it fails, as without a controller.
    """
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        raise FatalError(
            f"Slurm does not answer ({text_of(done.stderr.strip())[:200]}): start gatito on a login node, or set "
            "engine=local."
        )
    return done.stdout
