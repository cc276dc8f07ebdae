"""Metrics: the score of one episode of a task, from which the fraction of the expert is computed."""

from collections.abc import Callable
from typing import Protocol

from benchmarks.base.errors import GatitoError
from benchmarks.base.registry import Registry


class ScoredEpisode(Protocol):
    """The properties of an episode that a metric reads."""

    @property
    def total_return(self) -> float:
        """Undiscounted sum of rewards."""
        ...

    @property
    def length(self) -> int:
        """Steps."""
        ...

    @property
    def success(self) -> bool | None:
        """Whether the task was solved; None if its environment does not say."""
        ...

    @property
    def cost(self) -> float | None:
        """Sum of the hidden cost; None if the environment has none."""
        ...


def undiscounted_return(episode: ScoredEpisode) -> float:
    """The undiscounted sum of rewards."""
    return episode.total_return


def success(episode: ScoredEpisode) -> float:
    """1 where the environment reported success at any step, 0 elsewhere.

    Raises:
        GatitoError: if the environment does not report it.
    """
    if episode.success is None:
        raise GatitoError("the metric is success, but the environment reports none: set metric: return in the suite.")
    return float(episode.success)


METRICS: Registry[Callable[[ScoredEpisode], float]] = Registry(
    "metric", {"return": undiscounted_return, "success": success}, attributes=("__call__",)
)
"""Metrics by name; greater is better."""
