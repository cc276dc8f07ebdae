import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.tasks import make_env, spaces
from tests.conftest import ROOT, make_task

pytest.importorskip("metaworld")


def arm(name="reach", **settings):
    return make_task(f"{name}-v3", name=f"metaworld/{name}", family="metaworld", metric="success", **settings)


def play(env, seed, steps=15):
    rng = np.random.default_rng(seed)
    rows = [np.append(env.reset(seed=seed)[0], 0.0)]
    for _ in range(steps):
        observation, reward, *_ = env.step(rng.uniform(-1, 1, 4).astype(np.float32))
        rows.append(np.append(observation, reward))
    return np.stack(rows)


def check_seeds(name):
    used = make_env(arm(name))
    for seed in (1, 2):
        play(used, seed)
    np.random.seed(5)  # noqa: NPY002  (Meta-World would draw from this stream)
    again, other = play(used, 4), play(used, 5)
    np.testing.assert_array_equal(again, play(make_env(arm(name)), 4))
    assert not np.array_equal(again[0], other[0])


# Windows and doors keep their last position in the MuJoCo model, pick-place its last goal in an attribute.
@pytest.mark.parametrize("name", ["reach", "window-open", "door-open", "pick-place"])
def test_an_episode_depends_on_its_seed_only(name):
    check_seeds(name)


def check_view(name):
    from benchmarks.tasks.sawyer import use_fast_observations

    env = make_env(arm(name))
    ours = play(env, 4)
    try:
        use_fast_observations(False)
        theirs = play(env, 4)
    finally:
        use_fast_observations()
    np.testing.assert_array_equal(ours, theirs, err_msg=name)


# One object with a rotation that SciPy reads, one that MuJoCo tells, two objects.
@pytest.mark.parametrize("name", ["reach", "door-open", "stick-pull"])
def test_observations_equal_metaworlds(name):
    check_view(name)


def test_rotations_equal_scipys():
    from scipy.spatial.transform import Rotation as Original

    from benchmarks.tasks.sawyer import Rotation

    rotations = Original.random(2000, rng=np.random.default_rng(0)).as_matrix()
    turns = [np.diag(signs) for signs in ([1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1])]  # each formula's own
    for matrix in [*rotations, *turns]:
        np.testing.assert_array_equal(Rotation.from_matrix(matrix).as_quat(), Original.from_matrix(matrix).as_quat())


@pytest.mark.slow
def test_observations_equal_metaworlds_on_every_task():
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    for name in ALL_V3_ENVIRONMENTS:
        check_view(name.removesuffix("-v3"))


@pytest.mark.slow
def test_every_tasks_episodes_depend_on_their_seeds():
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    for name in ALL_V3_ENVIRONMENTS:
        check_seeds(name.removesuffix("-v3"))


def test_another_process_plays_the_same_episode():
    play_here = "print(play(make_env(arm('push')), 11)[-1].tobytes().hex())"
    code = f"from tests.benchmarks.tasks.test_metaworld import *; {play_here}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == play(make_env(arm("push")), 11)[-1].tobytes().hex()


@pytest.mark.parametrize("name", ["window-open", "drawer-open", "box-close"])
def test_layouts_equal_metaworlds(name):
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    env = make_env(arm(name))
    observation, _ = env.reset(seed=3)
    theirs = ALL_V3_ENVIRONMENTS[f"{name}-v3"]()
    theirs._set_task_called, theirs._partially_observable = True, False
    theirs._last_rand_vec = env.unwrapped._last_rand_vec
    np.testing.assert_array_equal(observation, theirs.reset()[0])


def test_the_goal_is_observed():
    env = make_env(arm())
    goals = []
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        np.testing.assert_array_equal(observation[-3:], env.unwrapped._target_pos)
        assert env.observation_space.contains(observation)
        goals.append(tuple(observation[-3:]))
    assert len(set(goals)) == 3


def test_spaces_horizon_and_success():
    task = arm(horizon=3)
    observation, action = spaces(task)
    assert (observation.shape, action.shape) == ((39,), (4,))
    assert arm().horizon == 200
    env = make_env(task)
    env.reset(seed=0)
    ends = [env.step(np.zeros(4, np.float32)) for _ in range(3)]
    assert [end[3] for end in ends] == [False, False, True]
    assert [end[4]["success"] for end in ends] == [0, 0, 0]
    assert make_env(arm(horizon=700)).unwrapped.max_path_length == 700  # its own limit of 500 would raise


def test_rendering_works():
    if "MUJOCO_GL" not in os.environ:
        pytest.skip("needs MUJOCO_GL=egl, osmesa or a screen")
    env = make_env(arm(), render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (480, 480, 3)


def test_only_the_environment_asked_for_is_built(monkeypatch):
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    from metaworld.sawyer_xyz_env import SawyerXYZEnv

    built = []
    monkeypatch.setattr(SawyerXYZEnv, "__init__", counted := _counted(SawyerXYZEnv.__init__, built))
    make_env(arm())
    assert counted and [type(env) for env in built] == [ALL_V3_ENVIRONMENTS["reach-v3"]]


def _counted(init, built):
    def counting(self, *args, **kwargs):
        built.append(self)
        init(self, *args, **kwargs)

    return counting


@pytest.mark.parametrize(
    "name, settings, words",
    [
        ("raech", {}, "unknown Meta-World environment of task metaworld/raech .* Did you mean 'reach-v3'"),
        ("reach", {"kwargs": {"reward_version": "v1"}}, "unknown argument of task .* 'reward_function_version'"),
    ],
)
def test_an_unknown_name_gets_the_nearest_valid_one(name, settings, words):
    with pytest.raises(GatitoError, match=words):
        arm(name, **settings)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld.env_dict", None)
    with pytest.raises(GatitoError, match=r"task metaworld/reach needs a package .* 'gatito\[metaworld\]'\.$"):
        arm()
