"""A network as a policy: observations of many environments and tasks, one cached forward pass per step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput
from benchmarks.tasks import Task
from generalist.network.choice import Chooser, drawn, most_likely
from generalist.network.codec import Window
from generalist.network.inference_cost import InferenceCost
from generalist.network.network import Network, load_network, load_prompts


class NetworkPolicy(Policy):
    """Plays the most likely action of a distilled network, or draws one.

    Attributes:
        network: what plays.
        spent: what its decisions cost so far: one look each.
    """

    distribution_kind: Mapping[str, str] = {}

    def __init__(
        self,
        network: Network,
        name: str = "generalist",
        prompts: Mapping[str, Window] | None = None,
        *,
        draws: bool = False,
    ) -> None:
        """Begin to play.

        Args:
            network: what plays.
            name: of the agent.
            prompts: demonstrations by task name, where the network is shown any.
            draws: whether actions are drawn from the network's distribution.
        """
        self.name = name
        self.network = network
        self.spent = InferenceCost()
        self._prompts = prompts or {}
        self._choose = drawn if draws else most_likely

    @staticmethod
    def load(folder: Path, tasks: Sequence[Task], name: str = "generalist", *, draws: bool = False) -> "NetworkPolicy":
        """The policy of a finished network's folder, as a player of these tasks."""
        return NetworkPolicy(load_network(folder), name, load_prompts(folder, tasks), draws=draws)

    def initial_state(self, num_envs: int) -> Any:  # noqa: ANN401
        """The codec's memory of so many environments."""
        with torch.inference_mode():
            return self.network.codec.new_memory(self.network.model, num_envs, self._prompts)

    @torch.inference_mode()
    def act(
        self,
        inputs: Sequence[PolicyInput],
        state: Any,  # noqa: ANN401
        choose: Chooser | None = None,
    ) -> tuple[list[PolicyOutput], Any]:
        """Decide for all rows; see :meth:`generalist.network.codec.Codec.act`."""
        rows = sum(len(each.env_ids) for each in inputs)
        self.spent.decisions += rows
        self.spent.passes += rows
        with self.spent.timed("seconds"), self.spent.timed("passing"):
            return self.network.codec.act(self.network.model, inputs, state, choose or self._choose), state

    @torch.inference_mode()
    def fork(self, state: Any, sources: np.ndarray, targets: np.ndarray) -> None:  # noqa: ANN401
        """Let environments continue from the memory of others; see :meth:`generalist.network.codec.Codec.fork`."""
        self.network.codec.fork(self.network.model, state, sources, targets)

    def remember(self, state: Any, task: Task, env_ids: np.ndarray, actions: np.ndarray) -> None:  # noqa: ANN401
        """Other actions were done than decided; see :meth:`generalist.network.codec.Codec.remember`."""
        self.network.codec.remember(state, task, env_ids, actions)
