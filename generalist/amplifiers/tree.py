"""Search trees' arithmetic: what their nodes know, which action is visited next, and what the search has learnt.

Many trees grow side by side in the same arrays, as in the authors' mctx, so that a visit costs all of them a few array
operations. Equations are those of Danihelka et al. 2022 ("Policy improvement by planning with Gumbel"), but for PUCT.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_VISITS = 50.0  # c_visit of equation 8
_EXPLORE = 1.25  # c_1 of PUCT (Schrittwieser et al. 2020, appendix B)
_TINY = np.finfo(np.float64).tiny
ILLEGAL = -1e9
"""The logit of an action that must not be tried."""


@dataclass(frozen=True)
class Seen:
    """What a network says of n states.

    Attributes:
        logits: ``(n, k)``, of the actions that may be tried.
        actions: ``(n, k, *action shape)``.
        values: ``(n,)``, the critic's.
    """

    logits: np.ndarray
    actions: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Paths:
    """Ways of n visits down their trees.

    Attributes:
        trees: ``(n,)``, in which tree each is.
        nodes: ``(n,)``, where each ends: a node, and
        actions: ``(n,)``, its action that is new, or leads to an end.
        steps: by depth, the visits that come so deep, and the nodes and actions that they pass there, ``(m,)`` each.
    """

    trees: np.ndarray
    nodes: np.ndarray
    actions: np.ndarray
    steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]]


class Trees:
    """T trees of at most M nodes with k actions each; node 0 is the root, later ones are numbered as they come.

    Attributes:
        logits: ``(T, M, k)``, the prior.
        actions: ``(T, M, k, *action shape)``.
        values: ``(T, M)``, the critic's; 0 where the episode is over.
        rewards: ``(T, M)``, what came with a node.
        ended: ``(T, M)``, whether an episode ended there, and nobody can go on.
        visits: ``(T, M, k)``, of each action.
        totals: ``(T, M, k)``, sums of the returns that they brought.
        children: ``(T, M, k)``, the nodes that actions led to; 0: none yet.
        sizes: ``(T,)``, nodes so far.
        low: ``(T,)``, the least value that a tree has met, and
        high: ``(T,)``, the largest: values are put on one scale from 0 to 1 by them.
    """

    def __init__(self, roots: Seen, size: int, scale: float = 0.1) -> None:
        """Args: the states at the roots, how many nodes a tree may have, and c_scale of equation 8."""
        self._scale = scale
        count, k = roots.logits.shape
        self.logits = np.zeros((count, size, k))
        self.actions = np.zeros((count, size, *roots.actions.shape[1:]), roots.actions.dtype)
        self.values, self.rewards = np.zeros((count, size)), np.zeros((count, size))
        self.ended = np.zeros((count, size), dtype=bool)
        self.visits, self.totals = np.zeros((count, size, k)), np.zeros((count, size, k))
        self.children = np.zeros((count, size, k), dtype=np.int64)
        self.sizes = np.ones(count, dtype=np.int64)
        self.tell(np.arange(count), np.zeros(count, dtype=np.int64), roots)
        self.low, self.high = self.values[:, 0].copy(), self.values[:, 0].copy()

    def tell(self, trees: np.ndarray, nodes: np.ndarray, seen: Seen) -> None:
        """What the network says of these nodes, ``(n,)``."""
        self.logits[trees, nodes] = seen.logits
        self.actions[trees, nodes] = seen.actions
        self.values[trees, nodes] = seen.values

    def grow(self, paths: Paths, new: np.ndarray, rewards: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Nodes at the ends of some paths, ``new``: ``(n,)``; their numbers.

        Paths of one tree take numbers in their order.
        """
        trees, nodes = paths.trees[new], np.zeros(len(new), dtype=np.int64)
        for index, tree in enumerate(trees):
            nodes[index] = self.sizes[tree]
            self.sizes[tree] += 1
        self.children[trees, paths.nodes[new], paths.actions[new]] = nodes
        self.rewards[trees, nodes], self.ended[trees, nodes] = rewards, ended
        return nodes

    def completed(self, trees: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """All actions' values, ``(n, k)``: visited ones' means, for the others one mixed estimate (equation 33)."""
        visits = self.visits[trees, nodes]
        tried, count = visits > 0, visits.sum(axis=1)
        means = self.totals[trees, nodes] / np.maximum(visits, 1)
        weights = tried * np.maximum(softmax(self.logits[trees, nodes]), _TINY)
        average = (weights * means).sum(axis=1) / np.maximum(weights.sum(axis=1), _TINY)
        mixed = (self.values[trees, nodes] + count * average) / (1 + count)
        return np.where(tried, means, mixed[:, None])

    def scaled(self, trees: np.ndarray, values: np.ndarray) -> np.ndarray:
        """``(n, k)`` values from 0 to 1, by all that the trees have met; 0 where no two differ."""
        spread = self.high[trees] - self.low[trees]
        return (values - self.low[trees, None]) * (spread > 0)[:, None] / np.where(spread > 0, spread, 1)[:, None]

    def sigma(self, trees: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """How much actions' values say against the prior, in nats, ``(n, k)`` (equation 8)."""
        most = self.visits[trees, nodes].max(axis=1, keepdims=True)
        return (_VISITS + most) * self._scale * self.scaled(trees, self.completed(trees, nodes))

    def improved(self, trees: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """Logits of the improved policy, ``(n, k)`` (equation 11): the prior's and the scaled values'."""
        return self.logits[trees, nodes] + self.sigma(trees, nodes)

    def gumbel_choice(self, trees: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """The actions by which visits come closest to the improved policy, ``(n,)`` (equation 14)."""
        visits = self.visits[trees, nodes]
        shares = visits / (1 + visits.sum(axis=1, keepdims=True))
        return (softmax(self.improved(trees, nodes)) - shares).argmax(axis=1)

    def puct_choice(self, trees: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """The actions of the largest upper bounds, PUCT's, ``(n,)``."""
        visits = self.visits[trees, nodes]
        root = np.sqrt(np.maximum(1.0, visits.sum(axis=1, keepdims=True)))
        bonus = _EXPLORE * softmax(self.logits[trees, nodes]) * root / (1 + visits)
        scores = self.scaled(trees, self.completed(trees, nodes)) + bonus
        return np.where(self.logits[trees, nodes] > ILLEGAL, scores, -np.inf).argmax(axis=1)

    def descend(
        self, trees: np.ndarray, first: np.ndarray, choose: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> Paths:
        """From roots by these first actions, ``(n,)``, down to actions that are new, or lead to an end.

        Visits of one tree must differ in their first actions.
        """
        rows, nodes, actions = np.arange(len(trees)), np.zeros(len(trees), dtype=np.int64), first
        last_nodes, last_actions = nodes.copy(), first.copy()
        steps = []
        while len(rows):
            last_nodes[rows], last_actions[rows] = nodes, actions
            steps.append((rows, nodes, actions))
            children = self.children[trees[rows], nodes, actions]
            further = (children > 0) & ~self.ended[trees[rows], children]
            rows, nodes = rows[further], children[further]
            if len(rows):
                actions = choose(trees[rows], nodes)
        return Paths(trees, last_nodes, last_actions, steps)

    def backup(self, paths: Paths, discount: float | np.ndarray) -> None:
        """Tell all actions on the ways to leaves what they brought.

        Args:
            paths: the ways.
            discount: of the value of the node that an action led to, one for all or ``(T, M)``; -1 where its value is
                the opponent's.
        """
        discounts = np.broadcast_to(discount, self.rewards.shape)
        reached = self.children[paths.trees, paths.nodes, paths.actions]
        returns = self.values[paths.trees, reached]
        for rows, nodes, actions in reversed(paths.steps):
            trees = paths.trees[rows]
            returns[rows] = self.rewards[trees, reached[rows]] + discounts[trees, reached[rows]] * returns[rows]
            reached[rows] = nodes
            self.visits[trees, nodes, actions] += 1
            self.totals[trees, nodes, actions] += returns[rows]
            means = self.totals[trees, nodes, actions] / self.visits[trees, nodes, actions]
            np.minimum.at(self.low, trees, means)
            np.maximum.at(self.high, trees, means)


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
    """Along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
