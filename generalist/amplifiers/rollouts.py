"""Rollouts: the policy plays on in clones of its environments, and the rewards are added up."""

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
    """A policy that plays in clones of one task's environments.

    Attributes:
        policy: which plays.
        simulator: the clones.
        memory: the policy's.
        spent: where the cost is counted.
    """

    policy: NetworkPolicy
    simulator: Simulator
    memory: Any
    spent: InferenceCost

    def ask(self, rows: PolicyInput, select: Selector | None = None) -> NetworkOutput:
        """What the policy does in these rows."""
        with self.spent.timed("network_seconds"):
            [output], _ = self.policy.act([rows], self.memory, select)
        self.spent.forward_passes += len(rows.env_ids)
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

        Without a discount, a policy that plans at every step would postpone whatever is worth the same later (a lander
        that hovers).

        Args:
            starts: ``n`` snapshots, from which
            actions: ``(n, *action shape)`` come first.
            env_ids: ``(n,)``, where the memory holds each rollout; it knows of the first action already.
            rngs: each rollout's random stream.
            horizon: steps, at most.
            select: how actions are chosen; None: as the policy does.
            bootstrap: whether the critic estimates what would follow the horizon; otherwise that counts nothing.
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
    """Which candidates beat the policy's own choice in every one of several fresh rollouts, played one after another.

    One won rollout is not enough where chance has a say: a policy that takes every risk that went well once crashes in
    the end. In a deterministic environment the second rollout equals the first to the last bit, and there is no third.

    Args:
        candidates: how many.
        confirmations: rollouts that each must win.
        rollout: returns of the candidates of these indices, ``(n,)``, and of the policy's own choice: ``(n, 2)``.

    Returns:
        Whether each won, ``(candidates,)``, and its last returns, ``(candidates, 2)``.
    """
    won, last, left = np.ones(candidates, dtype=bool), np.full((candidates, 2), np.nan), np.arange(candidates)
    for _ in range(confirmations):
        if not len(left):
            break
        before, last[left] = last[left], rollout(left)
        won[left] = last[left, 0] > last[left, 1]
        left = left[won[left] & (last[left] != before).any(axis=1)]
    return won, last
