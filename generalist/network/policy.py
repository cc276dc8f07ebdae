"""The policy of a network: one cached forward pass per step for many environments and tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.base.project import find
from benchmarks.play.policy import Policy, PolicyInput, PolicyPerTask
from benchmarks.tasks import Task
from generalist.network.batches import Window
from generalist.network.distributions import NetworkOutput, Selector, greedy, sample
from generalist.network.inference_cost import CountingPolicy, InferenceCost
from generalist.network.network import Network, load_network, load_prompts
from generalist.network.shape import SHAPE


class NetworkPolicy(CountingPolicy):
    """Takes the most likely action of a network, or samples one.

    Attributes:
        network: the network that decides.
    """

    distribution_kind: Mapping[str, str] = {}

    def __init__(
        self,
        network: Network,
        name: str = "generalist",
        prompts: Mapping[str, Window] | None = None,
        *,
        deterministic: bool = True,
        select: Selector | None = None,
    ) -> None:
        """Make a policy.

        Args:
            network: the network that decides.
            name: the agent's name.
            prompts: demonstrations by task name, if the network is conditioned on them.
            deterministic: whether it takes the most likely action or samples one.
            select: chooses actions from distributions in another way; None: as ``deterministic`` says.
        """
        self.name = name
        self.network = network
        self.cost = InferenceCost()
        self._prompts = prompts or {}
        self._select = select or (greedy if deterministic else sample)

    @staticmethod
    def load(
        folder: Path,
        tasks: Sequence[Task],
        name: str = "generalist",
        *,
        deterministic: bool = True,
        select: Selector | None = None,
    ) -> "NetworkPolicy":
        """Load the policy from a finished network's folder, to play these tasks."""
        prompts = load_prompts(folder, tasks)
        network = load_network(folder).accelerate()
        return NetworkPolicy(network, name, prompts, deterministic=deterministic, select=select)

    def initial_state(self, num_envs: int) -> Any:  # noqa: ANN401
        """The network's memory for ``num_envs`` environments."""
        with torch.inference_mode():
            return self.network.initial_state(num_envs, self._prompts)

    @torch.inference_mode()
    def act(
        self,
        inputs: Sequence[PolicyInput],
        state: Any,  # noqa: ANN401
        select: Selector | None = None,
    ) -> tuple[list[NetworkOutput], Any]:
        """Decide the actions of all rows; see :meth:`generalist.network.network.Network.act`."""
        rows = sum(len(rows_of_task.env_ids) for rows_of_task in inputs)
        self.cost.decisions += rows
        self.cost.forward_passes += rows
        with self.cost.timed("seconds"), self.cost.timed("network_seconds"):
            return self.network.act(inputs, state, select or self._select), state

    @torch.inference_mode()
    def fork(self, state: Any, sources: np.ndarray, targets: np.ndarray) -> None:  # noqa: ANN401
        """See :meth:`generalist.network.network.Network.fork`."""
        self.network.fork(state, sources, targets)

    def replace_actions(self, state: Any, task: Task, env_ids: np.ndarray, actions: np.ndarray) -> None:  # noqa: ANN401
        """See :meth:`generalist.network.network.Network.replace_actions`."""
        self.network.replace_actions(state, task, env_ids, actions)


def play_networks(tasks: Sequence[Task], folder: str) -> Policy:
    """Finished networks as an agent beside others: ``+agents.NAME.load=generalist.network.policy:play_networks``.

    Args:
        tasks: the tasks that it plays.
        folder: that of a network, or one with a folder for each task, such as FOLDER/games/hex.

    Raises:
        GatitoError: if there is no network for a task.
    """
    place = find(folder)
    if (place / SHAPE).exists():
        return NetworkPolicy.load(place, tasks)
    return PolicyPerTask("networks", {task.name: NetworkPolicy.load(place / task.name, [task]) for task in tasks})
