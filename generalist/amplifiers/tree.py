"""A search tree's arithmetic: what its nodes know, which action is visited next, and what the search has learnt.

Equations are those of Danihelka et al. 2022 ("Policy improvement by planning with Gumbel"), but for PUCT.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_VISITS = 50.0  # c_visit and
_SCALE = 0.1  # c_scale of equation 8, as in the authors' mctx
_EXPLORE = 1.25  # c_1 of PUCT (Schrittwieser et al. 2020, appendix B)


@dataclass
class Bounds:
    """The least and the largest value that a tree has met, by which its values are put on one scale from 0 to 1."""

    low: float = math.inf
    high: float = -math.inf

    def add(self, value: float) -> None:
        """Meet a value."""
        self.low, self.high = min(self.low, value), max(self.high, value)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """0 where no two values differ."""
        return (values - self.low) / (self.high - self.low) if self.high > self.low else np.zeros_like(values)


@dataclass
class Node:
    """A state that was reached.

    Attributes:
        lane: of the policy's memory, which has seen it.
        logits: ``(k,)``, of the actions that may be tried.
        actions: ``(k, *action shape)``.
        value: the critic's.
        reward: what came with it.
        ended: whether the episode is over there.
        state: of the environment; None: nobody can go on from here.
        visits: ``(k,)``, of each action.
        totals: ``(k,)``, sums of the returns that they brought.
        children: by action, where there are any.
    """

    lane: int
    logits: np.ndarray
    actions: np.ndarray
    value: float
    reward: float = 0.0
    ended: bool = False
    state: Any = None
    children: dict[int, "Node"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.visits = np.zeros(len(self.logits))
        self.totals = np.zeros(len(self.logits))
        self.prior = softmax(self.logits)

    def completed(self) -> np.ndarray:
        """Values of all actions, ``(k,)``: the visited ones' means, for the others one mixed estimate (equation 33)."""
        tried = self.visits > 0
        if not tried.any():
            return np.full(len(self.logits), self.value)
        means = self.totals / np.maximum(self.visits, 1)
        weight, count = self.prior[tried], self.visits.sum()
        mixed = (self.value + count * (weight @ means[tried]) / weight.sum()) / (1 + count)
        return np.where(tried, means, mixed)


def improved(node: Node, bounds: Bounds) -> np.ndarray:
    """Logits of the improved policy, ``(k,)`` (equation 11): the prior's and the scaled values'."""
    return node.logits + sigma(node, bounds)


def sigma(node: Node, bounds: Bounds) -> np.ndarray:
    """How much an action's value says against the prior, in nats, ``(k,)`` (equation 8)."""
    return (_VISITS + node.visits.max()) * _SCALE * bounds.scaled(node.completed())


def gumbel_choice(node: Node, bounds: Bounds) -> int:
    """The action by which visits come closest to the improved policy (equation 14)."""
    return int((softmax(improved(node, bounds)) - node.visits / (1 + node.visits.sum())).argmax())


def puct_choice(node: Node, bounds: Bounds) -> int:
    """The action of the largest upper bound, PUCT's."""
    bonus = _EXPLORE * node.prior * math.sqrt(max(1.0, node.visits.sum())) / (1 + node.visits)
    return int((bounds.scaled(node.completed()) + bonus).argmax())


def descend(root: Node, first: int, choose: Callable[[Node], int]) -> list[tuple[Node, int]]:
    """From the root by its action ``first`` down to an action that is new, or leads to an end: nodes and actions."""
    path = [(root, first)]
    while True:
        node, action = path[-1]
        child = node.children.get(action)
        if child is None or child.ended:
            return path
        path.append((child, choose(child)))


def backup(path: list[tuple[Node, int]], leaf: Node, discount: float, bounds: Bounds) -> None:
    """Tell every action on the way to a leaf what it brought."""
    reached, value = leaf, leaf.value
    for node, action in reversed(path):
        value = reached.reward + discount * value
        node.visits[action] += 1
        node.totals[action] += value
        bounds.add(node.totals[action] / node.visits[action])
        reached = node


def halving(considered: int, visits: int) -> list[tuple[int, int]]:
    """Sequential halving (Karnin et al. 2013): how many actions are left in each phase, and how often each is visited.

    The last phase takes what is left over.
    """
    phases, left, rounds = [], visits, max(1, math.ceil(math.log2(considered)))
    count = considered
    for phase in range(rounds):
        each = max(1, visits // (rounds * count)) if phase < rounds - 1 else max(1, left // count)
        each = min(each, left // count)
        if not each:
            break
        phases.append((count, each))
        left -= each * count
        count = max(2, count // 2)
    return phases


def softmax(logits: np.ndarray) -> np.ndarray:
    """Along the only axis."""
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()
