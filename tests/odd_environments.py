"""Small learnable environments, each unusual in one way. Registered on import, as ``tests.odd_environments:<id>``."""

import collections
import contextlib
import itertools
import time

import gymnasium as gym
import numpy as np


class Signs(gym.Env):
    """Is a number positive? The correct action has reward 1 in each of 8 steps; actions are 0 and 1."""

    def __init__(self):
        self.observation_space = self.sights()
        self.action_space = self.answers()

    def sights(self):
        return gym.spaces.Box(-1, 1, (1,), np.float32)

    def answers(self):
        return gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._next(), {}

    def step(self, action):
        reward = float(self.read(action) == (self.number > 0))
        self.steps += 1
        return self._next(), reward, self.steps == 8, False, {}

    def _next(self):
        self.number = float(self.np_random.uniform(-1, 1))
        return self.show()

    def show(self):
        return np.array([self.number], np.float32)

    def read(self, action):
        return action == 1


class Reuses(Signs):
    """Reuses one array for all observations, and overwrites it before the next one."""

    def reset(self, **arguments):
        self.array = np.zeros(1, np.float32)
        return super().reset(**arguments)

    def step(self, action):
        self.array[:] = 1e6
        return super().step(action)

    def show(self):
        self.array[:] = self.number
        return self.array


class FromOne(Signs):
    """Actions are 1 and 2; any other is rejected."""

    def answers(self):
        return gym.spaces.Discrete(2, start=1)

    def read(self, action):
        assert self.action_space.contains(action), f"no answer {action!r}"
        return action == 2


class SeenFromTwo(Signs):
    """The number's quarter, counted from 2."""

    def sights(self):
        return gym.spaces.Discrete(4, start=2)

    def show(self):
        return 2 + min(3, int((self.number + 1) * 2))


class Pairs(Signs):
    """A dictionary of the number and its quarter, counted from 5."""

    def sights(self):
        return gym.spaces.Dict(
            number=gym.spaces.Box(-np.inf, np.inf, (1,), np.float64), quarter=gym.spaces.Discrete(4, start=5)
        )

    def show(self):
        return {"number": np.array([self.number]), "quarter": 5 + min(3, int((self.number + 1) * 2))}


class Drifts(Signs):
    """Declares float32, and returns integers, doubles and lists in successive episodes."""

    episodes = 0

    def reset(self, **arguments):
        self.episodes += 1
        return super().reset(**arguments)

    def show(self):
        kinds = [lambda x: np.array([x]), lambda x: np.array([1 if x > 0 else -1]), lambda x: [x]]
        return kinds[self.episodes % 3](self.number)


class Scales(Signs):
    """The target is half the number, within ``low`` and ``high``; overwrites the action's array."""

    def __init__(self, low=-1.0, high=1.0, dtype="float32"):
        self._bounds = low, high, np.dtype(dtype)
        super().__init__()

    def answers(self):
        low, high, dtype = self._bounds
        return gym.spaces.Box(dtype.type(low), dtype.type(high), (1,), dtype)

    def step(self, action):
        assert self.action_space.contains(action), f"no answer {action!r} of {action.dtype}"
        low, high, _ = self._bounds
        wanted = low + (self.number + 1) / 2 * (high - low)
        reward = 1 - abs(float(action[0]) - wanted) / (high - low)
        action[:] = -action[:]
        self.steps += 1
        return self._next(), reward, self.steps == 8, False, {}


class TwoChoices(Signs):
    """The sign is the second of two choices, of three and of two options."""

    def answers(self):
        return gym.spaces.MultiDiscrete([3, 2])

    def read(self, action):
        return action[1] == 1


FAULTS = {
    "shape": {"observation": np.zeros(3, np.float32)},
    "nan": {"observation": np.array([np.nan], np.float32)},
    "text": {"observation": "left"},
    "ragged": {"observation": [[1.0], [1.0, 2.0]]},
    "nothing": {"observation": None},
    "too large": {"observation": np.array([1e300])},
    "reward": {"reward": None},
    "reward text": {"reward": "much"},
    "reward nan": {"reward": np.float32("nan")},
    "reward array": {"reward": np.zeros(2)},
    "flag": {"terminated": "yes"},
    "no flag": {"truncated": None},
    "info": {"info": None},
    "success": {"info": {"success": np.zeros(2)}},
    "four values": {"truncated": ...},
}


class Breaks(Signs):
    """Violates its space in the third step, see ``FAULTS``."""

    def __init__(self, fault):
        super().__init__()
        self._fault = fault

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        answer = dict(observation=observation, reward=reward, terminated=terminated, truncated=truncated, info=info)
        if self.steps == 3:
            answer |= FAULTS[self._fault]
        return tuple(value for value in answer.values() if value is not ...)


class OldReset(Signs):
    """The API of gym before 0.26."""

    def reset(self):
        self._np_random = np.random.default_rng(0)
        self.steps = 0
        return self._next()


class Hangs(Signs):
    """Hangs in its third step or in a reset, in Python code that may catch exceptions or in native code, or is slow."""

    def __init__(self, where="step"):
        super().__init__()
        self._where = where
        while where == "init":
            time.sleep(1)

    def close(self):
        if self._where == "raise in close":
            raise OSError("no")
        while self._where == "close":
            time.sleep(1)

    def reset(self, **arguments):
        while self._where == "reset":
            pass
        return super().reset(**arguments)

    def step(self, action):
        while self._where == "step" and self.steps == 2:
            try:
                time.sleep(60)
            except Exception:
                continue
        while self._where == "deaf" and self.steps == 2:
            with contextlib.suppress(BaseException):
                time.sleep(60)
        if self._where == "native" and self.steps == 2:
            collections.deque(itertools.repeat(0), maxlen=0)  # for ever, in one call that no signal interrupts
        end = time.monotonic() + 0.7
        while self._where == "every" and time.monotonic() < end:
            pass
        return super().step(action)


for _class in (Signs, Reuses, FromOne, SeenFromTwo, Pairs, Drifts, Scales, Breaks, OldReset, Hangs, TwoChoices):
    gym.register(f"{_class.__name__}-v0", entry_point=_class, max_episode_steps=20)
