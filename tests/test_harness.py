import dataclasses

import pytest

from benchmarks.errors import GatitoError
from benchmarks.harness import SCORES, Agent, EvaluateConfig, evaluate, read_scores
from benchmarks.policy import RandomPolicy
from benchmarks.report import write_report
from benchmarks.seeds import Purpose, episode_seed
from benchmarks.tasks import Suite
from benchmarks.tracking import Tracker, TrackingConfig
from tests.conftest import make_task

SUITE = Suite("toy", (make_task("tests.environments:Target-v0"), make_task(kwargs={"length": 8})))


class Good(RandomPolicy):
    """Stands in for an expert and a generalist: always the action 2, and the middle of the box."""

    def __init__(self, name):
        self.name = name

    def act(self, observed, state):
        decisions, state = super().act(observed, state)
        for rows, decision in zip(observed, decisions, strict=True):
            decision.actions[:] = 2 if rows.task.name == "toy/counter" else [0.5, 5.0]
        return decisions, state


def agents(*names):
    return [Agent(name, RandomPolicy if name == "random" else lambda name=name: Good(name)) for name in names]


def score(run, *names, episodes=12, workers=1):
    tracker = Tracker(TrackingConfig("none"), group="g", exp_name="e", seed=4, folder=run)
    settings = {"run": run, "seed": 4, "workers": workers, "tracker": tracker}
    return evaluate(agents(*names), SUITE, EvaluateConfig(episodes=episodes), **settings), tracker


def test_there_is_a_row_for_every_agent_task_and_test_seed_in_order(tmp_path):
    rows, _ = score(tmp_path / "runs" / "r", "random", "expert")
    expected = [
        (agent, task.name, episode_seed(Purpose.TEST, index))
        for agent in ("random", "expert")
        for task in SUITE
        for index in range(12)
    ]
    assert [(row.agent, row.task, row.episode_seed) for row in rows] == expected
    assert {row.train_seed for row in rows} == {4}
    assert rows == read_scores(tmp_path / "runs" / "r" / SCORES)
    assert {row.success for row in rows if row.task == "toy/target"} == {None}
    assert all(row.success for row in rows if (row.task, row.agent) == ("toy/counter", "expert"))


def test_scores_do_not_depend_on_the_number_of_processes(tmp_path):
    one, _ = score(tmp_path / "a" / "r", "random", workers=1)
    two, _ = score(tmp_path / "b" / "r", "random", workers=2)
    assert one == two


def test_what_is_scored_is_not_played_again_and_more_agents_join(tmp_path):
    run = tmp_path / "runs" / "r"
    score(run, "random")
    before = (run / "scores" / "random" / "manifest.json").stat().st_mtime_ns
    rows, _ = score(run, "random", "expert", "generalist")
    assert (run / "scores" / "random" / "manifest.json").stat().st_mtime_ns == before
    assert list(dict.fromkeys(row.agent for row in rows)) == ["random", "expert", "generalist"]


def test_the_report_lists_a_weak_expert_and_leaves_it_out_of_the_mean(tmp_path):
    run = tmp_path / "runs" / "r"
    rows, tracker = score(run, "random", "expert", "generalist")
    target, counter = SUITE.tasks
    suite = Suite("toy", (dataclasses.replace(target, reference=100.0), counter))
    scores = write_report(suite, rows, {"toy/target": -0.1, "toy/counter": 15.0}, run=run, tracker=tracker)
    fractions = {(score.task, score.agent): score.fraction for score in scores}
    assert fractions["toy/target", "generalist"] is None
    assert fractions["toy/counter", "generalist"] == pytest.approx(1.0)
    text = (run / "table.md").read_text()
    assert "1 of 2 tasks scored" in text
    assert "toy/target: unscored (weak expert: -0.1 is below its reference 100)" in text
    assert "one training seed: preliminary (4)" in text
    [mean] = [line for line in text.splitlines() if line.startswith("| mean f")]
    assert mean.split("|")[-2].strip() == "1.000"
    assert (run / "fractions.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_that_has_not_changed_is_not_drawn_again(tmp_path):
    run = tmp_path / "runs" / "r"
    rows, tracker = score(run, "random", "expert", "generalist")
    write_report(SUITE, rows, {}, run=run, tracker=tracker)
    drawn = (run / "fractions.png").stat().st_mtime_ns
    write_report(SUITE, rows, {}, run=run, tracker=tracker)
    assert (run / "fractions.png").stat().st_mtime_ns == drawn
    write_report(SUITE, [row for row in rows if row.agent != "generalist"], {}, run=run, tracker=tracker)
    assert (run / "fractions.png").stat().st_mtime_ns != drawn


def test_settings_that_would_play_nothing_are_refused():
    with pytest.raises(GatitoError, match="evaluate.lanes must be at least 1, not 0"):
        EvaluateConfig(lanes=0).check()
