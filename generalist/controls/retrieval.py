"""``retrieval``: plays the recorded action of the nearest recorded observation; no training at all.

A 1-nearest-neighbour policy over the recordings that the generalist learns from is a surprisingly strong baseline (Pari
et al. 2022, arXiv:2112.01511): what a network adds to the data is the gap between the two. Numbers are scaled by their
standard deviation; images are compared small, grids cell by cell, texts by the words in them.

Run by ``gatito stages=[controls]``.
"""

import time
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.base.artifacts import Artifact
from benchmarks.base.checkpoints import load_state, save_state
from benchmarks.base.compute import Cost
from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput, PolicyPerTask
from benchmarks.play.trajectories import Trajectories
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.playing import Agent
from benchmarks.tasks import Suite, Task
from generalist.config.recipe import retrieval_artifact
from generalist.controls.control import Control
from generalist.network.modalities import Modalities, split_modalities

MEMORY = "memory.safetensors"
_LEAST_DEVIATION = 1e-6  # of an observation's number; one that never changes must not divide by zero
_MOST_NUMBERS = 12_000_000  # in a memory; of larger ones, evenly spaced observations are kept
_TREE_SIZE = 24  # a tree finds neighbours in so many dimensions; beyond, comparing with all is as quick
_THUMBNAIL = 12  # images are compared at so many pixels a side
_OBJECTS = 11  # MiniGrid's, the most values of a cell's channels
_WORDS = 64  # a text's words fall into so many bins
_WORD_WEIGHT = 10.0  # another instruction weighs more than another view


class Retrieval(Control):
    """A memory per task."""

    def memories(self) -> dict[str, Artifact]:
        """The memories by task name."""
        run, recordings = self.context.run, self.context.recordings
        return {task: retrieval_artifact(run, task, recording) for task, recording in recordings.items()}

    def train(self) -> None:
        """Make the memories that are not there."""
        run, memories = self.context.run, self.memories()
        for task in run.survivors():
            memorize(task, self.context.recordings[task.name], memories[task.name], run.runs_folder)

    def agent(self) -> Agent | None:
        """The memories, played as one agent; None: there are none."""
        suite, memories = self.context.run.survivors("evaluate"), self.memories()
        if not memories:
            return None
        load = partial(load_retrieval, {name: artifact.folder for name, artifact in memories.items()}, suite)
        return Agent(AgentId("retrieval"), load, memories)


class RetrievalPolicy(Policy):
    """The nearest neighbour of each observation."""

    name = "retrieval"
    distribution_kind: Mapping[str, str] = {}

    def __init__(self, features: np.ndarray, actions: np.ndarray, numbers: int) -> None:
        """Remember.

        Args:
            features: shape ``(n, size)``, see :func:`features_of`.
            actions: shape ``(n, *action shape)``.
            numbers: how many of the features are plain numbers, to be scaled.
        """
        from scipy.spatial import KDTree  # here: most commands do not need it

        self._scale = np.ones(features.shape[1], np.float32)
        self._scale[:numbers] = np.maximum(features[:, :numbers].std(axis=0), _LEAST_DEVIATION)
        self._memory = features / self._scale
        self._squares = np.square(self._memory).sum(axis=1)
        self._tree = KDTree(self._memory) if features.shape[1] <= _TREE_SIZE else None
        self._actions = actions

    def initial_state(self, num_envs: int) -> None:
        """It remembers nothing of an episode."""

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """Each row's nearest recorded action."""
        decisions = []
        for rows in inputs:
            asked, _ = features_of(split_modalities(rows.task, rows.observations))
            actions = self._actions[self._nearest(asked / self._scale)]
            decisions.append(PolicyOutput(actions, actions))
        return decisions, state

    def _nearest(self, asked: np.ndarray) -> np.ndarray:
        if self._tree is not None:
            return np.asarray(self._tree.query(asked)[1])
        return np.argmin(self._squares - 2 * asked @ self._memory.T, axis=1)


def features_of(parts: Modalities) -> tuple[np.ndarray, int]:
    """What observations are compared by, ``(n, size)`` float32, and how many of them are plain numbers (the first)."""
    rows = len(next(iter(parts.values())))
    columns = [parts.get("vector", np.zeros((rows, 0), np.float32))]
    if "image" in parts:
        columns.append(_thumbnails(parts["image"]))
    if "grid" in parts:
        columns.append((parts["grid"].reshape(rows, -1, 1) == np.arange(_OBJECTS)).reshape(rows, -1))
    if "text" in parts:
        columns.append(_WORD_WEIGHT * _words(parts["text"]))
    return np.concatenate([column.astype(np.float32) for column in columns], axis=1), columns[0].shape[1]


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """The newest frame, and how it differs from the oldest: ``(n, 2 * side * side)``."""
    rows, _, height, width = images.shape
    tall, wide = max(1, height // _THUMBNAIL), max(1, width // _THUMBNAIL)
    newest_and_oldest = images[:, [-1, 0], : height // tall * tall, : width // wide * wide].astype(np.float32) / 255
    small = newest_and_oldest.reshape(rows, 2, height // tall, tall, width // wide, wide).mean(axis=(3, 5))
    small[:, 1] = small[:, 0] - small[:, 1]
    return small.reshape(rows, -1)


def _words(texts: np.ndarray) -> np.ndarray:
    """Which words a text has, ``(n, _WORDS)``; each text is split once."""
    distinct, numbers = np.unique(texts, axis=0, return_inverse=True)
    bags = np.zeros((len(distinct), _WORDS), np.float32)
    for bag, text in zip(bags, distinct, strict=True):
        for word in bytes(text).rstrip(b"\0").split():
            bag[zlib.crc32(word) % _WORDS] = 1.0
    return bags[numbers.reshape(-1)]


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
    features, actions, numbers, seen = [], [], 0, 0
    for steps in trajectories.episodes():
        # An episode's last observation has no action.
        own, numbers = features_of(split_modalities(task, steps["observations"][:-1]))
        stride = -(-trajectories.steps * own.shape[1] // _MOST_NUMBERS)
        features.append(own[-seen % stride :: stride])
        actions.append(steps["labels"][-seen % stride :: stride])
        seen += len(own)
    memory = {"features": np.concatenate(features), "actions": np.concatenate(actions), "numbers": numbers}
    save_state(artifact.folder / MEMORY, memory)
    size = memory["features"].size + memory["actions"].size
    cost = Cost(size, 0.0, trajectories.steps, time.monotonic() - start)
    artifact.finish(cost.seconds, **cost.facts())


def load_retrieval(folders: Mapping[str, Path], suite: Suite) -> PolicyPerTask:
    """The memories of several tasks, played as one agent."""
    policies = {}
    for task in suite:
        memory = load_state(folders[task.name] / MEMORY)
        features, actions = memory["features"].numpy(), memory["actions"].numpy()
        policies[task.name] = RetrievalPolicy(features, actions, numbers=memory["numbers"])
    return PolicyPerTask("retrieval", policies)
