"""What an agent cost: parameters, floating-point operations, environment steps and seconds, measured as it is made."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.base.artifacts import read_manifest


@dataclass(frozen=True)
class Cost:
    """What making an agent (or its part for one task) took.

    Attributes:
        parameters: trained numbers; of a retrieval agent, the numbers that it stores.
        flops: floating-point operations of matrix products, convolutions and attention in training, forward and
            backward (one multiplication and addition count as two).
        env_steps: environment steps that it learnt from: those that it took, or those recorded of its teachers.
        seconds: wall time of its training.
    """

    parameters: int = 0
    flops: float = 0.0
    env_steps: int = 0
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        """As a manifest's facts hold it; the seconds are the manifest's own ``wall_seconds``."""
        return {"cost": {name: value for name, value in asdict(self).items() if name != "seconds"}}

    @staticmethod
    def of(manifest: Mapping[str, Any]) -> "Cost":
        """The cost that a finished artifact's manifest states; nothing where it states none."""
        return Cost(**manifest["facts"].get("cost", {}), seconds=manifest["wall_seconds"])

    @staticmethod
    def read(folder: Path) -> "Cost":
        """The cost of what is finished in a folder.

        Raises:
            ValueError: if nothing is.
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
