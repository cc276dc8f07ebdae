"""``retrieval``: takes the recorded action of the nearest recorded observation, without training.

A 1-nearest-neighbour policy over the generalist's recordings is a surprisingly strong baseline (Pari et al. 2022,
arXiv:2112.01511): its gap to the generalist is the contribution of the network. Numbers are scaled by their standard
deviation; images are compared as thumbnails, grids cell by cell, texts as bags of words.

Run by ``gatito stages=[controls]``.
"""

import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.base.artifacts import Artifact
from benchmarks.base.checkpoints import load_state, save_state
from benchmarks.base.compute import Cost
from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput, PolicyPerTask
from benchmarks.play.trajectories import Trajectories
from benchmarks.tasks import Suite, Task, spaces
from benchmarks.tasks.actions import is_legal, sample_action
from generalist.controls.control import MemoryControl
from generalist.network.modalities import Modalities, split_modalities

MEMORY = "memory.safetensors"
_MIN_STD = 1e-6  # of an observation's number; a constant one must not divide by zero
_MOST_NUMBERS = 12_000_000  # in a memory; larger ones keep evenly spaced observations
_TREE_SIZE = 24  # most dimensions for a k-d tree; with more, brute force is as fast
_THUMBNAIL = 12  # pixels per side at which images are compared
_OBJECTS = 11  # MiniGrid's number of objects, the most values of a cell's channels
_WORDS = 64  # hash bins of a text's words
_WORD_WEIGHT = 10.0  # a different instruction weighs more than a different view


class Retrieval(MemoryControl):
    """One memory of observations and actions per task."""

    name = "retrieval"

    @staticmethod
    def make(task: Task, recording: Artifact, artifact: Artifact, runs: Path) -> None:
        """See :func:`memorize`."""
        memorize(task, recording, artifact, runs)

    @staticmethod
    def load(folders: Mapping[str, Path], suite: Suite) -> PolicyPerTask:
        """See :func:`load_retrieval`."""
        return load_retrieval(folders, suite)


