import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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
    standard_error,
    worst_decile,
)
from tests.properties import few, numbers

AGGREGATES = {"iqm": iqm, "mean": mean, "median": median, "worst": worst_decile, "gap": optimality_gap}


def test_aggregates_match_hand_computations():
    f = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 9.0])
    assert iqm(f) == pytest.approx((0.4 + 0.6 + 0.8 + 1.0) / 4)
    assert iqm(np.array([1.0, 2.0, 3.0])) == pytest.approx(2.0)  # fewer than four tasks: the mean
    many = [np.random.default_rng(tasks).normal(size=(4, tasks)) for tasks in range(1, 30)]
    assert all((iqm(each) == stats.trim_mean(each, 0.25, axis=-1)).all() for each in many)
    assert (median(f), mean(f)) == pytest.approx((0.7, 1.65))
    assert worst_decile(f) == 0.0
    assert worst_decile(np.arange(20.0)) == 0.5  # two of twenty
    assert worst_decile(np.arange(21.0)) == 1.0  # three of twenty-one
    assert optimality_gap(f) == pytest.approx((1.0 + 0.8 + 0.6 + 0.4 + 0.2) / 8)


def test_the_threshold_curve_counts_ties_as_reached():
    f = np.array([-0.1, 0.5, 0.5, 1.0])
    assert share_at_or_above(f, [0.0, 0.5, 0.50001, 1.0, 1.01]).tolist() == [0.75, 0.75, 0.25, 0.25, 0.0]
    assert median(np.array([[1.0, 2.0, 9.0], [4.0, 4.0, 5.0]])).tolist() == [2.0, 4.0]
    both = share_at_or_above(np.stack([f, f + 1]), [0.5, 1.0])
    assert both.tolist() == [[0.75, 0.25], [1.0, 0.75]]


def test_fieller_equals_the_roots_of_its_quadratic():
    """The interval contains the ratios r for which (a - r b)^2 <= t^2 Var(a - r b)."""
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
    assert fieller(np.full(5, 3.0), np.full(5, 1.0)) == (3.0, 3.0)
    assert fieller(np.full(2, 3.0), np.full(2, 4.0)) == (0.75, 0.75)  # two are enough
    # The denominator's mean is 0.9 of the bound of its significance: g = 1 / 0.81.
    noisy = np.array([-1.0, 1.0] * 4)
    bound = stats.t.ppf(0.975, 7) * noisy.std(ddof=1) / math.sqrt(8)
    assert fieller(np.ones(8), noisy + 0.9 * bound) == (-math.inf, math.inf)
    assert math.isfinite(fieller(np.ones(8), noisy + 1.1 * bound)[0])


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
        {"seeds": 5, "episodes": 20, "between": 10.0, "shared": True},  # a seed that is good on all tasks
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


def test_every_resampled_mean_adds_the_deviations_of_its_seeds_and_of_their_episodes():
    rng = np.random.default_rng(0)
    several, single = {0: rng.normal(size=6), 3: rng.normal(3, 1, size=6)}, {0: rng.normal(size=4)}
    bootstrap = Bootstrap(rng, 30)
    means = bootstrap.means([several, single])
    assert means.estimate == pytest.approx([(several[0].mean() + several[3].mean()) / 2, single[0].mean()])
    noise = [bootstrap.noise([several], seed)[:, 0] for seed in (0, 3)]
    np.testing.assert_allclose(means.episodes_only[:, 0], means.estimate[0] + (noise[0] + noise[1]) / 2)
    drawn = bootstrap.seed_counts((0, 3)) @ [several[0].mean(), several[3].mean()] / 2
    shift = (drawn - means.estimate[0]) * math.sqrt(2)  # unbiased: 2 / (2 - 1)
    np.testing.assert_allclose(means.resampled[:, 0], means.episodes_only[:, 0] + shift)
    np.testing.assert_allclose(means.resampled[:, 1], means.episodes_only[:, 1])  # of one seed nothing is known
    assert (means.seeds, means.episodes) == (2, 4)
    assert bootstrap.means([single]).seeds == 1


@pytest.mark.parametrize("count", [2, 3])
def test_resampling_has_the_unbiased_variance_and_other_seeds_other_draws(count):
    values, bootstrap = np.arange(count) ** 2.0, Bootstrap(np.random.default_rng(0))
    of_episodes = [bootstrap.noise([{seed: values}], seed)[:, 0] for seed in (0, 1)]
    of_seeds = [bootstrap.means([{seed + first: values[[seed]] for seed in range(count)}]) for first in (0, 1)]
    for draws in (of_episodes, [found.resampled[:, 0] for found in of_seeds]):
        assert draws[0].var() == pytest.approx(values.var(ddof=1) / count, rel=0.05)
        assert abs(np.corrcoef(draws)[0, 1]) < 0.1


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


