"""Save an environment's state in the middle of an episode, and restore it any number of times.

``save`` copies everything that the rest of the episode depends on: the state of the environment and of its wrappers
(such as the elapsed steps of a time limit), stacked frames, and the last observation. ``restore`` brings the same
environment, or another one of the same task, to that state.

Planners cannot look ahead at random numbers: a restored environment has a new random stream, derived from the
caller's. Future random events are drawn anew; past ones (a hidden map, the index into a wind pattern) are part of the
state. A planner should use an environment of its own: saving does not change an environment, restoring does.

The attributes of all layers (the environment and its wrappers) are copied together, so that shared references stay
shared (a BabyAI instruction refers to a door of the maze). They are pickled in memory, since ``copy.deepcopy`` takes
six times as long for a maze. MuJoCo's simulations are copied by ``mujoco.py``. A layer whose state is not in its
attributes saves itself and all layers inside it by ``state_for_clones()`` and ``become_clone(state, rng)``: Atari
emulators; Box2D's worlds, which are replayed from their seed or rebuilt; and classic control, which has few numbers.

Microseconds, on one core of a busy machine with two:

| environment | save | restore | a step, for comparison |
|---|---|---|---|
| classic control | 4 | 5 | 7 to 46 |
| LunarLander in the air; on the ground | 10 | 45; 590 | 26 |
| MuJoCo, HalfCheetah and Humanoid | 32 to 37 | 23 to 26 | 25 to 160 |
| Meta-World | 65 | 39 | 190 |
| BabyAI, one room; nine rooms | 44; 73 | 23; 40 | 124; 190 |
| Atari | 37 | 239 | 235 |
"""

import copy
import enum
import functools
import io
import pickle
import random
import types
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import branch, stream
from benchmarks.tasks.actions import options_of, split_options
from benchmarks.tasks.guard import Guarded
from benchmarks.tasks.snapshots import mujoco as physics
from benchmarks.tasks.task import Task, make_env

_STREAMS = (np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random)
_TIED = (gym.Space, EnvSpec, *_STREAMS)
_TIED_MODULES = ("pygame.", "mujoco.", "gymnasium.envs.mujoco.mujoco_rendering.")
_KEPT = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, weakref.ref, np.number, np.bool_)
# BabyAI uses its rooms to build a maze; later, only their positions are read, so they need no copies. Rooms refer to
# their neighbours, so each copy would be a cycle that only the garbage collector frees.
_KEPT_MODULES = ("minigrid.core.roomgrid.",)


@dataclass(frozen=True)
class State:
    """A saved state of an environment; later steps do not change it.

    Attributes:
        guard: the guard of the saved environment.
        layers: its other layers, outermost first, down to the one that saves itself (see the module), if any.
        tied: each layer's attributes that are not copied (spaces, windows, simulators, random streams).
        copied: each layer's other attributes and the last observation, pickled; if the outermost layer saves itself
            and the observation is an array, a copy of that array.
        known: the objects that the copies refer to: guard, layers, tied attributes, and constant objects.
        streams: the indices of random streams in ``known``.
        simulations: MuJoCo's simulations, by layer and attribute.
        spoken: the state of the innermost layer if it saves itself.
    """

    guard: Guarded
    layers: tuple[gym.Env, ...]
    tied: list[dict[str, Any]]
    copied: bytes | np.ndarray
    known: list[Any]
    streams: list[int]
    simulations: dict[tuple[int, str], physics.Saved]
    spoken: Any


def save(env: gym.Env) -> State:
    """Save the state of an environment made by ``make_env``.

    Raises:
        GatitoError: if it cannot be copied.
    """
    guard, layers = _parts(env)
    spoken = layers[-1].state_for_clones() if _saves_itself(layers[-1]) else None  # type: ignore[attr-defined]
    copied = layers[:-1] if _saves_itself(layers[-1]) else layers
    tied, free = [], []
    for layer in copied:
        held, own = {}, {}
        for name, value in vars(layer).items():
            (held if _is_tied(value) else own)[name] = value
        tied.append(held)
        free.append(own)
    known = [guard, *layers, *(value for values in tied for value in values.values())]
    if not copied and isinstance(guard.observation, np.ndarray):
        return State(guard, layers, tied, guard.observation.copy(), known, [], {}, spoken)
    written = io.BytesIO()
    pickler = _Pickler(written, known)
    try:
        pickler.dump((free, guard.observation))
    except Exception as error:  # objects that cannot be pickled raise all kinds of errors
        reason = str(error) if isinstance(error, _BeginsAnewError) else f"{type(error).__name__}: {error}"
        raise _refused(guard.task, reason) from error
    simulations = {
        (index, name): physics.save(value)
        for index, values in enumerate(tied)
        for name, value in values.items()
        if physics.is_simulation(value)
    }
    return State(guard, layers, tied, written.getvalue(), known, pickler.streams, simulations, spoken)


