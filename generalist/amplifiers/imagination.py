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
from benchmarks.tasks import Task, make_env
from benchmarks.tasks.cloning import State, restore, save
from benchmarks.tasks.observations import pack
from generalist.amplifiers.spent import Spent


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
        self._envs: list[gym.Env] = []

    def enter(self, place: int, state: State, rng: np.random.Generator) -> None:
        """Bring the environment at a place to a state; what is drawn from there on follows from ``rng``."""
        while place >= len(self._envs):
            self._envs.append(make_env(self.task))
        restore(self._envs[place], state, rng)

    def step(self, place: int, action: np.ndarray) -> Transition:
        """Take one step there."""
        env = self._envs[place]
        sent = int(action) if isinstance(env.action_space, gym.spaces.Discrete) else action
        with self._spent.timed("stepping"):
            observation, reward, terminated, truncated, _ = env.step(sent)
        self._spent.steps += 1
        return Transition(pack(env.observation_space, observation), float(reward), bool(terminated), bool(truncated))

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
            observations=np.stack([transition.observation for transition in last]),
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
