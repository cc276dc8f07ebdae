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

    Amplified tasks are played with the amplifier; all other tasks, and a control, by the network itself.

    Attributes:
        folder: folder of the network: the generalist, or the artifact that the amplifier made of it.
        options: the amplifier's options; None for a control.
        amplified: the names of the amplified tasks.
        tasks: the tasks that are played.
        deterministic: whether networks take their most likely action or sample one.
        noise: probability per step of a uniform action instead of the player's.
    """

    folder: Path
    options: Mapping[str, Any] | None
    amplified: tuple[str, ...]
    tasks: tuple[Task, ...]
    deterministic: bool = True
    noise: float = 0.0

    def on(self, task: Task, noise: float) -> "PlayerSpec":
        """The player of one task with noise, for recording."""
        return replace(self, tasks=(task,), noise=noise)

    def load(self) -> Policy:
        """Load the policy, in the process that runs the episodes.

        Raises:
            GatitoError: if a file is missing or damaged.
        """
        policy = self._load()
        return Noisy(policy, self.noise) if self.noise else policy

    def _load(self) -> Policy:
        from generalist.network.policy import NetworkPolicy  # imports torch, which a plan of rounds does not need

        if self.options is None:
            return NetworkPolicy.load(self.folder, self.tasks, "control", deterministic=self.deterministic)
        amplifier = make_amplifier(self.options)
        policies: dict[str, Policy] = {}
        for task in self.tasks:
            load = amplifier.policy if task.name in self.amplified else NetworkPolicy.load
            policies[task.name] = load(self.folder, [task], "amplified", deterministic=self.deterministic)
        return PolicyPerTask("amplified", policies)
