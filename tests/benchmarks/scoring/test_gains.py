"""Gains of rounds, compared with hand computations, and their place in a report."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.base.csv_rows import to_csv
from benchmarks.report.report import round_rows_by_seed, score_results
from benchmarks.report.rounds import RoundRow, round_rows, rounds_chart, rounds_table
from benchmarks.scoring.comparison import merge
from benchmarks.scoring.gains import ALL, AMPLIFIED, OTHERS, gains
from benchmarks.scoring.statistics import Replicates
from tests.conftest import agent_id, make_results

MEANS = {
    "random": 0,
    "expert": 10,
    "generalist": 4,
    "amplified round 1": 8,
    "generalist round 1": 7,
    "control round 1": 4,
}
MEANS |= {"amplified round 2": 13, "generalist round 2": 12, "control round 2": 5}


def results(means=MEANS, seeds=(0,), spread=0.0):
    noise = np.random.default_rng(0).normal(0, 0.5, size=(len(means), 40))
    noise -= noise.mean(axis=1, keepdims=True)
    played = {agent: mean + own for (agent, mean), own in zip(means.items(), noise, strict=True)}
    agents = {agent: {seed: values + spread * (seed - 1) for seed in seeds} for agent, values in played.items()}
    for steady in "random", "expert":
        agents[steady] = dict.fromkeys(seeds, played[steady])
    return make_results({"toy/a": agents, "toy/b": agents})


def replicated(**means):
    """Fractions of two tasks by agent: three resamples, each 0.1 around the estimate."""

    def around(estimate, step=0.1):
        estimate = np.array(estimate)
        resampled = estimate + step * np.array([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]])
        return Replicates(estimate, resampled, resampled, 1, 10_000)

    return {agent_id(name.replace("_", " ")): around(*values) for name, values in means.items()}


def test_gains_of_tasks_and_groups_by_hand():
    f = replicated(
        expert=([1.0, 1.0],),
        generalist=([0.2, 0.4], 0.0),
        amplified_round_1=([0.8, 0.6],),
        control_round_1=([0.3, 0.4], 0.0),
        generalist_round_1=([0.6, 0.4],),
        generalist_round_2=([0.7, 0.5], 0.0),
    )
    found = {(gain.round, gain.task): gain for gain in gains(f, ["toy/a", "toy/b"], ["toy/b", "toy/z"])}
    places = [ALL, AMPLIFIED, OTHERS, "toy/a", "toy/b"]
    assert list(found) == [(number, place) for number in (1, 2) for place in places]
    first = [found[1, place] for place in places]
    assert [gain.after.value for gain in first] == pytest.approx([0.5, 0.4, 0.6, 0.6, 0.4])
    assert [gain.net.value for gain in first] == pytest.approx([0.2, 0, 0.4, 0.4, 0])
    assert [gain.amplify.value for gain in first] == pytest.approx([0.4, 0.2, 0.6, 0.6, 0.2])
    assert [gain.over_control.value for gain in first] == pytest.approx([0.15, 0, 0.3, 0.3, 0])
    assert found[1, ALL].kept.value == pytest.approx(0.5)
    whole = found[1, ALL].net
    assert whole.low < 0.2 < whole.high and whole.high - 0.2 == pytest.approx(0.2 - whole.low)
    assert all(gain.label == "" for gain in found.values())
    second = found[2, ALL]
    assert second.net.value == pytest.approx(0.1)  # over the generalist after round 1
    assert second.amplify is second.kept is second.over_control is None
    for amplified in ([], ["toy/a", "toy/b"]):
        assert {gain.task for gain in gains(f, ["toy/a", "toy/b"], amplified)} == {ALL, "toy/a", "toy/b"}


def test_a_share_kept_is_a_ratio_whose_denominator_stays_within_its_interval():
    def share(*amplified):
        """Of a generalist that rises from 0 to 0.5, with an amplified one at 0.5 and these resamples."""
        agents = ("generalist", 0.0), ("generalist round 1", 0.5), ("amplified round 1", np.array(amplified)[:, None])
        f = {}
        for name, values in agents:
            resampled = np.zeros((100, 1)) + values
            f[agent_id(name)] = Replicates(np.median(resampled, axis=0), resampled, resampled, 1, 10_000)
        return gains(f, ["toy/a"])[0].kept

    kept = share(0.001, *[0.5] * 98, 0.999)
    assert kept.value == pytest.approx(1) and kept.low > 0.9 and kept.high < 1.2  # 0.5 / 0.001 is 500
    assert share(*[0.0] * 100) is None


def test_rounds_belong_to_their_run_and_need_a_generalist_before():
    f = replicated(generalist=([0.1, 0.1], 0.0), generalist_round_2=([0.3, 0.3], 0.0))
    assert gains(f, ["toy/a", "toy/b"]) == ()
    f |= {
        agent_id(f"{name} round 1 (x)"): values
        for name, values in zip(("control", "generalist"), f.values(), strict=True)
    }
    gain = gains(f, ["toy/a", "toy/b"])[0]
    assert (gain.round, gain.label, gain.amplify) == (1, "x", None)
    assert gain.net.value == pytest.approx(0.2) == gain.over_control.value


def test_gains_are_differences_of_fractions():
    board = score_results(results())
    first, second = (gain for gain in board.gains if not gain.task)
    values = [first.amplify.value, first.net.value, first.kept.value, first.over_control.value]
    np.testing.assert_allclose(values, [0.4, 0.3, 0.75, 0.3], atol=1e-6)
    assert first.amplify.low < 0.4 < first.amplify.high and first.amplify.low > 0.3
    np.testing.assert_allclose(
        [second.amplify.value, second.net.value, second.kept.value], [0.6, 0.5, 5 / 6], atol=1e-6
    )
    assert [gain.task for gain in board.gains if gain.round == 1] == ["", "toy/a", "toy/b"]
    [row] = [row for row in rounds_table(board).rows if row[0] == "round 2"]
    assert row[-1] == "toy/a, toy/b"
    assert {value["round"] for value in rounds_chart(board)["data"]["values"]} == {0, 1, 2}


def test_other_tasks_show_the_cost_of_amplifying_some():
    agents = {task: {agent: {0: [mean] * 20 + [mean + 0.01]} for agent, mean in MEANS.items()} for task in "ab"}
    agents["b"]["generalist round 1"] = {0: [3] * 20 + [3.01]}
    returns = {f"toy/{task}": by_agent for task, by_agent in agents.items()}
    board = score_results(make_results(returns, a={"amplified": True}, b={"amplified": False}))
    nets = {gain.task: gain.net.value for gain in board.gains if gain.round == 1}
    expected = {"": 0.1, AMPLIFIED: 0.3, OTHERS: -0.1, "toy/a": 0.3, "toy/b": -0.1}
    assert nets == {task: pytest.approx(net, abs=1e-3) for task, net in expected.items()}
    names = [row[0] for row in rounds_table(board).rows]
    assert names[:3] == ["round 1", "round 1, amplified tasks", "round 1, other tasks"] and len(names) == 6


def test_runs_that_amplify_different_tasks_have_no_common_gain():
    first, second = (
        replace(results(), tasks=tuple(replace(row, amplified=row.task == task) for row in results().tasks))
        for task in ("toy/a", "toy/b")
    )
    assert {row.amplified for row in merge([("a", [first]), ("b", [second])]).tasks} == {None}
    assert [row.amplified for row in merge([("a", [first]), ("b", [first])]).tasks] == [True, False]


def test_the_kept_share_needs_a_positive_gain():
    board = score_results(results(MEANS | {"amplified round 1": 4.01, "generalist round 1": 6}))
    first = next(gain for gain in board.gains if not gain.task)
    assert first.kept is None and first.net.value == pytest.approx(0.2)


def test_rounds_without_a_scored_amplified_agent_have_no_amplify_gain():
    board = score_results(results({name: mean for name, mean in MEANS.items() if not name.startswith("ampl")}))
    assert all(gain.amplify is None and gain.kept is None for gain in board.gains)
    assert rounds_table(board).rows[0][2] == "-"


def test_results_without_rounds_have_no_section_on_rounds():
    board = score_results(results({name: mean for name, mean in MEANS.items() if "round" not in name}))
    assert board.gains == () and rounds_table(board) is None and rounds_chart(board) is None
    assert round_rows(board, "search", "weak") == []


def test_pooled_seeds_have_the_lines_of_each():
    pooled = round_rows_by_seed(results(seeds=(0, 1), spread=0.5), "search", "weak")
    assert [row.train_seed for row in pooled] == [0] * 14 + [1] * 14
    assert pooled[:14] == round_rows(score_results(results(spread=0.5)), "search", "weak")
    assert pooled[0].f != pooled[14].f


def test_every_agent_of_every_round_has_a_line():
    text = to_csv(round_rows(score_results(results()), "search", "weak"), RoundRow)
    head, *lines = text.splitlines()
    assert head == (
        "suite,task,amplifier,start,train_seed,agent,round,label,f,f_low,f_high,forward_passes_per_decision,env_steps"
    )
    assert len(lines) == 2 * 7
    assert next(line for line in lines if ",generalist,2," in line).startswith(
        "toy,toy/a,search,weak,0,generalist,2,,1.2"
    )


def test_runs_of_a_comparison_have_their_own_rounds():
    both = merge([("a", [results()]), ("b", [results(MEANS | {"generalist round 1": 6})])])
    board = score_results(both)
    nets = {gain.label: gain.net.value for gain in board.gains if gain.round == 1 and not gain.task}
    assert nets == {"a": pytest.approx(0.3), "b": pytest.approx(0.2)}


def test_training_seeds_that_differ_widen_the_intervals():
    alike, different = results(seeds=(0, 1, 2)), results(seeds=(0, 1, 2), spread=1.0)
    first, second = (next(gain for gain in score_results(some).gains if not gain.task) for some in (alike, different))
    assert first.after.value == pytest.approx(second.after.value) == pytest.approx(0.7)
    assert second.after.high - second.after.low > 3 * (first.after.high - first.after.low)
    assert second.net.high - second.net.low == pytest.approx(first.net.high - first.net.low)  # they differ alike
