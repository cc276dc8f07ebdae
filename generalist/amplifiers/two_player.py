"""Tree search in two-player board games, with legal moves only and values from the view of the player to move.

AlphaZero's search (Silver et al. 2018, doi:10.1126/science.aar6404) and its Gumbel form (Danihelka et al. 2022), with
the names of DeepMind's mctx. A node's value is from the view of the player to move there, so a child's value counts
negatively for its parent (negamax), unless the same player moves again. The games are deterministic, so nodes are
OpenSpiel's states, and both players' moves are searched in the same way. Each simulation visits every game once, and
all new positions are evaluated in one batch. While recording, the amplified policy plays both sides of each game.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.special import softmax

from benchmarks.base.errors import GatitoError
from benchmarks.base.settings import check_settings, setting
from benchmarks.play.policy import PolicyInput, PolicyOutput
from benchmarks.tasks import Task
from benchmarks.tasks.games.boards import Board
from generalist.amplifiers.amplifier import Planner
from generalist.amplifiers.tree import ILLEGAL, Prediction, Trees
from generalist.config.codec import CodecConfig
from generalist.config.networks import network_kind
from generalist.config.settings import ModelConfig
from generalist.network.distributions import Categorical
from generalist.network.inference_cost import CountingPolicy, InferenceCost
from generalist.network.policy import NetworkPolicy

SELECTIONS = ("gumbel", "puct")
_LEAST_WEIGHT = 1e-8
_KNOWN_POSITIONS = 200_000  # evaluated positions that are kept, so that memory is bounded

Evaluate = Callable[[Sequence[Any]], tuple[np.ndarray, np.ndarray]]
"""Non-terminal positions → logits ``(n, actions)`` of canonical actions (arbitrary for illegal ones), and values
``(n,)`` in [-1, 1] from the view of the player to move."""


@dataclass(frozen=True)
class TwoPlayerSearch(Planner):
    """The options of ``amplifier=two_player_search``."""

    while_recording: ClassVar[Sequence[str]] = ("gumbel_scale", "dirichlet_fraction", "temperature")
    self_play: ClassVar[bool] = True

    num_simulations: int = setting(32, "Visits per move.", at_least=1)
    selection: str = setting("gumbel", "How moves are selected.", choices=SELECTIONS)
    max_num_considered_actions: int = setting(16, "Most moves that gumbel tries at the root.", at_least=1)
    gumbel_scale: float = setting(0.0, "Scale of gumbel's noise at the root, while recording; 0: none.", at_least=0)
    value_scale: float = setting(1.0, "Scale of values against the prior, c_scale of equation 8.", at_least=0)
    dirichlet_fraction: float = setting(
        0.0, "Share of noise in the root's prior with puct, while recording; 0: none.", at_least=0, at_most=1
    )
    dirichlet_alpha: float = setting(0.3, "Concentration of that noise.", above=0)
    temperature: float = setting(
        0.0,
        "With puct, moves are sampled in proportion to visits ** (1 / temperature) while recording; 0: the most "
        "visited one.",
        at_least=0,
    )

    def check(self, tasks: Sequence[Task], model: ModelConfig, codec: CodecConfig) -> None:
        """Reject settings and tasks that cannot work.

        Raises:
            FatalError: names the setting.
            GatitoError: names the task, or the setting of the codec.
        """
        check_settings("amplifier", self)
        for task in tasks:
            if task.family != "games":
                raise GatitoError(
                    f"task {task.name} is no board game for two players: set amplifier=search, or name the games in "
                    "ida.tasks."
                )
        if not network_kind(codec.name).has_critic or not codec.critic:
            raise GatitoError("amplifier two_player_search needs a critic: distil with codec=step and codec.critic=1.")
        if codec.memory != "partial":
            raise GatitoError(
                "amplifier two_player_search evaluates positions without their history: set codec.memory=partial."
            )

    def policy(
        self, folder: Path, tasks: Sequence[Task], name: str, *, deterministic: bool = True
    ) -> "TwoPlayerPolicy":
        """The generalist in this folder with the search."""
        return TwoPlayerPolicy(NetworkPolicy.load(folder, tasks, name), tasks, self)


class TwoPlayerPolicy(CountingPolicy):
    """A network's policy with a search before each move; it reads the games' states.

    Attributes:
        name: the agent's name.
        distribution_kind: ``logits``, of the improved policy.
        cost: the compute of its moves so far.
    """

    def __init__(self, policy: NetworkPolicy, tasks: Sequence[Task], config: TwoPlayerSearch) -> None:
        """Args: the policy to amplify, the tasks, and the settings."""
        self.name = policy.name
        self.distribution_kind: Mapping[str, str] = {task.name: "logits" for task in tasks}
        self.cost = InferenceCost()
        self._policy, self._config = policy, config
        self._known: dict[tuple[str, bytes], tuple[np.ndarray, float]] = {}

    def initial_state(self, num_envs: int) -> Any:  # noqa: ANN401
        """The network's memory, which holds nothing between moves."""
        return self._policy.initial_state(num_envs)

    def act(self, inputs: Sequence[PolicyInput], state: Any) -> tuple[list[PolicyOutput], Any]:  # noqa: ANN401
        """Search for every row, task by task; a move's value is that of the improved policy."""
        with self.cost.timed("seconds"):
            outputs = [self._decide(rows, state) for rows in inputs]
        self.cost.decisions += sum(len(rows.env_ids) for rows in inputs)
        return outputs, state

    def close(self) -> None:
        """Close the amplified policy."""
        self._policy.close()

    def _decide(self, rows: PolicyInput, memory: Any) -> PolicyOutput:  # noqa: ANN401
        games: list[Any] = [env.unwrapped for env in rows.envs]
        board: Board = games[0].board

        def evaluate(states: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
            return self.evaluate(rows.task, board, states, memory)

        discount = self._policy.network.codec.discount
        output = search(board, [game.state for game in games], evaluate, self._config, rows.rngs, discount)
        self.cost.simulator_steps += int(output.visit_counts.sum())
        weights = output.action_weights
        # A move without weight is less likely than any other legal one, but an illegal one is impossible.
        logits = np.log(np.maximum(weights, _LEAST_WEIGHT), dtype=np.float32)
        if rows.action_masks is not None:
            logits = np.where(rows.action_masks, logits, np.float32(ILLEGAL))
        return PolicyOutput(output.actions, weights.argmax(axis=1), logits, values=output.values)

    def evaluate(
        self,
        task: Task,
        board: Board,
        states: Sequence[Any],
        memory: Any,  # noqa: ANN401
    ) -> tuple[np.ndarray, np.ndarray]:
        """The network's logits and values of positions, each seen as the first of its game and evaluated once.

        A position comes again in other games, by other orders of moves, and in the search of the next move.

        Args:
            task: the game.
            board: its rules.
            states: n of OpenSpiel's states, none of them terminal.
            memory: the network's, from :meth:`initial_state`.

        Returns:
            Logits ``(n, actions)`` of canonical actions, arbitrary for illegal ones, and values ``(n,)`` in [-1, 1]
            from the view of the player to move.
        """
        observations = np.stack([board.observe(state, state.current_player()) for state in states])
        keys = [(task.name, row.tobytes()) for row in observations]
        if len(self._known) > _KNOWN_POSITIONS:
            self._known = {}
        new = list({key: row for row, key in enumerate(keys) if key not in self._known}.values())
        if new:
            rows = PolicyInput(
                task=task,
                observations=observations[new],
                env_ids=np.arange(len(new)),
                episode_start=np.ones(len(new), dtype=bool),
                rewards=np.zeros(len(new)),
                rngs=(),
                envs=(),
            )
            with self.cost.timed("network_seconds"):
                [output], _ = self._policy.act([rows], memory)
            self.cost.forward_passes += len(new)
            assert isinstance(output.distribution, Categorical)
            assert output.values is not None
            logits = output.distribution.logits.numpy().astype(np.float64)
            for row, prior, value in zip(new, logits, np.clip(output.values, -1.0, 1.0), strict=True):
                self._known[keys[row]] = (prior, float(value))
        logits, values = zip(*(self._known[key] for key in keys), strict=True)
        return np.stack(logits), np.array(values)


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
    discount: float = 1.0,
) -> SearchOutput:
    """Search many positions of one game in parallel.

    Args:
        board: the game.
        states: OpenSpiel's states, none of them terminal.
        evaluate: the network.
        config: the settings.
        rngs: one random stream per position.
        discount: of values per move.

    Raises:
        GatitoError: if a game is already over.
    """
    over = [state for state in states if state.is_terminal()]
    if over:
        raise GatitoError(f"{board.name}: cannot search {board.text(over[0])}: the game is over.")
    forest = _Forest(board, states, evaluate, config, discount)
    return (_puct if config.selection == "puct" else _gumbel)(forest, config, rngs)


class _Forest:
    """One tree per position, and OpenSpiel's state at each node."""

    def __init__(
        self, board: Board, states: Sequence[Any], evaluate: Evaluate, config: TwoPlayerSearch, discount: float
    ) -> None:
        self._board, self._evaluate, self._discount = board, evaluate, discount
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
        states, rewards, discounts = [], [], []
        for tree in new.tolist():
            parent = self._states[tree, int(paths.nodes[tree])]
            mover, state = parent.current_player(), parent.clone()
            state.apply_action(self._board.spiel_action(parent, int(paths.actions[tree])))
            states.append(state)
            rewards.append(state.player_return(mover) if state.is_terminal() else 0.0)
            discounts.append(self._discount if state.current_player() == mover else -self._discount)
        ended = np.array([state.is_terminal() for state in states], dtype=bool)
        nodes = trees.add_nodes(paths, new, np.array(rewards), ended)
        self._discounts[new, nodes] = discounts
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
