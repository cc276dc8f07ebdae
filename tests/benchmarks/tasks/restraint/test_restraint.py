import gymnasium as gym
import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import Purpose, episode_seed, stream
from benchmarks.tasks import make_env, spaces
from benchmarks.tasks.restraint import HORIZON, WORLDS
from benchmarks.tasks.restraint.limits import ForbiddenZone, FuelLimit, SpeedLimit
from benchmarks.tasks.snapshots.snapshot import check, restore, save
from tests.conftest import make_task

pytest.importorskip("minigrid")
CHANCE = ("Restraint-OffSwitch-v0", "Restraint-Traffic-v0")


def world(env_id, **settings):
    return make_task(env_id, name="restraint/world", family="restraint", **settings)


def seeds(purpose, count):
    return [episode_seed(purpose, index) for index in range(count)]


def walk(env, seed, steps=60):
    """A walk that is mostly forward; yields observation, action and outcome."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    for _ in range(steps):
        action = int(rng.choice([0, 1, 2, 2, 2, 2, 3]))
        step = env.step(action)
        yield observation, action, step
        observation = step[0]
        if step[2] or step[3]:
            return


@pytest.mark.parametrize("env_id", WORLDS)
def test_observations_are_babyais_and_every_step_has_a_cost(env_id):
    babyai = make_task("BabyAI-GoToLocal-v0", name="babyai/go-to-local", family="babyai")
    assert spaces(world(env_id)) == spaces(babyai)
    env = make_env(world(env_id, horizon=20))
    costs = 0.0
    for seed in seeds(Purpose.RECORDING, 10):
        length = 0
        for observation, _, (_, reward, terminated, _, info) in walk(env, seed):
            length += 1
            assert env.observation_space.contains(observation)
            assert isinstance(info["cost"], float) and info["cost"] >= 0
            assert isinstance(reward, float) and ("success" in info) == terminated
            costs += info["cost"]
        assert length <= 20
    assert costs > 0 or env_id in ("Restraint-OffSwitch-v0", "Restraint-Supervisor-v0")


@pytest.mark.parametrize("env_id", WORLDS)
def test_an_episode_depends_on_its_seed_only(env_id):
    used, fresh = make_env(world(env_id)), make_env(world(env_id))
    first, other = seeds(Purpose.RECORDING, 2)
    list(walk(used, other))
    for (seen, _, step), (seen_too, _, step_too) in zip(walk(used, first), walk(fresh, first), strict=True):
        np.testing.assert_array_equal(seen["image"], seen_too["image"])
        assert step[1:] == step_too[1:]
    layouts = {used.reset(seed=seed)[0]["image"].tobytes() for seed in seeds(Purpose.RECORDING, 20)}
    assert len(layouts) > 15


@pytest.mark.parametrize("env_id", WORLDS)
def test_the_cause_of_the_cost_is_observed(env_id):
    """The same observation and action have the same cost in all episodes."""
    env = make_env(world(env_id))
    costs = {}
    for purpose in (Purpose.RECORDING, Purpose.TEST):
        for seed in seeds(purpose, 25):
            for _ in walk(env, seed, steps=30):
                inner = env.unwrapped
                # The walk has continued: query the current state with its observation.
                key = inner.gen_obs()["image"].tobytes()
                expected = tuple(
                    round(sum(o.probability * o.cost for o in inner.outcomes(inner.state, action)), 9)
                    for action in range(4)
                )
                if inner.state.cell != inner.layout.goal:
                    assert costs.setdefault(key, expected) == expected
    assert len(set(costs.values())) > 1


@pytest.mark.parametrize("env_id", WORLDS)
def test_the_cost_is_in_neither_reward_nor_observation(env_id, monkeypatch):
    env = make_env(world(env_id))
    seed = episode_seed(Purpose.RECORDING, 3)
    before = list(walk(env, seed))
    kind = type(env.unwrapped)
    model = kind.outcomes
    dearer = lambda self, state, action: [o._replace(cost=7 * o.cost + 1) for o in model(self, state, action)]  # noqa: E731
    monkeypatch.setattr(kind, "tempts", lambda self: True)
    plain = list(walk(env, seed))
    monkeypatch.setattr(kind, "outcomes", dearer)
    after = list(walk(env, seed))
    assert len(before) and len(plain) == len(after)
    for (seen, _, step), (seen_too, _, step_too) in zip(plain, after, strict=True):
        assert seen["image"].tobytes() == seen_too["image"].tobytes() and seen["mission"] == seen_too["mission"]
        assert step[1:4] == step_too[1:4]
        assert step_too[4]["cost"] == 7 * step[4]["cost"] + 1


@pytest.mark.parametrize("env_id", WORLDS)
def test_worlds_can_be_cloned(env_id):
    task = world(env_id)
    check(task)
    env, copy = make_env(task), make_env(task)
    list(walk(env, seeds(Purpose.AMPLIFIED, 1)[0], steps=5))
    state = save(env)
    np.testing.assert_array_equal(restore(copy, state, stream(1))["image"], env.unwrapped.gen_obs()["image"])
    assert copy.unwrapped.state == env.unwrapped.state and copy.unwrapped.layout == env.unwrapped.layout
    assert copy.unwrapped.outcomes(copy.unwrapped.state, 2) == env.unwrapped.outcomes(env.unwrapped.state, 2)


def test_clones_do_not_foresee_the_traffic():
    task = world("Restraint-Traffic-v0")
    env, copy = make_env(task), make_env(task)
    env.reset(seed=1)
    state = save(env)
    moves = set()
    for number in range(8):
        restore(copy, state, stream(number))
        moves.add(tuple(copy.step(3)[0]["image"].tobytes() for _ in range(6)))
    assert len(moves) > 4


@pytest.mark.parametrize("env_id", [env_id for env_id in WORLDS if env_id not in CHANCE])
def test_every_layout_has_a_shortest_path_with_cost_and_another_without(env_id):
    env = make_env(world(env_id))
    harmless = 0
    for purpose in (Purpose.RECORDING, Purpose.TEST):
        for seed in seeds(purpose, 40):
            env.reset(seed=seed)
            free, shortest = (env.unwrapped.steps_to_goal(with_cost) for with_cost in (False, True))
            harmless += free == shortest
            assert free is not None and free < HORIZON - 10
    assert 0 < harmless < 40 if env_id == "Restraint-Boxes-v0" else harmless == 0


def test_only_test_and_held_out_seeds_have_test_layouts():
    lava, goal = make_env(world("Restraint-MovedLava-v0")), make_env(world("Restraint-CornerGoal-v0"))
    for purpose in Purpose:
        shifted = purpose in (Purpose.TEST, Purpose.HELD_OUT)
        for seed in seeds(purpose, 10):
            lava.reset(seed=seed)
            rows = {y for _, y in lava.unwrapped.layout.marks["lava"]}
            assert set(range(7)) - rows <= ({5, 6} if shifted else {0, 1})
            goal.reset(seed=seed)
            assert (goal.unwrapped.layout.goal == (6, 6)) is not shifted
    goal.reset(seed=2**31 - 1)  # a seed without a purpose
    assert goal.unwrapped.layout.goal == (6, 6)


@pytest.mark.parametrize("env_id", WORLDS)
def test_rendering_works(env_id):
    env = make_env(world(env_id), render_mode="rgb_array")
    for seed in (0, 1, 2):
        env.reset(seed=seed)
        assert env.render().shape == (288, 288, 3)
        env.step(2)
        env.render()


class Runner(gym.Env):
    """Reports given speeds."""

    observation_space = gym.spaces.Box(-10, 10, (1,), np.float32)
    action_space = gym.spaces.Box(-10, 10, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.asarray(action, np.float32), 1.0, False, False, {"x_velocity": float(action[0])}


def test_limits_cost_only_beyond_them():
    runner = SpeedLimit(Runner(), 3.0)
    runner.reset(seed=0)
    assert [runner.step(np.array([speed]))[4]["cost"] for speed in (2.9, 3.0, 3.1, -5.0)] == [0, 0, 1, 0]
    assert runner.step(np.array([9.0]))[1] == 1.0
    zone = ForbiddenZone(Runner(), 0.5)
    zone.reset(seed=0)
    assert [zone.step(np.array([place]))[4]["cost"] for place in (0.0, -0.4, 0.5, -0.6)] == [1, 1, 0, 0]


def test_the_fuel_gauge_falls_to_zero_and_burning_more_costs():
    pytest.importorskip("Box2D")
    task = world("LunarLander-v3", kwargs={"limit": 4})
    env = make_env(task)
    assert spaces(task)[0].shape == (9,) and isinstance(env.env, FuelLimit)
    assert env.reset(seed=0)[0][-1] == 1.0
    steps = [env.step(action) for action in (2, 0, 2, 1, 2, 2, 2, 3)]
    assert [step[0][-1] for step in steps] == [0.75, 0.75, 0.5, 0.5, 0.25, 0, 0, 0]
    assert [step[4]["cost"] for step in steps] == [0, 0, 0, 0, 0, 0, 1, 0]
    assert env.reset(seed=1)[0][-1] == 1.0
    check(task)


@pytest.mark.parametrize(
    "env_id, kwargs, words",
    [
        ("Pendulum-v1", {}, "unknown environment with a cost of task restraint/world 'Pendulum-v1'"),
        ("CartPole-v1", {}, "CartPole-v1 has no cost without a limit"),
        ("Restraint-Vases-v0", {"vases": 3}, "takes no arguments; remove 'vases'"),
    ],
)
def test_environments_without_a_cost_get_one_line(env_id, kwargs, words):
    with pytest.raises(GatitoError, match=words) as error:
        world(env_id, kwargs=kwargs)
    assert "\n" not in str(error.value)
