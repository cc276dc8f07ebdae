"""Imagined environments: clones of those that are played, in which futures are tried.

A clone draws from a random stream of its own (see :mod:`benchmarks.tasks.cloning`): what is tried is what might happen,
not what will.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.policy import Observed
from benchmarks.tasks import Task, make_env, spaces
from benchmarks.tasks.cloning import State, restore, save
from benchmarks.tasks.observations import packer, stack
from generalist.spent import Spent


@dataclass(frozen=True)
class Transition:
    """What followed from an action.

    Attributes:
        observation: packed.
        reward: as the environment gave it.
        terminated: whether the episode came to its end.
        truncated: whether it was cut off.
    """

    observation: Any
    reward: float
    terminated: bool
    truncated: bool


class Imagination:
    """Environments of one task, made when they are first needed."""

    def __init__(self, task: Task, spent: Spent) -> None:
        """Args: the task, and where steps and their seconds are counted."""
        self.task = task
        self._spent = spent
        shown, acted = spaces(task)
        self._pack = packer(shown)
        self._discrete = isinstance(acted, gym.spaces.Discrete)
        self._envs: list[gym.Env] = []

    def enter(self, place: int, state: State, rng: np.random.Generator) -> None:
        """Bring the environment at a place to a state; what is drawn from there on follows from ``rng``."""
        while place >= len(self._envs):
            self._envs.append(make_env(self.task))
        restore(self._envs[place], state, rng)

    def step(self, places: Sequence[int], actions: Sequence[np.ndarray] | np.ndarray) -> list[Transition]:
        """Take one step at each of these places."""
        sent = [int(action) for action in actions] if self._discrete else actions
        with self._spent.timed("stepping"):
            steps = [self._envs[place].step(action) for place, action in zip(places, sent, strict=True)]
        self._spent.steps += len(steps)
        return [
            Transition(self._pack(observation), float(reward), bool(terminated), bool(truncated))
            for observation, reward, terminated, truncated, _ in steps
        ]

    def state(self, place: int) -> State:
        """Where the environment there is."""
        return save(self._envs[place])

    def observed(
        self,
        places: Sequence[int],
        lanes: np.ndarray,
        last: Sequence[Transition],
        rngs: Sequence[np.random.Generator],
    ) -> Observed:
        """What a policy is shown of these places after their last transitions; ``lanes`` are those of its memory."""
        return Observed(
            task=self.task,
            observations=stack([transition.observation for transition in last]),
            lanes=lanes,
            fresh=np.zeros(len(places), dtype=bool),
            rewards=np.array([transition.reward for transition in last]),
            rngs=rngs,
            envs=[self._envs[place] for place in places],
        )

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs:
            env.close()
        self._envs.clear()


def branch(rng: np.random.Generator) -> np.random.Generator:
    """A stream of its own that follows from a draw of another."""
    return np.random.Generator(np.random.PCG64(rng.integers(2**63)))
