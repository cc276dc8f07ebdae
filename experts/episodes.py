"""Conversion of episodes that were recorded elsewhere to the project's episodes.

Values are cast to the types of the task's spaces and must have their shapes; actions must lie within the task's bounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.errors import GatitoError
from benchmarks.play.rollout import Episode
from benchmarks.tasks import Task, own_spaces, spaces
from benchmarks.tasks.actions import adapt_actions
from benchmarks.tasks.canonical import adapt_observations
from benchmarks.tasks.conformity import ViolationError
from benchmarks.tasks.observations import FrameStack, pack, packed_dtype, stack, text_of

_TOLERANCE = 1e-6  # by which actions may exceed their bounds: datasets may store them in other types


@dataclass(frozen=True)
class RawEpisode:
    """An episode in the form of its dataset.

    Attributes:
        observations: T + 1 rows, the last one final; for dictionaries, such arrays by name.
        actions: T rows.
        rewards: T rows.
        terminated: T rows.
        truncated: T rows.
        labels: T rows, the actions to imitate; None: the actions taken.
        costs: T rows; None: there is no hidden cost.
        masks: T rows, which actions were legal; None: all.
        success: whether the task was solved; None: unknown.
        seed: the seed of the episode's reset; None: unknown.
        canonical: whether values are in the canonical spaces (``tasks.canonical``) rather than the environment's own.
    """

    observations: Any
    actions: Any
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    labels: Any = None
    costs: np.ndarray | None = None
    masks: np.ndarray | None = None
    success: bool | None = None
    seed: int | None = None
    canonical: bool = False

    @property
    def finished(self) -> bool:
        """Whether the last step terminates or truncates the episode."""
        return len(self.rewards) > 0 and bool(self.terminated[-1] or self.truncated[-1])


def checked_episode(task: Task, dataset: str, number: int, raw: RawEpisode) -> Episode:
    """An episode of a dataset in the types of a task's spaces.

    Raises:
        GatitoError: if values cannot be cast without loss, lie outside the spaces, or have inconsistent lengths.
    """
    observation, action = spaces(task)
    place = f"dataset {dataset} of task {task.name}, episode {number}"
    shown, acted, labelled = raw.observations, raw.actions, raw.labels
    if not raw.canonical:
        shown, acted = _canonical(task, shown, acted, len(raw.rewards), place)
        if labelled is not None:
            _, labelled = _canonical(task, raw.observations, labelled, len(raw.rewards), place)
    actions = _packed(action, acted, f"{place}: actions", bounded=True)
    labels = actions if labelled is None else _packed(action, labelled, f"{place}: labels", bounded=True)
    observations = _packed(observation, shown, f"{place}: observations")
    if not len(observations) - 1 == len(actions) == len(labels) == len(raw.rewards):
        raise GatitoError(
            f"{place}: observations, actions and rewards have different lengths: an episode of T steps has T + 1 "
            "observations, the last where it ended, and T of everything else."
        )
    if isinstance(observation, FrameStack):
        observations = _newest_frames(task, dataset, observations)
    steps = {
        "observations": observations,
        "actions": actions,
        "labels": labels,
        "rewards": np.asarray(raw.rewards, dtype=np.float64),
        "terminated": np.asarray(raw.terminated, dtype=bool),
        "truncated": np.asarray(raw.truncated, dtype=bool),
    }
    if raw.costs is not None:
        steps["costs"] = np.asarray(raw.costs, dtype=np.float64)
    if raw.masks is not None:
        steps["masks"] = _masks(action, raw.masks, actions, place)
    short = [name for name, rows in steps.items() if name != "observations" and rows.shape[:1] != actions.shape[:1]]
    if short or any(steps[name].ndim != 1 for name in ("rewards", "terminated", "truncated", "costs") if name in steps):
        raise GatitoError(f"{place}: {', '.join(short) or 'rewards'} are not one for each of {len(actions)} steps.")
    for name in ("rewards", "costs"):
        if name in steps and not np.isfinite(steps[name]).all():
            raise GatitoError(f"{place}: a {name[:-1]} is not a finite number: give the task its own dataset.")
    seed = number if raw.seed is None else raw.seed
    cost = None if raw.costs is None else float(steps["costs"].sum())
    return Episode(task.name, seed, float(np.sum(steps["rewards"])), len(actions), raw.success, False, steps, cost)


def _masks(space: gym.Space, masks: np.ndarray, actions: np.ndarray, place: str) -> np.ndarray:
    """Masks as booleans; those of a Discrete space must allow the actions taken."""
    masks = np.asarray(masks)
    if masks.ndim != 2 or masks.dtype.kind not in "iub":
        raise GatitoError(
            f"{place}: masks have shape {masks.shape}, type {masks.dtype}: they are to be (steps, actions) of 0 and 1."
        )
    masks = masks.astype(bool)
    if isinstance(space, gym.spaces.Discrete):
        fits = masks.shape == (len(actions), int(space.n))
        if not fits or not masks[np.arange(len(actions)), actions - int(space.start)].all():
            raise GatitoError(f"{place}: masks are of another space than {space}, or forbid what was done.")
    return masks


def _packed(space: gym.Space, values: Any, place: str, *, bounded: bool = False) -> np.ndarray:  # noqa: ANN401
    """Rows of a dataset as packed arrays with the types of the task's space.

    Raises:
        GatitoError: if values cannot be cast without loss, or are outside the space although ``bounded``.
    """
    if isinstance(space, gym.spaces.Dict):
        if not isinstance(values, Mapping) or not set(space) <= set(values):
            have = ", ".join(map(str, values)) if isinstance(values, Mapping) else "one array"
            raise GatitoError(f"{place} have {have}, the task's space is {space}: give it its own dataset.")
        parts = {name: _packed(part, values[name], f"{place} {name}") for name, part in space.items()}
        packed = np.zeros(len(next(iter(parts.values()))), dtype=packed_dtype(space))
        for name, part in parts.items():
            packed[name] = part
        return packed
    if isinstance(values, Mapping):
        raise GatitoError(
            f"{place} have {', '.join(map(str, values))}, the task's space is {space}: give it its own dataset."
        )
    if isinstance(space, gym.spaces.Text):
        if not all(isinstance(text, str) for text in values):
            raise GatitoError(f"{place} are no texts, the task's space is {space}: give it its own dataset.")
        return np.stack([pack(space, text) for text in values])
    rows = np.asarray(values)
    whole = np.issubdtype(space.dtype, np.integer)
    if rows.shape[1:] != space.shape or rows.dtype.kind not in ("iub" if whole else "iubf"):
        raise GatitoError(
            f"{place} have shape {rows.shape[1:]} and type {rows.dtype}, the task's space is {space}: give it its own "
            "dataset."
        )
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        where = ", ".join(map(str, np.argwhere(~np.isfinite(rows))[0]))
        raise GatitoError(
            f"{place} have {rows[~np.isfinite(rows)][0]} at index {where}: give the task its own dataset."
        )
    with np.errstate(over="ignore"):
        cast = rows.astype(space.dtype)
    low, high = -np.inf, np.inf
    if isinstance(space, gym.spaces.Discrete):
        low, high = space.start, space.start + space.n - 1
    elif isinstance(space, gym.spaces.MultiDiscrete):
        low, high = np.zeros_like(space.nvec), space.nvec - 1
    elif bounded and isinstance(space, gym.spaces.Box):
        low, high = space.low - _TOLERANCE, space.high + _TOLERANCE
    lost = not np.array_equal(cast, rows) if whole else not np.isfinite(cast).all()
    if lost or (rows < low).any() or (rows > high).any():
        raise GatitoError(f"{place} are not within the task's space {space}: give the task its own dataset.")
    return cast


def _newest_frames(task: Task, name: str, stacks: np.ndarray) -> np.ndarray:
    if not (np.array_equal(stacks[1:, :-1], stacks[:-1, 1:]) and not stacks[0, :-1].any()):
        raise GatitoError(
            f"dataset {name} of task {task.name} does not stack frames like the task (each observation is the previous "
            "one shifted by a frame, with zeros before the first): record it with the task's own environment."
        )
    return stacks[:, -1]


def unpacked(space: gym.Space, rows: np.ndarray) -> Any:  # noqa: ANN401
    """Packed rows as Minari stores them: dictionaries of arrays, and texts as strings."""
    if isinstance(space, gym.spaces.Dict):
        return {name: unpacked(part, rows[name]) for name, part in space.items()}
    if isinstance(space, gym.spaces.Text):
        return [text_of(row) for row in rows]
    return np.ascontiguousarray(rows)


def _canonical(task: Task, observations: Any, actions: Any, steps: int, place: str) -> tuple[Any, Any]:  # noqa: ANN401
    """Observations and actions of the environment's own spaces, converted to the canonical ones.

    Raises:
        GatitoError: if values are not in these spaces.
    """
    observation, action = own_spaces(task)
    seen, done = adapt_observations(observation), adapt_actions(action)
    try:
        if seen is not None:
            rows = [seen.canonical(_row(observations, step)) for step in range(steps + 1)]
            packed = stack([pack(seen.space, row) for row in rows])
            observations = unpacked(seen.space, packed)
        if done is not None:
            actions = np.stack([done.canonical(_row(actions, step)) for step in range(steps)])
    except ViolationError as error:
        raise GatitoError(f"{place}: an observation {error}: give the task its own dataset.") from error
    return observations, actions


def _row(values: Any, step: int) -> Any:  # noqa: ANN401
    """One step of values that are stored per part of a space, as Minari does."""
    if isinstance(values, Mapping):
        return {name: _row(part, step) for name, part in values.items()}
    return tuple(_row(part, step) for part in values) if isinstance(values, tuple) else values[step]
