import sys

import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.tasks import make_env, spaces
from benchmarks.tasks.observations import text_of
from tests.conftest import make_task

pytest.importorskip("minigrid")


def level(name, **settings):
    return make_task(f"BabyAI-{name}-v0", name=f"babyai/{name.lower()}", family="babyai", metric="success", **settings)


def test_observations_are_in_their_space_with_the_exact_mission():
    task = level("BossLevel")
    env = make_env(task)
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        assert env.observation_space.contains(observation)
    [episode] = rollout(RandomPolicy(), {level("GoToLocal"): [3]}, keep_steps=True)
    rows = episode.steps["observations"]
    assert rows["image"].shape == (episode.length + 1, 7, 7, 3)
    env = make_env(level("GoToLocal"))
    assert text_of(rows["mission"][0]) == env.reset(seed=3)[0]["mission"]
    assert spaces(task) == spaces(level("GoToLocal"))  # one network plays all levels


def check_view(name, seeds, steps, **kwargs):
    """A level's observations equal MiniGrid's after any actions."""
    from minigrid.minigrid_env import MiniGridEnv

    env = make_env(level(name, kwargs=kwargs))
    carried = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        env.reset(seed=seed)
        over = False
        for _ in range(steps):
            seen = env.unwrapped.gen_obs()
            theirs = MiniGridEnv.gen_obs(env.unwrapped)
            assert seen["image"].dtype == theirs["image"].dtype and seen["image"].flags.c_contiguous
            np.testing.assert_array_equal(seen["image"], theirs["image"], err_msg=f"{name} {seed}")
            assert (seen["direction"], seen["mission"]) == (theirs["direction"], theirs["mission"])
            carried += env.unwrapped.carrying is not None
            if over:
                break
            _, _, terminated, truncated, _ = env.step(int(rng.choice([0, 1, 2, 2, 2, 3, 4, 5])))
            over = terminated or truncated
    return carried


@pytest.mark.parametrize("name", ["GoToLocal", "BossLevel", "KeyCorridor"])
def test_observations_equal_minigrids(name):
    carried = check_view(name, range(5), 150)
    assert carried or name != "BossLevel"
    check_view(name, [0], 50, agent_view_size=5)


@pytest.mark.slow
def test_observations_equal_minigrids_on_every_level():
    import gymnasium as gym

    level("GoToLocal")  # registers them
    names = [spec[7:-3] for spec in gym.registry if spec.startswith("BabyAI-") and spec.endswith("-v0")]
    assert len(names) > 80
    for name in names:
        check_view(name, range(3), 100)


def test_the_longest_sentence_of_the_grammar_fits():
    thing = "the yellow ball in front of you"
    put = f"put {thing} next to {thing}"
    longest = f"{put} and {put} after you {put} and {put}"
    assert spaces(level("BossLevel"))[0]["mission"].contains(longest)


def test_an_episode_depends_on_its_seed_only():
    def play(env, seed):
        rng = np.random.default_rng(seed)
        rows = [env.reset(seed=seed)[0]["image"]]
        rows += [env.step(int(rng.integers(7)))[0]["image"] for _ in range(30)]
        return np.stack(rows)

    used = make_env(level("Synth"))
    for seed in (1, 2, 3):
        play(used, seed)
    np.testing.assert_array_equal(play(used, 4), play(make_env(level("Synth")), 4))
    assert not np.array_equal(play(used, 4), play(used, 5))


def test_a_truncated_episode_is_not_a_success():
    env = make_env(level("GoToObj"))
    env.reset(seed=0)
    for step in range(64):
        _, _, terminated, truncated, info = env.step(0)  # turns in place
        assert ("success" in info) == (step == 63)
    assert (terminated, truncated, info["success"]) == (False, True, False)


def test_the_horizon_holds_below_the_levels_own_limit():
    env = make_env(level("GoToObj", horizon=5))
    env.reset(seed=0)
    assert [env.step(0)[3] for _ in range(5)] == [False] * 4 + [True]


@pytest.mark.parametrize("name", ["BossLevel", "MiniBossLevel", "OpenDoorsOrderN4", "UnlockToUnlock", "PutNextLocal"])
def test_no_mission_has_a_longer_limit_than_its_level(name):
    task = level(name)
    env = make_env(task)
    limits = set()
    for seed in range(40):
        env.reset(seed=seed)
        limits.add(env.unwrapped.max_steps)
    assert max(limits) <= task.horizon
    assert max(limits) * 2 >= task.horizon


def test_messages_about_rejected_mazes_are_hidden_and_others_are_not(capfd):
    env = make_env(level("BossLevel"))
    for seed in range(30):
        env.reset(seed=seed)
    assert capfd.readouterr().out == ""
    from minigrid.envs.babyai.core import roomgrid_level

    roomgrid_level.print("Something else", 3)
    assert capfd.readouterr().out == "Something else 3\n"


def test_the_last_action_is_remembered():
    env = make_env(level("GoToObj"))
    env.reset(seed=0)
    assert env.get_wrapper_attr("last_action") is None
    env.step(np.int64(1))
    assert env.get_wrapper_attr("last_action") == 1
    env.reset(seed=1)
    assert env.get_wrapper_attr("last_action") is None


def test_every_argument_is_resolved_and_rendering_works():
    task = level("GoToLocal", kwargs={"num_dists": 2})
    assert task.kwargs == {"room_size": 8, "num_dists": 2, "agent_view_size": 7}
    assert task.digest != level("GoToLocal").digest
    env = make_env(task, render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (256, 256, 3)


@pytest.mark.parametrize(
    "name, settings, words",
    [
        ("GoToLocl", {}, "unknown BabyAI level of task babyai/gotolocl .* Did you mean 'BabyAI-GoToLocal-v0'"),
        ("GoToLocal", {"kwargs": {"nun_dists": 3}}, "unknown argument of task .* Did you mean 'num_dists'"),
    ],
)
def test_an_unknown_name_gets_the_nearest_valid_one(name, settings, words):
    with pytest.raises(GatitoError, match=words):
        level(name, **settings)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(GatitoError, match=r"task babyai/open needs a package .* pip install 'gatito\[babyai\]'\.$"):
        level("Open")
