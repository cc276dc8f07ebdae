"""A network as a policy: observations of many environments and tasks, one cached forward pass per step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.play.policy import Policy, PolicyInput
from benchmarks.tasks import Task
from generalist.network.batches import Window
from generalist.network.distributions import NetworkOutput, Selector, greedy, sample
from generalist.network.inference_cost import InferenceCost
from generalist.network.network import Network, load_network, load_prompts


class NetworkPolicy(Policy):
    """Plays the most likely action of a distilled network, or samples one.

    Attributes:
        network: what plays.
        spent: what its decisions cost so far: one forward pass each.
    """

    distribution_kind: Mapping[str, str] = {}

    def __init__(
        self,
        network: Network,
        name: str = "generalist",
        prompts: Mapping[str, Window] | None = None,
        *,
        deterministic: bool = True,
    ) -> None:
        """Begin to play.

        Args:
            network: what plays.
            name: of the agent.
            prompts: demonstrations by task name, where the network is shown any.
            deterministic: whether it plays the most likely action, or samples one.
        """
        self.name = name
        self.network = network
        self.spent = InferenceCost()
        self._prompts = prompts or {}
        self._select = greedy if deterministic else sample

    @staticmethod
    def load(
        folder: Path, tasks: Sequence[Task], name: str = "generalist", *, deterministic: bool = True
    ) -> "NetworkPolicy":
        """The policy of a finished network's folder, as a player of these tasks."""
        return NetworkPolicy(load_network(folder), name, load_prompts(folder, tasks), deterministic=deterministic)

    def initial_state(self, num_envs: int) -> Any:  # noqa: ANN401
        """The network's memory of so many environments."""
        with torch.inference_mode():
            return self.network.initial_state(num_envs, self._prompts)

    @torch.inference_mode()
    def act(
        self,
        inputs: Sequence[PolicyInput],
        state: Any,  # noqa: ANN401
        select: Selector | None = None,
    ) -> tuple[list[NetworkOutput], Any]:
        """Decide for all rows; see :meth:`generalist.network.network.Network.act`."""
        rows = sum(len(rows_of_task.env_ids) for rows_of_task in inputs)
        self.spent.decisions += rows
        self.spent.forward_passes += rows
        with self.spent.timed("seconds"), self.spent.timed("network_seconds"):
            return self.network.act(inputs, state, select or self._select), state

    @torch.inference_mode()
    def fork(self, state: Any, sources: np.ndarray, targets: np.ndarray) -> None:  # noqa: ANN401
        """See :meth:`generalist.network.network.Network.fork`."""
        self.network.fork(state, sources, targets)

    def replace_actions(self, state: Any, task: Task, env_ids: np.ndarray, actions: np.ndarray) -> None:  # noqa: ANN401
        """See :meth:`generalist.network.network.Network.replace_actions`."""
        self.network.replace_actions(state, task, env_ids, actions)
