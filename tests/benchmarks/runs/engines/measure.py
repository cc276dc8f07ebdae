"""What a job costs on an engine beside its work, whether one is lost, and whether memory grows.

Run as ``python -m tests.benchmarks.runs.engines.measure local 2000`` on a quiet machine; also ``ray`` and ``slurm``,
which start a cluster of this machine. It prints the overhead a job and the growth of the command's memory.
"""

import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.runs.engines.settings import EngineConfig, open_engine
from benchmarks.runs.failures import Failures
from benchmarks.runs.parallel import Job, run_jobs, using
from tests.benchmarks.runs.engines.clusters import slurm_cluster

WORKERS, SECONDS = 2, 1.0


def work(*, number, seconds, report):
    time.sleep(seconds)
    report(1)
    return number


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure(name, count, seconds=SECONDS):
    """Overhead of a job in seconds, lost jobs, and bytes by which the command grew after the first tenth."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if name == "slurm":
            stack.enter_context(slurm_cluster(folder / "slurm"))
        engine = stack.enter_context(open_engine(EngineConfig(name), folder / "run", WORKERS))
        stack.enter_context(using(engine))
        run_jobs(work, [Job("warm", 1, {"number": 0, "seconds": 0.0})] * 1, workers=WORKERS, failures=Failures([]))
        sizes = []
        jobs = [Job("sleep", 1, {"number": number, "seconds": seconds}) for number in range(count)]
        start = time.monotonic()
        done = run_jobs(
            work, jobs, workers=WORKERS, failures=Failures([]), on_poll=lambda: sizes.append(resident_bytes())
        )
        wall = time.monotonic() - start
    lost = count - len(set(done.values()))
    return (wall * WORKERS - count * seconds) / count, lost, sizes[-1] - sizes[len(sizes) // 10]


if __name__ == "__main__":
    overhead, lost, growth = measure(sys.argv[1], int(sys.argv[2]))
    print(f"{sys.argv[1]}: {overhead:.3f} s of overhead a job, {lost} of {sys.argv[2]} lost, {growth / 1e6:+.1f} MB")
