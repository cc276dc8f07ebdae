import gc

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.base.seeds import stream
from benchmarks.tasks import make_env
from benchmarks.tasks.snapshots.snapshot import restore, save
from tests.benchmarks.tasks.snapshots.helpers import (
    AFTER,
    BEFORE,
    HORIZON,
    actions_of,
    begin,
    play,
    same,
    task_of,
)
from tests.conftest import make_task
from tests.environments import Counter

DETERMINISTIC = [
    *("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"),
    *("mujoco/Hopper-v5", "mujoco/HalfCheetah-v5", "mujoco/Ant-v5", "mujoco/Humanoid-v5"),
    *("babyai/GoToLocal", "babyai/BossLevel", "babyai/PutNextLocal"),
    *("metaworld/reach", "metaworld/pick-place", "metaworld/door-open", "metaworld/door-lock", "metaworld/basketball"),
    "atari/Breakout",
]
STOCHASTIC = ["Counter-v0", "LunarLander-v3", "sticky/Seaquest"]


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_environments_continue_identically(name):
    task = task_of(name)
    env, unused, elsewhere = make_env(task), make_env(task), make_env(task)
    observation = begin(env)
    state = save(env)
    actions = actions_of(env, AFTER, seed=1)
    future = play(env, actions)
    assert len(future) < AFTER and (future[-1][2] or len(future) == HORIZON - BEFORE)  # to the end of the episode
    begin(elsewhere, seed=6, steps=3)
    env.reset(seed=7)
    for index, other in enumerate([env, env, unused, elsewhere, unused]):
        np.testing.assert_equal(restore(other, state, stream(index)), observation)
        np.testing.assert_equal(play(other, actions), future)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_clones_sample_new_random_numbers(name):
    task = task_of(name, horizon=60)
    env, other = make_env(task), make_env(task)
    observation = begin(env)
    state = save(env)
    actions = actions_of(env, 40, seed=1)
    futures = [play(env, actions)]
    for index in range(4):
        np.testing.assert_equal(restore(env, state, stream(index)), observation)
        futures.append(play(env, actions))
        np.testing.assert_equal(restore(other, state, stream(index)), observation)
        np.testing.assert_equal(play(other, actions), futures[-1])  # the same stream, the same future
    assert not any(same(futures[a], futures[b]) for a in range(5) for b in range(a))


@pytest.mark.parametrize("name", STOCHASTIC)
def test_clones_do_not_know_the_original_future(name):
    env = make_env(task_of(name, horizon=60))
    begin(env)
    state = save(env)
    actions = actions_of(env, 40, seed=1)
    restore(env, state, stream(0))
    guess = play(env, actions)
    begin(env)
    assert not same(play(env, actions), guess)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_saving_does_not_change_the_episode(name):
    task = task_of(name, horizon=60)
    env, saved = make_env(task), make_env(task)
    actions = actions_of(env, 40, seed=1)
    begin(env)
    begin(saved)
    restore(make_env(task), save(saved), stream(0))
    np.testing.assert_equal(play(saved, actions), play(env, actions))


@pytest.mark.parametrize("name", ["CartPole-v1", "metaworld/reach", "babyai/GoToLocal", *STOCHASTIC])
def test_a_clone_can_be_cloned(name):
    env = make_env(task_of(name, horizon=60))
    begin(env)
    state = save(env)
    restore(env, state, stream("first"))
    play(env, actions_of(env, 5, seed=1))
    deeper = save(env)
    actions = actions_of(env, 5, seed=2)
    restore(env, deeper, stream("second"))
    future = play(env, actions)
    restore(env, state, stream("third"))
    play(env, actions)
    restore(env, deeper, stream("second"))
    np.testing.assert_equal(play(env, actions), future)


def test_the_sticky_action_is_part_of_the_state():
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    task = make_task("ALE/Breakout-v5", family="atari", kwargs={"repeat_action_probability": 0.5})
    env, other = make_env(task), make_env(task)
    env.reset(seed=0)
    play(env, [2] * 9 + [3] * 2)  # from the right wall leftwards
    state = save(env)
    pictures = [[], []]
    for held, seen in zip((2, 3), pictures, strict=True):
        for index in range(8):
            other.reset()
            play(other, [held] * 3)
            restore(other, state, stream(index))
            seen.append(play(other, [0])[0][0][-1])
    np.testing.assert_equal(*pictures)  # independent of the other game's state
    assert len({picture.tobytes() for picture in pictures[0]}) > 1  # it continues leftwards for a random time


