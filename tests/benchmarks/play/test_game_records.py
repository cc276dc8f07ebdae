from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyspiel")

from benchmarks.base.errors import GatitoError
from benchmarks.play.game_records import SAMPLE_GAMES, GameWatch, read_games, write_games
from benchmarks.play.policy import PolicyOutput, RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.play.watching import WatchedPolicy
from benchmarks.tasks import Task, TaskConfig
from tests.conftest import make_task

POLE = make_task()


def game(name):
    config = TaskConfig(family="games", env_id=name, kwargs={"opponent": ["random", "mcts-10"]})
    return Task.resolve(f"games/{name}", config)


class Valued(RandomPolicy):
    """Random play with a value: the number of its own stones on the board, and none at the start."""

    def act(self, inputs, state):
        outputs, state = super().act(inputs, state)
        stones = [rows.observations[:, 0].sum(axis=(1, 2)) if rows.task.family == "games" else None for rows in inputs]
        return [
            replace(output, values=None if count is None else np.where(count, count, np.nan))
            for output, count in zip(outputs, stones, strict=True)
        ], state


def watched(policy, tasks, seeds, seed):
    watch, found, episodes = GameWatch(seed), [], []
    for episode in rollout(WatchedPolicy(policy, [watch]), {task: seeds for task in tasks}, envs_per_task=3):
        episodes.append(episode)
        found.append(watch.record(episode))
    return [record for record in found if record], episodes


def test_the_game_of_one_seed_is_recorded_as_it_was_played():
    tasks = [game("connect_four"), POLE, game("tic_tac_toe")]
    records, episodes = watched(Valued(), tasks, range(8), 5)
    assert sorted(record.task for record in records) == ["games/connect_four", "games/tic_tac_toe"]
    for record in records:
        [episode] = [e for e in episodes if (e.task, e.seed) == (record.task, 5)]
        own = [ply for ply in record.plies if ply.by_agent]
        assert record.outcome == episode.total_return and len(own) == episode.length
        assert [ply.value for ply in own] == [None, *range(1, episode.length)]
        assert all(ply.value is None for ply in record.plies if not ply.by_agent)
        assert [ply.by_agent for ply in record.plies[:2]] == [record.colour == "x", record.colour == "o"]
        assert record.opponent in ("random", "mcts-10")
        marks = [ply.board.count("x") - ply.board.count("o") for ply in record.plies]
        assert marks == [1 - number % 2 for number in range(len(marks))]
    first = next(record for record in records if record.task == "games/tic_tac_toe").plies[0]
    assert first.board.replace("/", "").index("x") == int(first.move)


def test_watching_changes_no_episode():
    task = game("connect_four")
    _, episodes = watched(Valued(), [task], range(6), 2)
    plain = list(rollout(Valued(), {task: range(6)}, envs_per_task=3))
    assert [(e.seed, e.total_return, e.length) for e in episodes] == [(e.seed, e.total_return, e.length) for e in plain]


def test_records_are_read_back_and_damage_is_one_line(tmp_path):
    records, _ = watched(Valued(), [game("hex_5x5")], [1], 1)
    records = [replace(record, agent="generalist", round=2) for record in records]
    assert len(records) == 1
    write_games(tmp_path, records)
    assert read_games(tmp_path) == records
    path = tmp_path / SAMPLE_GAMES
    path.write_text(path.read_text().replace('"colour"', '"color"'))
    with pytest.raises(GatitoError, match="sample_games.json is damaged") as error:
        read_games(tmp_path)
    assert "\n" not in str(error.value)
    write_games(tmp_path, [])
    assert read_games(tmp_path) == [] and not path.exists()


def test_a_policy_without_values_has_none():
    class Silent(RandomPolicy):
        def act(self, inputs, state):
            outputs, state = super().act(inputs, state)
            return [PolicyOutput(output.actions, output.labels) for output in outputs], state

    [record], _ = watched(Silent(), [game("breakthrough_6x6")], [0], 0)
    assert {ply.value for ply in record.plies} == {None}
