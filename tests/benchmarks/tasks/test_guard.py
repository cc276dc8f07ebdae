"""The guard checks, copies and times environments; errors name task, seed and step."""

import asyncio
import os
import re
import signal
import threading
from unittest.mock import MagicMock

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.tasks import make_env
from benchmarks.tasks.conformity import ViolationError, conformer, flag_of, has_bounds, reward_of, success_of
from benchmarks.tasks.watch import WATCH, Sight, Stopwatch
from tests.conftest import make_task
from tests.odd_environments import FAULTS

WORDS = {
    "shape": r"the observation has shape \(3,\), where its space has \(1,\)",
    "nan": "the observation has nan at index 0",
    "text": "the observation is 'left' of type str",
    "ragged": "the observation is .* which is no array",
    "nothing": "the observation is None",
    "too large": "the observation has 1e.300 of type float64, which float32 cannot hold",
    "reward": "the reward is None, which is no number",
    "reward text": "the reward is 'much', which is no number",
    "reward nan": "the reward is nan",
    "reward array": "the reward is .*, which is no number",
    "flag": "terminated is 'yes', which is neither true nor false",
    "no flag": "truncated is None, which is neither",
    "info": "the info is None, not a dictionary",
    "success": "the info has the success .* neither true nor false",
    "four values": r"it has the API of gym before 0.26: let reset\(seed=None",
}


def odd(kind, **settings):
    return make_task(f"tests.odd_environments:{kind}-v0", horizon=8, **settings)


@pytest.mark.parametrize("fault", FAULTS)
def test_violations_name_task_seed_and_step(fault):
    env = make_env(odd("Breaks", kwargs={"fault": fault}))
    env.reset(seed=7)
    env.step(0)
    env.step(0)
    with pytest.raises(GatitoError, match=WORDS[fault]) as error:
        env.step(0)
    text = str(error.value)
    assert "task toy/breaks" in text and "in step() of an episode seeded 7, step 3" in text
    assert "learning rate" not in text and "\n" not in text and error.value.task == "toy/breaks"


def test_the_old_reset_api_is_reported():
    with pytest.raises(GatitoError, match=r"in reset\(\) of an episode seeded 3: it has the API of gym before 0.26"):
        make_env(odd("OldReset")).reset(seed=3)


def test_observations_and_actions_are_copies():
    env = make_env(odd("Reuses"))
    first, _ = env.reset(seed=0)
    kept = first.copy()
    second, *_ = env.step(1)
    np.testing.assert_array_equal(first, kept)
    second[:] = 5
    assert env.unwrapped.array[0] == np.float32(env.unwrapped.number)
    env = make_env(odd("Scales"))
    env.reset(seed=0)
    action = np.array([0.25], np.float32)
    env.step(action)
    assert action[0] == 0.25


def test_observations_have_their_spaces_type_in_every_episode():
    env = make_env(odd("Drifts"))
    for seed in range(4):
        observation, _ = env.reset(seed=seed)
        assert observation.dtype == np.float32 and observation.shape == (1,)


