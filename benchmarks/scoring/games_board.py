"""The scores of games of every agent of a results folder: outcomes by opponent, Elo, and quality of moves."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import derive
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.gains import ALL, SIDES, Gain, gains
from benchmarks.scoring.games import MoveQuality, Outcomes, elo, exploitability, judge_moves, one_hot, outcomes
from benchmarks.scoring.moves import MoveRow
from benchmarks.scoring.results import Results
from benchmarks.scoring.statistics import Bootstrap, Estimate, Sample, interval
from benchmarks.tasks.games.environment import opponent_of
from benchmarks.tasks.games.opponents import SELF
from benchmarks.tasks.games.positions import moves_and_values, tic_tac_toe_positions

ANCHOR = "random"
"""The player at Elo 0: the opponent and the agent of that name, which play the same."""
_ELO_RESAMPLES = 500  # a fit takes 2 milliseconds, and each resample needs two
_Outcomes = Mapping[tuple[str, AgentId, str], Sample]
_Judged = Mapping[int, tuple[np.ndarray, MoveQuality]]


@dataclass(frozen=True)
class MoveScore:
    """The quality of one agent's moves in the fixed positions of Connect Four.

    Attributes:
        positions: the number of positions in which it was asked.
        optimal: share of moves that keep the outcome of perfect play.
        fastest: share of moves that also win as fast as possible, or lose as slowly.
        lost: mean loss of outcome by a move; a win that becomes a loss counts 2.
    """

    positions: int
    optimal: Estimate
    fastest: Estimate
    lost: Estimate


@dataclass(frozen=True)
class MoveGain:
    """What one round of one run gains in the share of optimal moves.

    Attributes:
        positions: the number of positions in which all agents of the run's rounds were asked.
        gain: the gains, in the place of fractions of the expert.
    """

    positions: int
    gain: Gain


@dataclass(frozen=True)
class GamesBoard:
    """Scores of games beside a scoreboard.

    Attributes:
        opponents: each game's opponents, in their order.
        outcomes: by task, agent and opponent, without opponents that an agent has not met.
        elo: by task and player, the name of an agent or as :func:`rung` names an opponent.
        moves: by task and agent, of Connect Four.
        move_gains: by task, of Connect Four: what rounds gain in the share of optimal moves.
        exploitability: by task and agent, of tic-tac-toe.
    """

    opponents: Mapping[str, tuple[str, ...]]
    outcomes: Mapping[tuple[str, AgentId, str], Outcomes]
    elo: Mapping[str, Mapping[str, Estimate]]
    moves: Mapping[tuple[str, AgentId], MoveScore]
    move_gains: Mapping[str, tuple[MoveGain, ...]]
    exploitability: Mapping[tuple[str, AgentId], Estimate]


def rung(opponent: str) -> str:
    """An opponent's name as a player of the ladder; no agent's name has a space before its round."""
    return opponent if opponent == ANCHOR else f"opponent {opponent}"


def games_board(results: Results, bootstrap: Bootstrap) -> GamesBoard | None:
    """Score every agent in every game.

    Args:
        results: rows that pass :meth:`Results.check`.
        bootstrap: shared with the other scores; Elo has fewer resamples of its own.

    Returns:
        None if no task is a game.

    Raises:
        GatitoError: if the rows of moves do not fit the positions.
    """
    opponents = {row.task: tuple(row.opponents.split()) for row in results.tasks if row.opponents}
    if not opponents:
        return None
    samples = _outcomes(results, opponents)
    games = {row.task: row.env_id for row in results.tasks}
    choices = _choices(results)
    judged = {key: _judged(rows) for key, rows in choices.items() if games[key[0]] == "connect_four"}
    return GamesBoard(
        opponents,
        {key: outcomes(sample, bootstrap) for key, sample in samples.items()},
        {task: _elo(task, samples, bootstrap.resamples) for task in opponents},
        {key: _move_score(seeds, bootstrap) for key, seeds in judged.items()},
        _move_gains(judged, bootstrap),
        {key: _exploitability(rows, bootstrap) for key, rows in choices.items() if games[key[0]] == "tic_tac_toe"},
    )


def _outcomes(results: Results, opponents: Mapping[str, tuple[str, ...]]) -> _Outcomes:
    """Outcomes of test episodes by task, agent, opponent and training seed, in the order of tasks and agents."""
    found: dict[tuple[str, AgentId, str], dict[int, list[float]]] = {
        (task, agent, opponent): {}
        for task, names in opponents.items()
        for agent in results.agents
        for opponent in names
        if opponent != SELF  # the agent itself is no opponent
    }
    for row in results.scores:
        if row.task in opponents:
            key = (row.task, row.agent_id, opponent_of(row.episode_seed, opponents[row.task]))
            if key in found:
                found[key].setdefault(row.train_seed, []).append(row.total_return)
    return {key: {seed: np.array(games) for seed, games in seeds.items()} for key, seeds in found.items() if seeds}


def _elo(task: str, samples: _Outcomes, resamples: int) -> dict[str, Estimate]:
    """Ratings of a task's agents and opponents; empty if nobody met an opponent."""
    pairs: dict[tuple[str, str], dict[int, np.ndarray]] = {}
    for (name, agent, opponent), sample in samples.items():
        player = ANCHOR if agent.name == ANCHOR else str(agent)
        if name != task or player == rung(opponent):
            continue
        games = pairs.setdefault((player, rung(opponent)), {})
        for seed, values in sample.items():  # compared runs may each have their own random agent
            games[seed] = np.concatenate([games.get(seed, values[:0]), values])
    if not pairs:
        return {}
    rng = np.random.default_rng(derive("elo", task))
    return elo(pairs, ANCHOR, Bootstrap(rng, min(resamples, _ELO_RESAMPLES)))


