"""Atari 2600 games in the Arcade Learning Environment, with the protocol of Machado et al. 2018 (arXiv:1709.06009).

Sticky actions, full games, unclipped rewards, no no-op starts and no automatic fire: episodes differ by sticky actions
only. Observations are the usual four grey frames of 84 x 84 (Mnih et al. 2015).

There are two implementations with the same pixels for the same seed and actions (a test compares them): one game at a
time, which can be cloned, and :func:`make_vector`, which steps many games in one native call and is used in training.
"""

import functools
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import joblib
import numpy as np

from benchmarks.base.errors import GatitoError, unknown
from benchmarks.tasks.observations import FrameStack

if TYPE_CHECKING:
    from benchmarks.tasks.task import Task, TaskConfig

_MISSING = "pip install 'gatito[atari]'"
_PIPELINE = {"repeat_action_probability": 0.25, "full_action_space": False, "frameskip": 4}
_PIPELINE |= {"img_height": 84, "img_width": 84, "stack_num": 4, "maxpool": True, "grayscale": True}
"""Every argument that affects observations; an id alone does not determine them."""
_ROWS, _COLUMNS = 210, 160
_THREADS = 2  # for many games in one call; larger numbers were not measured

# Format of the emulator's states (``ALEState::serialize``): six numbers, the size of the inner part, the inner part,
# two numbers. The inner part ends with a flag for a random stream and, if there is one, the size of its text and the
# text.
_HEAD, _TAIL, _WORDS = 28, 8, 624
_STREAM, _NO_STREAM = struct.pack("<I", 0xFAB1FAB2), struct.pack("<I", 0xBAD1BAD2)


def resolve(name: str, config: "TaskConfig") -> tuple[Mapping[str, Any], int | None]:
    """Every argument of the game, and its horizon in agent steps.

    Raises:
        GatitoError: if the package is missing, or there is no such game.
    """
    ale_py = _ale_py(name)
    gym.register_envs(ale_py)
    games = {spec.id: spec for spec in gym.registry.values() if spec.namespace == "ALE"}
    if config.env_id not in games:
        raise unknown(f"game of task {name}", config.env_id, games)
    for argument in config.kwargs:
        if argument not in _PIPELINE:
            raise unknown(f"argument of task {name}", argument, _PIPELINE)
    kwargs = {**_PIPELINE, **config.kwargs, "game": games[config.env_id].kwargs["game"]}
    if kwargs["maxpool"] is not True or kwargs["grayscale"] is not True:
        raise GatitoError(
            f"task {name}: maxpool and grayscale must be true: colour and single frames are not implemented."
        )
    frames = games[config.env_id].kwargs["max_num_frames_per_episode"]
    return kwargs, config.horizon or frames // int(kwargs["frameskip"])


def make(task: "Task", render_mode: str | None = None) -> gym.Env:
    """One game.

    Raises:
        GatitoError: if the package or the game's ROM is missing.
    """
    return AtariGame(task, render_mode)


def make_vector(task: "Task", count: int) -> Any:  # noqa: ANN401
    """``count`` games that step in one native call: an ``ale_py.vector_env.AtariVectorEnv``.

    On two cores, two threads are nearly twice as fast as one, and no slower when two such programs share the cores. A
    finished game waits: reset it, with its own seed, before the next step.

    Raises:
        GatitoError: if the package or the game's ROM is missing.
    """
    _rom(task)
    from ale_py.vector_env import AtariVectorEnv

    kwargs = dict(task.kwargs)
    return AtariVectorEnv(
        **kwargs,
        num_envs=count,
        num_threads=min(_THREADS, count, joblib.cpu_count()),
        max_num_frames_per_episode=task.horizon * kwargs["frameskip"],
        autoreset_mode="NextStep",
        noop_max=0,
        episodic_life=False,
        reward_clipping=False,
        use_fire_reset=False,
    )


