import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.scoring.statistics import (
    Bootstrap,
    Replicates,
    combine,
    count_interval,
    fieller,
    improvement,
    interval,
    iqm,
    mean,
    median,
    optimality_gap,
    share_at_or_above,
    worst_decile,
)


def test_aggregates_match_hand_computations():
    f = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 9.0])
    assert iqm(f) == pytest.approx((0.4 + 0.6 + 0.8 + 1.0) / 4)
    assert iqm(np.array([5.0, 1.0, 2.0, 3.0, -7.0])) == pytest.approx(2.0)
    assert iqm(np.array([1.0, 2.0, 3.0])) == pytest.approx(2.0)  # fewer than four tasks: the mean
    assert median(f) == pytest.approx(0.7)
    assert mean(f) == pytest.approx(1.65)
    assert worst_decile(f) == 0.0
    assert worst_decile(np.arange(20.0)) == 0.5  # two of twenty
    assert worst_decile(np.arange(21.0)) == 1.0  # three of twenty-one
    assert optimality_gap(f) == pytest.approx((1.0 + 0.8 + 0.6 + 0.4 + 0.2) / 8)


def test_the_iqm_is_scipys_trimmed_mean():
    rng = np.random.default_rng(0)
    for tasks in range(1, 30):
        f = rng.normal(size=(3, tasks))
        assert iqm(f) == pytest.approx(stats.trim_mean(f, 0.25, axis=-1))


def test_the_threshold_curve_counts_ties_as_reached():
    f = np.array([-0.1, 0.5, 0.5, 1.0])
    assert share_at_or_above(f, [0.0, 0.5, 0.50001, 1.0, 1.01]).tolist() == [0.75, 0.75, 0.25, 0.25, 0.0]
    both = share_at_or_above(np.stack([f, f + 1]), [0.5, 1.0])
    assert both.tolist() == [[0.75, 0.25], [1.0, 0.75]]


