"""Self-play with search, against the actor of OpenSpiel's AlphaZero, with the same network and number of simulations.

OpenSpiel's actor is ``MCTSBot`` with PUCT, Dirichlet noise and an evaluator that remembers positions from game to game
(``open_spiel/python/algorithms/alpha_zero``). The evaluator is written again here, since the original imports JAX; as
there, the network sees one position at a time. The network is untrained.
"""

import itertools
from typing import Any

import numpy as np
from scipy.special import softmax

from benchmarks.base.seeds import stream
from benchmarks.play.policy import Noisy
from benchmarks.play.rollout import rollout
from benchmarks.tasks.games import as_self_play
from benchmarks.tasks.games.boards import make_board
from generalist.amplifiers.two_player import TwoPlayerPolicy, TwoPlayerSearch
from generalist.network.network import make_network
from generalist.network.policy import NetworkPolicy
from tests.speed.cases import Case, Measurement, timed
from tests.speed.tasks import codec_of, model_of, suite_of

_SIMULATIONS = 32
_GAMES = 256  # as in experiment=games
_OPEN_SPIEL_GAMES = 2
_UCT_C, _EPSILON, _ALPHA = 2.0, 0.25, 1.0  # its example's


def cases() -> list[Case]:
    """Connect Four with ``nano`` and convolutions of 32 features, in moves per second."""
    case = f"connect four, nano, {_SIMULATIONS} simulations"
    return [Case("think", case, "OpenSpiel's AlphaZero actor", 5, _pair, needs=("pyspiel",), repetitions=3)]


def _pair() -> tuple[Measurement, Measurement]:
    codec = codec_of(critic=1.0, board_features=32, discrete_actions=108)
    [task] = suite_of("games", None, "games/connect-four").tasks
    task = as_self_play(task)
    plain = NetworkPolicy(make_network(model_of("nano"), codec, [task.name]).eval().accelerate())
    seeds = itertools.count()

    def play() -> float:
        search = TwoPlayerPolicy(plain, [task], TwoPlayerSearch(_SIMULATIONS, gumbel_scale=1.0))
        games = itertools.islice(seeds, _GAMES)
        return sum(each.length for each in rollout(Noisy(search, 0.05), {task: games}, envs_per_task=_GAMES))

    evaluator = TwoPlayerPolicy(
        plain, [task], TwoPlayerSearch()
    )  # for its evaluations and their memory, not its search

    def play_one_by_one() -> float:
        return sum(_game(task, evaluator, next(seeds)) for _ in range(_OPEN_SPIEL_GAMES))

    return timed(play), timed(play_one_by_one)


def _game(task: Any, network: TwoPlayerPolicy, seed: int) -> int:
    """The moves of one game of OpenSpiel's actor against itself."""
    from open_spiel.python.algorithms import mcts

    board, memory = make_board("connect_four"), network.initial_state(1)

    class Evaluator(mcts.Evaluator):
        def _inference(self, state: Any) -> tuple[np.ndarray, float]:
            [logits], [value] = network.evaluate(task, board, [state], memory)
            return softmax(np.where(board.mask(state), logits, -np.inf)), float(value)

        def evaluate(self, state: Any) -> np.ndarray:
            value = self._inference(state)[1] * (1 if state.current_player() == 0 else -1)
            return np.array([value, -value])

        def prior(self, state: Any) -> list[tuple[int, float]]:
            policy = self._inference(state)[0]
            return [(action, policy[action]) for action in state.legal_actions()]

    bot = mcts.MCTSBot(
        board.game,
        _UCT_C,
        _SIMULATIONS,
        Evaluator(),
        solve=False,
        random_state=np.random.RandomState(seed),
        dirichlet_noise=(_EPSILON, _ALPHA),
        child_selection_fn=mcts.SearchNode.puct_value,
    )
    rng, state, moves = stream("open spiel", seed), board.game.new_initial_state(), 0
    while not state.is_terminal():
        visits = np.array([(child.action, child.explore_count) for child in bot.mcts_search(state).children])
        state.apply_action(int(rng.choice(visits[:, 0], p=visits[:, 1] / visits[:, 1].sum())))
        moves += 1
    return moves
