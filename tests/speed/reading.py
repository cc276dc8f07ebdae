"""Reading random sequences of recordings: against a raw memory map, HDF5 and Minari, on the same episodes.

Windows are of 32 steps, observations (of frames: stacks of four) and actions, copied out.
All files are in memory already.
"""

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.play.trajectories import Trajectories
from benchmarks.tasks import Task
from tests.speed.cases import Case, Measurement, timed
from tests.speed.tasks import HALF_CHEETAH, record, suite_of

_LENGTH = 32
_COLUMNS = ("observations", "actions")
_STEPS = {HALF_CHEETAH: 20_000, "atari/pong": 4_000}

Window = tuple[int, int]
"""An episode, and a step of it."""


def cases() -> list[Case]:
    """Vectors, and frames, which are kept once and compressed."""
    peers = [
        (HALF_CHEETAH, "a raw memory map", 1 / 1.2, _raw, ()),
        (HALF_CHEETAH, "HDF5", 20, _hdf5, ("h5py",)),
        (HALF_CHEETAH, "Minari", 20, _minari, ("minari", "h5py")),
        ("atari/pong", "Minari, lossless", 10, _minari, ("minari", "h5py")),
    ]
    found = [
        Case(
            "read",
            f"{name}, windows of {_LENGTH} steps",
            against,
            reach,
            functools.partial(_pair, name, peer),
            needs=needs,
            quick=not needs or against == "HDF5",
        )
        for name, against, reach, peer, needs in peers
    ]
    size = Case("read", "atari/pong, bytes", "raw frames, each once", 4, _sizes, cost=True, repetitions=1, quick=True)
    return [*found, size]


def _task(name: str) -> Task:
    return suite_of("mixed", None, name).tasks[0]


def _pair(name: str, peer: Callable[..., Callable[[Window], Any]]) -> tuple[Measurement, Measurement]:
    folder = tempfile.TemporaryDirectory()
    recorded = record(_task(name), _STEPS[name], Path(folder.name) / "trajectories")

    def ours(window: Window) -> None:
        for values in recorded.window(*window, _LENGTH, _COLUMNS).values():
            np.array(values)

    theirs = peer(name, recorded, Path(folder.name))
    return _rate(ours, recorded, folder), _rate(theirs, recorded, folder)


def _rate(read: Callable[[Window], Any], recorded: Trajectories, folder: Any) -> Measurement:
    """Sequences per second, over about a third of a second; the folder exists while they are read."""
    rng = np.random.default_rng(0)
    long_enough = np.flatnonzero(recorded.lengths >= _LENGTH)

    def drawn() -> Window:
        episode = int(rng.choice(long_enough))
        return episode, int(rng.integers(recorded.lengths[episode] - _LENGTH + 1))

    start = time.perf_counter()
    read(drawn())
    count = max(3, min(5_000, int(0.3 / (time.perf_counter() - start))))

    def work() -> int:
        assert folder.name
        for window in windows:
            read(window)
        return count

    windows = [drawn() for _ in range(count)]
    return timed(work)


def _flat(recorded: Trajectories) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """All episodes concatenated, and their starts."""
    columns = {name: np.concatenate([steps[name] for steps in _steps(recorded)]) for name in _COLUMNS}
    return columns, np.concatenate([[0], np.cumsum(recorded.lengths)])


def _steps(recorded: Trajectories) -> list[dict[str, np.ndarray]]:
    return [{**steps, "observations": steps["observations"][:-1]} for steps in recorded.episodes()]


def _raw(name: str, recorded: Trajectories, folder: Path) -> Callable[[Window], None]:
    columns, starts = _flat(recorded)
    for column, values in columns.items():
        np.save(folder / f"{column}.npy", values)
    maps = [np.load(folder / f"{column}.npy", mmap_mode="r") for column in _COLUMNS]

    def read(window: Window) -> None:
        first = starts[window[0]] + window[1]
        for values in maps:
            np.array(values[first : first + _LENGTH])

    return read


def _hdf5(name: str, recorded: Trajectories, folder: Path) -> Callable[[Window], None]:
    import h5py

    columns, starts = _flat(recorded)
    file = h5py.File(folder / "episodes.hdf5", "w")
    sets = [file.create_dataset(column, data=values) for column, values in columns.items()]

    def read(window: Window) -> None:
        first = int(starts[window[0]] + window[1])
        for values in sets:
            values[first : first + _LENGTH]

    return read


def _minari(name: str, recorded: Trajectories, folder: Path) -> Callable[[Window], None]:
    """A dataset as ``gatito stages=[export]`` writes it; Minari reads whole episodes."""
    import minari

    from experts.minari_export import export_dataset

    written = export_dataset(_task(name), "random", recorded, folder / "minari")
    dataset = minari.MinariDataset(folder / "minari" / written / "data")

    def read(window: Window) -> None:
        episode = dataset[window[0]]
        for values in (episode.observations, episode.actions):
            np.array(values[window[1] : window[1] + _LENGTH])

    return read


def _sizes() -> tuple[Measurement, Measurement]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "trajectories"
        recorded = record(_task("atari/pong"), _STEPS["atari/pong"], folder)
        ours = sum(path.stat().st_size for path in folder.glob("*/*"))
        theirs = sum(steps["observations"][:, -1].nbytes for steps in recorded.episodes())
    return lambda: ours, lambda: theirs
