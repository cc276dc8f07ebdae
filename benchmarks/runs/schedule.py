"""What a set of jobs costs on a number of workers: wall time, also with nodes that fail."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class NodeFailures:
    """How often workers fail, and what a failure costs.

    Attributes:
        per_hour: failures of a worker per hour of its work.
        checkpoint_seconds: time between two checkpoints of a job; on average half of it is lost.
        restart_seconds: time until another worker continues the job.
    """

    per_hour: float = 0.0
    checkpoint_seconds: float = 300.0
    restart_seconds: float = 60.0


def wall_seconds(jobs: Sequence[float], workers: int, overhead: float = 0.0) -> float:
    """Wall time of jobs that workers take in their order, one after another.

    Args:
        jobs: seconds of each job.
        workers: number of workers.
        overhead: seconds that each job costs beside its work.
    """
    return simulate(jobs, workers, NodeFailures(), np.random.default_rng(0), overhead)


def simulate(
    jobs: Sequence[float], workers: int, failures: NodeFailures, rng: np.random.Generator, overhead: float = 0.0
) -> float:
    """Wall time of jobs on workers that fail at random (a Poisson process) and lose the work since a checkpoint."""
    if not jobs:
        return 0.0
    free = [0.0] * min(max(1, workers), len(jobs))
    for seconds in jobs:
        start = heapq.heappop(free)
        heapq.heappush(free, start + overhead + with_failures(seconds, failures, rng))
    return max(free)


def with_failures(seconds: float, failures: NodeFailures, rng: np.random.Generator) -> float:
    """Wall time of one job, with the work that failures lose."""
    if not failures.per_hour:
        return seconds
    mean = 3600.0 / failures.per_hour
    done = wall = 0.0
    while True:
        lasts = rng.exponential(mean)
        if done + lasts >= seconds:
            return wall + seconds - done
        kept = (done + lasts) // failures.checkpoint_seconds * failures.checkpoint_seconds
        wall += lasts + failures.restart_seconds
        done = max(done, kept)
