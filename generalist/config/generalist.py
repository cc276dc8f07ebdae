"""The settings of ``generalist``: which network plays, and how."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.base.settings import check_settings, setting

SOURCES = ("train", "released", "none")


@dataclass
class GeneralistConfig:
    """Which generalist plays, and how."""

    source: str = setting(
        "train",
        "Where the generalist comes from: train, distilled here; released, with the project; none, there is none, and "
        "other agents are scored.",
        choices=SOURCES,
    )
    released: str | None = setting(
        None,
        "Folder of the released generalist, which stages=[release] writes and generalist=released reads; null: "
        "results/SUITE/generalist.",
    )
    hub: str | None = setting(
        None,
        "Repository of the Hugging Face Hub that the released generalist is fetched from, as generalist=hub:OWNER/NAME "
        "or hub:OWNER/NAME@REVISION.",
    )
    deterministic: bool = setting(
        True,
        "Whether networks take their most likely actions or sample. A deterministic policy can get stuck in loops "
        "under partial observability (Singh et al. 1994).",
    )

    amplified: bool = setting(
        False,
        "Whether the generalist is also scored with its amplifier before any round: what do simulations buy at play "
        "time? For amplifiers that do not train.",
        decides=False,
    )

    def released_folder(self, suite: str) -> Path:
        """Folder of the released generalist of a suite."""
        return Path(self.released or f"results/{suite}/generalist")

    def check(self) -> None:
        """Reject settings that cannot work.

        Raises:
            GatitoError: names the setting.
        """
        check_settings("generalist", self)
