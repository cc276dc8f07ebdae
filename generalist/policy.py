"""A network as a policy: observations of many environments and tasks, one cached forward pass per step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from benchmarks.policy import Decision, Observed
from benchmarks.tasks import spaces
from generalist.codecs.inputs import collate
from generalist.model import Cache
from generalist.network import Network, load_network


class NetworkPolicy:
    """Plays the most likely action of a distilled network."""

    distribution_kind: Mapping[str, str] = {}

    def __init__(self, network: Network, name: str = "generalist") -> None:
        self.name = name
        self._network = network

    @staticmethod
    def load(folder: Path, name: str = "generalist") -> "NetworkPolicy":
        """The policy of a finished network's folder."""
        return NetworkPolicy(load_network(folder), name)

    def initial_state(self, lanes: int) -> Cache | None:
        """An empty cache, or none where the network has no memory."""
        return self._network.model.new_cache(lanes)

    @torch.inference_mode()
    def act(self, observed: Sequence[Observed], state: Any) -> tuple[list[Decision], Any]:  # noqa: ANN401
        """One token per row, of all tasks at once; then each task's own head."""
        codec = self._network.codec
        counts = [len(rows.lanes) for rows in observed]
        items = [codec.encode(rows.task, rows.observations) for rows in observed]
        one_step = [{kind: part[:, None] for kind, part in item.items()} for item in items]
        lanes = torch.from_numpy(np.concatenate([rows.lanes for rows in observed]))
        fresh = torch.from_numpy(np.concatenate([rows.fresh for rows in observed]))
        tokens = codec.embed(collate(one_step, 1))[:, 0]
        hidden = self._network.model.step(tokens, state, lanes, fresh)
        starts = np.cumsum([0, *counts])
        decisions = [
            self._decide(rows, hidden[start : start + count])
            for rows, start, count in zip(observed, starts, counts, strict=False)
        ]
        return decisions, state

    def _decide(self, rows: Observed, hidden: torch.Tensor) -> Decision:
        codec = self._network.codec
        _, space = spaces(rows.task)
        if isinstance(space, gym.spaces.Discrete):
            logits = codec.discrete_logits(hidden, torch.full((len(hidden),), int(space.n)))
        else:
            logits = codec.bin_logits(hidden, int(np.prod(space.shape or ())))
        actions = codec.actions(rows.task, logits)
        return Decision(actions, actions)
