from dataclasses import replace

import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.scoring.scores import Gate, fraction, gate, metric_value, samples_by_task
from benchmarks.scoring.statistics import standard_error
from tests.conftest import agent_id, make_results

VALUES = {"x": {"random": {0: [1, 2], 1: [3, 4]}, "expert": {0: [5, 6], 1: [7, 0]}}}


def spread(*means, deviation, episodes=100):
    """For each training seed, scores with exactly this mean and sample standard deviation."""
    values = np.tile([-1.0, 1.0], episodes // 2)
    return {seed: mean + deviation * values / values.std(ddof=1) for seed, mean in enumerate(means)}


def constant(*means):
    return {seed: np.full(5, float(mean)) for seed, mean in enumerate(means)}


def test_the_metric_is_the_return_or_the_success():
    [row, *_] = make_results(VALUES).scores
    assert metric_value("return", replace(row, total_return=-3.5, success=True)) == -3.5
    assert metric_value("success", replace(row, success=True)) == 1.0
    assert metric_value("success", replace(row, success=False)) == 0.0
    with pytest.raises(GatitoError, match="set metric: return"):
        metric_value("success", replace(row, success=None))


@pytest.mark.parametrize("metric", ["return", "success"])
def test_samples_are_in_episode_order_for_any_row_order(metric):
    results = make_results(VALUES, x={"metric": metric})
    samples = samples_by_task(replace(results, scores=results.scores[::-1]))
    expected = {0: [5.0, 6.0], 1: [7.0, 0.0]} if metric == "return" else {0: [1.0, 1.0], 1: [1.0, 0.0]}
    assert {seed: values.tolist() for seed, values in samples["x", agent_id("expert")].items()} == expected
    assert list(samples["x", agent_id("expert")]) == [0, 1]


def test_fraction_is_0_at_random_and_1_at_the_expert_also_with_negative_returns():
    agent = np.array([-500.0, -100.0, -200.0, -600.0, 300.0])
    assert fraction(agent, np.array(-100.0), np.array(-500.0)).tolist() == [0.0, 1.0, 0.75, -0.25, 2.0]


@pytest.mark.parametrize("expert", [10.0, 9.0, float("nan")])
def test_there_is_no_fraction_of_an_expert_at_or_below_random(expert):
    with pytest.raises(ValueError, match="^no fraction"):
        fraction(np.array([12.0, 12.0]), np.array([11.0, expert]), np.array([10.0, 10.0]))


@pytest.mark.parametrize(
    "expert, deviation, reason",
    [
        # Standard errors: sqrt(1^2 / 100 + 4^2 / 100) = 0.4123, so 4.4 of them are 1.814, above one deviation.
        (11.82, 1, ""),
        (11.80, 1, "weak expert: only 4.4 standard errors above random"),
        (11.65, 1, "weak expert: only 4.0 standard errors above random"),
        # sqrt(3^2 / 100 + 4^2 / 100) = 0.5, so 4.4 of them are 2.2, below one deviation.
        (13.01, 3, ""),
        (12.99, 3, "weak expert: less than one standard deviation above random"),
        (12.00, 3, "weak expert: only 4.0 standard errors above random"),
        (10.00, 3, "weak expert: not above random"),
        (-9.00, 3, "weak expert: not above random"),
    ],
)
def test_the_gate_matches_hand_computations(expert, deviation, reason):
    expected = Gate(not reason, reason)
    assert gate(spread(expert, deviation=deviation), spread(10.0, deviation=4)) == expected
    shifted = spread(expert - 1000, deviation=deviation), spread(-990.0, deviation=4)
    assert gate(*shifted) == expected  # also with negative returns


def test_the_gate_uses_the_variation_over_training_seeds():
    # Seed means 2 either side: standard error sqrt(8 / 2) = 2; that of the episodes alone would be 0.07.
    random = spread(0.0, 0.0, deviation=1)
    assert gate(spread(7, 11, deviation=1), random).passed  # 9 above random
    assert gate(spread(6, 10, deviation=1), random).reason == "weak expert: only 4.0 standard errors above random"
    assert gate(spread(8, 8, deviation=1), random).passed  # alike: the episodes' error is the floor
    assert "standard errors" in gate(spread(0.3, 0.3, deviation=1), random).reason


def test_the_reference_is_compared_with_gate_episodes_over_all_seeds():
    expert, random = spread(100.0, 100.0, deviation=1), spread(0.0, 0.0, deviation=1)
    assert gate(expert, random, 100.0).passed
    assert gate(expert, random, 101.0) == Gate(False, "weak expert: 100 is below its reference 101")
    assert gate(expert, random, 101.0, {0: 100.0, 1: 103.0}).passed
    assert gate(expert, random, 99.0, {0: 94.0, 1: 103.0}).reason == "weak expert: 98.5 is below its reference 99"
    assert gate(expert, random, None, {0: -5.0, 1: -5.0}).passed  # no reference


def test_constant_scores_and_single_episodes_are_handled():
    assert gate(constant(500), constant(20)).passed
    assert gate(constant(500, 500), constant(20, 20)).passed
    assert gate(constant(20), constant(20)).reason == "weak expert: not above random"
    two = {0: np.array([500.0, 501.0])}
    assert gate(two, {0: np.array([20.0, 21.0])}).passed
    few = Gate(False, "fewer than two episodes")
    assert gate({0: np.array([500.0])}, constant(20)) == few
    assert gate(constant(500, 500), {0: np.full(5, 20.0), 1: np.array([20.0])}) == few


def test_an_expert_exactly_at_a_bar_is_scored(monkeypatch):
    random = constant(0.0)
    expert = {0: np.array([0.0, 2.0, 0.0, 2.0, 0.0, 2.0, 0.0, 2.0, 1.0])}  # mean 1, sample standard deviation 1
    assert expert[0].mean() == expert[0].std(ddof=1) == 1.0
    error = standard_error(expert)
    monkeypatch.setattr("benchmarks.scoring.scores.MIN_Z", 1.0 / float(np.hypot(error, 0.0)))
    assert gate(expert, random).passed
