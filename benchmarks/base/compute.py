"""The cost of making an agent: parameters, floating-point operations, environment steps and seconds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.base.artifacts import read_manifest


@dataclass(frozen=True)
class Cost:
    """The cost of making an agent, or its part for one task.

    Attributes:
        parameters: trained numbers; for a retrieval agent, the stored numbers.
        flops: floating-point operations of matrix products, convolutions and attention in training, forward and
            backward (a multiplication and an addition count as two).
        env_steps: environment steps that it learned from: its own, or those in its teachers' recordings.
        seconds: wall time of its training.
    """

    parameters: int = 0
    flops: float = 0.0
    env_steps: int = 0
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        """The cost in the format of a manifest's facts; the seconds are the manifest's ``wall_seconds``."""
        return {"cost": {name: value for name, value in asdict(self).items() if name != "seconds"}}

    @staticmethod
    def of(manifest: Mapping[str, Any]) -> "Cost":
        """The cost in a finished artifact's manifest; zero if it has none."""
        return Cost(**manifest["facts"].get("cost", {}), seconds=manifest["wall_seconds"])

    @staticmethod
    def read(folder: Path) -> "Cost":
        """The cost of the finished artifact in a folder.

        Raises:
            ValueError: if it is not finished.
        """
        manifest = read_manifest(folder)
        if manifest is None:
            raise ValueError(f"{folder} is not finished")
        return Cost.of(manifest)

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.parameters + other.parameters,
            self.flops + other.flops,
            self.env_steps + other.env_steps,
            self.seconds + other.seconds,
        )
