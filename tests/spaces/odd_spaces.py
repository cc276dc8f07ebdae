"""Thirds of an interval, shown and answered in every kind of space. Tests copy this module out of the repository.

In which third of [-1, 1] does a number lie? 10 steps an episode, 1 for each right answer. An action of another space
raises.
"""

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

STEPS = 10


def _picture(*shape):
    return lambda third, x: np.full(shape, (0, 127, 255)[third], np.uint8)


def _number(x, *shape, dtype=np.float32):
    return np.full(shape, x, dtype)


SIGHTS = {
    "number": (Box(-1, 1, (1,), np.float32), lambda third, x: _number(x, 1)),
    "no axes": (Box(-1, 1, (), np.float32), lambda third, x: np.float32(x)),
    "matrix": (Box(-1, 1, (3, 4), np.float32), lambda third, x: _number(x, 3, 4)),
    "cube": (Box(-1, 1, (2, 3, 2), np.float32), lambda third, x: _number(x, 2, 3, 2)),
    "four axes": (Box(-1, 1, (2, 1, 2, 1), np.float16), lambda third, x: _number(x, 2, 1, 2, 1, dtype=np.float16)),
    "unbounded": (Box(-np.inf, np.inf, (2,), np.float64), lambda third, x: np.array([x, 1e300])),
    "integers": (Box(-5, 5, (2,), np.int64), lambda third, x: np.array([third, -1])),
    "small picture": (Box(0, 255, (8, 8), np.uint8), _picture(8, 8)),
    "discrete": (Discrete(3, start=4), lambda third, x: 4 + third),
    "choices": (MultiDiscrete([3, 4]), lambda third, x: np.array([third, 1])),
    "choices from 2": (MultiDiscrete([[3, 4]], start=[[2, 1]]), lambda third, x: np.array([[2 + third, 1]])),
    "bits": (MultiBinary(3), lambda third, x: np.eye(3, dtype=np.int8)[third]),
    "dictionary": (
        Dict(goal=Box(-np.inf, np.inf, (2,), np.float64), third=Discrete(3, start=1)),
        lambda third, x: {"goal": np.zeros(2), "third": 1 + third},
    ),
    "tuple": (Tuple((Discrete(3), Box(-1, 1, (1,), np.float32))), lambda third, x: (third, _number(x, 1))),
    "nested": (
        Dict(arm=Tuple((MultiBinary(2), Dict(x=Box(-1, 1, (1, 2), np.float32)))), word=Text(5)),
        lambda third, x: {"arm": (np.ones(2, np.int8), {"x": _number(x, 1, 2)}), "word": "abc"[: third + 1]},
    ),
    "text": (Text(6, charset="abcäö "), lambda third, x: ("a", "bä öb", "ccc")[third]),
    "chw": (Box(0, 255, (3, 64, 64), np.uint8), _picture(3, 64, 64)),
    "hwc": (Box(0, 255, (48, 64, 3), np.uint8), _picture(48, 64, 3)),
    "grey": (Box(0, 255, (84, 84, 1), np.uint8), _picture(84, 84, 1)),
    "flat": (Box(0, 255, (84, 84), np.uint8), _picture(84, 84)),
    "stacked": (Box(0, 255, (2, 30, 30, 2), np.uint8), _picture(2, 30, 30, 2)),
    "screen": (Box(0, 255, (210, 160, 3), np.uint8), _picture(210, 160, 3)),
    "shares": (Box(0, 1, (36, 36, 3), np.float32), lambda third, x: _number(third / 2, 36, 36, 3)),
    "two cameras": (
        Dict(far=Box(0, 255, (40, 40, 3), np.uint8), near=Box(0, 255, (60, 50), np.uint8)),
        lambda third, x: {"far": _picture(40, 40, 3)(third, x), "near": _picture(60, 50)(third, x)},
    ),
}
"""By name: the space, and an observation of a third and the number in it."""


def _near(given, wanted, size):
    return max(0.0, 1 - abs(float(given) - wanted) / size)


