"""The player of a round, described so that another process can load it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.play.policy import Noisy, Policy, PolicyPerTask
from benchmarks.tasks import Task
from generalist.amplifiers import make_amplifier


@dataclass(frozen=True)
class PlayerSpec:
    """A player of a round; picklable.

    On the tasks that are amplified, the amplifier plays; on all others, and without an amplifier, the network itself.

    Attributes:
        folder: of the artifact that plays: the generalist, or what the amplifier made of it.
        options: of the amplifier; None: a control, which has none.
        amplified: the names of the tasks that are amplified.
        tasks: all that the player plays.
        deterministic: whether networks play their most likely action, or sample one.
        noise: probability per step of a uniform action in place of the player's.
    """

    folder: Path
    options: Mapping[str, Any] | None
    amplified: tuple[str, ...]
    tasks: tuple[Task, ...]
    deterministic: bool = True
    noise: float = 0.0

    def on(self, task: Task, noise: float) -> "PlayerSpec":
        """The player of one task, with noise, as it is recorded."""
        return replace(self, tasks=(task,), noise=noise)

    def load(self) -> Policy:
        """Make the policy, in the process that plays.

        Raises:
            GatitoError: if a file is missing or damaged.
        """
        policy = self._load()
        return Noisy(policy, self.noise) if self.noise else policy

    def _load(self) -> Policy:
        from generalist.network.policy import NetworkPolicy  # here: a plan of rounds needs no torch

        if self.options is None:
            return NetworkPolicy.load(self.folder, self.tasks, "control", deterministic=self.deterministic)
        amplifier = make_amplifier(self.options)
        policies: dict[str, Policy] = {}
        for task in self.tasks:
            load = amplifier.policy if task.name in self.amplified else NetworkPolicy.load
            policies[task.name] = load(self.folder, [task], "amplified", deterministic=self.deterministic)
        return PolicyPerTask("amplified", policies)