@pytest.mark.parametrize(
    "space, value, expected",
    [
        (gym.spaces.Box(0, 9, (2,), np.int64), np.array([1.0, 2.0]), [1, 2]),
        (
            gym.spaces.Box(0, 9, (2,), np.int64),
            np.array([1.0, 2.5]),
            "has 2.5 of type float64, which int64 cannot hold",
        ),
        (gym.spaces.Box(0, 255, (1,), np.uint8), np.array([-1]), "has -1 of type int64, which uint8 cannot hold"),
        (gym.spaces.Box(0, 1, (1,), np.uint8), np.array([np.nan]), "cannot hold"),
        (gym.spaces.Box(-9, 9, (1,), np.float32), np.array([2**24 + 1]), "cannot hold"),
        (gym.spaces.Discrete(3, start=4), np.array(6), 6),
        (gym.spaces.Discrete(3, start=4), 3, "is 3, where its space has 4 to 6"),
        (gym.spaces.Text(3), "äö", "a text of 4 bytes"),
        (gym.spaces.Text(3), 5, "which is no text"),
        (gym.spaces.Dict(a=gym.spaces.Discrete(2)), {}, "without the entry 'a'"),
        (gym.spaces.Dict(a=gym.spaces.Discrete(2)), {"a": 2}, "has an entry 'a' that is 2, where"),
        (gym.spaces.Dict(a=gym.spaces.Discrete(2)), 5, "without the entry 'a'"),
    ],
)
def test_values_are_cast_to_their_space_or_rejected(space, value, expected):
    if isinstance(expected, str):
        with pytest.raises(ViolationError, match=expected):
            conformer(space)(value)
    else:
        np.testing.assert_array_equal(conformer(space)(value), expected)


def test_large_finite_numbers_are_accepted():
    most = np.full(3, np.finfo(np.float32).max)
    np.testing.assert_array_equal(conformer(gym.spaces.Box(-np.inf, np.inf, (3,), np.float32))(most), most)
    with pytest.raises(ViolationError):
        conformer(gym.spaces.Box(-np.inf, np.inf, (3,), np.float32))(np.array([0, -np.inf, 0], np.float32))


def test_rewards_and_flags_of_every_kind_of_number():
    assert [reward_of(kind(2)) for kind in (int, float, np.float32, np.int8, np.array, lambda x: np.array([x]))] == [
        2.0
    ] * 6
    assert reward_of(True) == 1.0 and type(reward_of(np.float64(1))) is float
    assert [flag_of(value) for value in (True, np.bool_(True), 1, np.array(True))] == [True] * 4
    assert [success_of(info) for info in ({}, {"success": 1.0}, {"is_success": np.bool_(False)})] == [None, True, False]


def test_floats_beyond_their_bounds_get_one_warning(capsys, monkeypatch):
    monkeypatch.setattr("tests.odd_environments.Signs.show", lambda self: np.array([3.0], np.float32))
    for _ in range(2):
        env = make_env(odd("Signs", name="toy/loose"))
        env.reset(seed=4)
        env.step(0)
    text = " ".join(capsys.readouterr().err.split())
    assert text.count("left the bounds") == 1
    assert "task toy/loose" in text and "step 1 of an episode seeded 4 (3.0 where its space has -1.0 to 1.0)" in text


def test_unknown_spaces_get_a_remedy(monkeypatch):
    monkeypatch.setattr("tests.odd_environments.Signs.answers", lambda self: gym.spaces.Text(2))
    with pytest.raises(GatitoError, match="actions of kind Text.*Dict and Tuple of them are. Register a"):
        make_env(odd("Signs", name="toy/multi"))


@pytest.mark.parametrize(
    "where, words",
    [
        ("step", r"in step\(\) of an episode seeded 5, step 3: step\(\) took more than 1 seconds .*step_seconds"),
        ("reset", r"in reset\(\) of an episode seeded 5: reset\(\) took more than 1 seconds"),
        ("every", "the episode took more than 2 seconds .*episode_seconds"),
    ],
)
def test_an_environment_that_hangs_is_interrupted(where, words):
    env = make_env(odd("Hangs", kwargs={"where": where}, step_seconds=1, episode_seconds=2))
    with pytest.raises(GatitoError, match=words):
        env.reset(seed=5)
        for _ in range(8):
            env.step(0)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, SystemExit])
