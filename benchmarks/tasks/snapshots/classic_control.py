"""States of classic control, which are a few numbers: taken and put back at a fraction of what a copy of all costs."""

import copy
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.tasks.snapshots.time_limit import time_limit

_NUMBERS = ("state", "steps_beyond_terminated", "last_u")
"""What changes from step to step; an environment has those that it has. All else is windows, and the physics."""

Numbers = tuple[int | None, dict[str, Any]]
"""Steps since the reset, and the numbers by name."""


class ClassicControl(gym.Wrapper):
    """Speaks for an environment of ``gymnasium.envs.classic_control`` and its time limit, see ``cloning``."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self._core = env.unwrapped
        self._limit = time_limit(env)

    def state_for_clones(self) -> Numbers:
        """The numbers, which later steps do not change."""
        attributes = vars(self._core)
        return self._limit._elapsed_steps, {
            name: copy.copy(attributes[name]) for name in _NUMBERS if name in attributes
        }

    def become_clone(self, state: Numbers, rng: np.random.Generator) -> None:
        """Go on from these numbers."""
        self._limit._elapsed_steps, numbers = state
        for name, value in numbers.items():
            setattr(self._core, name, copy.copy(value))
        self._core._np_random = rng