def restore(env: gym.Env, state: State, rng: np.random.Generator) -> Any:  # noqa: ANN401
    """Bring an environment to a saved state, with a new random stream.

    Args:
        env: the saved environment, or another one of the same task.
        state: a result of :func:`save`; it can be restored again.
        rng: the new random stream is seeded by one draw of it.

    Returns:
        A copy of the saved observation.

    Raises:
        ValueError: if the state belongs to another task, or the environment has other wrappers.
    """
    guard, layers = _parts(env)
    if guard.task != state.guard.task or [*map(type, layers)] != [*map(type, state.layers)]:
        raise ValueError(f"a state of {state.guard.task}, {state.guard}, does not fit {guard.task}, {env}")
    fresh = branch(rng)
    core = env.unwrapped
    if core._np_random is None:
        env.reset()  # the first reset makes objects that are not copied, such as views of a simulator's memory
        core._np_random = fresh
    known = [guard, *layers]
    for layer, tied in zip(layers, state.tied, strict=False):
        for name, theirs in tied.items():
            if isinstance(theirs, _STREAMS):
                vars(layer)[name] = _renewed(theirs, fresh)
            ours = vars(layer)[name]
            known.append(ours)
            if isinstance(ours, gym.Space) and ours._np_random is not None:
                ours._np_random = fresh  # some environments draw from their spaces
    known += state.known[len(known) :]
    for index in state.streams:
        known[index] = _renewed(known[index], fresh)
    copied: list[dict[str, Any]] = []
    if isinstance(state.copied, bytes):
        copied, guard.observation = _Unpickler(state.copied, known).load()
    else:
        guard.observation = state.copied.copy()
    for layer, attributes, tied in zip(layers, copied, state.tied, strict=False):
        own = vars(layer)
        own.update(attributes)
        if len(own) > len(attributes) + len(tied):  # some attributes were made after the state was saved
            for name in own.keys() - attributes.keys() - tied.keys():
                del own[name]
    for (index, name), saved in state.simulations.items():
        physics.restore(vars(layers[index])[name], saved)
    if _saves_itself(layers[-1]):
        layers[-1].become_clone(state.spoken, fresh)  # type: ignore[attr-defined]
    else:
        core._np_random = fresh
    return guard.current()


