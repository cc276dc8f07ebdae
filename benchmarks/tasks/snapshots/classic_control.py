"""States of classic control as a few numbers, which is much cheaper than copying the environment."""

import copy
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.tasks.snapshots.time_limit import time_limit

_NUMBERS = ("state", "steps_beyond_terminated", "last_u")
"""Attributes that change from step to step; each environment has some of them. All others are windows or constants."""

Numbers = tuple[int | None, dict[str, Any]]
"""Steps since the reset, and the numbers by name."""


class ClassicControl(gym.Wrapper):
    """Saves and restores an environment of ``gymnasium.envs.classic_control`` with its time limit."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self._core = env.unwrapped
        self._limit = time_limit(env)

    def state_for_clones(self) -> Numbers:
        """Copies of the numbers."""
        attributes = vars(self._core)
        return self._limit._elapsed_steps, {
            name: copy.copy(attributes[name]) for name in _NUMBERS if name in attributes
        }

    def become_clone(self, state: Numbers, rng: np.random.Generator) -> None:
        """Continue from these numbers."""
        self._limit._elapsed_steps, numbers = state
        for name, value in numbers.items():
            setattr(self._core, name, copy.copy(value))
        self._core._np_random = rng
