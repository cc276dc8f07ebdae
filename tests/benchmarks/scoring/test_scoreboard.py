import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.base.errors import FatalError
from benchmarks.scoring.scoreboard import AGGREGATES, THRESHOLDS, Aggregate, Estimate, _applied, score
from benchmarks.scoring.statistics import Replicates, combine
from tests.conftest import agent_id, make_results


def seeds(*means):
    """Four episodes around a mean for each training seed."""
    return {seed: [mean - 1, mean, mean + 1, mean] for seed, mean in enumerate(means)}


TASKS = {
    # f of the generalist: 0.5, 0.8 (of negative returns) and 1.25; of the clone: 0.25, 0.8 and -0.25.
    "toy/x": {"random": seeds(0, 0), "expert": seeds(10, 10), "generalist": seeds(4, 6), "clone": seeds(2, 3)},
    "toy/y": {
        "random": seeds(-200, -200),
        "expert": seeds(-99, -101),
        "generalist": seeds(-121, -119),
        "clone": seeds(-121, -119),
    },
    "toy/z": {"random": seeds(2, 2), "expert": seeds(22, 22), "generalist": seeds(26, 28), "clone": seeds(-4, -2)},
}
WEAK = {"random": seeds(0, 0), "expert": seeds(0.1, 0), "generalist": seeds(90, 90), "clone": seeds(-90, -90)}


def board(tasks=None, seed=0, **settings):
    results = make_results(tasks or TASKS, **settings)
    results.check("here")
    return score(results, np.random.default_rng(seed), 400)


def pair(first, second):
    return agent_id(first), agent_id(second)


def fractions(scored, agent):
    return {
        row.task.removeprefix("toy/"): row.f and row.f.value for row in scored.tasks if row.agent == agent_id(agent)
    }


def one_seed(tasks):
    """Only the first training seed; the generalist's scores do not correlate with its anchors'."""
    first = {}
    for task, agents in tasks.items():
        first[task] = {agent: {0: played[0]} for agent, played in agents.items()}
        first[task]["generalist"] = {0: sorted(agents["generalist"][0])}
    return first


def estimates(scored):
    for row in scored.tasks:
        yield from filter(None, (row.raw, row.f))
    for row in scored.suite:
        yield from (*row.aggregates.values(), *row.curve)
    yield from (*scored.improvements.values(), *scored.differences.values())


def test_fractions_and_aggregates_match_hand_computations():
    scored = board()
    assert [(row.task, str(row.agent)) for row in scored.tasks] == [
        (task, agent) for task in TASKS for agent in ("random", "expert", "clone", "generalist")
    ]
    assert fractions(scored, "generalist") == pytest.approx({"x": 0.5, "y": 0.8, "z": 1.25})
    assert fractions(scored, "clone") == pytest.approx({"x": 0.25, "y": 0.8, "z": -0.25})
    assert [row.raw.value for row in scored.tasks if row.agent.name == "generalist"] == pytest.approx([5, -120, 27])
    assert [str(score.agent) for score in scored.suite] == ["expert", "clone", "generalist"]
    assert list(map(str, scored.competitors)) == ["clone", "generalist"]
    aggregates = {name: value.value for name, value in scored.suite[2].aggregates.items()}
    assert list(aggregates) == list(AGGREGATES)
    assert list(aggregates.values()) == pytest.approx([0.85, 0.85, 0.8, 0.5, 0.7 / 3])
    assert scored.differences[pair("generalist", "clone")].value == pytest.approx(0.85 - 0.8 / 3)


def test_the_anchors_are_exactly_0_and_1_without_an_interval():
    scored = board()
    for row in scored.tasks:
        if row.agent.is_anchor:
            value = float(row.agent.name == "expert")
            assert row.f == Estimate(value, value, value)
    for name, value in scored.suite[0].aggregates.items():
        exact = 0.0 if name == "optimality gap" else 1.0
        assert value == Estimate(exact, exact, exact), name


