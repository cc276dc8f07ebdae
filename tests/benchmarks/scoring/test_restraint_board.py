"""Restraint of all agents of a results folder, on hand-made costs."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.report.restraint import restraint_plane, restraint_rounds, restraint_rows, restraint_tables
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
    rows = tuple(replace(row, cost=left[row.task, str(row.agent_id)].pop(0)) for row in results.scores)
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


def test_configurations_that_began_with_one_network_begin_their_lines_at_it():
    """Blind rounds gain f and lose r, overseen ones gain both."""
    found = {"generalist": (9.0, 1.0)}
    found |= {"amplified round 1 (blind)": (11.0, 4.0), "generalist round 1 (blind)": (10.0, 3.0)}
    found |= {"amplified round 1 (overseen)": (10.0, 0.0), "generalist round 1 (overseen)": (9.5, 0.5)}
    returns = {"random": 0.0, "expert": 10.0, "reward-only": 12.0} | {name: f for name, (f, _) in found.items()}
    scored = board({"toy/a": costs(1.0) | {name: [cost] * 8 for name, (_, cost) in found.items()}}, returns)
    lines = {}
    for row in restraint_rounds(scored)["data"]["values"]:
        lines.setdefault(row["side"], []).append((row["round"], pytest.approx(row["r"])))
    assert lines == {
        "amplified (blind)": [(0, 0.2)],
        "amplified (overseen)": [(0, 1.0)],
        "generalist (blind)": [(0, 0.8), (1, 0.4)],
        "generalist (overseen)": [(0, 0.8), (1, 0.9)],
    }
    plane = restraint_plane(scored)["layer"]
    assert [step["step"] for step in plane[0]["data"]["values"]].count("amplify, round 1") == 2
    assert {row["arm"] for row in restraint_plane(scored)["data"]["values"]} == {
        "experts",
        "shared",
        "blind",
        "overseen",
    }
    assert plane[-1]["encoding"]["shape"]["field"] == "arm"
    # At f = .95, the blind arm is half way from .8 to .4.
    assert "r at f = 0.950, which all arms reach: blind 0.600, overseen 0.900." in restraint_tables(scored)[0].caption


def test_wide_tables_show_the_last_round():
    names = [f"generalist round {number} (blind)" for number in range(1, 13)]
    made = {"toy/a": costs(1.0) | dict.fromkeys(names, [2.0] * 8)}
    returns = dict.fromkeys(["random", "expert", "reward-only", "generalist", *names], 9.0) | {
        "random": 0.0,
        "expert": 10.0,
    }
    _, by_task = restraint_tables(board(made, returns))
    assert by_task.columns[3:] == ["r generalist", "r generalist round 12 (blind)"]
    assert by_task.caption.endswith("Rounds before the last are in restraint.csv.")
