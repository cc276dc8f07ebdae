"""Imagined environments: clones of those that are played, in which futures are tried.

A clone draws from a random stream of its own (see :mod:`benchmarks.tasks.snapshots.snapshot`): what is tried is what
might happen, not what will.
"""

import gc
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.play.policy import PolicyInput, stack_masks
from benchmarks.tasks import Task, make_env, spaces
from benchmarks.tasks.conformity import mask_of
from benchmarks.tasks.observations import packer, stack
from benchmarks.tasks.snapshots.snapshot import State, restore, save
from generalist.network.inference_cost import InferenceCost


@dataclass(frozen=True)
class Transition:
    """What followed from an action.

    Attributes:
        observation: packed.
        reward: as the environment gave it.
        terminated: whether the episode came to its end.
        truncated: whether it was cut off.
        action_mask: ``(actions,)``, which discrete actions are legal now; None: all.
    """

    observation: Any
    reward: float
    terminated: bool
    truncated: bool
    action_mask: np.ndarray | None = None


@dataclass(frozen=True)
class Snapshot:
    """Somewhere in the future of an environment that is played.

    Attributes:
        origin: that environment.
        state: where its clone is.
    """

    origin: gym.Env
    state: State


class Simulator:
    """Environments of one task, made when they are first needed.

    Each belongs to one environment that is played: to go on in the same episode may cost less (LunarLander's ground is
    there already).
    """

    def __init__(self, task: Task, spent: InferenceCost) -> None:
        """Args: the task, and where steps and their seconds are counted."""
        self.task = task
        self._spent = spent
        shown, acted = spaces(task)
        self._pack = packer(shown)
        self._discrete = isinstance(acted, gym.spaces.Discrete)
        self._owned: weakref.WeakKeyDictionary[gym.Env, list[gym.Env]] = weakref.WeakKeyDictionary()
        self._entered: list[tuple[gym.Env, gym.Env]] = []

    def spot(self, env: gym.Env) -> Snapshot:
        """Where an environment that is played is."""
        return Snapshot(env, save(env))

    def enter(self, spots: Sequence[Snapshot], rngs: Sequence[np.random.Generator]) -> None:
        """Go to these spots: the first is place 0 from now on. What is drawn there follows from its ``rng``."""
        taken: dict[gym.Env, int] = {}
        self._entered = []
        for spot, rng in zip(spots, rngs, strict=True):
            owned = self._owned.get(spot.origin)
            if owned is None:
                owned = self._owned[spot.origin] = []
                weakref.finalize(spot.origin, _close, owned).atexit = False  # nobody imagines from there any more
            number = taken[spot.origin] = taken.get(spot.origin, 0) + 1
            if number > len(owned):
                owned.append(make_env(self.task))
            env = owned[number - 1]
            self._entered.append((spot.origin, env))
            restore(env, spot.state, rng)

    def step(self, places: Sequence[int], actions: Sequence[np.ndarray] | np.ndarray) -> list[Transition]:
        """Take one step at each of these places."""
        sent = [int(action) for action in actions] if self._discrete else actions
        with self._spent.timed("simulator_seconds"):
            steps = [self._entered[place][1].step(action) for place, action in zip(places, sent, strict=True)]
        self._spent.simulator_steps += len(steps)
        return [
            Transition(self._pack(observation), float(reward), bool(terminated), bool(truncated), mask_of(info))
            for observation, reward, terminated, truncated, info in steps
        ]

    def reached(self, place: int) -> Snapshot:
        """Where the environment there is by now."""
        origin, env = self._entered[place]
        return Snapshot(origin, save(env))

    def policy_input(
        self,
        places: Sequence[int],
        env_ids: np.ndarray,
        last: Sequence[Transition],
        rngs: Sequence[np.random.Generator],
    ) -> PolicyInput:
        """What a policy is shown of these places after their last transitions; ``env_ids`` index its memory."""
        return PolicyInput(
            task=self.task,
            observations=stack([transition.observation for transition in last]),
            env_ids=env_ids,
            episode_start=np.zeros(len(places), dtype=bool),
            rewards=np.array([transition.reward for transition in last]),
            rngs=rngs,
            envs=[self._entered[place][1] for place in places],
            action_masks=stack_masks([transition.action_mask for transition in last]),
        )

    def close(self) -> None:
        """Close the environments; others are made if it is used again."""
        for owned in self._owned.values():
            _close(owned)
        self._owned.clear()
        self._entered = []


def _close(envs: list[gym.Env]) -> None:
    while envs:
        envs.pop().close()


@contextmanager
def uncollected() -> Iterator[None]:
    """Let the garbage collector wait: a thought makes thousands of small objects, and cycles of almost none."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