def check(task: Task, steps: int = 10) -> None:
    """Reject a task whose environment cannot be cloned.

    Some environments can be copied and yet not restored (a simulator in another process, numbers from a global random
    stream). So a few steps are played twice from one state with the same stream, and compared.

    Raises:
        GatitoError: names the task and the remedy.
    """
    env = make_env(task)
    try:
        mask = env.reset(seed=0)[1].get("action_mask")
        length = len(_play(env, mask, 2 * steps)[0])  # a game may end sooner
        mask = env.reset(seed=0)[1].get("action_mask")
        _, mask = _play(env, mask, min(steps, length // 2))
        state = save(env)
        first, second = ((restore(env, state, stream(0)), _play(env, mask, steps)[0]) for _ in range(2))
        if not _same(first, second):
            raise _refused(task.name, "the same actions and random numbers lead from one state to different ones")
    finally:
        env.close()


def _play(env: gym.Env, mask: Any, count: int) -> tuple[list[Any], Any]:  # noqa: ANN401
    """Play random actions, the same in each call; returns the steps, and the mask of legal actions after them."""
    steps = []
    env.action_space.seed(0)
    for _ in range(count):
        if isinstance(env.action_space, gym.spaces.MultiDiscrete) and mask is not None:  # one mask for each choice
            mask = tuple(choice.astype(np.int8) for choice in split_options(mask, options_of(env.action_space)))
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample(mask))
        steps.append((copy.deepcopy(observation), reward, terminated, truncated))
        mask = info.get("action_mask")
        if terminated or truncated:
            break
    return steps, mask


def _same(first: Any, second: Any) -> bool:  # noqa: ANN401
    if isinstance(first, dict):
        return all(_same(first[name], second[name]) for name in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    return np.array_equal(first, second)


def _parts(env: gym.Env) -> tuple[Guarded, tuple[gym.Env, ...]]:
    """The guard, and all other layers down to the one that saves itself, if any."""
    guard, layers, layer = None, [], env
    while True:
        if isinstance(layer, Guarded):
            guard = layer
        else:
            layers.append(layer)
        if not isinstance(layer, gym.Wrapper) or _saves_itself(layer):
            break
        layer = layer.env
    if guard is None:
        raise TypeError(f"{env} was not made by make_env")
    return guard, tuple(layers)


def _saves_itself(layer: gym.Env) -> bool:
    return hasattr(type(layer), "state_for_clones")


class _BeginsAnewError(Exception):
    """A copy of an object would lose its state, since it would be made anew by its constructor."""


class _Role(enum.Enum):
    COPIED, KEPT, STREAM, BEGINS_ANEW = range(4)


class _Pickler(pickle.Pickler):
    """Pickles objects except known ones, which are replaced by references; finds random streams and constant objects.

    Attributes:
        streams: the indices of random streams in ``known``.
    """

    def __init__(self, file: io.BytesIO, known: list[Any]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.streams: list[int] = []
        self._known = known
        self._places = {id(value): place for place, value in enumerate(known)}

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401
        """Replace known objects by references. Called once for each object except numbers, texts and containers."""
        if obj is _known:
            return NotImplemented
        place = self._places.get(id(obj))
        if place is None:
            role = _role(type(obj))
            if role is _Role.COPIED:
                return NotImplemented
            if role is _Role.BEGINS_ANEW:
                raise _BeginsAnewError(f"a copy of its {type(obj).__name__} would lose its state")
            place = self._places[id(obj)] = len(self._known)
            self._known.append(obj)
            if role is _Role.STREAM:
                self.streams.append(place)
        return _known, (place,)


def _known(place: int) -> Any:  # noqa: ANN401
    """Stands in a pickle for the list of known objects."""
    raise NotImplementedError


class _Unpickler(pickle.Unpickler):
    def __init__(self, copied: bytes, known: Sequence[Any]) -> None:
        super().__init__(io.BytesIO(copied))
        self._known = known

    def find_class(self, module_name: str, global_name: str) -> Any:  # noqa: ANN401
        if global_name == _known.__name__ and module_name == __name__:
            return self._known.__getitem__
        return super().find_class(module_name, global_name)


@functools.cache
def _role(kind: type) -> _Role:
    if issubclass(kind, _STREAMS):
        return _Role.STREAM
    if issubclass(kind, gym.utils.EzPickle):
        return _Role.BEGINS_ANEW
    kept = issubclass(kind, _KEPT) or f"{kind.__module__}.".startswith(_KEPT_MODULES)
    return _Role.KEPT if kept else _Role.COPIED


def _is_tied(value: Any) -> bool:  # noqa: ANN401
    return _kind_is_tied(type(value)) or (isinstance(value, np.ndarray) and physics.is_view(value))


@functools.cache
def _kind_is_tied(kind: type) -> bool:
    return issubclass(kind, _TIED) or f"{kind.__module__}.".startswith(_TIED_MODULES)


def _renewed(old: Any, fresh: np.random.Generator) -> Any:  # noqa: ANN401
    """A new random stream of the same type."""
    if isinstance(old, np.random.Generator):
        return fresh
    if isinstance(old, np.random.BitGenerator):
        return fresh.bit_generator
    seed = int(fresh.integers(2**32))
    return np.random.RandomState(seed) if isinstance(old, np.random.RandomState) else random.Random(seed)


def _refused(task: str, reason: str) -> GatitoError:
    return GatitoError(
        f"the environment of task {task} cannot be cloned ({' '.join(reason.split()).rstrip('.')}): leave the task out "
        "with tasks=[…], or use an amplifier that needs no clones.",
        task,
    )