class RetrievalPolicy(Policy):
    """Takes the action of each observation's nearest neighbour."""

    name = "retrieval"
    distribution_kind: Mapping[str, str] = {}

    def __init__(self, features: np.ndarray, actions: np.ndarray, numbers: int) -> None:
        """Store the recorded observations and actions.

        Args:
            features: shape ``(n, size)``, see :func:`features_of`.
            actions: shape ``(n, *action shape)``.
            numbers: how many of the features, from the first on, are plain numbers and scaled.
        """
        from scipy.spatial import KDTree  # most commands do not need it

        self._scale = np.ones(features.shape[1], np.float32)
        self._scale[:numbers] = np.maximum(features[:, :numbers].std(axis=0), _MIN_STD)
        self._memory = features / self._scale
        self._squares = np.square(self._memory).sum(axis=1)
        self._tree = KDTree(self._memory) if features.shape[1] <= _TREE_SIZE else None
        self._actions = actions

    def initial_state(self, num_envs: int) -> None:
        """No memory of episodes."""

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """Each row's nearest recorded action."""
        decisions = []
        for rows in inputs:
            queries, _ = features_of(split_modalities(rows.task, rows.observations))
            queries = queries / self._scale
            actions = self._actions[self._nearest(queries)]
            for row in range(len(actions)):
                mask = rows.action_mask(row)
                if mask is not None and not is_legal(spaces(rows.task)[1], actions[row], mask):
                    actions[row] = self._nearest_legal(rows, row, queries[row], mask)
            decisions.append(PolicyOutput(actions, actions))
        return decisions, state

    def _nearest_legal(self, rows: PolicyInput, row: int, query: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The action of the nearest observation after which a legal one was recorded, or else any legal action."""
        space = spaces(rows.task)[1]
        legal = is_legal(space, self._actions, mask)
        if not legal.any():
            return sample_action(space, rows.rngs[row], mask)
        distances = np.where(legal, self._squares - 2 * self._memory @ query, np.inf)
        return self._actions[distances.argmin()]

    def _nearest(self, queries: np.ndarray) -> np.ndarray:
        if self._tree is not None:
            return np.asarray(self._tree.query(queries)[1])
        return np.argmin(self._squares - 2 * queries @ self._memory.T, axis=1)


def features_of(modalities: Modalities) -> tuple[np.ndarray, int]:
    """Features for comparing observations, ``(n, size)`` float32, and the number of plain numbers (the first ones)."""
    rows = len(next(iter(modalities.values())))
    columns = [modalities.get("vector", np.zeros((rows, 0), np.float32))]
    if "image" in modalities:
        columns.append(_thumbnails(modalities["image"]))
    if "grid" in modalities:
        columns.append((modalities["grid"].reshape(rows, -1, 1) == np.arange(_OBJECTS)).reshape(rows, -1))
    if "text" in modalities:
        columns.append(_WORD_WEIGHT * _words(modalities["text"]))
    return np.concatenate([column.astype(np.float32) for column in columns], axis=1), columns[0].shape[1]


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """Thumbnails of the newest frame and of its difference from the oldest, ``(n, 2 * side * side)``."""
    rows, _, height, width = images.shape
    tall, wide = max(1, height // _THUMBNAIL), max(1, width // _THUMBNAIL)
    newest_and_oldest = images[:, [-1, 0], : height // tall * tall, : width // wide * wide].astype(np.float32) / 255
    small = newest_and_oldest.reshape(rows, 2, height // tall, tall, width // wide, wide).mean(axis=(3, 5))
    small[:, 1] = small[:, 0] - small[:, 1]
    return small.reshape(rows, -1)


def _words(texts: np.ndarray) -> np.ndarray:
    """Bags of words, ``(n, _WORDS)``; each distinct text is split once."""
    distinct, numbers = np.unique(texts, axis=0, return_inverse=True)
    bags = np.zeros((len(distinct), _WORDS), np.float32)
    for bag, text in zip(bags, distinct, strict=True):
        for word in bytes(text).rstrip(b"\0").split():
            bag[zlib.crc32(word) % _WORDS] = 1.0
    return bags[numbers.reshape(-1)]


def memorize(task: Task, recording: Artifact, artifact: Artifact, runs: Path) -> None:
    """Store a task's recorded observations and labels in an artifact, unless it exists.

    Raises:
        GatitoError: if the recording is damaged.
    """
    if artifact.is_complete() or artifact.adopt(runs):
        return
    start = time.monotonic()
    artifact.start()
    trajectories = Trajectories(recording.folder)
    features, actions, numbers, steps_before = [], [], 0, 0
    for steps in trajectories.episodes():
        # An episode's last observation has no action.
        of_episode, numbers = features_of(split_modalities(task, steps["observations"][:-1]))
        stride = -(-trajectories.steps * of_episode.shape[1] // _MOST_NUMBERS)
        features.append(of_episode[-steps_before % stride :: stride])
        actions.append(steps["labels"][-steps_before % stride :: stride])
        steps_before += len(of_episode)
    memory = {"features": np.concatenate(features), "actions": np.concatenate(actions), "numbers": numbers}
    save_state(artifact.folder / MEMORY, memory)
    size = memory["features"].size + memory["actions"].size
    cost = Cost(size, 0.0, trajectories.steps, time.monotonic() - start)
    artifact.finish(cost.seconds, **cost.facts())


def load_retrieval(folders: Mapping[str, Path], suite: Suite) -> PolicyPerTask:
    """Load the memories of several tasks as one agent."""
    policies = {}
    for task in suite:
        memory = load_state(folders[task.name] / MEMORY)
        features, actions = memory["features"].numpy(), memory["actions"].numpy()
        policies[task.name] = RetrievalPolicy(features, actions, numbers=memory["numbers"])
    return PolicyPerTask("retrieval", policies)