def test_the_standard_error_on_numbers_solved_by_hand():
    def error(*samples):
        return standard_error({seed: np.array(values, float) for seed, values in enumerate(samples)})

    assert error([1, 3]) == 1.0  # variance 2 of 2 episodes
    assert error([0, 3, 6]) == pytest.approx(math.sqrt(3))  # variance 9 of 3
    assert error([0, 2], [10, 12]) == pytest.approx(5.0)  # means 1 and 11: variance 50 of 2 seeds
    assert error([0, 2], [0, 2]) == pytest.approx(math.sqrt(0.5))  # alike: what the episodes give is the floor
    assert error([5]) == 0.0
    assert error([5], [7]) == pytest.approx(1.0)
    assert error([5], [4, 6]) == pytest.approx(0.5)
    assert error([1, 3], [2], [0, 4]) == pytest.approx(math.sqrt((1 + 0 + 4) / 3 / 3))


def test_the_probability_of_improvement_in_every_resample():
    rng = np.random.default_rng(0)
    x = [{seed: rng.normal(task, 1, 6) for seed in (0, 1, 4)} for task in range(3)]
    y = [{seed: rng.normal(task + 0.2, 2, 5) for seed in (1, 2)} for task in range(3)]
    bootstrap = Bootstrap(np.random.default_rng(1), 40)
    found = improvement(bootstrap, x, y)
    shares = [bootstrap.seed_counts(seeds) / len(seeds) for seeds in ((0, 1, 4), (1, 2))]
    resampled, episodes_only = np.zeros(40), np.zeros(40)
    for place_x, seed_x in enumerate((0, 1, 4)):
        for place_y, seed_y in enumerate((1, 2)):
            played_x = [sample[seed_x].mean() for sample in x] + bootstrap.noise(x, seed_x)
            played_y = [sample[seed_y].mean() for sample in y] + bootstrap.noise(y, seed_y)
            wins = ((played_x > played_y) + 0.5 * (played_x == played_y)).mean(axis=1)
            resampled += shares[0][:, place_x] * shares[1][:, place_y] * wins
            episodes_only += wins / 6
    means = [[np.array([sample[seed].mean() for sample in some]) for seed in some[0]] for some in (x, y)]
    pairs = [(one > other).mean() for one in means[0] for other in means[1]]
    assert found.estimate == pytest.approx(np.mean(pairs))
    np.testing.assert_allclose(found.resampled, resampled)
    np.testing.assert_allclose(found.episodes_only, episodes_only)
    assert (found.seeds, found.episodes) == (2, 5)
    assert 0 <= found.resampled.min() < found.resampled.max() <= 1
    one = [{0: sample[0]} for sample in x]
    assert improvement(bootstrap, one, one).seeds == 1 and improvement(bootstrap, one, y).seeds == 2
    assert improvement(bootstrap, x, [{0: np.ones(3)}] * 3).seeds == 3


def test_what_is_combined_has_the_least_data_of_its_parts():
    def part(seeds, episodes):
        return Replicates(np.zeros(1), np.zeros((3, 1)), np.zeros((3, 1)), seeds, episodes)

    def combined(*parts):
        found = combine(lambda *values: sum(values), *parts)
        return found.seeds, found.episodes

    assert combined(part(3, 9), part(2, 20)) == (2, 9)
    assert combined(part(1, 9), part(4, 8)) == (4, 8)  # of random play, say, one seed is all there is
    assert combined(part(1, 9), part(1, 9)) == (1, 9)


def test_intervals_of_counts_are_taken_column_by_column_from_values_that_occurred():
    resampled = np.stack([np.arange(101.0), 1000 + 10 * np.arange(101.0)], axis=1)
    low, high = count_interval(Replicates(np.array([50.0, 1500.0]), resampled, resampled, 5, 10))
    assert (low.tolist(), high.tolist()) == ([2.0, 1020.0], [98.0, 1980.0])
    low, high = count_interval(Replicates(np.array([0.0, 2200.0]), resampled, resampled, 5, 10))
    assert (low[0], high[1]) == (0.0, 2200.0)


