"""What a command costs that has nothing to compute, against importing stable-baselines3, as RL-Zoo3's commands do."""

import functools
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import gatito
from tests.speed.cases import Case, Measurement

_PEER = "importing stable-baselines3"
_FINISHED = [
    "suite=classic",
    "tasks=[cartpole]",
    "workers=1",
    "tracking=none",
    "experts=released",
    "record.env_steps=2000",
    "record.random_env_steps=500",
    "distill.updates=2",
    "evaluate.episodes=2",
    "clips.agents=[]",
]


def cases() -> list[Case]:
    """The help, a list of tasks, and a finished run shown again.

    To reach: a third of what they took at first (3.5, 2.8 and 4.9 s), where the peer takes 1.75 s.
    """
    return [
        Case("start", "gatito --help", _PEER, 1.5, functools.partial(_pair, ["--help"]), cost=True, quick=True),
        Case("start", "gatito stages=[list]", _PEER, 1.9, functools.partial(_pair, ["stages=[list]"]), cost=True),
        Case("start", "a finished run, shown again", _PEER, 1.1, _finished, cost=True),
    ]


def _pair(words: Sequence[str]) -> tuple[Measurement, Measurement]:
    return functools.partial(_command, words, Path.cwd()), _import


def _finished() -> tuple[Measurement, Measurement]:
    folder = tempfile.TemporaryDirectory()

    def again() -> float:
        return _command(_FINISHED, Path(folder.name))

    again()
    return again, _import


def _command(words: Sequence[str], folder: Path) -> float:
    start = time.perf_counter()
    done = gatito(*words, cwd=folder, PYTHONDONTWRITEBYTECODE="")  # compiled once, as the peer's files are
    if done.returncode:
        raise RuntimeError(done.stderr)
    return time.perf_counter() - start


def _import() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import stable_baselines3"], check=True)
    return time.perf_counter() - start
