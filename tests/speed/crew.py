"""Parallel processes that are set up once and started repeatedly."""

import multiprocessing
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from tests.speed.cases import Measurement


class Crew:
    """One process per part of the work, with one torch thread by default."""

    def __init__(
        self, ready: Callable[..., Measurement], parts: Sequence[tuple[Any, ...]], *, threads: int = 1
    ) -> None:
        """Start the processes; ``ready(*part)``, which must be picklable, makes each one's work."""
        context = multiprocessing.get_context("spawn")
        self._ends: list[Connection] = []
        processes = []
        for part in parts:
            own, other = context.Pipe()
            processes.append(context.Process(target=_work, args=(ready, part, threads, other), daemon=True))
            processes[-1].start()
            other.close()
            self._ends.append(own)
        weakref.finalize(self, _end, processes)

    def rate(self) -> float:
        """The sum of the processes' rates; they start together."""
        for end in self._ends:
            end.recv()
        for end in self._ends:
            end.send(None)
        return sum(end.recv() for end in self._ends)


def _work(ready: Callable[..., Measurement], part: tuple[Any, ...], threads: int, end: Connection) -> None:
    import torch

    torch.set_num_threads(threads)
    work = ready(*part)
    while True:
        end.send(None)
        end.recv()
        end.send(work())


def _end(processes: Sequence[Any]) -> None:
    for process in processes:
        process.kill()
        process.join()
