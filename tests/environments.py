"""Environments small enough to be solved by hand. Registered on import, as ``tests.environments:<id>``."""

import os
import signal
from pathlib import Path

import gymnasium as gym
import numpy as np

from benchmarks.tasks.observations import FrameStack


class Counter(gym.Env):
    """Counts its steps in the observation; the reward is the action; the number of steps is sampled from the seed."""

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
    """Continuous actions of different bounds, two of which count; reward falls with the distance to (0.5, 5)."""

    def __init__(self, more=0):
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        low, high = np.array([-1, 0] + more * [-1], np.float32), np.array([1, 10] + more * [1], np.float32)
        self.action_space = gym.spaces.Box(low, high)

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


class Dies(Counter):
    """Kills its process in its third step, like a crash in native code."""

    def step(self, action):
        if self.steps == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().step(action)


class StillBorn(Counter):
    """Kills its process in its constructor."""

    def __init__(self):
        os._exit(139)


class Exits(Counter):
    """Calls sys.exit."""

    def reset(self, *, seed=None, options=None):
        raise SystemExit(3)


class Fragile(Counter):
    """Crashes in its third step while the working folder contains a file ``broken``."""

    def step(self, action):
        if self.steps == 2 and Path("broken").exists():
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().step(action)


class Infinite(Counter):
    """Returns a reward that is not finite."""

    def step(self, action):
        return (*super().step(action)[:1], float("nan"), False, False, {})


class Masked(Counter):
    """Reports an action mask that excludes the last action."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], {"action_mask": np.array([1, 1, 0], np.int8)}

    def step(self, action):
        return (*super().step(action)[:4], {"action_mask": np.array([1, 1, 0], np.int8)})


class TwoTexts(Counter):
    """An observation that no codec supports."""

    def __init__(self):
        super().__init__()
        self.observation_space = gym.spaces.Dict(one=gym.spaces.Text(5), two=gym.spaces.Text(5))


class Film(gym.Env):
    """Stacked frames: each new one is all of one grey value, drawn from the seed; its parity is the right action."""

    def __init__(self, length=5):
        self.observation_space = FrameStack(0, 255, (4, 84, 84), np.uint8)
        self.action_space = gym.spaces.Discrete(2)
        self._length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.frames = np.zeros((4, 84, 84), np.uint8)
        self.steps = 0
        return self._next(), {}

    def step(self, action):
        reward = float(action == self.frames[-1, 0, 0] % 2)
        self.steps += 1
        return self._next(), reward, self.steps >= self._length, False, {}

    def _next(self):
        self.frames = np.roll(self.frames, -1, axis=0)
        self.frames[-1] = self.np_random.integers(256)
        return self.frames.copy()


MISSIONS = ("go to the red ball", "go to the blue ball after you open a door")


class Instructed(gym.Env):
    """Two missions with the same images: action 0 is rewarded under the first mission, action 2 under the second."""

    def __init__(self):
        self.observation_space = gym.spaces.Dict(
            image=gym.spaces.Box(0, 255, (7, 7, 3), np.uint8),
            direction=gym.spaces.Discrete(4),
            mission=gym.spaces.Text(60, charset="abcdefghijklmnopqrstuvwxyz "),
        )
        self.action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.mission = int(self.np_random.integers(2))
        self.steps = 0
        return self._observe(), {}

    def step(self, action):
        self.steps += 1
        return self._observe(), float(action == 2 * self.mission), self.steps >= 6, False, {}

    def _observe(self):
        sights = self.np_random.integers(0, 6, (7, 7, 3)).astype(np.uint8)
        return {"image": sights, "direction": int(self.np_random.integers(4)), "mission": MISSIONS[self.mission]}


class Recall(gym.Env):
    """Only the first observation shows which of two actions is rewarded: 1 per step, 4 per episode."""

    def __init__(self):
        self.observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.right, self.steps = int(self.np_random.integers(2)), 0
        return np.array([2 * self.right - 1], np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(1, np.float32), float(action == self.right), self.steps == 4, False, {}


class Corridor(gym.Env):
    """Action 0 at the first place pays 1 and ends the episode; 1 at all places pays 10 at the end, one 0 on the way
    forfeits that. The observation is the place and whether all is lost. ``cut`` truncates where an end would be."""

    def __init__(self, length=4, cut=False):
        self.observation_space = gym.spaces.Box(0, 100, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self._length, self._cut = length, cut

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.lost = 0, False
        return np.array([0, 0], np.float32), {}

    def step(self, action):
        trapped = self.place == 0 and action == 0
        self.place += 1
        self.lost |= action == 0
        end = self.place == self._length
        reward = 1.0 if trapped else 10.0 * (end and not self.lost)
        over = trapped or end
        return np.array([self.place, self.lost], np.float32), reward, over and not self._cut, over and self._cut, {}


class Shortcut(gym.Env):
    """Three steps: action 0 pays 1, action 1 pays 2 and has a hidden cost of 1, action 2 pays 3 and costs 5."""

    def __init__(self, factor=1.0):
        self.observation_space = gym.spaces.Box(0, 9, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(3)
        self._factor = factor

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        info = {"cost": self._factor * (0, 1, 5)[action]}
        return np.array([self.steps], np.float32), float(1 + action), self.steps == 3, False, info


class Lottery(gym.Env):
    """One step: action 0 pays 0.5, action 1 a draw of N(0.3, 1). Or both pay a draw, action 1 ``edge`` more."""

    def __init__(self, edge=None):
        self._edge = edge
        self.observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        drawn = float(self.np_random.normal(0.3, 1))
        paid = (drawn if action else 0.5) if self._edge is None else drawn + self._edge * float(action)
        return np.ones(1, np.float32), paid, True, False, {}


class Needy(Counter):
    """An environment whose package is missing."""

    def __init__(self):
        raise gym.error.DependencyNotInstalled('Box2D is not installed, run `pip install "gymnasium[box2d]"`')


for _name, _class in [
    ("Counter", Counter),
    ("Target", Target),
    ("Raises", Raises),
    ("Dies", Dies),
    ("StillBorn", StillBorn),
    ("Exits", Exits),
    ("Fragile", Fragile),
    ("Infinite", Infinite),
    ("Masked", Masked),
    ("TwoTexts", TwoTexts),
    ("Needy", Needy),
    ("Film", Film),
    ("Instructed", Instructed),
    ("Recall", Recall),
    ("Corridor", Corridor),
    ("Lottery", Lottery),
    ("Shortcut", Shortcut),
]:
    gym.register(f"{_name}-v0", entry_point=_class, max_episode_steps=20)


def ends_early(task):
    """A task's environment, but no episode is longer than four steps."""
    from benchmarks.tasks import make_env

    return gym.wrappers.TimeLimit(make_env(task), 4)
