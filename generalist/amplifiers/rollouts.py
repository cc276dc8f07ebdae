"""Rollouts: the policy continues episodes in cloned environments, and their rewards are summed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.play.policy import PolicyInput
from generalist.amplifiers.simulator import Simulator, Snapshot
from generalist.network.distributions import NetworkOutput, Selector
from generalist.network.inference_cost import InferenceCost
from generalist.network.policy import NetworkPolicy


@dataclass(frozen=True)
class Rollouts:
    """Rollouts of a policy in clones of one task's environments.

    Attributes:
        policy: the policy.
        simulator: the cloned environments.
        memory: the policy's memory.
        cost: counts the compute.
    """

    policy: NetworkPolicy
    simulator: Simulator
    memory: Any
    cost: InferenceCost

    def ask(self, rows: PolicyInput, select: Selector | None = None) -> NetworkOutput:
        """The policy's output for these rows."""
        with self.cost.timed("network_seconds"):
            [output], _ = self.policy.act([rows], self.memory, select)
        self.cost.forward_passes += len(rows.env_ids)
        return output

    def returns(
        self,
        starts: Sequence[Snapshot],
        actions: np.ndarray,
        env_ids: np.ndarray,
        rngs: Sequence[np.random.Generator],
        horizon: int,
        select: Selector | None = None,
        *,
        bootstrap: bool,
    ) -> np.ndarray:
        """Discounted returns of n rollouts, ``(n,)``.

        Without a discount, a policy that plans at every step would postpone everything that is worth the same later
        (a lander that hovers).

        Args:
            starts: n snapshots.
            actions: ``(n, *action shape)``, the first actions.
            env_ids: ``(n,)``, each rollout's memory slot, which already contains the first action.
            rngs: each rollout's random stream.
            horizon: most steps.
            select: the rule for choosing actions; None for the policy's own.
            bootstrap: whether the critic estimates the return after the horizon; otherwise it counts as 0.
        """
        self.simulator.enter(starts, rngs)
        returns, weight = np.zeros(len(starts)), 1.0
        discount = self.policy.network.codec.discount
        active, last = np.arange(len(starts)), self.simulator.step(range(len(starts)), actions)
        for step in range(1, horizon + 1):
            returns[active] += [weight * transition.reward for transition in last]
            weight *= discount
            final = [transition.terminated or (transition.truncated and not bootstrap) for transition in last]
            kept = np.flatnonzero(~np.array(final, dtype=bool))
            active, last = active[kept], [last[row] for row in kept]
            if not len(active) or (step == horizon and not bootstrap):
                break
            places = active.tolist()
            rows = self.simulator.policy_input(places, env_ids[active], last, [rngs[place] for place in places])
            output = self.ask(rows, select)
            over = np.array([transition.truncated or step == horizon for transition in last])
            if over.any():
                assert output.values is not None
                returns[active[over]] += weight * output.values[over]
            active = active[~over]
            if not len(active):
                break
            last = self.simulator.step(active.tolist(), output.actions[~over])
        return returns


def confirm(
    candidates: int, confirmations: int, rollout: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Test which candidates beat the policy's own choice in each of several new rollouts.

    One won rollout is not enough in a stochastic environment: a policy that takes every risk that paid off once fails
    in the end. In a deterministic environment the second rollout equals the first one bit by bit, and testing stops.

    Args:
        candidates: the number of candidates.
        confirmations: the rollouts that each candidate must win.
        rollout: maps candidate indices, ``(n,)``, to the returns of candidate and policy's own choice, ``(n, 2)``.

    Returns:
        Whether each candidate won, ``(candidates,)``, and its last returns, ``(candidates, 2)``.
    """
    won, last, left = np.ones(candidates, dtype=bool), np.full((candidates, 2), np.nan), np.arange(candidates)
    for _ in range(confirmations):
        if not len(left):
            break
        before, last[left] = last[left], rollout(left)
        won[left] = last[left, 0] > last[left, 1]
        left = left[won[left] & (last[left] != before).any(axis=1)]
    return won, last
