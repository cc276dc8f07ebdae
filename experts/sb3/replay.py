"""Environment states without pickle: an episode's seed and the actions since, played again.

Any environment that follows its seed can be brought back this way, Box2D's worlds included, which cannot be copied.
"""

from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.base.seeds import training_seed

Place = dict[str, Any]
"""Where an environment is: ``episode``, the number of the one that was seeded last, and ``actions`` since then,
``(steps, *action shape)``."""


class Replayable(gym.Wrapper):
    """Seeds every episode from its number, and remembers the actions of the one under way."""

    def __init__(self, env: gym.Env, seed: int) -> None:
        """Args: the environment, and the seed that those of all its episodes follow from."""
        super().__init__(env)
        self._seed = seed
        self._episode = 0
        self._actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode; a seed from outside is ignored."""
        self._episode += 1
        self._actions = []
        return self.env.reset(seed=training_seed(self._seed, self._episode), options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """As the environment's own; the action is remembered."""
        self._actions.append(np.array(action))  # a copy: it is a row of an array that goes on being used
        return self.env.step(action)

    def place(self) -> Place:
        """Where the environment is."""
        return {"episode": self._episode, "actions": np.array(self._actions)}

    @staticmethod
    def bring(env: gym.Env, place: Place) -> Any:  # noqa: ANN401
        """Bring ``env``, which has a Replayable inside, to a place; the observation there.

        The wrappers around it (such as SB3's Monitor) live through the same steps.
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
