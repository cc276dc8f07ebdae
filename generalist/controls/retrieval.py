"""``retrieval``: plays the recorded action of the nearest recorded observation; no training at all.

A 1-nearest-neighbour policy over the recordings that the generalist learns from is a surprisingly strong baseline (Pari
et al. 2022, arXiv:2112.01511): what a network adds to the data is the gap between the two.

Run by ``gatito stages=[controls]``.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.artifacts import Artifact
from benchmarks.checkpoints import load_state, save_state
from benchmarks.compute import Cost
from benchmarks.policy import Decision, Observed, PolicyPerTask
from benchmarks.tasks import Suite, Task
from benchmarks.trajectories import Trajectories
from generalist.codecs.step import to_vectors

MEMORY = "memory.safetensors"
_LEAST_DEVIATION = 1e-6  # of an observation's number; one that never changes must not divide by zero


class RetrievalPolicy:
    """The nearest neighbour of each observation, numbers scaled by their standard deviation in the recording."""

    name = "retrieval"
    distribution_kind: Mapping[str, str] = {}

    def __init__(self, observations: np.ndarray, actions: np.ndarray) -> None:
        """Args: the memory, shapes ``(n, size)`` and ``(n, *action shape)``."""
        from scipy.spatial import KDTree  # here: most commands do not need it

        self._scale = np.maximum(observations.std(axis=0), _LEAST_DEVIATION)
        self._tree = KDTree(observations / self._scale)
        self._actions = actions

    def initial_state(self, lanes: int) -> None:
        """It remembers nothing of an episode."""

    def act(self, observed: Sequence[Observed], state: Any) -> tuple[list[Decision], Any]:  # noqa: ANN401
        """Each row's nearest recorded action."""
        decisions = []
        for rows in observed:
            _, nearest = self._tree.query(to_vectors(rows.task, rows.observations) / self._scale)
            actions = self._actions[nearest]
            decisions.append(Decision(actions, actions))
        return decisions, state


def memorize(task: Task, recording: Artifact, artifact: Artifact, runs: Path) -> None:
    """Keep a task's recorded observations and clean actions as one artifact, unless it is there.

    Raises:
        GatitoError: if the recording is damaged.
    """
    if artifact.is_complete() or artifact.adopt(runs):
        return
    start = time.monotonic()
    artifact.start()
    trajectories = Trajectories(recording.folder)
    episodes = list(trajectories.episodes())
    # An episode's last observation has no action.
    observations = np.concatenate([to_vectors(task, steps["observations"][:-1]) for steps in episodes])
    actions = np.concatenate([steps["labels"] for steps in episodes])
    save_state(artifact.folder / MEMORY, {"observations": observations, "actions": actions})
    cost = Cost(observations.size + actions.size, 0.0, trajectories.steps, time.monotonic() - start)
    artifact.finish(cost.seconds, **cost.facts())


def load_retrieval(folders: Mapping[str, Path], suite: Suite) -> PolicyPerTask:
    """The memories of several tasks, played as one agent."""
    policies = {}
    for task in suite:
        memory = load_state(folders[task.name] / MEMORY)
        policies[task.name] = RetrievalPolicy(memory["observations"].numpy(), memory["actions"].numpy())
    return PolicyPerTask("retrieval", policies)
