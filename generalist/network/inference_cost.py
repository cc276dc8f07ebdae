"""Inference-time compute counters."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal


@dataclass
class InferenceCost:
    """What a policy has spent on its decisions so far.

    Attributes:
        decisions: actions that environments got.
        forward_passes: observations that networks were given.
        simulator_steps: steps of cloned environments.
        seconds: wall time of all decisions.
        network_seconds: of these, in networks.
        simulator_seconds: of these, in steps of cloned environments.
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