def test_fieller_equals_the_roots_of_its_quadratic():
    """The interval holds the ratios r for which (a - r b)^2 <= t^2 Var(a - r b)."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        b = rng.normal(10, 3, size=8)
        a = 0.7 * b + rng.normal(0, 2, size=8)
        (va, cab), (_, vb) = np.cov(a, b) / 8
        t2 = stats.t.ppf(0.975, 7) ** 2
        roots = np.roots([b.mean() ** 2 - t2 * vb, -2 * (a.mean() * b.mean() - t2 * cab), a.mean() ** 2 - t2 * va])
        assert fieller(a, b) == pytest.approx(tuple(sorted(roots.real)))


def test_fieller_reports_unbounded_intervals():
    assert fieller(np.array([1.0, 2.0]), np.array([1.0, -1.5])) == (-math.inf, math.inf)
    assert fieller(np.array([1.0]), np.array([2.0])) == (-math.inf, math.inf)
    assert fieller(np.full(5, 3.0), np.full(5, 4.0)) == (0.75, 0.75)


def simulate(rng, f, *, seeds, episodes, between, shared=False):
    """One benchmark whose true fractions are ``f``: negative returns, random at -200 and the expert at -100."""

    def play(level, deviation):
        common = rng.normal(size=seeds)
        samples = []
        for task_level in level:
            shift = deviation * (common if shared else rng.normal(size=seeds))
            samples.append({seed: task_level + shift[seed] + rng.normal(0, 20, episodes) for seed in range(seeds)})
        return samples

    expert = np.full(len(f), -100.0)
    random = np.full(len(f), -200.0)
    return play(random + f * (expert - random), between), play(expert, between / 2), play(random, 0.0)


def fractions(bootstrap, benchmark):
    agent, expert, random = (bootstrap.means(samples) for samples in benchmark)
    return combine(lambda s, e, r: (s - r) / (e - r), agent, expert, random)


@pytest.mark.parametrize(
    "setting",
    [
        {"seeds": 5, "episodes": 50, "between": 5.0},  # differences between seeds and within them, alike
        {"seeds": 5, "episodes": 20, "between": 10.0, "shared": True},  # a seed that is good on all tasks at once
        {"seeds": 1, "episodes": 50, "between": 0.0},
    ],
)
def test_intervals_cover_the_truth_in_90_to_98_percent_of_500_simulated_benchmarks(setting):
    rng = np.random.default_rng(7)
    truth = np.linspace(0.3, 1.05, 8)
    statistics = {"iqm": iqm, "mean": mean, "gap": optimality_gap, "worst": worst_decile}
    hits = dict.fromkeys(["f", *statistics], 0.0)
    for _ in range(500):
        f = fractions(Bootstrap(rng, 400), simulate(rng, truth, **setting))
        low, high = interval(f)
        hits["f"] += float(((low <= truth) & (truth <= high)).mean()) / 500
        for name, function in statistics.items():
            low, high = interval(combine(function, f))
            hits[name] += float(low <= function(truth) <= high) / 500
    assert all(0.90 <= share <= 0.98 for share in hits.values()), hits


def test_bootstrap_and_fieller_agree_on_a_task():
    rng = np.random.default_rng(3)
    for _ in range(10):
        agent, expert, random = simulate(rng, np.array([0.8]), seeds=5, episodes=50, between=5.0)
        f = fractions(Bootstrap(rng), (agent, expert, random))
        (low,), (high,) = interval(f)
        means = [np.array([values.mean() for values in sample[0].values()]) for sample in (agent, expert, random)]
        closed = fieller(means[0] - means[2], means[1] - means[2])
        assert (low, high) == pytest.approx(closed, abs=0.05)


def test_one_seed_has_an_interval_over_episodes_and_one_episode_has_none():
    rng = np.random.default_rng(0)
    one = [{0: rng.normal(10, 2, 400)}]
    (low,), (high,) = interval(Bootstrap(rng).means(one))
    assert high - low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.1)
    single = Bootstrap(rng).means([{0: np.array([3.0])}])
    assert interval(single) == (np.array([3.0]), np.array([3.0]))


def test_agents_with_equal_scores_are_equal_in_every_resample():
    rng = np.random.default_rng(0)
    samples = [{seed: rng.normal(size=10) for seed in range(3)}]
    bootstrap = Bootstrap(rng, 50)
    gap = combine(lambda x, y: x - y, bootstrap.means(samples), bootstrap.means(samples))
    assert interval(gap) == (np.array([0.0]), np.array([0.0]))


def test_the_same_generator_gives_the_same_interval_in_any_order_of_calls():
    a = [{0: np.arange(5.0), 1: np.arange(5.0) ** 2}]
    b = [{0: np.arange(9.0)}]
    one, other = (Bootstrap(np.random.default_rng(4), 100) for _ in range(2))
    other.means(b)
    assert np.array_equal(one.means(a).resampled, other.means(a).resampled)
    assert not np.array_equal(one.means(a).resampled, Bootstrap(np.random.default_rng(5), 100).means(a).resampled)


def test_probability_of_improvement_on_scores_solved_by_hand():
    def constant(*values):
        return {seed: np.full(4, float(value)) for seed, value in enumerate(values)}

    bootstrap = Bootstrap(np.random.default_rng(0), 200)
    x, y = [constant(1, 2), constant(5, 5)], [constant(0, 1), constant(5, 5)]
    # Task 1: 1>0, 1=1, 2>0, 2>1 gives 3.5 of 4; task 2 ties throughout.
    assert improvement(bootstrap, x, y).estimate == pytest.approx((3.5 / 4 + 0.5) / 2)
    assert improvement(bootstrap, y, x).estimate == pytest.approx(1 - (3.5 / 4 + 0.5) / 2)
    low, high = count_interval(improvement(bootstrap, x, x))
    assert low <= 0.5 <= high


def test_intervals_of_counts_are_attained_values():
    resampled = np.array([0.2] * 2 + [0.4] * 50 + [0.6] * 47 + [0.8])[:, None]
    replicates = Replicates(np.array([0.4]), resampled, resampled, 5, 10)
    low, high = count_interval(replicates)
    assert (low[0], high[0]) == (0.4, 0.6)


def test_an_interval_is_within_its_bounds_and_contains_its_estimate():
    rng = np.random.default_rng(0)
    resampled = np.abs(rng.normal(0.02, 0.05, size=(1000, 1)))
    replicates = Replicates(np.array([0.0]), resampled, resampled, 1, 50)
    (low,), (high,) = interval(replicates, (0.0, 1.0))
    assert low == 0.0 <= high
