"""A network as a policy: observations of many environments and tasks, one cached forward pass per step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.policy import Decision, Observed
from benchmarks.tasks import Task
from generalist.codecs import Window
from generalist.network import Network, load_network, load_prompts


class NetworkPolicy:
    """Plays the most likely action of a distilled network."""

    distribution_kind: Mapping[str, str] = {}

    def __init__(self, network: Network, name: str = "generalist", prompts: Mapping[str, Window] | None = None) -> None:
        """Args: the network, the agent's name, and demonstrations by task name where the network is shown any."""
        self.name = name
        self._network = network
        self._prompts = prompts or {}

    @staticmethod
    def load(folder: Path, tasks: Sequence[Task], name: str = "generalist") -> "NetworkPolicy":
        """The policy of a finished network's folder, as a player of these tasks."""
        return NetworkPolicy(load_network(folder), name, load_prompts(folder, tasks))

    def initial_state(self, lanes: int) -> Any:  # noqa: ANN401
        """The codec's memory of so many environments."""
        with torch.inference_mode():
            return self._network.codec.new_memory(self._network.model, lanes, self._prompts)

    @torch.inference_mode()
    def act(self, observed: Sequence[Observed], state: Any) -> tuple[list[Decision], Any]:  # noqa: ANN401
        """Decide for all rows; see :meth:`generalist.codecs.Codec.act`."""
        return self._network.codec.act(self._network.model, observed, state), state
