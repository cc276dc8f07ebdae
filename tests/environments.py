"""Environments small enough to be solved by hand. Registered on import, as ``tests.environments:<id>``."""

import gymnasium as gym
import numpy as np


class Counter(gym.Env):
    """Counts its steps in the observation; reward is the action; ends after ``length`` steps, drawn from the seed."""

    def __init__(self, length=None):
        self.observation_space = gym.spaces.Box(-1000, 1000, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(3)
        self._length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        self.start = int(self.np_random.integers(100))
        self.length = self._length or int(self.np_random.integers(3, 12))
        return self._observe(), {}

    def step(self, action):
        self.steps += 1
        noise = float(self.np_random.normal())
        return self._observe(noise), float(action), self.steps >= self.length, False, {"success": action == 2}

    def _observe(self, noise=0.0):
        return np.array([self.start + noise, self.steps], np.float32)


class Target(gym.Env):
    """Two continuous actions of different bounds; reward falls with the distance to (0.5, 5)."""

    def __init__(self):
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gym.spaces.Box(np.array([-1, 0], np.float32), np.array([1, 10], np.float32))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.normal(size=3).astype(np.float32), {}

    def step(self, action):
        reward = -abs(float(action[0]) - 0.5) - abs(float(action[1]) - 5) / 5
        return self.np_random.normal(size=3).astype(np.float32), reward, False, False, {}


class Raises(Counter):
    """Fails on its third step."""

    def step(self, action):
        if self.steps == 2:
            raise RuntimeError("the rope broke")
        return super().step(action)


class Infinite(Counter):
    """Returns a reward that is not finite."""

    def step(self, action):
        return (*super().step(action)[:1], float("nan"), False, False, {})


class Picture(Counter):
    """An observation that the step codec cannot carry."""

    def __init__(self):
        super().__init__()
        self.observation_space = gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)


class Needy(Counter):
    """An environment whose package is missing."""

    def __init__(self):
        raise gym.error.DependencyNotInstalled('Box2D is not installed, run `pip install "gymnasium[box2d]"`')


for _name, _class in [
    ("Counter", Counter),
    ("Target", Target),
    ("Raises", Raises),
    ("Infinite", Infinite),
    ("Picture", Picture),
    ("Needy", Needy),
]:
    gym.register(f"{_name}-v0", entry_point=_class, max_episode_steps=20)


def ends_early(task):
    """A task's environment, but no episode is longer than four steps."""
    from benchmarks.tasks import make_env

    return gym.wrappers.TimeLimit(make_env(task), 4)
