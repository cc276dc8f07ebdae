import functools
from dataclasses import replace

import pytest

from benchmarks.base.artifacts import Artifact, read_manifest
from benchmarks.base.compute import Cost
from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import Purpose, episode_seed
from benchmarks.play.game_records import read_games
from benchmarks.play.policy import PolicyOutput, RandomPolicy
from benchmarks.runs.tracking import Log, read_log
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.evaluate import EvaluateConfig, evaluate, score_artifact
from benchmarks.scoring.playing import Agent
from benchmarks.scoring.results import CostRow, CurveRow, Results, TaskRow
from benchmarks.tasks import Suite
from tests.conftest import make_run, make_task

TARGET = make_task("tests.environments:Target-v0", reference=-0.5)
COUNTER = make_task(kwargs={"length": 8}, metric="success")
SUITE = Suite("toy", (TARGET, COUNTER))
GATE = {"toy/target": -0.1, "toy/counter": 1.0}


class Good(RandomPolicy):
    """A stand-in for expert and generalist: always action 2, and the middle of the box."""

    def __init__(self, name):
        self.name = name

    def act(self, inputs, state):
        decisions, state = super().act(inputs, state)
        for rows, decision in zip(inputs, decisions, strict=True):
            decision.actions[:] = [0.5, 5.0] if rows.task.name == "toy/target" else 2
        return decisions, state


def agents(*names, **made_from):
    return [
        Agent(
            AgentId(name), RandomPolicy if name == "random" else lambda name=name: Good(name), made_from.get(name, {})
        )
        for name in names
    ]


def score(run, *names, seed=4, episodes=12, workers=1, suite=SUITE, failures=None, players=None, **made_from):
    run = make_run(run, suite, seed=seed, workers=workers, failures=failures)
    return evaluate(run, players or agents(*names, **made_from), GATE, EvaluateConfig(episodes=episodes))


def make(folder, cost, curve=None, **config):
    """A finished artifact with a log."""
    artifact = Artifact(folder, "network", config)
    artifact.start()
    log = Log(folder)
    for step, value in (curve or {}).items():
        log.write(step, {"distill/loss": value, "distill/gradient": 1.0})
        log.write(step, {"charts/episodic_return": 9.0})
    artifact.finish(cost.seconds, **cost.facts())
    return artifact


def test_there_is_one_row_per_agent_task_and_test_seed_in_order(tmp_path):
    results = score(tmp_path / "runs" / "r", "random", "expert")
    expected = [
        (agent, task.name, episode_seed(Purpose.TEST, index, 4))
        for agent in ("random", "expert")
        for task in SUITE
        for index in range(12)
    ]
    assert [(row.agent, row.task, row.episode_seed) for row in results.scores] == expected
    assert {(row.suite, row.train_seed) for row in results.scores} == {("toy", 4)}
    assert results == Results.read(tmp_path / "runs" / "r")
    target, counter = ([row for row in results.scores if row.task == task.name] for task in SUITE)
    assert {(row.success, row.length) for row in target} == {(None, 20)}
    assert [row.success for row in counter if row.agent == "expert"] == [True] * 12
    assert [row.total_return for row in counter if row.agent == "expert"] == [16.0] * 12


def test_each_training_seed_has_its_own_test_episodes(tmp_path):
    four, five = (score(tmp_path / str(seed) / "r", "random", seed=seed).scores for seed in (4, 5))
    assert not {row.episode_seed for row in four} & {row.episode_seed for row in five}
    assert [row.total_return for row in four] != [row.total_return for row in five]


def test_tasks_csv_has_the_environments_and_gates(tmp_path):
    score(tmp_path / "runs" / "r", "random", "expert")
    assert Results.read(tmp_path / "runs" / "r").tasks == tuple(
        TaskRow("toy", task.name, "", 4, task.env_id, 20, metric, bar, GATE[task.name], task.digest[:12])
        for task, metric, bar in ((TARGET, "return", -0.5), (COUNTER, "success", None))
    )


def test_costs_and_curves_are_those_of_the_agents_artifacts(tmp_path):
    run = tmp_path / "runs" / "r"
    experts = {
        "toy/target": make(run / "experts" / "x", Cost(10, 1e6, 500, 2.5)),
        "toy/counter": make(run / "experts" / "y", Cost(20, 2e6, 700, 1.25)),
    }
    generalist = {"": make(run / "generalist", Cost(99, 5e9, 1200, 7.0), curve={10: 0.5, 20: 0.1 + 0.2})}
    results = score(run, "random", "expert", "generalist", expert=experts, generalist=generalist)
    assert results == Results.read(run)
    steps = {agent: sum(row.length for row in results.scores if row.agent_id == agent) for agent in results.agents}
    assert [replace(row, play_seconds=0.0) for row in results.costs] == [
        CostRow("toy", "random", None, "", 4, 0, 0.0, 0, 0.0, steps[AgentId("random")], 0.0),
        CostRow("toy", "expert", None, "", 4, 30, 3e6, 1200, 3.75, steps[AgentId("expert")], 0.0),
        CostRow("toy", "generalist", None, "", 4, 99, 5e9, 1200, 7.0, steps[AgentId("generalist")], 0.0),
    ]
    assert all(0 <= row.play_seconds < 60 for row in results.costs)
    assert results.curves == (
        CurveRow("generalist", None, "", "", 4, "distill/loss", 10, 0.5),
        CurveRow("generalist", None, "", "", 4, "distill/loss", 20, 0.1 + 0.2),
    )
    (run / "experts" / "y" / "manifest.json").unlink()
    with pytest.raises(GatitoError, match="experts/y is not finished: run all stages again"):
        score(run, "random", "expert", expert=experts)


