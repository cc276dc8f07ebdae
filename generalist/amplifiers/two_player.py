"""Tree search in two-player board games, with legal moves only and values from the view of the player to move.

AlphaZero's search (Silver et al. 2018, doi:10.1126/science.aar6404) and its Gumbel form (Danihelka et al. 2022), with
the names of DeepMind's mctx. A node's value is from the view of the player to move there, so a child's value counts
negatively for its parent (negamax), unless the same player moves again. The games are deterministic, so nodes are
OpenSpiel's states, and both players' moves are searched in the same way. Each simulation visits every game once, and
all new positions are evaluated in one batch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from benchmarks.base.errors import GatitoError
from benchmarks.base.settings import check_settings, setting
from benchmarks.tasks.games.boards import Board
from generalist.amplifiers.tree import ILLEGAL, Prediction, Trees

SELECTIONS = ("gumbel", "puct")

Evaluate = Callable[[Sequence[Any]], tuple[np.ndarray, np.ndarray]]
"""Non-terminal positions → logits ``(n, actions)`` of canonical actions (arbitrary for illegal ones), and values
``(n,)`` in [-1, 1] from the view of the player to move."""


@dataclass(frozen=True)
class TwoPlayerSearch:
    """The settings of the search."""

    num_simulations: int = setting(32, "Visits per move.", at_least=1)
    selection: str = setting("gumbel", "How moves are selected.", choices=SELECTIONS)
    max_num_considered_actions: int = setting(16, "Most moves that gumbel tries at the root.", at_least=1)
    gumbel_scale: float = setting(1.0, "Scale of gumbel's noise at the root; 0: none.", at_least=0)
    value_scale: float = setting(1.0, "Scale of values against the prior, c_scale of equation 8.", at_least=0)
    dirichlet_fraction: float = setting(
        0.25, "Share of noise in the root's prior with puct; 0: none.", at_least=0, at_most=1
    )
    dirichlet_alpha: float = setting(0.3, "Concentration of that noise.", above=0)
    temperature: float = setting(
        1.0,
        "With puct, moves are sampled in proportion to visits ** (1 / temperature); 0: the most visited one.",
        at_least=0,
    )

    def check(self) -> None:
        """Reject settings that cannot work.

        Raises:
            FatalError: names the setting.
        """
        check_settings("amplifier", self)


@dataclass(frozen=True)
class SearchOutput:
    """The result of a search of n positions.

    Attributes:
        actions: ``(n,)``, canonical actions to play.
        action_weights: ``(n, actions)``, the improved policy, which is distilled; 0 for illegal moves.
        values: ``(n,)``, the root's value under that policy, for the player to move.
        visit_counts: ``(n, actions)``, the visits of the root's moves.
    """

    actions: np.ndarray
    action_weights: np.ndarray
    values: np.ndarray
    visit_counts: np.ndarray


def search(
    board: Board,
    states: Sequence[Any],
    evaluate: Evaluate,
    config: TwoPlayerSearch,
    rngs: Sequence[np.random.Generator],
) -> SearchOutput:
    """Search many positions of one game in parallel.

    Args:
        board: the game.
        states: OpenSpiel's states, none of them terminal.
        evaluate: the network.
        config: the settings.
        rngs: one random stream per position.

    Raises:
        GatitoError: if a game is already over.
    """
    over = [state for state in states if state.is_terminal()]
    if over:
        raise GatitoError(f"{board.name}: cannot search {board.text(over[0])}: the game is over.")
    forest = _Forest(board, states, evaluate, config)
    return (_puct if config.selection == "puct" else _gumbel)(forest, config, rngs)


class _Forest:
    """One tree per position, and OpenSpiel's state at each node."""

    def __init__(self, board: Board, states: Sequence[Any], evaluate: Evaluate, config: TwoPlayerSearch) -> None:
        self._board, self._evaluate = board, evaluate
        self._states = {(tree, 0): state.clone() for tree, state in enumerate(states)}
        size = 1 + config.num_simulations
        self.every = np.arange(len(states))
        self.roots = np.zeros_like(self.every)
        self.trees = Trees(self._predict(states), size, config.value_scale)
        self.trees.min_value[:], self.trees.max_value[:] = -1.0, 1.0  # the range of outcomes
        self._discounts = np.ones((len(states), size))

    def visit(self, first: np.ndarray, choose: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        """Visit every tree once, with these moves at the roots, ``(T,)``, and ``choose`` below them."""
        trees = self.trees
        paths = trees.simulate(self.every, first, choose)
        new = np.flatnonzero(trees.children_index[self.every, paths.nodes, paths.actions] == 0)
        states, rewards, signs = [], [], []
        for tree in new.tolist():
            parent = self._states[tree, int(paths.nodes[tree])]
            mover, state = parent.current_player(), parent.clone()
            state.apply_action(self._board.spiel_action(parent, int(paths.actions[tree])))
            states.append(state)
            rewards.append(state.player_return(mover) if state.is_terminal() else 0.0)
            signs.append(1.0 if state.current_player() == mover else -1.0)
        ended = np.array([state.is_terminal() for state in states], dtype=bool)
        nodes = trees.add_nodes(paths, new, np.array(rewards), ended)
        self._discounts[new, nodes] = signs
        self._states |= dict(zip(zip(new.tolist(), nodes.tolist(), strict=True), states, strict=True))
        ongoing = np.flatnonzero(~ended)
        if len(ongoing):
            trees.update_nodes(new[ongoing], nodes[ongoing], self._predict([states[index] for index in ongoing]))
        trees.backward(paths, self._discounts)

    def _predict(self, states: Sequence[Any]) -> Prediction:
        logits, values = self._evaluate(states)
        legal = np.stack([self._board.mask(state) for state in states]).astype(bool)
        actions = np.tile(np.arange(self._board.actions), (len(states), 1))
        return Prediction(np.where(legal, logits, ILLEGAL), actions, values)


def _gumbel(forest: _Forest, config: TwoPlayerSearch, rngs: Sequence[np.random.Generator]) -> SearchOutput:
    trees, every, roots = forest.trees, forest.every, forest.roots
    legal = trees.children_prior_logits[:, 0] > ILLEGAL
    noise = config.gumbel_scale * np.stack([rng.gumbel(size=legal.shape[1]) for rng in rngs])
    considered = np.minimum(config.max_num_considered_actions, legal.sum(axis=1))
    schedules = {int(count): considered_visits(int(count), config.num_simulations) for count in set(considered)}
    schedule = np.array([schedules[int(count)] for count in considered])

    def best(visits: np.ndarray) -> np.ndarray:
        """The best move among those with this many visits, which implements sequential halving."""
        scores = noise + trees.improved_logits(every, roots)
        return np.where(legal & (trees.children_visits[:, 0] == visits[:, None]), scores, -np.inf).argmax(axis=1)

    for simulation in range(config.num_simulations):
        forest.visit(best(schedule[:, simulation]), trees.interior_action_selection)
    weights = softmax(trees.improved_logits(every, roots), axis=1) * legal
    actions = best(trees.children_visits[:, 0].max(axis=1))
    return _output(trees, actions, weights)


def _puct(forest: _Forest, config: TwoPlayerSearch, rngs: Sequence[np.random.Generator]) -> SearchOutput:
    trees, every, roots = forest.trees, forest.every, forest.roots
    legal = trees.children_prior_logits[:, 0] > ILLEGAL
    if config.dirichlet_fraction:
        noise = np.zeros(legal.shape)
        for row, rng in enumerate(rngs):
            noise[row, legal[row]] = rng.dirichlet(np.full(legal[row].sum(), config.dirichlet_alpha))
        prior = softmax(trees.children_prior_logits[:, 0], axis=1)
        mixed = (1 - config.dirichlet_fraction) * prior + config.dirichlet_fraction * noise
        trees.children_prior_logits[:, 0] = np.where(legal, np.log(mixed + 1e-12), ILLEGAL)
    for _ in range(config.num_simulations):
        forest.visit(trees.puct_action_selection(every, roots), trees.puct_action_selection)
    visits = trees.children_visits[:, 0]
    actions = visits.argmax(axis=1)
    if config.temperature:
        powers = (visits / visits.max(axis=1, keepdims=True)) ** (1 / config.temperature)
        probabilities = powers / powers.sum(axis=1, keepdims=True)
        actions = np.array([rng.choice(len(row), p=row) for rng, row in zip(rngs, probabilities, strict=True)])
    return _output(trees, actions, visits / visits.sum(axis=1, keepdims=True))


def _output(trees: Trees, actions: np.ndarray, weights: np.ndarray) -> SearchOutput:
    every = np.arange(len(actions))
    values = (weights * trees.complete_qvalues(every, np.zeros_like(every))).sum(axis=1)
    return SearchOutput(actions, weights, values, trees.children_visits[:, 0].astype(np.int64))


def considered_visits(num_considered: int, num_simulations: int) -> list[int]:
    """Sequential halving as a schedule: for each simulation, the visit count of the root moves that are candidates.

    As ``mctx.get_sequence_of_considered_visits``; trees with different numbers of legal moves can then share a loop.
    """
    if num_considered <= 1:
        return list(range(num_simulations))
    rounds, sequence = math.ceil(math.log2(num_considered)), []
    visits, left = [0] * num_considered, num_considered
    while len(sequence) < num_simulations:
        for _ in range(max(1, num_simulations // (rounds * left))):
            sequence += visits[:left]
            visits[:left] = [count + 1 for count in visits[:left]]
        left = max(2, left // 2)
    return sequence[:num_simulations]
