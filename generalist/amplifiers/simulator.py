"""A simulator of cloned environments, for rollouts and search.

A clone has its own random stream (see :mod:`benchmarks.tasks.snapshots.snapshot`): it shows what might happen in the
real environment, not what will.
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
from benchmarks.tasks.conformity import cost_of, mask_of
from benchmarks.tasks.observations import packer, stack
from benchmarks.tasks.snapshots.snapshot import State, restore, save
from generalist.network.inference_cost import InferenceCost


@dataclass(frozen=True)
class Transition:
    """The result of a step.

    Attributes:
        observation: the packed observation.
        reward: the environment's reward.
        terminated: whether the episode terminated.
        truncated: whether it was truncated.
        action_mask: ``(actions,)``, which discrete actions are legal now; None: all.
    """

    observation: Any
    reward: float
    terminated: bool
    truncated: bool
    action_mask: np.ndarray | None = None


@dataclass(frozen=True)
class Snapshot:
    """A state that a clone of a real environment can be restored to.

    Attributes:
        origin: the real environment.
        state: the state.
    """

    origin: gym.Env
    state: State


class Simulator:
    """Cloned environments of one task, made when they are first needed.

    Each clone belongs to one real environment, since restoring a state of the same episode may be cheaper (Lunar
    Lander's ground does not change).
    """

    def __init__(self, task: Task, cost: InferenceCost, cost_weight: float = 0.0) -> None:
        """Args: the task, the counter of steps and their seconds, and lambda in the rewards R - lambda C."""
        self.task = task
        self._cost_weight = cost_weight
        self._cost = cost
        observation_space, action_space = spaces(task)
        self._pack = packer(observation_space)
        self._discrete = isinstance(action_space, gym.spaces.Discrete)
        self._owned: weakref.WeakKeyDictionary[gym.Env, list[gym.Env]] = weakref.WeakKeyDictionary()
        self._entered: list[tuple[gym.Env, gym.Env]] = []

    def snapshot(self, env: gym.Env) -> Snapshot:
        """The current state of a real environment."""
        return Snapshot(env, save(env))

    def enter(self, snapshots: Sequence[Snapshot], rngs: Sequence[np.random.Generator]) -> None:
        """Restore clones to these snapshots, with these random streams; their places count from 0."""
        in_use: dict[gym.Env, int] = {}
        self._entered = []
        for snapshot, rng in zip(snapshots, rngs, strict=True):
            owned = self._owned.get(snapshot.origin)
            if owned is None:
                owned = self._owned[snapshot.origin] = []
                weakref.finalize(snapshot.origin, _close, owned).atexit = False  # close clones with their origin
            number = in_use[snapshot.origin] = in_use.get(snapshot.origin, 0) + 1
            if number > len(owned):
                owned.append(make_env(self.task))
            env = owned[number - 1]
            self._entered.append((snapshot.origin, env))
            restore(env, snapshot.state, rng)

    def step(self, places: Sequence[int], actions: Sequence[np.ndarray] | np.ndarray) -> list[Transition]:
        """Take one step at each of these places."""
        native_actions = [int(action) for action in actions] if self._discrete else actions
        with self._cost.timed("simulator_seconds"):
            steps = [self._entered[place][1].step(action) for place, action in zip(places, native_actions, strict=True)]
        self._cost.simulator_steps += len(steps)
        return [
            Transition(
                self._pack(observation), self._payoff(reward, info), bool(terminated), bool(truncated), mask_of(info)
            )
            for observation, reward, terminated, truncated, info in steps
        ]

    def _payoff(self, reward: Any, info: dict[str, Any]) -> float:  # noqa: ANN401
        return float(reward) - self._cost_weight * (cost_of(info) or 0.0) if self._cost_weight else float(reward)

    def reached(self, place: int) -> Snapshot:
        """The current state of the clone at this place."""
        origin, env = self._entered[place]
        return Snapshot(origin, save(env))

    def policy_input(
        self,
        places: Sequence[int],
        env_ids: np.ndarray,
        last: Sequence[Transition],
        rngs: Sequence[np.random.Generator],
    ) -> PolicyInput:
        """The policy input for these places after their last transitions; ``env_ids`` index the policy's memory."""
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
        """Close the clones; new ones are made if the simulator is used again."""
        for owned in self._owned.values():
            _close(owned)
        self._owned.clear()
        self._entered = []


def _close(envs: list[gym.Env]) -> None:
    while envs:
        envs.pop().close()


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the garbage collector: a search makes thousands of small objects, almost none of them in cycles."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
