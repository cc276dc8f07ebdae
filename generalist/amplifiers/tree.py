"""The arithmetic of search trees: node statistics, action selection, and the improved policy.

Many trees share the same arrays, as in the authors' mctx (whose names are used here), so that a simulation of all trees
takes only a few array operations. Equations are those of Danihelka et al. 2022 ("Policy improvement by planning with
Gumbel"), except for PUCT.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

_VISITS = 50.0  # c_visit of equation 8
_EXPLORE = 1.25  # c_1 of PUCT (Schrittwieser et al. 2020, appendix B)
_TINY = np.finfo(np.float64).tiny
ILLEGAL = -1e9
"""The logit of an action that must not be tried."""


@dataclass(frozen=True)
class Prediction:
    """A network's prediction for n states.

    Attributes:
        prior_logits: ``(n, k)``, the prior logits of the actions that may be tried.
        actions: ``(n, k, *action shape)``, these actions.
        values: ``(n,)``, the critic's values.
    """

    prior_logits: np.ndarray
    actions: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Paths:
    """The paths of n simulations down their trees.

    Attributes:
        trees: ``(n,)``, the tree of each simulation.
        nodes: ``(n,)``, its last node.
        actions: ``(n,)``, its action there, which is new or leads to a terminal node.
        steps: for each depth, the simulations that reach it, and their nodes and actions there, ``(m,)`` each.
    """

    trees: np.ndarray
    nodes: np.ndarray
    actions: np.ndarray
    steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]]


class Trees:
    """T trees of at most M nodes with k actions each; node 0 is the root, later nodes are numbered in their order.

    Attributes:
        children_prior_logits: ``(T, M, k)``, the prior.
        actions: ``(T, M, k, *action shape)``.
        raw_values: ``(T, M)``, the critic's value; 0 where the episode is over.
        rewards: ``(T, M)``, the reward of the step that led to a node.
        terminal: ``(T, M)``, whether the episode ended there: no simulation goes further.
        children_visits: ``(T, M, k)``, the visits of each action.
        children_values: ``(T, M, k)``, the mean return after each action.
        children_index: ``(T, M, k)``, the node that an action led to; 0: none yet.
        num_nodes: ``(T,)``, the number of nodes so far.
        min_value: ``(T,)``, the smallest value in a tree so far, for rescaling values to [0, 1].
        max_value: ``(T,)``, the largest value in a tree so far.
    """

    def __init__(self, roots: Prediction, size: int, scale: float = 0.1) -> None:
        """Args: the predictions for the roots, the most nodes of a tree, and c_scale of equation 8."""
        self._scale = scale
        count, k = roots.prior_logits.shape
        self.children_prior_logits = np.zeros((count, size, k))
        self.actions = np.zeros((count, size, *roots.actions.shape[1:]), roots.actions.dtype)
        self.raw_values, self.rewards = np.zeros((count, size)), np.zeros((count, size))
        self.terminal = np.zeros((count, size), dtype=bool)
        self.children_visits, self.children_values = np.zeros((count, size, k)), np.zeros((count, size, k))
        self.children_index = np.zeros((count, size, k), dtype=np.int64)
        self.num_nodes = np.ones(count, dtype=np.int64)
        self.update_nodes(np.arange(count), np.zeros(count, dtype=np.int64), roots)
        self.min_value, self.max_value = self.raw_values[:, 0].copy(), self.raw_values[:, 0].copy()

    def update_nodes(self, trees: np.ndarray, nodes: np.ndarray, prediction: Prediction) -> None:
        """Store the network's prediction for these nodes, ``(n,)``."""
        self.children_prior_logits[trees, nodes] = prediction.prior_logits
        self.actions[trees, nodes] = prediction.actions
        self.raw_values[trees, nodes] = prediction.values

    def add_nodes(self, paths: Paths, new: np.ndarray, rewards: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Add nodes at the ends of some paths, ``new``: ``(n,)``, and return their indices.

        Nodes of one tree are numbered in the order of their paths.
        """
        trees, nodes = paths.trees[new], np.zeros(len(new), dtype=np.int64)
        for index, tree in enumerate(trees):
            nodes[index] = self.num_nodes[tree]
            self.num_nodes[tree] += 1
        self.children_index[trees, paths.nodes[new], paths.actions[new]] = nodes
        self.rewards[trees, nodes], self.terminal[trees, nodes] = rewards, ended
        return nodes

    def complete_qvalues(self, trees: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """Values of all actions, ``(n, k)``: means if visited, otherwise one mixed estimate (equation 33)."""
        visits = self.children_visits[trees, nodes]
        tried, count = visits > 0, visits.sum(axis=1)
        means = self.children_values[trees, nodes]
        weights = tried * np.maximum(softmax(self.children_prior_logits[trees, nodes], axis=-1), _TINY)
        average = (weights * means).sum(axis=1) / np.maximum(weights.sum(axis=1), _TINY)
        mixed = (self.raw_values[trees, nodes] + count * average) / (1 + count)
        return np.where(tried, means, mixed[:, None])

    def rescale_qvalues(self, trees: np.ndarray, values: np.ndarray) -> np.ndarray:
        """``(n, k)`` values rescaled to [0, 1] by all values of their trees; 0 if they are all equal."""
        spread = self.max_value[trees] - self.min_value[trees]
        return (values - self.min_value[trees, None]) * (spread > 0)[:, None] / np.where(spread > 0, spread, 1)[:, None]

    def qtransform_completed_by_mix_value(self, trees: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """The scaled completed values, which are added to the prior logits, ``(n, k)`` (equation 8)."""
        most = self.children_visits[trees, nodes].max(axis=1, keepdims=True)
        return (_VISITS + most) * self._scale * self.rescale_qvalues(trees, self.complete_qvalues(trees, nodes))

    def improved_logits(self, trees: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """Logits of the improved policy, ``(n, k)`` (equation 11): prior logits plus scaled values."""
        return self.children_prior_logits[trees, nodes] + self.qtransform_completed_by_mix_value(trees, nodes)

    def interior_action_selection(self, trees: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """The actions that bring visits closest to the improved policy, ``(n,)`` (equation 14)."""
        visits = self.children_visits[trees, nodes]
        shares = visits / (1 + visits.sum(axis=1, keepdims=True))
        return (softmax(self.improved_logits(trees, nodes), axis=-1) - shares).argmax(axis=1)

    def puct_action_selection(self, trees: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """The actions with the largest PUCT upper bounds, ``(n,)``."""
        visits = self.children_visits[trees, nodes]
        root = np.sqrt(np.maximum(1.0, visits.sum(axis=1, keepdims=True)))
        bonus = _EXPLORE * softmax(self.children_prior_logits[trees, nodes], axis=-1) * root / (1 + visits)
        scores = self.rescale_qvalues(trees, self.complete_qvalues(trees, nodes)) + bonus
        return np.where(self.children_prior_logits[trees, nodes] > ILLEGAL, scores, -np.inf).argmax(axis=1)

    def simulate(
        self, trees: np.ndarray, first: np.ndarray, choose: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> Paths:
        """Follow these first actions, ``(n,)``, down the trees to actions that are new or lead to a terminal node.

        Simulations of one tree must differ in their first actions.
        """
        rows, nodes, actions = np.arange(len(trees)), np.zeros(len(trees), dtype=np.int64), first
        last_nodes, last_actions = nodes.copy(), first.copy()
        steps = []
        while len(rows):
            last_nodes[rows], last_actions[rows] = nodes, actions
            steps.append((rows, nodes, actions))
            children = self.children_index[trees[rows], nodes, actions]
            further = (children > 0) & ~self.terminal[trees[rows], children]
            rows, nodes = rows[further], children[further]
            if len(rows):
                actions = choose(trees[rows], nodes)
        return Paths(trees, last_nodes, last_actions, steps)

    def backward(self, paths: Paths, discount: float | np.ndarray) -> None:
        """Add the returns of simulations to all actions on their paths.

        Args:
            paths: the simulations' paths.
            discount: the discount of the value of the node that an action led to, one for all or ``(T, M)``; -1 if the
                opponent is to move there.
        """
        discounts = np.broadcast_to(discount, self.rewards.shape)
        reached = self.children_index[paths.trees, paths.nodes, paths.actions]
        returns = self.raw_values[paths.trees, reached]
        for rows, nodes, actions in reversed(paths.steps):
            trees = paths.trees[rows]
            returns[rows] = self.rewards[trees, reached[rows]] + discounts[trees, reached[rows]] * returns[rows]
            reached[rows] = nodes
            self.children_visits[trees, nodes, actions] += 1
            means = self.children_values[trees, nodes, actions]
            means += (returns[rows] - means) / self.children_visits[trees, nodes, actions]
            self.children_values[trees, nodes, actions] = means
            np.minimum.at(self.min_value, trees, means)
            np.maximum.at(self.max_value, trees, means)


def sequential_halving(considered: int, visits: int) -> list[tuple[int, int]]:
    """Sequential halving (Karnin et al. 2013): the number of actions in each phase, and the visits to each of them.

    The last phase takes the remaining visits.
    """
    phases, left, rounds = [], visits, max(1, math.ceil(math.log2(considered)))
    count = considered
    for phase in range(rounds):
        repeats = max(1, visits // (rounds * count)) if phase < rounds - 1 else max(1, left // count)
        repeats = min(repeats, left // count)
        if not repeats:
            break
        phases.append((count, repeats))
        left -= repeats * count
        count = max(2, count // 2)
    return phases
