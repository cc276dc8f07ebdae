import pytest

from benchmarks.base.seeds import (
    Purpose,
    alike,
    branch,
    derive,
    episode_seed,
    is_test,
    purpose_of,
    stream,
    training_seed,
)


def test_ranges_of_purposes_are_disjoint_and_fit_31_bits():
    spans = []
    for purpose in Purpose.__members__.values():  # iterating an enum leaves out a second name of one number
        last = 0 if purpose in (Purpose.TEST, Purpose.HELD_OUT) else 99
        spans.append((episode_seed(purpose, 0), episode_seed(purpose, 999_999, last)))
    for (_, end), (start, _) in zip(sorted(spans)[:-1], sorted(spans)[1:], strict=True):
        assert end < start
    assert max(end for _, end in spans) < 2**31


def test_each_training_seed_has_episodes_of_its_own_and_held_out_layouts_are_shared():
    for purpose in (Purpose.TEST, Purpose.RECORDING, Purpose.SELECTION):
        assert episode_seed(purpose, 5, train_seed=0) != episode_seed(purpose, 5, train_seed=3)
    assert episode_seed(Purpose.HELD_OUT, 5, train_seed=0) == episode_seed(Purpose.HELD_OUT, 5, train_seed=3)


def test_seeds_and_streams_match_the_committed_results():
    assert episode_seed(Purpose.TEST, 5) == 600_000_005
    assert episode_seed(Purpose.TEST, 5, train_seed=2) == 602_000_005
    assert episode_seed(Purpose.HELD_OUT, 5, train_seed=2) == 500_000_005
    assert derive("x", 3) == 73956010
    assert training_seed("cartpole", 0) == 62746982 and isinstance(training_seed("cartpole", 0), int)
    assert stream("a", 1).integers(2**32) == 326209886
    trunk = stream("a")
    assert branch(trunk).integers(2**32) == 2783778322
    assert trunk.integers(2**32) == 2936072661  # a branch takes as much of its trunk, however many are alike
    trunk = stream("a")
    assert len(alike(trunk, 3)) == 3 and trunk.integers(2**32) == 2936072661


def test_training_seeds_depend_on_every_name_and_are_in_their_own_range():
    seeds = {training_seed("task", number) for number in range(100)}
    assert len(seeds) == 100 and {purpose_of(seed) for seed in seeds} == {Purpose.TRAINING}


@pytest.mark.parametrize("purpose", Purpose)
def test_a_seed_knows_its_purpose(purpose):
    last = 0 if purpose is Purpose.HELD_OUT else 99
    assert purpose_of(episode_seed(purpose, 0)) is purpose_of(episode_seed(purpose, 999_999, last)) is purpose


@pytest.mark.parametrize("index, train_seed", [(-1, 0), (1_000_000, 0), (0, 100), (0, -1)])
def test_a_seed_outside_its_range_is_rejected(index, train_seed):
    with pytest.raises(ValueError, match="no RECORDING seed"):
        episode_seed(Purpose.RECORDING, index, train_seed)


def test_streams_depend_on_every_name_and_on_nothing_else():
    assert stream("a", 1).random() == stream("a", 1).random()
    assert stream("a", 1).random() != stream("a", 2).random()
    assert stream("a", 12).random() != stream("a1", 2).random()
    assert 0 <= derive("x", 3) < 2**31


def test_branches_depend_on_their_stream_and_are_independent():
    first, second = ([branch(rng).random() for _ in range(1000)] for rng in (stream("a"), stream("a")))
    assert first == second and len(set(first)) == 1000
    assert 0.45 < sum(first) / 1000 < 0.55
    trunk = stream("a")
    twins = alike(trunk, 2)
    assert twins[0].random() == twins[1].random() not in (trunk.random(), stream("a").random())


def test_seeds_of_scores_and_of_held_out_episodes_are_test_seeds_and_foreign_ones_are_not():
    tests = {purpose for purpose in Purpose if is_test(episode_seed(purpose, 3))}
    assert tests == {Purpose.HELD_OUT, Purpose.TEST} and not is_test(-1)
