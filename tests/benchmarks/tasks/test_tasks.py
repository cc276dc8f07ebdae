import gymnasium as gym
import pytest

from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.tasks import Suite, SuiteConfig, Task, TaskConfig, check_suite_file, make_env, spaces
from benchmarks.tasks.gymnasium_ids import _code_of_module, code_of, register_tasks
from tests.conftest import make_task


def test_a_task_resolves_its_registration_and_overrides():
    task = make_task("MountainCar-v0", kwargs={"goal_velocity": 0.01})
    assert task.horizon == 200
    assert task.kwargs["goal_velocity"] == 0.01
    assert make_task("MountainCar-v0", horizon=50).horizon == 50


def test_the_digest_depends_on_everything_that_affects_episodes():
    digests = {
        make_task("MountainCar-v0", name="a/b", **settings).digest
        for settings in ({}, {"horizon": 50}, {"kwargs": {"goal_velocity": 0.01}})
    }
    assert len(digests) == 3
    assert make_task("MountainCar-v0", name="a/b", reference=3).digest in digests  # references do not affect episodes


def test_the_horizon_is_enforced():
    env = make_env(make_task("CartPole-v1", horizon=3))
    env.reset(seed=0)
    assert [env.step(action)[3] for action in (0, 1, 0)] == [False, False, True]


def test_spaces_of_a_task():
    observation, action = spaces(make_task())
    assert observation.shape == (2,)
    assert action.n == 3


@pytest.mark.parametrize(
    "config, words",
    [
        (TaskConfig("CartPol-v1"), "unknown environment id of task toy/x 'CartPol-v1'. Did you mean 'CartPole-v1'"),
        (TaskConfig("CliffWalking-v1"), "has no time limit; state one as horizon"),
        (TaskConfig("CartPole-v1", metric="profit"), "unknown metric of task toy/x 'profit'"),
        (TaskConfig("CartPole-v1", family="clasic"), "unknown environment family 'clasic'"),
        (TaskConfig("CartPole-v1", step_seconds=0), "suite.tasks.toy-x.step_seconds must be at least 1, not 0"),
        (TaskConfig("ALE/Pong-v5"), "task toy/x: ALE/Pong-v5 is played with family: atari; add that line"),
        (TaskConfig("BabyAI-GoToLocal-v0"), "task toy/x: BabyAI-GoToLocal-v0 is played with family: babyai"),
        (TaskConfig("Hopper-v2"), "task toy/x: gymnasium no longer has Hopper-v2; set env_id: Hopper-v5."),
        (
            TaskConfig("LunarLander-v2"),
            "task toy/x: Environment version v2 for `LunarLander` is deprecated. Please use",
        ),
    ],
)
def test_a_bad_task_gets_one_line(config, words):
    with pytest.raises(GatitoError) as error:
        Task.resolve("toy/x", config)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_package_names_the_extra_to_install():
    with pytest.raises(GatitoError, match=r"task toy/needy needs a package .* pip install 'gatito\[box2d\]'"):
        make_env(make_task("tests.environments:Needy-v0"))


def test_an_invalid_argument_names_the_task():
    with pytest.raises(GatitoError, match="task toy/cartpole: CartPole-v1 rejects its arguments"):
        make_env(make_task("CartPole-v1", kwargs={"gravitty": 3}))


@pytest.mark.parametrize(
    "env_id, words", [("Raises-v0", "RuntimeError: the rope broke"), ("Infinite-v0", "the reward is nan")]
)
def test_an_environment_that_raises_names_task_and_seed(env_id, words):
    env = make_env(make_task(f"tests.environments:{env_id}"))
    env.reset(seed=77)
    with pytest.raises(GatitoError, match=r"seeded 77") as error:
        for _ in range(5):
            env.step(0)
    assert words in str(error.value)
    assert f"task toy/{env_id[:-3].lower()}" in str(error.value)


def configs():
    return SuiteConfig(
        "s", {"a-x": TaskConfig("CartPole-v1"), "b-x": TaskConfig("Acrobot-v1"), "b-y-z": TaskConfig("Pendulum-v1")}
    )


def test_a_suite_keeps_its_order_and_can_be_narrowed():
    assert [task.name for task in Suite.resolve(configs())] == ["a/x", "b/x", "b/y-z"]
    assert [task.name for task in Suite.resolve(configs(), ["b/x", "y-z"])] == ["b/x", "b/y-z"]
    assert [task.key for task in Suite.resolve(configs())] == ["a-x", "b-x", "b-y-z"]


