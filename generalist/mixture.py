"""Batches of windows from the recordings of many tasks, each task by its stated weight.

The batch of a training step is a function of the seed and the step alone, so training resumes in the middle of an epoch
with nothing to restore.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch

from benchmarks.errors import GatitoError
from benchmarks.seeds import stream
from benchmarks.tasks import Task, spaces
from benchmarks.trajectories import Trajectories
from generalist.codecs.inputs import Inputs, collate
from generalist.codecs.parts import Parts
from generalist.codecs.step import StepCodec


@dataclass(frozen=True)
class Source:
    """One task's recordings and how they are taught.

    Attributes:
        task: the task.
        trajectories: its recording.
        weight: share of the windows, relative to the other sources.
        soft: whether the recorded distributions are taught where there are any, or the labels alone.
        temperature: see ``StepCodec.targets``.
    """

    task: Task
    trajectories: Trajectories
    weight: float
    soft: bool
    temperature: float


@dataclass(frozen=True)
class Batch:
    """Windows of several tasks, padded at their ends; B windows of L steps.

    Attributes:
        inputs: the observations.
        valid: ``(B, L)``, false where a window is padding.
        discrete: the windows with discrete actions, ``(D,)`` indices.
        counts: ``(D,)`` their numbers of actions.
        probabilities: ``(D, L, actions)`` targets.
        continuous: the windows with continuous actions, ``(C,)`` indices.
        dimensions: ``(C,)`` their numbers of action dimensions.
        normals: ``(C, L, most dimensions, 2)`` targets.
    """

    inputs: Inputs
    valid: torch.Tensor
    discrete: torch.Tensor
    counts: torch.Tensor
    probabilities: torch.Tensor
    continuous: torch.Tensor
    dimensions: torch.Tensor
    normals: torch.Tensor


@dataclass(frozen=True)
class _Window:
    parts: Parts
    targets: np.ndarray
    actions: int  # discrete: number of actions; continuous: 0


class Mixture:
    """Draws batches from sources."""

    def __init__(self, sources: Sequence[Source], codec: StepCodec, *, windows: int, length: int, seed: int) -> None:
        """Args: the sources, the codec that encodes them, windows per batch, steps per window, and the seed.

        Raises:
            GatitoError: if a weight is negative, or all are zero.
        """
        weights = np.array([source.weight for source in sources], dtype=np.float64)
        if (weights < 0).any() or weights.sum() <= 0:
            raise GatitoError("mixture weights must not be negative, and one must be above zero.")
        self._sources = sources
        self._codec = codec
        self._shares = weights / weights.sum()
        self._windows = windows
        self._length = length
        self._seed = seed
        self._ends = [np.cumsum(source.trajectories.lengths) for source in sources]

    def batch(self, step: int) -> Batch:
        """The batch of a training step."""
        rng = stream("mixture", self._seed, step)
        chosen = rng.choice(len(self._sources), size=self._windows, p=self._shares)
        return self._collate([self._draw(int(source), rng) for source in np.sort(chosen)])

    def _draw(self, number: int, rng: np.random.Generator) -> _Window:
        source, ends = self._sources[number], self._ends[number]
        # A step drawn uniformly lies at a uniform place of its window, but for the episode's ends.
        step = int(rng.integers(ends[-1]))
        episode = int(np.searchsorted(ends, step, side="right"))
        length = int(source.trajectories.lengths[episode])
        start = step - int(ends[episode] - length) - int(rng.integers(self._length))
        start = max(0, min(start, length - self._length))
        # Planners and scripts have no distribution: their labels are all there is to learn.
        soft = source.soft and source.trajectories.has("distributions")
        names = ["observations", "labels"] + (["distributions"] if soft else [])
        rows = source.trajectories.window(episode, start, self._length, names)
        kind = source.trajectories.facts["distribution_kind"]
        targets = self._codec.targets(source.task, rows["labels"], rows.get("distributions"), kind, source.temperature)
        space = spaces(source.task)[1]
        actions = int(space.n) if isinstance(space, gym.spaces.Discrete) else 0
        return _Window(self._codec.encode(source.task, rows["observations"]), targets, actions)

    def _collate(self, windows: list[_Window]) -> Batch:
        items = [{kind: part[None] for kind, part in window.parts.items()} for window in windows]
        valid = np.arange(self._length) < np.array([len(window.targets) for window in windows])[:, None]
        discrete = [index for index, window in enumerate(windows) if window.actions]
        continuous = [index for index, window in enumerate(windows) if not window.actions]
        normals = _pad([windows[index].targets for index in continuous], self._length)
        normals[..., 1] = np.maximum(normals[..., 1], 1e-3)  # padding must not divide by zero
        return Batch(
            inputs=collate(items, self._length),
            valid=torch.from_numpy(valid),
            discrete=torch.tensor(discrete, dtype=torch.long),
            counts=torch.tensor([windows[index].actions for index in discrete], dtype=torch.long),
            probabilities=torch.from_numpy(_pad([windows[index].targets for index in discrete], self._length)),
            continuous=torch.tensor(continuous, dtype=torch.long),
            dimensions=torch.tensor([windows[index].targets.shape[1] for index in continuous], dtype=torch.long),
            normals=torch.from_numpy(normals),
        )


def _pad(arrays: list[np.ndarray], length: int) -> np.ndarray:
    """Stack ``(n, a, …)`` arrays into ``(arrays, length, most a, …)``, zeros where one is shorter."""
    if not arrays:
        return np.zeros((0, length, 1, 2), dtype=np.float32)
    width = max(array.shape[1] for array in arrays)
    padded = np.zeros((len(arrays), length, width, *arrays[0].shape[2:]), dtype=np.float32)
    for row, array in zip(padded, arrays, strict=True):
        row[: array.shape[0], : array.shape[1]] = array
    return padded
