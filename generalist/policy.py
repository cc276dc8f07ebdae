"""A network as a policy: observations of many environments and tasks, one cached forward pass per step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from benchmarks.policy import Decision, Observed
from benchmarks.tasks import spaces
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
        encoded = [codec.encode(rows.task, rows.observations) for rows in observed]
        counts = [len(vectors) for vectors in encoded]
        padded = np.zeros((sum(counts), max(vectors.shape[1] for vectors in encoded)), dtype=np.float32)
        starts = np.cumsum([0, *counts])
        for start, vectors in zip(starts, encoded, strict=False):
            padded[start : start + len(vectors), : vectors.shape[1]] = vectors
        sizes = torch.from_numpy(np.repeat([vectors.shape[1] for vectors in encoded], counts))
        lanes = torch.from_numpy(np.concatenate([rows.lanes for rows in observed]))
        fresh = torch.from_numpy(np.concatenate([rows.fresh for rows in observed]))
        tokens = codec.embed(torch.from_numpy(padded), sizes)
        hidden = self._network.model.step(tokens, state, lanes, fresh)
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