@pytest.mark.parametrize("name", ["x", "c/x", "nothing"])
def test_an_unknown_or_ambiguous_task_gets_the_valid_names(name):
    with pytest.raises(GatitoError, match=f"unknown task '{name}'.*a/x, b/x, b/y-z"):
        Suite.resolve(configs(), [name])


def test_a_task_key_without_a_group_is_rejected():
    with pytest.raises(GatitoError, match="task key 'cartpole' must read GROUP-NAME"):
        Suite.resolve(SuiteConfig("s", {"cartpole": TaskConfig("CartPole-v1")}))


@pytest.mark.parametrize(
    "key", ["my/cartpole-v1", "../x-y", "a-..", ".-x", "a-" + 300 * "b", "a-b\nc", "/etc-x", "a-b\\c", " -x"]
)
def test_a_task_key_with_slashes_is_rejected(key):
    with pytest.raises(FatalError, match="task key") as error:
        Suite.resolve(SuiteConfig("s", {key: TaskConfig("CartPole-v1")}))
    assert "\n" not in str(error.value) and len(str(error.value)) < 250


@pytest.mark.parametrize("name", ["..", "../x", "/tmp/x", "", 300 * "x"])
def test_a_suite_name_that_is_not_a_folder_name_is_rejected(name):
    with pytest.raises(FatalError, match="suite name"):
        Suite.resolve(SuiteConfig(name, {"a-x": TaskConfig("CartPole-v1")}))


X = {"env_id": "CartPole-v1", "horizon": None}


@pytest.mark.parametrize(
    "suite",
    [
        {"name": "${oc.env:HOME}", "tasks": {"a-x": X}},
        {"name": "s", "tasks": {"a-x": X | {"kwargs": {"path": ["x", "${ oc.env:TOKEN,none}"]}}}},
        {"name": "s", "tasks": {"a-x": X | {"source": "by ${oc.decode:${oc.env:TOKEN}}"}}},
        {"name": "s", "tasks": {"a-x": X | {"source": "${oc.${name}:TOKEN}"}}},
        {"name": "oc.env", "tasks": {"a-x": X | {"source": "${${suite.name}:TOKEN}"}}},
    ],
)
def test_a_suite_must_not_use_environment_variables(suite):
    with pytest.raises(FatalError, match="asks for an environment variable"):
        check_suite_file(suite)
    check_suite_file({"name": "${label}", "tasks": {"a-x": X | {"env_id": "toys:${name}-v0"}}})


@pytest.mark.parametrize(
    "suite, words",
    [
        ({"name": "???", "tasks": {"a-x": X}}, "has no name:"),
        ({"name": "s", "tasks": {}}, "has no tasks:"),
        ({"name": "???", "tasks": {}}, "has no name and no tasks:"),
        (None, "has no name and no tasks:"),
    ],
)
def test_a_suite_has_a_name_and_tasks(suite, words):
    with pytest.raises(FatalError, match=words):
        check_suite_file(suite)


@pytest.mark.parametrize("steps", ["env_steps", "steps"])  # before 2026-11-29, the column was called steps
def test_a_table_of_experts_names_the_tasks_to_register_whatever_its_other_columns_are_called(tmp_path, steps):
    table = tmp_path / "experts.csv"
    table.write_text(f"task,algorithm,{steps}\nclassic/cartpole,ppo,100\ntoy/new-{steps},ppo,0\n")
    assert register_tasks(table, "nowhere:make") == ["gatito/classic-cartpole-v0", f"gatito/toy-new-{steps}-v0"]
    assert register_tasks(tmp_path / "none.csv", "nowhere:make") == []
    spec = gym.registry.pop(f"gatito/toy-new-{steps}-v0")
    assert spec.kwargs == {"task": f"toy/new-{steps}"} and spec.entry_point == "nowhere:make"


def test_the_code_of_ones_own_environment_is_part_of_its_digest_and_an_installed_ones_is_not(tmp_path, monkeypatch):
    (tmp_path / "env_for_codes.py").write_text("class Env: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    gym.register("EnvForCodes-v0", "env_for_codes:Env")
    _code_of_module.cache_clear()
    before = code_of("EnvForCodes-v0")
    assert before["code"] and before == code_of("env_for_codes:EnvForCodes-v0")
    (tmp_path / "env_for_codes.py").write_text("class Env: changed = True\n")
    _code_of_module.cache_clear()  # a process keeps the code that it has imported
    assert code_of("EnvForCodes-v0") != before
    assert code_of("CartPole-v1") == code_of("connect_four") == {}
