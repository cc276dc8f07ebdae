"""Futures: the policy plays on in imagined environments, and what it gets is added up."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.play.policy import PolicyInput, PolicyOutput
from generalist.amplifiers.simulator import Simulator, Snapshot
from generalist.network.choice import Chooser
from generalist.network.inference_cost import InferenceCost
from generalist.network.policy import NetworkPolicy


def ask(
    policy: NetworkPolicy,
    shown: PolicyInput,
    memory: Any,  # noqa: ANN401
    spent: InferenceCost,
    choose: Chooser | None = None,
) -> PolicyOutput:
    """What the policy does in these rows, counted."""
    with spent.timed("passing"):
        [decision], _ = policy.act([shown], memory, choose)
    spent.passes += len(shown.env_ids)
    return decision


def play_on(
    policy: NetworkPolicy,
    imagined: Simulator,
    memory: Any,  # noqa: ANN401
    spent: InferenceCost,
    starts: Sequence[Snapshot],
    actions: np.ndarray,
    env_ids: np.ndarray,
    rngs: Sequence[np.random.Generator],
    horizon: int,
    choose: Chooser | None = None,
    *,
    foresees: bool,
) -> np.ndarray:
    """Discounted returns of n futures, ``(n,)``.

    What comes sooner counts more, or a policy that thinks at every step puts off what is as good tomorrow, and tomorrow
    again (a lander that hovers).

    Args:
        policy: who plays on.
        imagined: where; its first n places are used.
        memory: the policy's.
        spent: where it is counted.
        starts: ``n`` spots, from which
        actions: ``(n, *action shape)`` come first.
        env_ids: ``(n,)``, each future's in the memory, which knows of its first action already.
        rngs: each future's stream.
        horizon: steps, at most.
        choose: how the policy does.
        foresees: whether the critic foresees what would come after the horizon; else that counts nothing.
    """
    imagined.enter(starts, rngs)
    returns, weight = np.zeros(len(starts)), 1.0
    discount = policy.network.codec.config.discount
    going, last = np.arange(len(starts)), imagined.step(range(len(starts)), actions)
    for step in range(1, horizon + 1):
        returns[going] += [weight * transition.reward for transition in last]
        weight *= discount
        unforeseen = [transition.terminated or (transition.truncated and not foresees) for transition in last]
        on = np.flatnonzero(~np.array(unforeseen, dtype=bool))
        going, last = going[on], [last[at] for at in on]
        if not len(going) or (step == horizon and not foresees):
            break
        shown = imagined.policy_input(going.tolist(), env_ids[going], last, [rngs[place] for place in going])
        decision = ask(policy, shown, memory, spent, choose)
        over = np.array([transition.truncated or step == horizon for transition in last])
        if over.any():
            assert decision.values is not None
            returns[going[over]] += weight * decision.values[over]
        going = going[~over]
        if not len(going):
            break
        last = imagined.step(going.tolist(), decision.actions[~over])
    return returns


def prove(doubted: int, proofs: int, futures: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Which of some choices win all their proofs against the policy's own, one proof after another.

    Who takes every risk that went well once crashes in the end, so one future won is not enough where chance has a say.
    Where it has none, the second is as the first to the last bit, and there is no third.

    Args:
        doubted: how many choices.
        proofs: futures that each must win.
        futures: tells fresh returns of the choices of these numbers, ``(n,)``, and of the policy's own: ``(n, 2)``.

    Returns:
        Whether each won, ``(doubted,)``, and its last returns, ``(doubted, 2)``.
    """
    won, last, left = np.ones(doubted, dtype=bool), np.full((doubted, 2), np.nan), np.arange(doubted)
    for _ in range(proofs):
        if not len(left):
            break
        before, last[left] = last[left], futures(left)
        won[left] = last[left, 0] > last[left, 1]
        left = left[won[left] & (last[left] != before).any(axis=1)]
    return won, last