@pytest.mark.parametrize("tasks", [TASKS, one_seed(TASKS)])
def test_every_interval_contains_its_estimate(tasks):
    scored = board(tasks)
    assert all(value.low <= value.value <= value.high for value in estimates(scored))
    assert all(np.isfinite([value.low, value.high]).all() for value in estimates(scored))
    assert all(value.low >= 0 and value.high <= 1 for value in scored.improvements.values())
    generalist = [row for row in scored.tasks if row.agent.name == "generalist"]
    assert all(value.low < value.value < value.high for row in generalist for value in (row.raw, row.f))
    assert all(value.low < value.high for value in scored.suite[2].aggregates.values())


def test_a_task_with_a_weak_expert_is_unscored_everywhere():
    with_weak = board({"toy/weak": WEAK, **TASKS})
    without = board()
    assert with_weak.unscored == {"toy/weak": "weak expert: only 0.1 standard errors above random"}
    weak = [row for row in with_weak.tasks if row.task == "toy/weak"]
    assert [(row.f, row.fieller) for row in weak] == [(None, None)] * 4
    assert [row.raw.value for row in weak] == pytest.approx([0, 0.05, -90, 90])
    assert with_weak.suite == without.suite
    assert with_weak.improvements == without.improvements
    assert with_weak.differences == without.differences


def test_without_scored_tasks_there_are_only_raw_scores():
    scored = board({"toy/weak": WEAK})
    assert (scored.suite, scored.improvements, scored.differences) == ((), {}, {})
    assert [row.f for row in scored.tasks] == [None] * 4
    assert scored.tasks[3].raw.value == 90


def test_references_are_compared_with_gate_episodes_and_weak_seeds_are_named():
    results = make_results(TASKS, x={"reference": 9.5}, y={"reference": -100.5}, z={"reference": 22})
    gate_means = {("toy/x", 0): 12.0, ("toy/x", 1): 6.0}  # test episodes have 10
    rows = [replace(row, gate_mean=gate_means.get((row.task, row.train_seed), row.gate_mean)) for row in results.tasks]
    scored = score(replace(results, tasks=tuple(rows)), np.random.default_rng(0), 50)
    assert scored.unscored == {"toy/x": "weak expert: 9 is below its reference 9.5"}
    assert scored.weak_seeds == {"toy/x": (1,), "toy/y": (1,)}
    assert fractions(scored, "generalist")["y"] == pytest.approx(0.8)


def test_one_training_seed_of_any_agent_is_preliminary():
    assert not board().preliminary
    assert board(one_seed(TASKS)).preliminary


def test_improvements_are_antisymmetric_and_solved_by_hand():
    scored = board()
    # Generalist and clone: x always wins; y: -121, -119 against the same wins 1, ties 2 of 4; z always wins.
    assert scored.improvements[pair("generalist", "clone")].value == pytest.approx((1 + 0.5 + 1) / 3)
    # Generalist and expert: x and y always lose, z always wins.
    assert scored.improvements[pair("generalist", "expert")].value == pytest.approx(1 / 3)
    for x, y in itertools.permutations(map(agent_id, ("expert", "clone", "generalist")), 2):
        there, back = scored.improvements[x, y], scored.improvements[y, x]
        assert (there.value, there.low, there.high) == pytest.approx((1 - back.value, 1 - back.high, 1 - back.low))
        there, back = scored.differences[x, y], scored.differences[y, x]
        assert there.value == pytest.approx(-back.value)
    assert not any(agent_id("random") in agents for agents in scored.improvements)


def test_agents_with_equal_scores_tie():
    scored = board({task: agents | {"clone": agents["generalist"]} for task, agents in TASKS.items()})
    assert scored.differences[pair("generalist", "clone")] == Estimate(0, 0, 0)
    tie = scored.improvements[pair("generalist", "clone")]
    assert tie.low <= 0.5 == tie.value <= tie.high
    assert scored.suite[1].aggregates == scored.suite[2].aggregates


def test_the_threshold_curve_never_rises_and_counts_tasks_by_hand():
    generalist, expert = board().suite[2], board().suite[0]
    for part in ("value", "low", "high"):
        assert np.all(np.diff([getattr(point, part) for point in generalist.curve]) <= 0)
    marks = {0.0: 3, 0.49: 3, 0.51: 2, 0.79: 2, 0.81: 1, 1.0: 1, 1.2: 1}
    assert {mark: generalist.at_or_above(mark).value * 3 for mark in marks} == pytest.approx(marks)
    assert expert.at_or_above(1.0) == Estimate(1, 1, 1)
    assert expert.at_or_above(1.01) == Estimate(0, 0, 0)
    assert len(generalist.curve) == len(THRESHOLDS) == 121