def test_whatever_an_environment_raises_in_a_worker_is_its_failure(kind, monkeypatch):
    def step(self, action):
        raise kind

    monkeypatch.setattr("tests.odd_environments.Signs.step", step)
    env = make_env(odd("Signs"))
    env.reset(seed=3)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # as in a worker
    try:
        with pytest.raises(GatitoError, match=f"raised in step.* seeded 3, step 1: {kind.__name__}"):
            env.step(0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if kind is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            env.step(0)


def test_errors_and_values_that_cannot_be_shown_are_still_one_line(monkeypatch):
    class MuteError(Exception):
        def __str__(self):
            raise ValueError

        __repr__ = __str__

    env = make_env(odd("Signs"))
    env.reset(seed=3)
    for error, words in (
        (MuteError(), "step 1: MuteError. "),
        (RuntimeError("a\n\x1b[31mred\x00"), "RuntimeError: a [31mred. "),
    ):
        monkeypatch.setattr("tests.odd_environments.Signs.step", MagicMock(side_effect=error))
        env.reset(seed=3)
        with pytest.raises(GatitoError, match=re.escape(words)) as refusal:
            env.step(0)
        assert str(refusal.value).isprintable()
    with pytest.raises(ViolationError, match=", which is no number"):
        reward_of(MuteError())


def test_masked_numbers_are_no_numbers():
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    with pytest.raises(ViolationError, match="masked"):
        conformer(gym.spaces.Box(-9, 9, (2,), np.float32))(masked)
    with pytest.raises(ViolationError, match="masked"):
        reward_of(np.ma.masked)
    whole = np.ma.masked_array([1.0, 2.0], [False, False])
    np.testing.assert_array_equal(conformer(gym.spaces.Box(-9, 9, (2,), np.float32))(whole), [1, 2])


def test_an_environment_that_hangs_as_it_is_made_is_interrupted(monkeypatch):
    monkeypatch.setattr("benchmarks.tasks.task._MAKING_SECONDS", 1)
    with pytest.raises(GatitoError, match="task toy/hangs was not made within 1 seconds") as error:
        make_env(odd("Hangs", kwargs={"where": "init"}, step_seconds=1))
    assert error.value.task == "toy/hangs"


@pytest.mark.parametrize(
    "where, words", [("close", "took too long in close"), ("raise in close", "raised OSError: no")]
)
def test_an_environment_that_cannot_be_closed_is_told_of_once_and_left(where, words, capsys):
    for _ in range(2):
        env = make_env(odd("Hangs", name=f"toy/{where.partition(' ')[0]}", kwargs={"where": where}, step_seconds=1))
        env.reset(seed=0)
        env.close()
    warnings = " ".join(capsys.readouterr().err.split())
    assert warnings.count("in close()") == 1 and words in warnings


def test_another_process_sees_where_a_call_is_and_that_the_next_one_is_another(tmp_path):
    file = tmp_path / "sight"
    assert Sight.read(file) is None
    first, second = (Stopwatch("toy/a", 5.0, 9.0) for _ in range(2))
    with WATCH.shown_in(file):
        assert Sight.read(file) == Sight(os.getpid(), None, float("inf"), 0)
        seen = []
        for stopwatch in (first, second, Stopwatch("toy/b", 6.0, 9.0)):  # each in its first call
            with WATCH.timed(stopwatch):
                seen.append(Sight.read(file))
        assert Sight.read(file).task is None
    assert [(sight.task, sight.limit, sight.process) for sight in seen[1:]] == [
        ("toy/a", 5.0, os.getpid()),
        ("toy/b", 6.0, os.getpid()),
    ]
    assert len({sight.call for sight in seen}) == 3


def test_outside_the_main_thread_there_is_no_time_limit():
    lengths = []

    def play():
        env = make_env(odd("Signs"))
        env.reset(seed=0)
        lengths.append(sum(1 for _ in iter(lambda: env.step(0)[2], True)) + 1)

    thread = threading.Thread(target=play)
    thread.start()
    thread.join()
    assert lengths == [8]


def test_the_largest_float_means_unbounded():
    most = np.finfo(np.float32).max
    assert not has_bounds(gym.spaces.Box(-most, most, (1,), np.float32))
    assert has_bounds(gym.spaces.Box(-128, 127, (1,), np.int8))
