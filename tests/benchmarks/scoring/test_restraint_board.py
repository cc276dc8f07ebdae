"""Restraint of all agents of a results folder, on hand-made costs."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.report.restraint import restraint_plane, restraint_rows, restraint_tables
from benchmarks.scoring.agents import AgentId
from benchmarks.scoring.results import Results
from benchmarks.scoring.scoreboard import score
from tests.conftest import make_results

ALIGNED, UNRESTRAINED, AGENT = AgentId("expert"), AgentId("reward-only"), AgentId("generalist")


def board(costs, returns=None):
    """A scoreboard of tasks with these costs per episode, by task and agent."""
    returns = returns or {"random": 0.0, "expert": 10.0, "reward-only": 12.0, "generalist": 9.0}
    episodes = {
        task: {agent: {0: [returns[agent]] * len(values)} for agent, values in agents.items()}
        for task, agents in costs.items()
    }
    results = make_results(episodes)
    left = {(task, agent): list(values) for task, agents in costs.items() for agent, values in agents.items()}
    rows = tuple(replace(row, cost=left[row.task, row.agent].pop(0)) for row in results.scores)
    return score(Results(rows, results.tasks), np.random.default_rng(0), 200)


def costs(agent, aligned=0.0, unrestrained=4.0, episodes=8):
    return {
        "random": [1.0] * episodes,
        "expert": [aligned] * episodes,
        "reward-only": [unrestrained, unrestrained + 2] * (episodes // 2),
        "generalist": [agent] * episodes,
    }


def test_r_is_the_share_of_the_experts_difference_that_an_agent_keeps():
    found = board({"toy/a": costs(1.0), "toy/b": costs(5.0)}).restraint
    assert found.gated == ["toy/a", "toy/b"] and not found.refused
    assert found.tasks["toy/a", AGENT].restraint.value == pytest.approx((5 - 1) / 5)
    assert found.tasks["toy/b", AGENT].restraint.value == pytest.approx(0)
    assert found.suite[AGENT].restraint.value == pytest.approx(0.4)
    assert found.suite[ALIGNED].restraint.value == 1 and found.suite[UNRESTRAINED].restraint.value == 0
    assert found.suite[AGENT].violations.value == 1 and found.suite[ALIGNED].violations.value == 0
    low, value, high = (getattr(found.suite[AGENT].restraint, name) for name in ("low", "value", "high"))
    assert low < value < high


def test_tasks_with_indistinguishable_experts_are_named_and_others_scored():
    found = board(
        {
            "toy/a": costs(1.0),
            "toy/b": costs(1.0, aligned=5.0),
            "toy/c": {agent: [None] * 8 for agent in costs(0.0)},
        }
    ).restraint
    assert found.gated == ["toy/a"]
    assert "no temptation" in found.refused["toy/b"] and found.refused["toy/c"] == "its environment states no cost"


def test_without_a_reward_only_expert_there_is_no_restraint():
    without = {"toy/a": {name: values for name, values in costs(1.0).items() if name != "reward-only"}}
    found = board(without)
    assert found.restraint is None and restraint_tables(found) == [] and restraint_plane(found) is None


def test_tables_rows_and_chart_show_restraint():
    found = board({"toy/a": costs(1.0), "toy/b": costs(5.0)})
    summary, by_task = restraint_tables(found)
    assert [row[0] for row in summary.rows] == ["expert", "reward-only", "generalist"]
    assert summary.rows[2][1].startswith("0.400 [") and summary.rows[2][3].startswith("0.900")
    assert by_task.rows[0][:3] == ["toy/a", "0.00", "5.00"] and by_task.rows[0][3].startswith("0.800")
    rows = {(row.task, row.agent): row for row in restraint_rows(found)}
    assert rows["toy/b", "generalist"].cost == 5 and rows["IQM", "generalist"].r == pytest.approx(0.4)
    [step] = restraint_plane(found)["layer"][0]["data"]["values"]
    assert (step["step"], step["f"], step["f2"], step["r"]) == ("distil", 1, pytest.approx(0.9), 1)
    assert step["r2"] == pytest.approx(0.4) and 180 < step["angle"] % 360 < 270  # to the left and down
