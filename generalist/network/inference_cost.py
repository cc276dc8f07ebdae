"""Inference-time compute counters."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from benchmarks.play.policy import Policy


@dataclass
class InferenceCost:
    """Compute that a policy has spent on its decisions so far.

    Attributes:
        decisions: actions that were taken in real environments.
        forward_passes: observations that networks processed.
        simulator_steps: steps of cloned environments.
        seconds: wall time of all decisions.
        network_seconds: the part of ``seconds`` spent in networks.
        simulator_seconds: the part of ``seconds`` spent in steps of cloned environments.
    """

    decisions: int = 0
    forward_passes: int = 0
    simulator_steps: int = 0
    seconds: float = 0.0
    network_seconds: float = 0.0
    simulator_seconds: float = 0.0

    @contextmanager
    def timed(self, counter: Literal["seconds", "network_seconds", "simulator_seconds"]) -> Iterator[None]:
        """Add a block's duration to one of the counters of seconds."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, counter, getattr(self, counter) + time.perf_counter() - start)

    def __add__(self, other: "InferenceCost") -> "InferenceCost":
        return InferenceCost(**{name: value + getattr(other, name) for name, value in vars(self).items()})


class CountingPolicy(Policy):
    """A policy that counts its compute.

    Attributes:
        cost: the compute of its decisions so far.
    """

    cost: InferenceCost

    def inference_cost(self) -> dict[str, float]:
        """See :meth:`benchmarks.play.policy.Policy.inference_cost`."""
        return dict(vars(self.cost))