class AtariGame(gym.Env):
    """One game: observations ``(frames, height, width)``, uint8."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(self, task: "Task", render_mode: str | None = None) -> None:
        """Args: a task of this family, and None or ``rgb_array``."""
        self._rom = _rom(task)
        ale_py = _ale_py(task.name)
        self.render_mode = render_mode
        self.ale = ale_py.ALEInterface()
        self._skip = int(task.kwargs["frameskip"])
        self.ale.setFloat("repeat_action_probability", float(task.kwargs["repeat_action_probability"]))
        self.ale.setInt("max_num_frames_per_episode", task.horizon * self._skip)
        self.ale.loadROM(self._rom)
        full = task.kwargs["full_action_space"]
        self._actions = self.ale.getLegalActionSet() if full else self.ale.getMinimalActionSet()
        shape = tuple(int(task.kwargs[name]) for name in ("stack_num", "img_height", "img_width"))
        self.observation_space = FrameStack(0, 255, shape, np.uint8)
        self.action_space = gym.spaces.Discrete(len(self._actions))
        self._screens = np.zeros((2, _ROWS, _COLUMNS), np.uint8)
        self._frames = np.zeros(shape, np.uint8)
        self._last_action = 0  # an index; the first action is no-op

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a new game; the seed determines its sticky actions."""
        super().reset(seed=seed)
        if seed is not None:
            self.ale.setInt("random_seed", seed)
            self.ale.loadROM(self._rom)  # the emulator reads its seed here only
        self.ale.reset_game()
        self.ale.getScreenGrayscale(self._screens[0])
        self._screens[1] = 0
        self._frames[:] = 0
        self._last_action = 0
        return self._observe(), self._info()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Repeat the action for ``frameskip`` frames; the reward is the sum over these frames."""
        reward = 0
        self._last_action = int(action)
        for frame in range(self._skip):
            reward += self.ale.act(self._actions[action])
            if frame >= self._skip - 2:  # sprites flicker: the maximum of the last two frames shows all of them
                self.ale.getScreenGrayscale(self._screens[frame - self._skip])
            if self.ale.game_over():
                break
        over = self.ale.game_over(with_truncation=False)
        return self._observe(), float(reward), over, self.ale.game_truncated() and not over, self._info()

    def render(self) -> np.ndarray:
        """The screen in colour, ``(210, 160, 3)``."""
        return self.ale.getScreenRGB()

    def state_for_clones(self) -> tuple[bytes, np.ndarray, np.ndarray, int]:
        """The emulator's state without its random stream, the last screens, the frames and the last action."""
        plain = self.ale.cloneState(include_rng=False).serialize()
        return plain, self._screens.copy(), self._frames.copy(), self._last_action

    def become_clone(self, state: tuple[bytes, np.ndarray, np.ndarray, int], rng: np.random.Generator) -> None:
        """Continue from a state with new sticky actions.

        The emulator's states lack the previous action, which may stick. It is set to the last requested action, which
        is correct unless all frames of a step stuck (with probability 0.25 and four frames, once in 256 steps).
        """
        plain, screens, frames, self._last_action = state
        sticky = self.ale.getFloat("repeat_action_probability")
        if 0 < sticky < 1:
            self.ale.restoreState(self._emulator(plain, _unsticking_stream(sticky)))
            self.ale.act(self._actions[self._last_action])
        words = _words()
        indices = rng.integers(len(words), size=_WORDS).tolist()
        self.ale.restoreState(self._emulator(plain, b" ".join([words[index] for index in indices])))
        self._screens[:], self._frames[:] = screens, frames

    def _emulator(self, plain: bytes, words: bytes) -> Any:  # noqa: ANN401
        """An emulator state with a random stream: MT19937's words in C++'s format (with a position in libstdc++)."""
        size, inner, rest = plain[_HEAD - 4 : _HEAD], plain[_HEAD:-_TAIL], plain[-_TAIL:]
        if struct.unpack("<i", size)[0] != len(inner) or not inner.endswith(_NO_STREAM):
            raise GatitoError("this version of ale-py has another state format: pip install 'ale-py==0.12.1'.")
        text = words + self._place_of_stream
        inner = inner.removesuffix(_NO_STREAM) + _STREAM + struct.pack("<i", len(text)) + text
        return type(self.ale.cloneState())(plain[: _HEAD - 4] + struct.pack("<i", len(inner)) + inner + rest)

    @functools.cached_property
    def _place_of_stream(self) -> bytes:
        text = self.ale.cloneState(include_rng=True).serialize()[:-_TAIL].rpartition(_STREAM)[2][4:]
        return b" 624" if len(text.split()) == _WORDS + 1 else b""

    def _observe(self) -> np.ndarray:
        import cv2

        height, width = self._frames.shape[1:]
        self._frames[:-1] = self._frames[1:]
        pooled = np.maximum(self._screens[0], self._screens[1])
        cv2.resize(pooled, (width, height), dst=self._frames[-1], interpolation=cv2.INTER_AREA)
        return self._frames.copy()

    def _info(self) -> dict[str, Any]:
        return {"lives": self.ale.lives()}


@functools.cache
def _unsticking_stream(sticky: float) -> bytes:
    """A random stream whose first number does not make the action stick: 624 words of an MT19937 at their end."""
    for seed in range(1_000_000):
        words = np.random.default_rng(seed).integers(2**32, size=_WORDS, dtype=np.uint32)
        twister = np.random.MT19937()
        twister.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": _WORDS}}
        if twister.random_raw() >= sticky * 2**32:
            return _text(words)
    raise AssertionError("no such stream")


@functools.cache
def _words() -> list[bytes]:
    """Precomputed words of random streams: sampling 624 of them is faster than formatting 624 new numbers."""
    return _text(np.random.default_rng(0).integers(2**32, size=2**14)).split()


def _text(words: np.ndarray) -> bytes:
    return " ".join(map(str, words.tolist())).encode()


def _rom(task: "Task") -> Any:  # noqa: ANN401
    _ale_py(task.name)
    from ale_py import roms

    game = task.kwargs["game"]
    path = roms.get_rom_path(game)
    if path is None:
        raise GatitoError(
            f"task {task.name}: the ROM of {game} is missing; `pip install --force-reinstall ale-py` installs all ROMs."
        )
    return path


def _ale_py(name: str) -> Any:  # noqa: ANN401
    try:
        import ale_py
        import cv2
    except ImportError as error:
        raise GatitoError(f"task {name} needs a package that is not installed ({error}): {_MISSING}.") from None
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    cv2.setNumThreads(1)  # small images; parallelism is by processes
    return ale_py
