"""Self-imitation: the generalist plays every start several times, and the best episode of each is what it learns from.

Best of several for the same start, so that good play is kept and not lucky starts (Oh et al. 2018, arXiv:1806.05635,
keep what beats the critic; Zelikman et al. 2022, arXiv:2203.14465, what succeeds). Which try is the best is known
afterwards alone, so there is no stronger player whose own score could be told: the gain shows after distillation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.base.settings import check_settings, setting
from benchmarks.tasks import Task
from generalist.amplifiers.amplifier import Planner
from generalist.config.codec import CodecConfig
from generalist.config.settings import ModelConfig
from generalist.network.heads import check_samples
from generalist.network.policy import NetworkPolicy


@dataclass(frozen=True)
class SelfImitation(Planner):
    """The options of ``amplifier=self_imitation``."""

    tries: int = setting(4, "Episodes from each start; the best is learnt from.", at_least=2)

    @property
    def plays_per_start(self) -> int:
        """As many as there are tries."""
        return self.tries

    def check(self, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig) -> None:
        """Refuse settings and tasks that cannot work.

        Raises:
            GatitoError: naming the setting or the task.
        """
        check_settings("amplifier", self)
        for task in tasks:
            check_samples(codec, task)

    def policy(self, folder: Path, tasks: Sequence[Task], name: str, *, deterministic: bool = True) -> NetworkPolicy:
        """The generalist, which samples its actions: tries that are all alike have no best."""
        return NetworkPolicy.load(folder, tasks, name, deterministic=False)
