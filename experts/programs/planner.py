"""An exact planner for environments with a transition model: value iteration over all reachable states.

Backward induction finds the optimal finite-horizon values (Puterman 1994, section 4.5): after k sweeps V holds the best
expected payoff of k more steps. The payoff of a step is R - cost_weight C: with a large weight the planner is the
aligned expert, with weight 0 the reward-only one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from benchmarks.play.policy import Policy, PolicyInput, PolicyOutput
from benchmarks.tasks import Task

_NEVER = -1e6
"""The value of an action that a learner must not imitate; far below every payoff."""
_END = -1  # indexes the last value, which stays 0
_NOTHING = (0.0, 0.0, _END)


class Outcome(Protocol):
    """One possible outcome of an action."""

    @property
    def probability(self) -> float:
        """The outcome's probability."""
        ...

    @property
    def state(self) -> Any:  # noqa: ANN401
        """The next state; hashable."""
        ...

    @property
    def reward(self) -> float:
        """The reward of the step."""
        ...

    @property
    def cost(self) -> float:
        """The cost of the step."""
        ...

    @property
    def terminated(self) -> bool:
        """Whether the episode ends."""
        ...


class Model(Protocol):
    """An environment with an exact transition model.

    Attributes:
        state: the current state.
        alike: for each action, the first action with the same effect in every state.
    """

    state: Any
    alike: Sequence[int]

    def outcomes(self, state: Any, action: int) -> Sequence[Outcome]:  # noqa: ANN401
        """The possible outcomes of an action."""
        ...


class Plan:
    """The optimal values of all states that are reachable from an environment's current state."""

    def __init__(self, world: Model, cost_weight: float, *, horizon: int) -> None:
        """Enumerate the states and compute their values.

        Args:
            world: the environment, in the state to plan from.
            cost_weight: lambda in R - lambda C.
            horizon: the maximum number of steps to plan; planning ends early once the values have converged.
        """
        different = sorted(set(world.alike))
        numbers: dict[Any, int] = {world.state: 0}
        states = [world.state]
        rows: list[list[tuple[float, float, int]]] = []  # of each action: probability, payoff and the next state
        for state in states:  # grows during the loop
            for action in different:
                row = []
                for outcome in world.outcomes(state, action):
                    following = _END
                    if not outcome.terminated:
                        following = numbers.setdefault(outcome.state, len(states))
                        if following == len(states):
                            states.append(outcome.state)
                    row.append((outcome.probability, outcome.reward - cost_weight * outcome.cost, following))
                rows.append(row)
        most = max(map(len, rows))
        table = np.array([row + [_NOTHING] * (most - len(row)) for row in rows])
        table = table.reshape(len(states), len(different), most, 3)
        probabilities, payoffs, following = table[..., 0], table[..., 1], table[..., 2].astype(np.int64)
        immediate = (probabilities * payoffs).sum(axis=2)
        values, q = np.zeros(len(states) + 1), immediate
        for _ in range(horizon):
            q = immediate + (probabilities * values[following]).sum(axis=2)
            best = q.max(axis=1)
            if np.abs(best - values[:-1]).max() < 1e-9:
                break
            values[:-1] = best
        self._numbers, self._values = numbers, values
        self._q_values = q[:, np.searchsorted(different, world.alike)]

    def value(self, state: Any) -> float:  # noqa: ANN401
        """The expected payoff from a state onwards."""
        return float(self._values[self._numbers[state]])

    def q_values(self, state: Any) -> np.ndarray:  # noqa: ANN401
        """The expected payoff of each action and the optimal policy after it; shape ``(actions,)``."""
        return self._q_values[self._numbers[state]]


class PlannerPolicy(Policy):
    """Plans once at the start of every episode in the environment's own model, then looks its actions up.

    The plan covers all reachable states, so it also has an action after another agent acted. The distributions are the
    exact action values, so a learner can see which actions are equally good. Of actions with the same effect in every
    state, only the first one has a value: a learner that divided its probability among four ways to wait would prefer
    to go, even where it is rather sure that waiting is better.
    """

    name = "expert"

    def __init__(self, task: Task, cost_weight: float) -> None:
        """Args: a task whose environment is a :class:`Model`, and lambda in R - lambda C."""
        self.distribution_kind: Mapping[str, str] = {task.name: "q"}
        self._weight, self._horizon = cost_weight, task.horizon

    def initial_state(self, num_envs: int) -> dict[int, Plan]:
        """The plan of each environment's episode, by environment id."""
        return {}

    def act(self, inputs: Sequence[PolicyInput], state: dict[int, Plan]) -> tuple[list[PolicyOutput], dict[int, Plan]]:
        """The action with the highest value, the first of several."""
        return [self._decide(rows, state) for rows in inputs], state

    def _decide(self, rows: PolicyInput, plans: dict[int, Plan]) -> PolicyOutput:
        values, same_as_earlier = [], np.zeros(0, dtype=bool)
        for row, (env_id, env) in enumerate(zip(rows.env_ids, rows.envs, strict=True)):
            world: Any = env.unwrapped
            if rows.episode_start[row]:
                plans[env_id] = Plan(world, self._weight, horizon=self._horizon)
            values.append(plans[env_id].q_values(world.state))
            same_as_earlier = np.asarray(world.alike) != np.arange(len(world.alike))
        q = np.array(values)
        # Values that differ only by rounding are equal: the choice must not depend on rounding.
        actions = np.argmax(q >= q.max(axis=1, keepdims=True) - 1e-6, axis=1)
        return PolicyOutput(actions, actions, distributions=np.where(same_as_earlier, _NEVER, q).astype(np.float32))
