"""States by replay, for environments that cannot be copied: Box2D's worlds live in C++ memory behind SWIG.

The reset's seed and the actions since bring such a world back to the last bit. To put its bodies where they were would
take the same time however long the episode, but what the solver remembers of joints and contacts cannot be read or set
from Python: of forty landers put so in the air, one strayed by 0.02 in its observations before it landed. The price of
a replay is a step for each step so far.
"""

import copy
from typing import Any

import gymnasium as gym
import numpy as np

Past = tuple[dict[str, Any] | None, tuple[tuple[int, tuple[Any, ...]], ...]]
"""The reset's options, and actions by the seed of the stream that was drawn from meanwhile, first the reset's own."""


class Replayed(gym.Wrapper):
    """Remembers how the episode came to where it is, and plays it again on demand."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self._options: dict[str, Any] | None = None
        self._past: list[tuple[int, list[Any]]] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As the environment's own; without a seed, with one from its random stream."""
        seed = int(self.unwrapped.np_random.integers(2**31)) if seed is None else seed
        self._options, self._past = options, [(seed, [])]
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """As the environment's own; the action is remembered."""
        self._past[-1][1].append(copy.copy(action))
        return self.env.step(action)

    def state_for_clones(self) -> Past:
        """The episode so far."""
        return self._options, tuple((seed, tuple(actions)) for seed, actions in self._past)

    def become_clone(self, state: Past, rng: np.random.Generator) -> None:
        """Play an episode so far once more; what follows is drawn from a new stream."""
        options, ((seed, actions), *later) = state
        self.reset(seed=seed, options=options)
        self._play(actions)
        for seed, actions in (*later, (int(rng.integers(2**63)), ())):
            self.unwrapped.np_random = np.random.Generator(np.random.PCG64(seed))
            self._past.append((seed, []))
            self._play(actions)

    def _play(self, actions: tuple[Any, ...]) -> None:
        for action in actions:
            self.step(action)
