"""What thinking costs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class InferenceCost:
    """What a policy has spent on its decisions so far.

    Attributes:
        decisions: actions that the world got.
        passes: observations that networks were asked about.
        steps: of imagined environments.
        seconds: of thought, of which
        passing: were spent in networks, and
        stepping: in imagined environments' steps.
    """

    decisions: int = 0
    passes: int = 0
    steps: int = 0
    seconds: float = 0.0
    passing: float = 0.0
    stepping: float = 0.0

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add a block's duration to one of the seconds."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, what, getattr(self, what) + time.perf_counter() - start)

    def __add__(self, other: "InferenceCost") -> "InferenceCost":
        return InferenceCost(**{name: value + getattr(other, name) for name, value in vars(self).items()})