ANSWERS = {
    "discrete": (Discrete(3), lambda third, x: third, lambda action, third, x: action == third),
    "from 1": (Discrete(3, start=1), lambda third, x: third + 1, lambda action, third, x: action == third + 1),
    "choices": (
        MultiDiscrete([3, 2]),
        lambda third, x: np.array([third, int(x > 0)]),
        lambda action, third, x: (action[0] == third) / 2 + (action[1] == (x > 0)) / 2,
    ),
    "choices from 2": (
        MultiDiscrete([[3], [2]], start=[[2], [5]]),
        lambda third, x: np.array([[2 + third], [5]]),
        lambda action, third, x: action[0, 0] == 2 + third and action[1, 0] == 5,
    ),
    "bits": (
        MultiBinary((1, 3)),
        lambda third, x: np.eye(3, dtype=np.int8)[[third]],
        lambda action, third, x: (action == np.eye(3)[[third]]).all(),
    ),
    "wide": (
        Box(0, 1000, (1,), np.float32),
        lambda third, x: np.array([500 + 400 * x], np.float32),
        lambda action, third, x: _near(action[0], 500 + 400 * x, 500),
    ),
    "integers": (
        Box(-3, 3, (1, 1), np.int32),
        lambda third, x: np.array([[round(3 * x)]], np.int32),
        lambda action, third, x: _near(action[0, 0], round(3 * x), 3),
    ),
    "unbounded": (
        Box(-np.inf, np.inf, (2,), np.float32),
        lambda third, x: np.array([500 + 400 * x, x], np.float32),
        lambda action, third, x: _near(action[0], 500 + 400 * x, 500) / 2 + _near(action[1], x, 1) / 2,
    ),
    "half bounded": (
        Box(np.array([0, -np.inf, -1]), np.array([np.inf, 0, 1]), dtype=np.float64),
        lambda third, x: np.array([1 + x, x - 1, x]),
        lambda action, third, x: min(map(_near, action, (1 + x, x - 1, x), (1, 1, 1))),
    ),
    "no axes": (Box(-1, 1, (), np.float32), lambda third, x: np.float32(x), lambda a, third, x: _near(a, x, 1)),
    "tuple": (
        Tuple((Discrete(3, start=1), MultiBinary(1))),
        lambda third, x: (third + 1, np.array([1], np.int8)),
        lambda action, third, x: (action[0] == third + 1) and action[1][0] == 1,
    ),
    "one entry": (Dict(go=Discrete(3)), lambda third, x: {"go": third}, lambda action, third, x: action["go"] == third),
    "numbers": (
        Dict(a=Box(0, 10, (1,), np.float32), b=Box(-3, 3, (1,), np.int64)),
        lambda third, x: {"a": np.array([5 + 4 * x], np.float32), "b": np.array([round(3 * x)])},
        lambda action, third, x: _near(action["a"][0], 5 + 4 * x, 5) / 2 + _near(action["b"][0], round(3 * x), 3) / 2,
    ),
    "both": (
        Dict(which=Discrete(3), how=Tuple((Box(-1, 1, (1,), np.float32),))),
        lambda third, x: {"which": third, "how": (np.array([x], np.float32),)},
        lambda action, third, x: (action["which"] == third) * _near(action["how"][0][0], x, 1),
    ),
}
"""By name: the space, the right action for a third and the number in it, and what an action is worth."""
MASKS = {
    "discrete": lambda legal: np.array(legal, np.int8),
    "from 1": lambda legal: np.array(legal, np.int8),
    "choices": lambda legal: (np.array(legal, np.int8), np.ones(2, np.int8)),
    "bits": lambda legal: np.where(np.array([legal]), 2, 0).astype(np.int8),
    "tuple": lambda legal: (np.array(legal, np.int8), None),
    "both": lambda legal: {"which": np.array(legal, np.int8)},
}
"""By name of an answer: a mask that leaves out one of the three thirds, as gymnasium's sample takes it."""


class Thirds(gym.Env):
    """One sight, one answer; ``masked``: one third, never the right one, is illegal, and choosing it raises."""

    def __init__(self, sight="number", answer="discrete", masked=False):
        self.observation_space, self._show = SIGHTS[sight]
        self.action_space, self.say, self._worth = ANSWERS[answer]
        self._mask = MASKS[answer] if masked else None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._next()

    def _next(self):
        self.x = float(self.np_random.uniform(-1, 1))
        self.third = int(np.clip((self.x + 1) * 1.5, 0, 2))
        self.illegal = (self.third + 1 + int(self.np_random.integers(2))) % 3
        legal = np.arange(3) != self.illegal
        return self._show(self.third, self.x), {"action_mask": self._mask(legal)} if self._mask else {}

    def right(self):
        return self.say(self.third, self.x)

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        if self._mask and isinstance(self.action_space, Discrete):
            assert action - self.action_space.start != self.illegal, f"{action} is illegal"
        if self._mask and isinstance(self.action_space, MultiDiscrete):
            assert action[0] != self.illegal, f"{action} is illegal"
        reward = float(self._worth(action, self.third, self.x))
        self.steps += 1
        observation, info = self._next()
        return observation, reward, self.steps == STEPS, False, info


# A copy has an id of its own.
gym.register("MyThirds-v0" if __name__ == "my_spaces" else "Thirds-v0", entry_point=Thirds, max_episode_steps=20)
