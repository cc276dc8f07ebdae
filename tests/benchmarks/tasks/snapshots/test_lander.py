"""Clones of LunarLander, whose physics engine cannot be copied exactly."""

import numpy as np
import pytest

from benchmarks.base.seeds import stream
from benchmarks.tasks import make_env
from benchmarks.tasks.snapshots.snapshot import restore, save
from tests.benchmarks.tasks.snapshots.helpers import play, task_of


def fall(env):
    """A lander without engines until it rests: deterministic."""
    return play(env, [0] * 200)


@pytest.mark.parametrize("still, near", [(0, 0.2), (10, 1e-3), (23, 1e-3)])
def test_a_restored_lander_on_the_ground_comes_to_rest_at_the_same_step(still, near):
    """Whether both legs touch the ground, and whether it has been still for a while."""
    lunar_lander = pytest.importorskip("gymnasium.envs.box2d.lunar_lander")
    task = task_of("LunarLander-v3", horizon=400)
    env, other = make_env(task), make_env(task)
    other.reset(seed=0)
    late = []
    for seed in range(12):
        observation, _ = env.reset(seed=seed)
        ended = False
        while not ended and not (observation[6:].all() and env.get_wrapper_attr("_still") >= still):
            action = 0 if observation[6:].all() else lunar_lander.heuristic(env, observation)
            observation, _, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
        if ended:
            continue
        state = save(env)
        rest = fall(env)
        np.testing.assert_equal(restore(other, state, stream(0)), observation)
        again = fall(other)
        assert again[-1][1] == pytest.approx(rest[-1][1], abs=0.01)
        late.append(len(again) - len(rest))
        for step, expected in zip(again[:20], rest[:20], strict=False):
            np.testing.assert_allclose(step[0][:6], expected[0][:6], atol=near)
    assert len(late) > 8 and max(map(abs, late)) <= 5 and np.median(late) == 0, late


@pytest.mark.parametrize("touching", [False, True])
def test_a_restored_lander_in_the_air_continues_like_the_original(touching):
    task = task_of("LunarLander-v3", horizon=200)
    env, other = make_env(task), make_env(task)
    env.reset(seed=6)
    play(env, [0] * 30)
    state = save(env)
    rest = fall(env)
    other.reset(seed=6)
    assert play(other, [0] * (90 if touching else 3))[-1][0][6:].any() == touching
    flights = []
    for _ in range(2):
        restore(other, state, stream(0))
        flights.append(fall(other))
    np.testing.assert_equal(*flights)  # exactly the same each time
    in_the_air = next(index for index, step in enumerate(rest) if step[0][6:].any())
    assert in_the_air > 20
    for step, expected in zip(flights[0][:in_the_air], rest[:in_the_air], strict=True):
        np.testing.assert_allclose(step[0], expected[0], atol=1e-4)
    assert abs(len(flights[0]) - len(rest)) < 5 and flights[0][-1][1] == rest[-1][1] == -100


def test_an_unseeded_lander_can_be_restored():
    env = make_env(task_of("LunarLander-v3"))
    env.reset()
    observation = play(env, [2, 1, 0])[-1][0]
    state = save(env)
    play(env, [2, 2])
    np.testing.assert_equal(restore(env, state, stream(0)), observation)
