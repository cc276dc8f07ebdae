"""The schema of ``conf/generalist/*.yaml``; importing it costs no torch."""

from dataclasses import dataclass

from benchmarks.base.errors import unknown

SOURCES = ("train", "released")


@dataclass
class GeneralistConfig:
    """``conf/generalist/*.yaml``.

    Attributes:
        source: where the generalist comes from. ``train``: distilled here; ``released``: with the project.
        released: folder of the released one.
        deterministic: whether networks play their most likely action, or sample from what they have learnt. A
            deterministic policy can get stuck in loops under partial observability (Singh et al. 1994, Learning without
            state-estimation in partially observable Markovian decision processes).
    """

    source: str = "train"
    released: str = "results/mixed/generalist"
    deterministic: bool = True

    def check(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            GatitoError: naming the setting.
        """
        if self.source not in SOURCES:
            raise unknown("generalist.source", self.source, SOURCES)