def test_emulator_streams_of_any_length_are_parsed():
    env = make_env(task_of("sticky/Seaquest"))
    env.reset(seed=0)
    state = save(env)
    places = set()
    for index in range(300):  # texts of 6,640 to 6,700 letters; one of 6,688 has a blank in its size's bytes
        restore(env, state, stream(index))
        vars(env.unwrapped).pop("_place_of_stream")
        places.add(env.unwrapped._place_of_stream)
    assert len(places) == 1


def test_shared_objects_of_a_maze_stay_shared():
    env = make_env(task_of("babyai/GoToLocal"))
    env.reset(seed=0)
    level = env.unwrapped
    door_or_ball = level.instrs.desc.obj_set[0]
    restore(env, save(env), stream(0))
    [thing] = [cell for cell in level.grid.grid if cell is level.instrs.desc.obj_set[0]]
    assert thing is not door_or_ball and level.instrs.env.unwrapped is level


@pytest.mark.parametrize("name", ["babyai/BossLevel", "mujoco/HalfCheetah-v5", "Acrobot-v1"])
def test_clones_create_no_reference_cycles(name):
    """Planning makes thousands of clones without a garbage collection."""
    env, other = make_env(task_of(name)), make_env(task_of(name))
    begin(env)
    restore(other, save(env), stream(0))
    gc.collect()
    for index in range(5):
        restore(other, save(env), stream(index))
    assert gc.collect() == 0


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mujoco", "metaworld", "babyai"])
def test_every_task_of_a_family_can_be_restored(family):
    for name in every(family):
        task = task_of(f"{family}/{name}", horizon=40)
        env, unused = make_env(task), make_env(task)
        env.reset(seed=3)
        assert not play(env, actions_of(env, 3))[-1][2]
        state, actions = save(env), actions_of(env, 30, seed=1)
        future = play(env, actions)
        for other in (unused, env):
            restore(other, state, stream(0))
            assert same(play(other, actions), future), name


def every(family):
    if family == "mujoco":
        pytest.importorskip("mujoco")
        return [spec.id for spec in gym.registry.values() if "mujoco" in str(spec.entry_point) and "-v5" in spec.id]
    if family == "metaworld":
        tasks = pytest.importorskip("metaworld.env_dict").ALL_V3_ENVIRONMENTS
        return [name.removesuffix("-v3") for name in tasks]
    gym.register_envs(pytest.importorskip("minigrid"))
    return [name.removeprefix("BabyAI-") for name in gym.registry if name.startswith("BabyAI-")]


class Nested(Counter):
    """Samples from other streams than ``np_random``: an attribute's, a ``RandomState``, its action space's."""

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        self.parts = {"dice": [np.random.default_rng(seed), np.random.RandomState(seed)]}
        self.action_space.seed(seed)
        self.luck = [0.0]
        self.also_luck = self.luck
        return observation, info

    def step(self, action):
        new, old = self.parts["dice"]
        self.luck[0] += new.random() + old.rand() + int(self.action_space.sample())
        self.seen = True
        return (np.array(self.also_luck * 2, np.float32), *super().step(action)[1:])


gym.register("Nested-v0", entry_point=Nested, max_episode_steps=100)


def test_random_streams_are_replaced_everywhere():
    env = make_env(make_task("Nested-v0", kwargs={"length": 100}))
    env.reset(seed=0)
    unplayed = save(env)
    future = play(env, [0] * 5)
    assert env.unwrapped.luck is env.unwrapped.also_luck
    restore(env, unplayed, stream(0))
    assert not hasattr(env.unwrapped, "seen")
    parts = env.unwrapped.parts
    assert env.unwrapped.luck is env.unwrapped.also_luck and parts["dice"][0] is env.unwrapped.np_random
    guess = play(env, [0] * 5)
    assert not same(guess, future)
    env.reset(seed=0)
    restore(env, unplayed, stream(0))
    np.testing.assert_equal(play(env, [0] * 5), guess)


def test_a_state_of_another_task_is_rejected():
    cartpole, pendulum = make_env(task_of("CartPole-v1")), make_env(task_of("Pendulum-v1"))
    cartpole.reset(seed=0)
    pendulum.reset(seed=0)
    with pytest.raises(ValueError, match="a state of toy/cartpole"):
        restore(pendulum, save(cartpole), stream(0))
