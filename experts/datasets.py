"""Export recordings as Minari datasets, and import Minari datasets as experts' trajectories.

Minari (minari.farama.org) is the standard format for offline datasets. An exported dataset contains the whole
recording; the expert's clean labels are in its infos.

Run by ``gatito stages=[export]`` and ``experts=minari``.
"""

import contextlib
import copy
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base import console
from benchmarks.base.errors import GatitoError
from benchmarks.base.files import TEMPORARY, digest, make_folder, place_folder
from benchmarks.play.rollout import Episode, Steps
from benchmarks.play.trajectories import Trajectories
from benchmarks.tasks import Task, own_spaces, spaces
from benchmarks.tasks.actions import adapt_actions
from benchmarks.tasks.canonical import adapt_observations
from benchmarks.tasks.conformity import ViolationError
from benchmarks.tasks.observations import FrameStack, pack, packed_dtype, stack, text_of
from experts.minari_files import MARK, content_digest, data_folder, mark_of, minari_package, open_dataset, report_damage

_LABELS = "labels"  # the key of the clean labels in the infos of gatito's exports
_MASKS = "action_mask"  # the key of the legal actions in these infos
_TOLERANCE = 1e-6  # by which actions may exceed their bounds: datasets may store them in other types


def dataset_id(task: Task, agent: str) -> str:
    """The id of an exported recording, such as ``gatito/classic/cartpole/expert-v0``."""
    return f"gatito/{task.name}/{agent}-v0"


def export_dataset(task: Task, agent: str, trajectories: Trajectories, root: Path) -> str:
    """Write a recording as a Minari dataset below ``root``, unless the same recording is already there.

    The write is atomic. With ``MINARI_DATASETS_PATH`` set to the root, ``minari.load_dataset(id)`` reads the dataset.

    Returns:
        The dataset's id in Minari.

    Raises:
        GatitoError: if the package is missing, or the folder holds a dataset that gatito did not export.
    """
    minari = minari_package()
    name = dataset_id(task, agent)
    root = root.resolve()  # Minari resolves a relative path twice
    target = root / name
    mark = {"recording": trajectories.digest, "labels": True}
    if target.exists():
        known = mark_of(target / "data")
        if known == mark:
            return name
        if known is None:
            raise GatitoError(f"{target} holds a dataset that gatito did not export: move it away.")
    make_folder(root)
    temporary = tempfile.TemporaryDirectory(prefix=".export-", suffix=TEMPORARY, dir=root)
    with temporary as folder, _datasets_in(Path(folder)):
        observation, action = spaces(task)
        rows = zip(trajectories.episodes(), trajectories.seeds, strict=True)
        buffers = (_buffer(minari, observation, steps, int(seed)) for steps, seed in rows)
        dataset = minari.create_dataset_from_buffers(
            name,
            [next(buffers)],
            env=_spec(task),
            observation_space=observation,
            action_space=action,
            algorithm_name=agent,
            author="gatito",
            description=f"{task.name}, played by {agent}, recorded by gatito; infos hold clean labels.",
            jpeg_encoding=False,  # JPEG is lossy
        )
        dataset.storage.update_episodes(buffers)  # one at a time: a recording may be larger than memory
        dataset.storage.update_metadata({MARK: mark})
        for namespace in (Path(folder) / name).parents:
            if namespace != Path(folder) and Path(folder) in namespace.parents:
                _copy_namespace(namespace, root / namespace.relative_to(folder))
        make_folder(target.parent)
        place_folder(Path(folder) / name, target)
    return name