def test_scores_do_not_depend_on_the_number_of_processes(tmp_path):
    one = score(tmp_path / "a" / "r", "random", workers=1)
    two = score(tmp_path / "b" / "r", "random", workers=2)
    assert (one.scores, one.tasks) == (two.scores, two.tasks)


def test_finished_scores_are_kept_and_new_agents_are_added(tmp_path):
    run = tmp_path / "runs" / "r"
    first = score(run, "random")
    before = (run / "scores" / "random" / "manifest.json").stat().st_mtime_ns
    results = score(run, "random", "expert", "generalist")
    assert (run / "scores" / "random" / "manifest.json").stat().st_mtime_ns == before
    assert list(map(str, results.agents)) == ["random", "expert", "generalist"]
    assert results.scores[: len(first.scores)] == first.scores
    assert results.costs[0] == first.costs[0]
    assert score(tmp_path / "runs" / "other", "random") == first  # adopted from another run
    assert read_manifest(tmp_path / "runs" / "other" / "scores" / "random")["adopted_from"] == str(
        run / "scores/random"
    )


def test_what_an_agent_has_played_is_kept_when_the_command_ends_before_the_others_have(tmp_path):
    def broken():
        raise ZeroDivisionError

    random, expert = agents("random", "expert")
    run = tmp_path / "runs" / "r"
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        score(run, players=[random, replace(expert, load=broken)])
    kept = score_artifact(make_run(run, SUITE, seed=4), random, SUITE, EvaluateConfig(episodes=12))
    assert kept.is_complete()
    before = (kept.folder / "scores.csv").stat().st_mtime_ns
    assert score(run, players=[random, expert]) == score(tmp_path / "runs" / "other", players=[random, expert])
    assert (kept.folder / "scores.csv").stat().st_mtime_ns == before


def test_an_agent_with_another_setting_is_played_again(tmp_path):
    """Two amplifiers of one network in different runs must not share scores."""
    ways = [RandomPolicy, functools.partial(Good, "random")]
    scores = []
    for number, load in enumerate([*ways, ways[0]]):
        players = [Agent(AgentId("random"), load, how={"amplifier": load is ways[0]})]
        scores.append(score(tmp_path / "runs" / str(number), players=players).scores)
    assert scores[0] == scores[2] != scores[1]
    assert "adopted_from" in read_manifest(tmp_path / "runs" / "2" / "scores" / "random")
    named = {"suite": "toy", "tasks": {task.name: task.digest for task in SUITE}, "agent": "random"}
    config = score_artifact(make_run(tmp_path, seed=4), *agents("random"), SUITE, EvaluateConfig(episodes=12)).config
    assert config == named | {"episodes": 12, "seed": 4}  # otherwise all earlier scores would be played again


def test_other_settings_and_artifacts_are_played_again(tmp_path):
    run = tmp_path / "runs" / "r"
    old, new = (make(run / name, Cost(), width=width) for width, name in enumerate(("old", "new")))
    score(run, "random", "expert", expert={"": old})
    before = {name: (run / "scores" / name / "manifest.json").stat().st_mtime_ns for name in ("random", "expert")}
    score(run, "random", "expert", expert={"": new})
    after = {name: (run / "scores" / name / "manifest.json").stat().st_mtime_ns for name in before}
    assert (before["random"], before["expert"] < after["expert"]) == (after["random"], True)
    assert len(score(run, "random", episodes=13).scores) == 26
    longer = Suite("toy", (TARGET, make_task(kwargs={"length": 9})))
    assert {row.length for row in score(run, "random", suite=longer).scores} == {20, 9}


def test_the_log_has_each_tasks_metric(tmp_path):
    run = tmp_path / "runs" / "r"
    score(run, "random", "expert")
    [line] = read_log(run / "scores" / "log.jsonl")
    assert line["evaluate/toy/counter/expert"] == 1.0  # a success rate, not the return of 16
    assert line["evaluate/toy/target/expert"] == pytest.approx(0.0)


def test_finished_scores_that_were_changed_are_named(tmp_path):
    run = tmp_path / "runs" / "r"
    score(run, "random")
    artifact = score_artifact(make_run(run, seed=4), *agents("random"), SUITE, EvaluateConfig(episodes=12))
    assert artifact.is_complete()
    with (artifact.folder / "scores.csv").open("a") as file:
        file.write("\n")
    with pytest.raises(GatitoError, match=r"scores/random/scores\.csv has \d+ bytes instead of"):
        score(run, "random")


