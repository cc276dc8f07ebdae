"""Sampling of batches: recordings hold the number of each step, so that a window's numbers identify it."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import stream
from generalist.distill.data import Mixture, Source, demonstration, held_out
from tests.conftest import make_task

TASKS = [make_task(name="toy/a"), make_task(name="toy/b")]


class Recording:
    """Episodes of given lengths. Step n of all has observation n, label n + 0.1, action n + 0.2, reward n + 0.3."""

    def __init__(self, *lengths, successes=None, returns=None, kind="logits"):
        self.lengths = np.array(lengths)
        self.ends = np.cumsum(lengths)
        self.successes = successes or [None] * len(lengths)
        self.returns = np.array(returns if returns is not None else [0.0] * len(lengths))
        self.facts = {"distribution_kind": kind, "task": "toy/a", "discount": None}
        steps = np.arange(sum(lengths))
        self.columns = {
            "observations": steps[:, None].astype(float),
            "labels": steps + 0.1,
            "actions": steps + 0.2,
            "rewards": steps + 0.3,
            "terminated": np.isin(steps + 1, self.ends),
            "truncated": np.zeros(len(steps), bool),
        }
        if kind:
            self.columns["distributions"] = np.stack([steps, -steps], axis=1).astype(float)
        self.asked = []

    def __len__(self):
        return len(self.lengths)

    def has(self, column):
        return column in self.columns

    def window(self, episode, start, length, columns):
        first = self.ends[episode] - self.lengths[episode] + start
        assert 0 <= start < self.lengths[episode]
        return self.scattered(np.arange(first, min(first + length, self.ends[episode])), columns)

    def scattered(self, steps, columns):
        self.asked.append(set(columns))
        return {name: self.columns[name][steps] for name in columns}


class Network:
    """Hands the windows through."""

    def __init__(self, remembers=True, critic=0.0, prompt_steps=4, longest=5, independent=0.0):
        self.codec = SimpleNamespace(critic=critic, discount=0.5, prompt_steps=prompt_steps, independent=independent)
        self._remembers, self._longest = remembers, longest

    def steps_in(self, task, tokens):
        assert tokens == 77
        return self._longest

    def remembers(self, task):
        return self._remembers

    def collate(self, windows, tokens, rngs):
        assert tokens == 77 and len(rngs) == len(windows)
        return windows


def mixture(*sources, network=None, size=40, **settings):
    return Mixture(sources, network or Network(), batch_size=size, sequence_length=77, seed=3, **settings)


def drawn(sampler, batches=20):
    return [window for step in range(batches) for window in sampler.batch(step)]


def first(window):
    return int(window.observations[0, 0])


def steps(window):
    return window.observations[:, 0].astype(int).tolist()


def test_sources_are_drawn_by_their_weights():
    a, b = Source(TASKS[0], Recording(9), 3.0), Source(TASKS[1], Recording(9), 1.0)
    names = [window.task.name for window in drawn(mixture(a, b), 50)]
    assert 0.70 < names.count("toy/a") / len(names) < 0.80
    assert {window.task.name for window in drawn(mixture(a, replace(b, weight=0.0)))} == {"toy/a"}


@pytest.mark.parametrize("weights", [(1.0, -0.1), (0.0, 0.0)])
def test_weights_that_mean_nothing_are_refused(weights):
    sources = [Source(task, Recording(9), weight) for task, weight in zip(TASKS, weights, strict=True)]
    with pytest.raises(GatitoError, match="^mixture weights must not be negative, and one must be above zero.$"):
        mixture(*sources)


def test_a_batch_is_a_function_of_seed_and_step_and_its_parts_are_the_whole():
    source, other = Source(TASKS[0], Recording(30, 40), 1.0), Source(TASKS[1], Recording(50), 1.0)
    whole = [steps(window) for window in mixture(source, other).batch(5)]
    assert whole == [steps(window) for window in mixture(source, other).batch(5)]
    assert whole != [steps(window) for window in mixture(source, other).batch(6)]
    other_seed = Mixture([source, other], Network(), batch_size=40, sequence_length=77, seed=4)
    assert whole != [steps(window) for window in other_seed.batch(5)]
    parts = [[steps(window) for window in mixture(source, other).batch(5, part, 3)] for part in range(3)]
    assert [len(part) for part in parts] == [14, 13, 13]
    assert [window for row in itertools.zip_longest(*parts) for window in row if window] == whole
    loader = mixture(source, other).loader(range(4, 6), range(2), 3)
    loaded = [[[steps(window) for window in batch] for batch in batches] for batches in loader]
    assert loaded[1] == parts[:2] and len(loaded) == 2


def test_the_tasks_of_a_batch_stay_what_committed_networks_learnt_from():
    sampler = mixture(*(Source(task, Recording(9), weight) for task, weight in zip(TASKS, (3.0, 1.0), strict=True)))
    for step in range(5):
        expected = np.sort(stream("mixture", 3, step).choice(2, 40, p=[0.75, 0.25]))
        assert [TASKS.index(window.task) for window in sampler.batch(step)] == expected.tolist()


def test_the_steps_of_a_batch_stay_what_committed_networks_learnt_from():
    sampler = mixture(Source(TASKS[0], Recording(9, 30), 1.0), network=Network(longest=1))
    expected = [int(stream("mixture", 3, 5, number).integers(39)) for number in range(40)]
    assert [first(window) for window in sampler.batch(5)] == expected


@pytest.mark.parametrize("remembers", [True, False])
def test_masks_are_taught_where_they_were_recorded(remembers):
    recording = Recording(9, 30)
    recording.columns["masks"] = np.arange(39)[:, None] % [2, 3] == 0
    for window in drawn(mixture(Source(TASKS[0], recording, 1.0), network=Network(remembers)), 3):
        np.testing.assert_array_equal(window.masks, recording.columns["masks"][steps(window)])
    assert drawn(mixture(Source(TASKS[0], Recording(9), 1.0)), 1)[0].masks is None


def test_batches_are_sampled_here_or_in_forked_processes_and_leave_torchs_own_numbers_alone():
    sampler = mixture(Source(TASKS[0], Recording(9), 1.0))
    here, elsewhere = sampler.loader(range(2), range(1), 1), sampler.loader(range(2), range(1), 1, num_workers=2)
    assert here.num_workers == 0 and here.multiprocessing_context is None
    assert elsewhere.num_workers == 2 and elsewhere.multiprocessing_context.get_start_method() == "fork"
    before = torch.get_rng_state()
    [[batch], _] = here
    assert isinstance(batch, list) and torch.equal(torch.get_rng_state(), before)


def test_tasks_stand_together_in_a_batch():
    names = [window.task.name for window in mixture(*(Source(task, Recording(9), 1.0) for task in TASKS)).batch(0)]
    assert names == sorted(names) and len(set(names)) == 2


def test_a_window_is_of_consecutive_steps_of_one_episode_and_every_step_is_drawn_about_equally_often():
    lengths = (3, 20, 1, 7)
    recording = Recording(*lengths)
    counts, starts = np.zeros(sum(lengths)), set()
    for window in drawn(mixture(Source(TASKS[0], recording, 1.0)), 100):
        numbers = steps(window)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        episode = int(np.searchsorted(recording.ends, numbers[0], side="right"))
        assert numbers[-1] < recording.ends[episode] and len(numbers) == min(5, lengths[episode])
        np.testing.assert_allclose(window.labels, np.array(numbers) + 0.1)
        np.testing.assert_allclose(window.actions, np.array(numbers) + 0.2)
        np.testing.assert_allclose(window.rewards, np.array(numbers) + 0.3)
        assert window.prompt is None and window.returns is None
        if numbers[0] == recording.ends[episode] - lengths[episode]:
            assert window.before is None
        else:
            assert window.before == (numbers[0] - 1 + 0.2, numbers[0] - 1 + 0.3)
        counts[numbers] += 1
        starts.add(numbers[0])
    # Windows end where their episode does: every place that leaves room for one begins one.
    assert starts == {0, *range(3, 19), 23, 24, 25, 26}
    middle = counts[7:19]  # of the long episode
    assert middle.min() > 0.6 * middle.max() and counts[23] > 60


def test_a_share_of_the_windows_with_memory_holds_independent_steps():
    source = Source(TASKS[0], Recording(*[50] * 40), 1.0)
    windows = drawn(mixture(source, network=Network(independent=0.25)), 10)
    consecutive = [np.diff(steps(window)).tolist() == [1] * 4 for window in windows]
    assert consecutive == [not window.independent for window in windows]
    assert 0.6 < np.mean(consecutive) < 0.9
    assert not any(window.independent for window in drawn(mixture(source), 10))


def test_steps_that_need_no_memory_come_from_anywhere():
    recording = Recording(*[10] * 20)
    for window in drawn(mixture(Source(TASKS[0], recording, 1.0), network=Network(remembers=False)), 5):
        numbers = steps(window)
        assert len(numbers) == 5 and numbers == sorted(numbers) and window.before is None
        np.testing.assert_allclose(window.labels, np.array(numbers) + 0.1)
    everything = {
        number
        for window in drawn(mixture(Source(TASKS[0], recording, 1.0), network=Network(False)))
        for number in steps(window)
    }
    assert everything == set(range(200))


def test_the_first_share_of_the_episodes_is_learnt_from():
    recording = Recording(*[4] * 10)
    for remembers in (True, False):
        sampler = mixture(Source(TASKS[0], recording, 1.0, share=0.25), network=Network(remembers))
        assert {number // 4 for window in drawn(sampler) for number in steps(window)} == {0, 1, 2}  # 2.5, upwards


def test_solved_episodes_alone_where_there_are_any():
    recording = Recording(*[4] * 6, successes=[False, True, None, True, False, True])
    for remembers in (True, False):
        sampler = mixture(Source(TASKS[0], recording, 1.0, solved=True), network=Network(remembers))
        assert {number // 4 for window in drawn(sampler) for number in steps(window)} == {1, 3, 5}
        sampler = mixture(Source(TASKS[0], recording, 1.0, solved=True, share=1 / 6), network=Network(remembers))
        assert {number // 4 for window in drawn(sampler) for number in steps(window)} == {0}  # none is solved there


@pytest.mark.parametrize("remembers", [True, False])
@pytest.mark.parametrize("kind, factor", [("logits", 1), ("q", 4)])
def test_distributions_are_taught_and_q_values_divided_by_the_temperature(kind, factor, remembers):
    recording = Recording(9, 9, kind=kind)
    for window in drawn(mixture(Source(TASKS[0], recording, 1.0), network=Network(remembers), temperature=0.25), 3):
        np.testing.assert_allclose(window.distributions[:, 0], np.array(steps(window)) * factor)
        np.testing.assert_allclose(window.distributions[:, 1], np.array(steps(window)) * -factor)


@pytest.mark.parametrize("kind, soft", [(None, True), ("logits", False)])
def test_labels_alone_where_there_are_no_distributions_or_none_are_wanted(kind, soft):
    recording = Recording(9, 9, kind=kind)
    assert all(window.distributions is None for window in drawn(mixture(Source(TASKS[0], recording, 1.0), soft=soft)))
    assert {"distributions"} & set().union(*recording.asked) == set()


@pytest.mark.parametrize("remembers", [True, False])
def test_returns_are_those_of_the_windows_own_steps(remembers):
    sampler = mixture(Source(TASKS[0], Recording(4, 6), 1.0), network=Network(remembers, critic=1.0))
    ends, discount = [4, 10], 0.5
    for window in drawn(sampler, 5):
        for number, value in zip(steps(window), window.returns, strict=True):
            end = min(end for end in ends if end > number)
            expected = sum(discount ** (later - number) * (later + 0.3) for later in range(number, end))
            assert value == pytest.approx(expected)


def prompts_of(recording, *, prompts=1.0, network=None, demonstrations=None):
    source = Source(TASKS[0], recording, 1.0, demonstrations=demonstrations)
    return drawn(mixture(source, network=network or Network(), prompts=prompts), 40)


def test_a_stated_share_of_windows_follows_a_prompt_half_of_which_are_episodes_ends():
    windows = prompts_of(Recording(*[40] * 20), prompts=0.25)
    prompted = [window for window in windows if window.prompt is not None]
    assert 0.20 < len(prompted) / len(windows) < 0.30
    ends = [window for window in prompted if steps(window.prompt)[-1] % 40 == 39]
    assert 0.42 < len(ends) / len(prompted) < 0.62  # half, and 1 in 37 of the others
    assert {len(window.prompt) for window in prompted} == {4}
    beginnings = {first(window.prompt) % 40 for window in prompted}
    assert beginnings == set(range(37))


def test_a_prompt_is_of_another_episode_and_never_of_one_held_out():
    windows = prompts_of(Recording(*[6] * 40))
    own = [first(window) // 6 for window in windows]
    shown = [first(window.prompt) // 6 for window in windows]
    assert all(mine != other for mine, other in zip(own, shown, strict=True))
    assert set(own) == set(shown) == set(range(38))  # a twentieth, 2 episodes, is held out
    assert all(window.prompt.before is None or window.prompt.before[0] % 6 > 0 for window in windows)


def test_prompted_windows_are_of_neighbours_even_where_nothing_is_remembered():
    for window in prompts_of(Recording(*[9] * 10), network=Network(remembers=False)):
        assert np.diff(steps(window)).tolist() == [1] * (len(window) - 1)


def test_of_two_episodes_that_are_learnt_from_each_is_the_others_prompt():
    shown = {(first(window) // 6, first(window.prompt) // 6) for window in prompts_of(Recording(6, 6, 6))}
    assert shown == {(0, 1), (1, 0)}


def test_of_two_episodes_the_one_that_is_learnt_from_is_its_own_prompt():
    assert {(first(window) // 6, first(window.prompt) // 6) for window in prompts_of(Recording(6, 6))} == {(0, 0)}


def test_demonstrations_of_another_recording_are_shown_and_then_nothing_of_the_own_is_held_out():
    demonstrations = Recording(*[6] * 40)
    demonstrations.columns["labels"] = demonstrations.columns["labels"] + 1000
    windows = prompts_of(Recording(6, 6), demonstrations=demonstrations)
    assert {first(window) // 6 for window in windows} == {0, 1}
    assert all(window.prompt.labels[0] > 1000 and window.labels[0] < 1000 for window in windows)
    assert {first(window.prompt) // 6 for window in windows} == set(range(38))
    assert {first(window) // 6 for window in windows if first(window.prompt) // 6 == first(window) // 6} == {0, 1}


def test_a_prompt_is_no_longer_than_its_episode():
    windows = prompts_of(Recording(*[2] * 20))
    assert {len(window.prompt) for window in windows} == {2} and {first(window.prompt) % 2 for window in windows} == {0}


def test_a_twentieth_of_a_recording_is_held_out_and_one_episode_at_least():
    assert [held_out(Recording(*[1] * count)) for count in (2, 19, 20, 39, 40, 100)] == [1, 1, 1, 1, 2, 5]
    with pytest.raises(
        GatitoError,
        match="^the recording of task toy/a has a single .* raise record.env_steps, or set codec.conditioning=none.$",
    ):
        held_out(Recording(5))


def test_the_demonstration_at_evaluation_is_the_end_of_the_best_episode_held_out():
    returns = [99.0] * 38 + [5.0, 7.0]
    shown = demonstration(TASKS[0], Recording(*[6] * 40, returns=returns), 4)
    assert steps(shown) == [236, 237, 238, 239] and shown.task == TASKS[0] and shown.distributions is None
    np.testing.assert_allclose(shown.labels, np.array(steps(shown)) + 0.1)
    np.testing.assert_allclose(shown.actions, np.array(steps(shown)) + 0.2)
    np.testing.assert_allclose(shown.rewards, np.array(steps(shown)) + 0.3)
    successes = [True] * 38 + [True, False]  # solved before high returns
    assert steps(demonstration(TASKS[0], Recording(*[6] * 40, returns=returns, successes=successes), 4))[0] == 230
    assert steps(demonstration(TASKS[0], Recording(*[6] * 40, returns=returns), 9)) == list(range(234, 240))


def test_several_demonstrations_are_shown_one_after_another():
    recording = Recording(*[6] * 40, returns=[99.0] * 38 + [7.0, 5.0])
    both = demonstration(TASKS[0], recording, 2, count=2)
    assert steps(both) == [238, 239, 232, 233]  # the best one last
    assert steps(demonstration(TASKS[0], recording, 2, count=3, learned=False)) == [4, 5, 10, 11, 16, 17]
    with pytest.raises(GatitoError, match="^distill.demonstrations=3, but the recording .* has 2 that are not learned"):
        demonstration(TASKS[0], recording, 2, count=3)