def dataset_episodes(task: Task, name: str, *, warn: bool = False) -> Iterator[Episode]:
    """The episodes of a local Minari dataset, in the format of this project's recordings.

    Values are cast to the types of the task's spaces. Their shapes must match, and actions must be within the task's
    bounds. An episode whose last step neither terminates nor truncates is unfinished and left out.

    Args:
        task: the task that the dataset's agent played.
        name: the dataset's id below Minari's folder, or its folder.
        warn: whether to warn about unfinished episodes that are left out.

    Raises:
        GatitoError: if the package or the dataset is missing, its spaces do not match, it is damaged, or it has fewer
            than two finished episodes, which a score needs.
    """
    finished = unfinished = 0
    with report_damage(task, name):
        dataset = open_dataset(task, name)
        labelled = (mark_of(data_folder(name)) or {}).get("labels") is True
        # Others' datasets have the spaces of the environment itself, gatito's own those that policies see.
        observation, action = spaces(task) if labelled else own_spaces(task)
        for task_space, dataset_space, kind in (
            (observation, dataset.observation_space, "observations"),
            (action, dataset.action_space, "actions"),
        ):
            if not _compatible(task_space, dataset_space):
                raise GatitoError(
                    f"task {task.name} has {kind} {task_space}, dataset {name} has {dataset_space}: give it its own "
                    "dataset."
                )
        for number, data in enumerate(dataset.iterate_episodes()):
            length = len(data.rewards)
            if not length or not (data.terminations[-1] or data.truncations[-1]):
                unfinished += 1
                continue
            if length > task.horizon:
                raise GatitoError(
                    f"dataset {name}: episode {number} has {length} steps, task {task.name} at most {task.horizon}: "
                    "set the task's horizon in the suite, or give it its own dataset."
                )
            finished += 1
            yield _episode(task, name, number, data, labelled)
    if warn and unfinished:
        console.warn(f"dataset {name} of task {task.name}: {unfinished} unfinished episodes are left out.")
    if finished < 2:
        raise GatitoError(
            f"dataset {name} of task {task.name} has {finished} finished episodes, but a score needs two: "
            "give the task a larger one, or leave it out with tasks=[…]."
        )


def dataset_digest(task: Task, name: str) -> str:
    """Digest of a dataset's content.

    Raises:
        GatitoError: if the package or the dataset is missing, or it is damaged.
    """
    with report_damage(task, name):
        open_dataset(task, name)
        files = sorted(path for path in data_folder(name).rglob("*") if path.is_file())
        return digest([[path.name, content_digest(path)] for path in files])


def _episode(task: Task, name: str, number: int, data: Any, labelled: bool) -> Episode:  # noqa: ANN401
    observation, action = spaces(task)
    place = f"dataset {name} of task {task.name}, episode {number}"
    shown, acted = data.observations, data.actions
    if not labelled:
        shown, acted = _canonical(task, shown, acted, len(data.rewards), place)
    actions = _packed(action, acted, f"{place}: actions", bounded=True)
    labels = actions
    if labelled:
        labels = _packed(action, data.infos[_LABELS][: len(actions)], f"{place}: labels", bounded=True)
    observations = _packed(observation, shown, f"{place}: observations")
    if not len(observations) - 1 == len(actions) == len(labels) == len(data.rewards):
        raise GatitoError(f"{place}: observations, actions and rewards have different lengths.")
    if isinstance(observation, FrameStack):
        observations = _newest_frames(task, name, observations)
    steps = {
        "observations": observations,
        "actions": actions,
        "labels": labels,
        "rewards": np.asarray(data.rewards, dtype=np.float64),
        "terminated": np.asarray(data.terminations, dtype=bool),
        "truncated": np.asarray(data.truncations, dtype=bool),
    }
    if labelled and _MASKS in data.infos:
        steps["masks"] = np.asarray(data.infos[_MASKS][: len(actions)], dtype=bool)
    if not np.isfinite(steps["rewards"]).all():
        raise GatitoError(f"{place}: a reward is not a finite number: give the task its own dataset.")
    success = data.infos.get("success") if data.infos else None
    solved = None if success is None else bool(np.any(success))
    return Episode(task.name, number, float(np.sum(steps["rewards"])), len(actions), solved, False, steps)


def _canonical(task: Task, observations: Any, actions: Any, steps: int, place: str) -> tuple[Any, Any]:  # noqa: ANN401
    """An episode's observations and actions in the environment's own spaces, as policies see them.

    Raises:
        GatitoError: if they are not of these spaces.
    """
    observation, action = own_spaces(task)
    seen, done = adapt_observations(observation), adapt_actions(action)
    try:
        if seen is not None:
            rows = [seen.canonical(_row(observations, step)) for step in range(steps + 1)]
            packed = stack([pack(seen.space, row) for row in rows])
            observations = _unpacked(seen.space, packed)
        if done is not None:
            actions = np.stack([done.canonical(_row(actions, step)) for step in range(steps)])
    except ViolationError as error:
        raise GatitoError(f"{place}: an observation {error}: give the task its own dataset.") from error
    return observations, actions