def test_labelled_agents_are_normalised_by_their_own_anchors():
    tasks = {
        "toy/x": {
            "random (a)": seeds(0, 0),
            "random (b)": seeds(1, 1),
            "expert (a)": seeds(10, 10),
            "expert (b)": seeds(21, 21),
            "generalist (a)": seeds(5, 5),
            "generalist (b)": seeds(6, 6),
        }
    }
    scored = board(tasks)
    values = [round(row.f.value, 9) for row in scored.tasks]
    assert values == [0, 0, 1, 1, 0.5, 0.25]
    assert list(map(str, scored.competitors)) == ["generalist (a)", "generalist (b)"]
    tasks["toy/x"]["expert (b)"] = seeds(1, 1)
    weak = board(tasks, x={"reference": 10.5})
    assert weak.unscored["toy/x"] == "weak expert: not above random"  # one weak expert is enough
    assert weak.weak_seeds == {"toy/x": (0, 1)}  # those of both runs
    shared = {name: played for name, played in tasks["toy/x"].items() if not name.endswith("t (b)")}
    shared = {name.replace("m (a)", "m").replace("t (a)", "t"): played for name, played in shared.items()}
    shared.pop("random (b)")
    shared["generalist (b)"] = seeds(6, 6)
    assert [round(row.f.value, 9) for row in board({"toy/x": shared}).tasks] == [0, 1, 0.5, 0.6]


def test_the_same_generator_gives_the_same_numbers_and_another_one_other_intervals():
    one, same, other = board(seed=1), board(seed=1), board(seed=2)
    assert one == same
    assert fractions(one, "clone") == fractions(other, "clone")
    assert one.suite[2].aggregates["IQM"].low != other.suite[2].aggregates["IQM"].low


def test_success_is_scored_where_it_is_the_metric():
    wins = {
        "random": {0: [0] * 8, 1: [0] * 8},
        "expert": {0: [50] + [9] * 7, 1: [9] * 8},
        "generalist": {0: [700, 0, 7, 7, 0, 0, 7, 0], 1: [7, 7, 0, 7, 0, 0, 7, 0]},
    }
    scored = board({"toy/x": wins}, x={"metric": "success"})
    assert [(row.raw.value, row.f.value) for row in scored.tasks] == [(0, 0), (1, 1), (0.5, 0.5)]


def test_the_closed_form_is_over_seeds_or_over_the_episodes_of_one():
    by_seed = {row.task: row for row in board().tasks if row.agent.name == "generalist"}
    low, high = by_seed["toy/x"].fieller
    # S - R = 4, 6 and E - R = 10, 10: (5 -+ 12.706 * sqrt(2 / 2)) / 10.
    assert (low, high) == pytest.approx((0.5 - 1.2706205, 0.5 + 1.2706205))
    by_episode = {row.task: row for row in board(one_seed(TASKS)).tasks if row.agent.name == "generalist"}
    # S - R = 4, 4, 3, 5 and E - R = 10, episode by episode: (4 -+ 3.1824463 * sqrt(2 / 3 / 4)) / 10.
    assert by_episode["toy/x"].fieller == pytest.approx((0.4 - 0.1299228, 0.4 + 0.1299228))


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (lambda f: f.min(), r"aggregate wrong turns fractions \(\d+, 3\) into \(\): .* must work on the last axis"),
        (lambda f: f.min(axis=0), "aggregate wrong turns fractions"),
        (lambda f: f.nothing, "aggregate wrong fails on fractions .*nothing"),
        (lambda f: f.min(axis=-1) * np.nan, "aggregate wrong is not a number"),
    ],
)
def test_an_aggregate_that_cannot_be_right_gets_one_line(function, line):
    f = Replicates(np.ones(3), np.ones((7, 3)), np.ones((7, 3)), 1, 5)
    with pytest.raises(FatalError, match=line):
        combine(functools.partial(_applied, "wrong", Aggregate(function)), f)
