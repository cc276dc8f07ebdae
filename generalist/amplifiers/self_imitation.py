"""Self-imitation: the generalist plays every start several times and learns from the best episode of each.

Episodes are compared within the same start, to keep good play rather than lucky starts. (Oh et al. 2018,
arXiv:1806.05635, keep episodes that beat the critic; Zelikman et al. 2022, arXiv:2203.14465, those that succeed.) The
best episode is known only in hindsight, so the amplified policy has no score; the gain shows after distillation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.base.settings import check_settings, setting
from benchmarks.tasks import Task
from benchmarks.tasks.overseer import check_costs
from generalist.amplifiers.amplifier import Planner
from generalist.config.codec import CodecConfig
from generalist.config.objective import cost_weight
from generalist.config.settings import ModelConfig
from generalist.network.heads import check_samples
from generalist.network.policy import NetworkPolicy


@dataclass(frozen=True)
class SelfImitation(Planner):
    """The options of ``amplifier=self_imitation``."""

    tries: int = setting(4, "Episodes from each start; the best one is learned.", at_least=2)

    cost_weight: float = cost_weight()

    @property
    def plays_per_start(self) -> int:
        """The number of tries."""
        return self.tries

    def check(self, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig) -> None:
        """Reject settings and tasks that cannot work.

        Raises:
            GatitoError: names the setting or the task.
        """
        check_settings("amplifier", self)
        check_costs("amplifier.cost_weight", self.cost_weight, tasks)
        for task in tasks:
            check_samples(codec, task)

    def policy(self, folder: Path, tasks: Sequence[Task], name: str, *, deterministic: bool = True) -> NetworkPolicy:
        """The generalist with sampled actions, so that tries differ."""
        return NetworkPolicy.load(folder, tasks, name, deterministic=False)
