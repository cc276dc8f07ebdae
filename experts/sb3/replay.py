"""Environment states without pickle: an episode's seed and its actions, which are replayed.

Any environment that is deterministic given its seed can be restored in this way, including Box2D's, which cannot be
copied.
"""

from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.seeds import training_seed

Place = dict[str, Any]
"""An environment's position: the current ``episode``'s number and its ``actions``, ``(steps, *action shape)``."""


class Replayable(gym.Wrapper):
    """Seeds every episode by its number, and records the current episode's actions."""

    def __init__(self, env: gym.Env, seed: int) -> None:
        """Args: the environment, and the seed from which all episodes' seeds are derived."""
        super().__init__(env)
        self._seed = seed
        self._episode = 0
        self._actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the next episode; the argument ``seed`` is ignored."""
        self._episode += 1
        self._actions = []
        return self.env.reset(seed=training_seed(self._seed, self._episode), options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """Take a step and record the action."""
        self._actions.append(np.array(action))  # a copy, because the caller reuses the array
        return self.env.step(action)

    def place(self) -> Place:
        """The environment's position."""
        return {"episode": self._episode, "actions": np.array(self._actions)}

    @staticmethod
    def bring(env: gym.Env, place: Place) -> Any:  # noqa: ANN401
        """Restore the position of ``env``, which contains a Replayable; returns the observation.

        Outer wrappers (such as SB3's Monitor) replay the same steps.
        """
        inner(env)._episode = int(place["episode"]) - 1
        observation, _ = env.reset()
        for action in np.asarray(place["actions"]):
            observation, *_ = env.step(action)
        return observation


def inner(env: Any) -> Replayable:  # noqa: ANN401
    """The Replayable within a stack of wrappers."""
    while not isinstance(env, Replayable):
        env = env.env
    return env
