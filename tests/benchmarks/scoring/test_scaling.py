"""Power laws and best sizes, on numbers whose laws are known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.scoring.results import CostRow, CurveRow
from benchmarks.scoring.scaling import Point, best_sizes, fit_power_law, grouped
from benchmarks.scoring.scoreboard import score
from tests.conftest import make_results

SIZES, DATA, BUDGETS, SEEDS = (1e5, 3e5, 1e6, 3e6, 1e7), (1e3, 1e4, 1e5, 1e6), (1e12, 1e13), (0, 1, 2)


def rng():
    return np.random.default_rng(0)


def test_a_power_law_is_recovered_with_its_floor():
    law = fit_power_law([(x, [0.1 + 2 * x**-0.5]) for x in SIZES], rng())
    assert law.floor.value == pytest.approx(0.1, rel=1e-3) and law.scale == pytest.approx(2, rel=0.05)
    assert law.exponent.value == pytest.approx(0.5, rel=1e-2) and law.x == (1e5, 1e7)
    assert law(1e4) == pytest.approx(0.12, rel=1e-3)


def test_intervals_are_over_the_seeds_and_contain_the_truth():
    noise = rng().normal(0, 0.05, (5, 10))
    groups = [(x, list(3 * x**-0.3 * np.exp(each))) for x, each in zip(SIZES, noise, strict=True)]
    law = fit_power_law(groups, rng())
    assert law.exponent.low < 0.3 < law.exponent.high and 0.005 < law.exponent.high - law.exponent.low < 0.3
    assert fit_power_law([(x, values[:1]) for x, values in groups], rng()).exponent.low == pytest.approx(
        fit_power_law([(x, values[:1]) for x, values in groups], rng()).exponent.high
    ), "with one seed, nothing is known of their variation"


def test_three_points_have_no_floor_and_two_no_law():
    law = fit_power_law([(x, [2 * x**-0.25]) for x in SIZES[:3]], rng())
    assert law.floor.value == pytest.approx(0, abs=1e-6) and law.exponent.value == pytest.approx(0.25, rel=1e-3)
    assert fit_power_law([(x, [1.0]) for x in SIZES[:2]], rng()) is None


def loss(parameters, data, flops):
    """Lowest at a size that grows with the square root of the compute; falls with data and compute."""
    best = 1e6 * math.sqrt(flops / 1e12)
    return (0.02 + data**-0.3) * (1 + 0.1 * math.log(parameters / best) ** 2) * (1e12 / flops) ** 0.1


def points():
    made = []
    for flops in BUDGETS:
        for parameters in SIZES:
            for data in DATA if flops == BUDGETS[-1] else DATA[-1:]:
                for seed in SEEDS:
                    value = loss(parameters, data, flops) * (1 + 0.002 * (seed - 1))
                    steps = int(data) + seed  # a recording ends with an episode
                    made.append(Point(int(parameters), steps, flops * (1 + seed / 100), seed, value, value / 2))
    return made


def test_amounts_that_nearly_agree_are_one():
    assert [round(x) for x, _ in grouped(points(), "data")] == [1001, 10001, 100001, 1000001]
    assert [len(group) for _, group in grouped(points(), "flops")] == [15, 60]


def test_the_best_size_of_each_budget_is_the_parabolas_minimum():
    found = best_sizes(points(), rng())
    assert [best.flops for best in found] == pytest.approx([1.01e12, 1.01e13])
    assert [best.parameters.value for best in found] == pytest.approx([1e6, 1e6 * math.sqrt(10)], rel=0.02)
    assert all(best.parameters.low <= best.parameters.value <= best.parameters.high for best in found)


def test_a_best_size_beyond_those_measured_is_not_stated():
    small = [point for point in points() if point.parameters < 5e5]
    small += [replace(point, parameters=30_000, loss=9.0) for point in small]
    falling = [replace(point, loss=1 / math.log(point.parameters)) for point in small]
    assert [(best.parameters, best.largest) for best in best_sizes(falling, rng())] == [(None, True)] * 2


def scaling_results(which):
    """The rows of a comparison with a run for each point: ``f`` lacks half of the loss."""
    returns = {"toy/a": {"random": {seed: [0, 0] for seed in SEEDS}, "expert": {seed: [1, 1] for seed in SEEDS}}}
    costs, curves = [], []
    for point in which:
        label = f"{point.parameters}-{round(point.data, -2)}-{point.flops / 1.02:.0e}"
        returns["toy/a"].setdefault(f"generalist ({label})", {})[point.seed] = [1 - point.loss / 2] * 2
        costs.append(
            CostRow("toy", "generalist", None, label, point.seed, point.parameters, point.flops, point.data, 1, 1, 1)
        )
        curves.append(CurveRow("generalist", None, label, "", point.seed, "validation/loss", 100, point.loss))
    return replace(make_results(returns), costs=tuple(costs), curves=tuple(curves))


def board(which):
    return score(scaling_results(which), rng(), 20).scaling


def test_laws_of_a_comparison():
    scaling = board(points())
    assert set(scaling.laws) == {
        (measured, varied) for measured in ("loss", "shortfall") for varied in ("parameters", "data")
    }, "two budgets are too few for a law of compute"
    # The best size's loss in the largest budget, at each amount of data.
    assert scaling.laws["loss", "data"].exponent.value == pytest.approx(0.3, rel=0.05)
    assert scaling.laws["shortfall", "data"].exponent.value == pytest.approx(0.3, rel=0.05)
    assert len(scaling.points) == len(points()) and len(scaling.best) == 2
    assert [point.shortfall for point in scaling.points] == pytest.approx([each.loss / 2 for each in scaling.points])


def test_runs_of_one_size_or_without_validation_have_no_scaling():
    assert board(points()[:2]) is None
    assert score(make_results({"toy/a": {"random": {0: [0, 0]}, "expert": {0: [1, 1]}}}), rng(), 20).scaling is None
