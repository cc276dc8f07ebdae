"""Two Ray nodes of one core each against two local processes: the wall time of the same commands, in turn.

Run on a quiet machine of two cores as ``python -m tests.benchmarks.runs.engines.compare training 3`` (training of the
experts of ``classic``) and ``… evaluation 3`` (evaluation of released experts of ``mixed``). Further words go to
gatito.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.benchmarks.runs.engines.clusters import ray_cluster
from tests.conftest import ROOT

COMMON = ["workers=2", "tracking=none"]
TASKS = "acrobot,lunarlander,hopper,walker2d,go-to-local,unlock,reach,peg-insert-side"
COMMANDS = {
    "training": ["suite=classic", "stages=[experts]"],
    "evaluation": [
        "suite=mixed",
        f"tasks=[{TASKS}]",
        "experts=released",
        f"experts.released={ROOT / 'results' / 'experts'}",
        "generalist=none",
        "stages=[experts,evaluate]",
    ],
}


def seconds_of(words: list[str], folder: Path) -> float:
    """Wall time of a command in an empty folder."""
    folder.mkdir()
    start = time.monotonic()
    command, environment = [sys.executable, str(ROOT / "gatito.py"), *words], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.monotonic() - start


def compare(kind: str, repeats: int, words: list[str]) -> None:
    """Print the wall time of every run, and the ratio of the medians."""
    seconds: dict[str, list[float]] = {"local": [], "ray": []}
    with tempfile.TemporaryDirectory() as folder, ray_cluster(nodes=2) as (cluster, _):
        engines = {"local": [], "ray": ["engine=ray", f"engine.address={cluster.address}"]}
        for repeat in range(repeats):
            # Each goes first as often as the other.
            for name in sorted(engines, reverse=bool(repeat % 2)):
                place = Path(folder) / f"{name}-{repeat}"
                seconds[name].append(seconds_of([*COMMANDS[kind], *COMMON, *words, *engines[name]], place))
                print(f"{kind}, {name}: {seconds[name][-1]:.1f} s", flush=True)
    print(f"{kind}: ray / local = {median(seconds['ray']) / median(seconds['local']):.3f}")


if __name__ == "__main__":
    compare(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