def _choices(results: Results) -> dict[tuple[str, AgentId], list[MoveRow]]:
    order = {agent: place for place, agent in enumerate(results.agents)}
    found: dict[tuple[str, AgentId], list[MoveRow]] = {}
    for row in sorted((row for row in results.moves if row.agent_id in order), key=lambda row: order[row.agent_id]):
        found.setdefault((row.task, row.agent_id), []).append(row)
    return found


def _judged(rows: list[MoveRow]) -> _Judged:
    """Positions in which an agent was asked, and the quality of its moves there, by training seed."""
    moves, values = moves_and_values()
    judged = {}
    for row in rows:
        actions = row.actions(len(moves))
        asked = np.flatnonzero(actions >= 0)
        judged[row.train_seed] = asked, judge_moves(values[asked], one_hot(actions[asked], values.shape[1]))
    return judged


def _move_score(judged: _Judged, bootstrap: Bootstrap) -> MoveScore:
    samples: list[Sample] = [
        {seed: getattr(quality, name) for seed, (_, quality) in judged.items()}
        for name in ("optimal", "fastest", "lost")
    ]
    replicates = bootstrap.means(samples)
    low, high = interval(replicates, (0.0, 2.0))
    low[:2], high[:2] = low[:2].clip(0, 1), high[:2].clip(0, 1)
    estimates = [Estimate(*map(float, numbers)) for numbers in zip(replicates.estimate, low, high, strict=True)]
    return MoveScore(min(map(len, samples[0].values())), *estimates)


def _move_gains(judged: Mapping[tuple[str, AgentId], _Judged], bootstrap: Bootstrap) -> dict[str, tuple[MoveGain, ...]]:
    """Gains in optimal moves, in the positions in which all agents of a run's rounds were asked."""
    runs: dict[tuple[str, str], dict[AgentId, _Judged]] = {}
    for (task, agent), seeds in judged.items():
        if agent.name in SIDES:
            runs.setdefault((task, agent.label), {})[agent] = seeds
    found: dict[str, tuple[MoveGain, ...]] = {}
    for (task, _), agents in runs.items():
        asked = [set(positions) for seeds in agents.values() for positions, _ in seeds.values()]
        shared = sorted(set.intersection(*asked))
        if not shared:
            continue
        samples = {
            agent: {seed: quality.optimal[np.isin(positions, shared)] for seed, (positions, quality) in seeds.items()}
            for agent, seeds in agents.items()
        }
        of_rounds = gains({agent: bootstrap.means([sample]) for agent, sample in samples.items()}, [task])
        made = tuple(MoveGain(len(shared), gain) for gain in of_rounds if gain.task == ALL)
        if made:
            found[task] = found.get(task, ()) + made
    return found


def _exploitability(rows: list[MoveRow], bootstrap: Bootstrap) -> Estimate:
    """The mean over training seeds; exact for each, so that one seed has no interval."""
    positions = len(tic_tac_toe_positions().moves)
    sample = {}
    for row in rows:
        actions = row.actions(positions)
        known = (actions >= 0)[:, None]
        try:
            sample[row.train_seed] = np.array([exploitability(one_hot(actions, 9) * known)])
        except GatitoError:
            raise GatitoError(
                f"moves.csv: {row.agent_id} on {row.task} lacks moves: run with stages=[evaluate,report] again."
            ) from None
    replicates = bootstrap.means([sample])
    low, high = interval(replicates, (0.0, 1.0))
    return Estimate(float(replicates.estimate[0]), float(low[0]), float(high[0]))