@pytest.mark.parametrize("setting, least", [("envs_per_task", 1), ("max_envs", 1), ("episodes", 2)])
def test_settings_without_episodes_are_rejected(setting, least):
    with pytest.raises(GatitoError, match=f"evaluate.{setting} must be at least {least}, not {least - 1}"):
        EvaluateConfig(**{setting: least - 1}).check()


@pytest.mark.parametrize("tasks, num_envs", [(1, 50), (5, 50), (24, 10), (157, 1), (1000, 1)])
def test_a_suite_of_many_tasks_has_fewer_environments_of_each(tasks, num_envs):
    assert EvaluateConfig(envs_per_task=50, max_envs=256).num_envs(tasks) == num_envs


def test_moves_in_fixed_positions_are_part_of_the_scores_and_chosen_once(tmp_path, monkeypatch):
    pytest.importorskip("pyspiel")
    from benchmarks.scoring import moves, playing
    from benchmarks.tasks import Task, TaskConfig

    def game(name):
        return Task.resolve(f"games/{name}", TaskConfig(family="games", env_id=name, kwargs={"opponent": "random"}))

    suite, players = Suite("games", (game("tic_tac_toe"), game("hex_5x5"))), agents("random")
    players += [replace(players[0], id=AgentId("expert"), load=functools.partial(Legal, "expert"))]
    config, gate = EvaluateConfig(episodes=4), {task.name: 1.0 for task in suite}
    run = make_run(tmp_path / "runs" / "r", suite, seed=4, workers=2)
    results = evaluate(run, players, gate, config)
    assert [(row.agent, row.task, len(row.moves), row.train_seed) for row in results.moves] == [
        ("random", "games/tic_tac_toe", 4520, 4),
        ("expert", "games/tic_tac_toe", 4520, 4),
    ]
    assert results == Results.read(tmp_path / "runs" / "r")
    assert [row.opponents for row in results.tasks] == ["random", "random"]
    games = read_games(run.folder)
    assert [(game.task, game.agent) for game in games] == [
        (task.name, agent) for task in suite for agent in ("random", "expert")
    ]
    first = {(row.task, row.agent): row for row in results.scores if row.episode_seed == games[0].seed}
    assert all(first[game.task, game.agent].total_return == game.outcome for game in games)
    monkeypatch.setattr(playing, "moves_in_positions", lambda *arguments: pytest.fail("chosen again"))
    assert evaluate(run, players, gate, config) == results and read_games(run.folder) == games
    before = score_artifact(run, players[1], suite, config).fingerprint
    monkeypatch.setitem(moves._POSITIONS, "tic_tac_toe", lambda: ("", "0"))
    assert score_artifact(run, players[1], suite, config).fingerprint != before, "other positions, other scores"
    monkeypatch.undo()
    one = replace(run, folder=tmp_path / "other" / "r", workers=1)
    assert evaluate(one, players, gate, config).moves == results.moves


class Legal(RandomPolicy):
    """Always the first legal action."""

    def __init__(self, name):
        self.name = name

    def act(self, inputs, state):
        chosen = [rows.action_masks.argmax(axis=1) for rows in inputs]
        return [PolicyOutput(actions, actions) for actions in chosen], state


def test_an_illegal_choice_in_a_position_fails_that_task_alone(tmp_path):
    pytest.importorskip("pyspiel")
    from benchmarks.tasks import Task, TaskConfig

    class Illegal(Legal):
        """Legal in games but not in positions with a mover's stone in the corner, which are no episode's first."""

        def act(self, inputs, state):
            decisions, state = super().act(inputs, state)
            for rows, decision in zip(inputs, decisions, strict=True):
                if rows.task.family == "games" and len(rows.env_ids) > 9:
                    decision.actions[:] = 0
            return decisions, state

    config = TaskConfig(family="games", env_id="tic_tac_toe", kwargs={"opponent": "random"})
    suite = Suite("games", (TARGET, Task.resolve("games/three", config)))
    run = make_run(tmp_path / "runs" / "r", suite, seed=4)
    players = [*agents("random"), Agent(AgentId("expert"), lambda: Mixed(Illegal("expert")))]
    results = evaluate(run, players, GATE | {"games/three": 1.0}, EvaluateConfig(episodes=4))
    assert "agent expert chose the illegal action 0 in the position after the moves" in run.failures.line("games/three")
    assert {row.task for row in results.scores} == {"toy/target"} and not results.moves


class Mixed(Good):
    """Plays games as another policy does."""

    def __init__(self, player):
        super().__init__(player.name)
        self.player = player

    def act(self, inputs, state):
        return [
            (self.player if rows.task.family == "games" else super(Mixed, self)).act([rows], state)[0][0]
            for rows in inputs
        ], state
