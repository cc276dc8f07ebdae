"""A policy for batches of environments from agents that act in one environment at a time."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.base.errors import GatitoError
from benchmarks.play.outside.checked import check_action, checked_call, place
from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput
from benchmarks.tasks import Task, own_spaces, spaces
from benchmarks.tasks.canonical import canonical_action, native_observation

_GIVEN: Mapping[str, Callable[[PolicyInput, int], Any]] = {
    "task": lambda rows, row: rows.task,
    "reward": lambda rows, row: float(rows.rewards[row]),
    "rng": lambda rows, row: rows.rngs[row],
    "env": lambda rows, row: rows.envs[row],
    "action_mask": lambda rows, row: rows.action_mask(row),
}
"""Further arguments of an agent besides the observation, passed if ``act`` has a parameter of that name."""


class PerEnvironment(Policy):
    """One actor for each environment: an object with ``act(observation)``, or a function of the observation.

    An actor is made when its environment is first played; its ``reset()``, if it has one, is called before every
    episode. Observations and actions are those of the environment's own spaces, whatever these are.
    """

    distribution_kind: Mapping[str, str] = {}

    def __init__(self, name: str, make: Callable[[Task], Any]) -> None:
        """Args: the agent's name, and a function that makes an actor for a task."""
        self.name = name
        self._make = make
        self._extras: dict[type, tuple[str, ...]] = {}

    def initial_state(self, num_envs: int) -> dict[int, Any]:
        """The actors by environment; empty at first."""
        return {}

    def act(self, inputs: Sequence[PolicyInput], state: dict[int, Any]) -> tuple[list[PolicyOutput], dict[int, Any]]:
        """Ask each environment's actor."""
        outputs = []
        for rows in inputs:
            _, space = spaces(rows.task)
            actions = [
                np.asarray(check_action(self.name, space, rows, row, self._chosen(rows, row, state)))
                for row in range(len(rows.observations))
            ]
            outputs.append(PolicyOutput(np.stack(actions), np.stack(actions)))
        return outputs, state

    def _chosen(self, rows: PolicyInput, row: int, state: dict[int, Any]) -> Any:  # noqa: ANN401
        """The actor's action, which is one of the environment's own space, as policies say it."""
        own, action = own_spaces(rows.task)[1], self._ask(rows, row, state)
        try:
            return canonical_action(own, action)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise GatitoError(
                f"agent {self.name} chose an action{place(rows, row)} that is {str(action)[:80]}, which its space "
                f"{' '.join(str(own).split())} does not have: fix the agent.",
                rows.task.name,
            ) from error

    def _ask(self, rows: PolicyInput, row: int, state: dict[int, Any]) -> Any:  # noqa: ANN401
        env_id = int(rows.env_ids[row])
        if env_id not in state:
            state[env_id] = self._make(rows.task)
        actor = state[env_id]
        where = f"in act(){place(rows, row)}"
        if rows.episode_start[row] and hasattr(actor, "reset"):
            checked_call(self.name, f"in reset(){place(rows, row)}", actor.reset)
        act = getattr(actor, "act", actor)
        if type(actor) not in self._extras:
            parameters = list(inspect.signature(act).parameters)[1:]
            self._extras[type(actor)] = tuple(parameter for parameter in parameters if parameter in _GIVEN)
        extras = {name: _GIVEN[name](rows, row) for name in self._extras[type(actor)]}
        own = own_spaces(rows.task)[0]
        if own == rows.envs[row].observation_space:
            observation = rows.envs[row].get_wrapper_attr("current")()
        else:
            observation = native_observation(own, rows.observations[row])
        return checked_call(self.name, where, act, observation, **extras)
