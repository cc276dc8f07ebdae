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
_REACH = 2  # a second for --help where the peer takes two
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
    """The help, a list of tasks, and a finished run shown again."""
    commands = {"gatito --help": ["--help"], "gatito stages=[list]": ["stages=[list]"]}
    quick = [
        Case("start", name, _PEER, _REACH, functools.partial(_pair, words), cost=True, quick=True)
        for name, words in commands.items()
    ]
    return [*quick, Case("start", "a finished run, shown again", _PEER, 1, _finished, cost=True)]


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
    done = gatito(*words, cwd=folder)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return time.perf_counter() - start


def _import() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import stable_baselines3"], check=True)
    return time.perf_counter() - start