def _row(values: Any, step: int) -> Any:  # noqa: ANN401
    """One step of what Minari stores for each part of a space."""
    if isinstance(values, dict):
        return {name: _row(part, step) for name, part in values.items()}
    return tuple(_row(part, step) for part in values) if isinstance(values, tuple) else values[step]


def _buffer(minari: Any, space: gym.Space, steps: Steps, seed: int) -> Any:  # noqa: ANN401
    # Infos have a row for the reset as well: so the last label is repeated.
    infos = {_LABELS: np.concatenate([steps["labels"], steps["labels"][-1:]])}
    if "masks" in steps:
        infos[_MASKS] = np.concatenate([steps["masks"], steps["masks"][-1:]]).astype(np.int8)
    return minari.data_collector.EpisodeBuffer(
        seed=seed,
        observations=_unpacked(space, steps["observations"]),
        actions=np.asarray(steps["actions"]),
        rewards=steps["rewards"].tolist(),
        terminations=steps["terminated"].tolist(),
        truncations=steps["truncated"].tolist(),
        infos=infos,
    )


def _unpacked(space: gym.Space, rows: np.ndarray) -> Any:  # noqa: ANN401
    if isinstance(space, gym.spaces.Dict):
        return {name: _unpacked(part, rows[name]) for name, part in space.items()}
    if isinstance(space, gym.spaces.Text):
        return [text_of(row) for row in rows]
    return np.ascontiguousarray(rows)


def _packed(space: gym.Space, values: Any, place: str, *, bounded: bool = False) -> np.ndarray:  # noqa: ANN401
    """Rows of a dataset as packed arrays with the types of the task's space.

    Raises:
        GatitoError: if values cannot be cast without loss, or are outside the space although ``bounded``.
    """
    if isinstance(space, gym.spaces.Dict):
        parts = {name: _packed(part, values[name], f"{place} {name}") for name, part in space.items()}
        packed = np.zeros(len(next(iter(parts.values()))), dtype=packed_dtype(space))
        for name, part in parts.items():
            packed[name] = part
        return packed
    if isinstance(space, gym.spaces.Text):
        return np.stack([pack(space, text) for text in values])
    rows = np.asarray(values)
    whole = np.issubdtype(space.dtype, np.integer)
    if rows.shape[1:] != space.shape or rows.dtype.kind not in ("iub" if whole else "iubf"):
        raise GatitoError(f"{place} have shape {rows.shape[1:]} and type {rows.dtype}, the task's space is {space}.")
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


def _compatible(expected: gym.Space, other: gym.Space) -> bool:
    """Whether a dataset's space has the shape of the task's. Types and bounds may differ: values are checked."""
    if isinstance(expected, gym.spaces.Box) and isinstance(other, gym.spaces.Box):  # a FrameStack is stored as a Box
        return expected.shape == other.shape and expected.dtype.kind == other.dtype.kind
    if isinstance(expected, gym.spaces.Dict) and isinstance(other, gym.spaces.Dict):
        return set(expected) == set(other) and all(_compatible(expected[name], other[name]) for name in expected)
    if isinstance(expected, gym.spaces.Tuple) and isinstance(other, gym.spaces.Tuple):
        pairs = list(zip(expected.spaces, other.spaces, strict=False))
        return len(expected.spaces) == len(other.spaces) and all(_compatible(*pair) for pair in pairs)
    if isinstance(expected, gym.spaces.Text) and isinstance(other, gym.spaces.Text):
        return True
    return expected == other


def _spec(task: Task) -> Any:  # noqa: ANN401
    """Gymnasium's spec of the environment; None for families that this project wraps or modifies."""
    if task.family != "registered":
        return None
    spec = copy.deepcopy(gym.spec(task.env_id.rpartition(":")[2]))
    spec.kwargs, spec.max_episode_steps = dict(task.kwargs), task.horizon
    try:
        spec.to_json()
    except ValueError:  # registered with a class instead of an import path: it cannot be serialised
        return None
    return spec


@contextlib.contextmanager
def _datasets_in(folder: Path) -> Iterator[None]:
    """Set Minari's datasets folder, which it reads from an environment variable."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before


def _copy_namespace(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file() and not (target / path.name).exists():
            shutil.copyfile(path, target / path.name)