def test_the_parts_of_an_interval():
    rng = np.random.default_rng(0)
    wide, narrow = rng.normal(0, 5, (20_000, 1)), rng.normal(0, 1, (20_000, 1))

    def width(resampled, episodes_only, seeds, episodes=10_000):
        (low,), (high,) = interval(Replicates(np.zeros(1), resampled, episodes_only, seeds, episodes))
        return high - low

    assert width(narrow, wide, 1) == pytest.approx(2 * 1.96, rel=0.05)  # one seed: as resampled
    assert width(wide, narrow, 10_000) == pytest.approx(2 * 1.96 * math.sqrt(24), rel=0.05)  # less the noise once
    assert width(narrow, narrow * 0.9, 10_000) == pytest.approx(2 * 1.96 * 0.9, rel=0.05)  # the noise is its floor
    assert width(wide, narrow, 3) == pytest.approx(2 * stats.t.ppf(0.975, 2) * math.sqrt(24), rel=0.05)
    assert width(narrow, narrow * 0.9, 2, 3) == pytest.approx(2 * stats.t.ppf(0.975, 4) * 0.9, rel=0.05)
    assert width(narrow, narrow, 1, 3) == pytest.approx(2 * stats.t.ppf(0.975, 2), rel=0.05)
    # With one seed, no difference between seeds can be known; with two, one degree of freedom is left; never fewer.
    assert width(wide, narrow, 1) == pytest.approx(2 * 1.96 * 5, rel=0.05)
    assert width(wide, narrow, 2) == pytest.approx(2 * stats.t.ppf(0.975, 1) * math.sqrt(24), rel=0.05)
    assert width(narrow, narrow, 1, 2) == pytest.approx(2 * stats.t.ppf(0.975, 1), rel=0.05)
    both = np.concatenate([wide, narrow], axis=1)
    low, high = interval(Replicates(np.zeros(2), both, both, 1, 10_000), (-99.0, 1.5))
    assert -low == pytest.approx([1.96 * 5, 1.96], rel=0.05) and high.tolist() == [1.5, 1.5]
    biased = Replicates(np.zeros(1), narrow + 0.5, narrow, 1, 10_000)
    (low,), (high,) = interval(biased)
    assert (low + high) / 2 == pytest.approx(-0.5, abs=0.05)  # the bias of resampling is taken off


SCORES = st.lists(st.lists(numbers, min_size=2, max_size=5), min_size=1, max_size=4).filter(
    lambda seeds: len({len(values) for values in seeds}) == 1
)


def samples_of(tasks):
    seeds = min(len(task) for task in tasks)
    return [{seed: np.array(task[seed]) for seed in range(seeds)} for task in tasks]


@few
@given(tasks=st.lists(SCORES, min_size=1, max_size=4))
def test_every_interval_holds_its_estimate_whatever_the_scores(tasks):
    means = Bootstrap(np.random.default_rng(0), 50).means(samples_of(tasks))
    for replicates in (means, *(combine(function, means) for function in AGGREGATES.values())):
        for low, high in (interval(replicates), count_interval(replicates)):
            assert np.all(low <= replicates.estimate) and np.all(replicates.estimate <= high)


@few
@given(tasks=st.lists(SCORES, min_size=2, max_size=4), data=st.data())
def test_tasks_may_come_in_any_order(tasks, data):
    samples = samples_of(tasks)
    order = data.draw(st.permutations(range(len(samples))))
    one, other = (
        Bootstrap(np.random.default_rng(0), 20).means(some) for some in (samples, [samples[place] for place in order])
    )
    np.testing.assert_allclose(one.resampled[:, order], other.resampled, rtol=1e-9, atol=1e-6)
    for function in AGGREGATES.values():
        np.testing.assert_allclose(function(one.estimate), function(other.estimate), rtol=1e-9, atol=1e-9)


@few
@given(
    tasks=st.lists(SCORES, min_size=1, max_size=3), factor=st.sampled_from([0.25, 1.0, 8.0]), offset=st.integers(-9, 9)
)
def test_intervals_follow_the_scale_of_the_scores(tasks, factor, offset):
    samples = samples_of(tasks)
    scaled = [{seed: factor * values + offset for seed, values in sample.items()} for sample in samples]
    one, other = (interval(Bootstrap(np.random.default_rng(0), 50).means(some)) for some in (samples, scaled))
    for end, scaled_end in zip(one, other, strict=True):
        np.testing.assert_allclose(factor * end + offset, scaled_end, rtol=1e-6, atol=1e-3)


@few
@given(f=st.lists(numbers, min_size=1, max_size=30))
def test_aggregates_lie_between_the_least_and_the_greatest(f):
    f = np.array(f)
    for name in ("iqm", "mean", "median", "worst"):
        assert f.min() - 1e-6 <= AGGREGATES[name](f) <= f.max() + 1e-6
    assert worst_decile(f) <= mean(f) + 1e-6 and optimality_gap(f) >= 0
    assert np.all(np.diff(share_at_or_above(f, [-1.0, 0.0, 0.5, 1.0])) <= 0)
