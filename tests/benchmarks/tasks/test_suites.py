import functools

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import gatito_configuration  # noqa: F401  (registers the schema)
from benchmarks.base.errors import FatalError, GatitoError
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.tasks import Suite, SuiteConfig, TaskConfig
from experts.recipe import SuiteEntry
from experts.train import _check
from tests.conftest import ROOT
from tests.environments import ends_early

for _package in ("ale_py", "bitbully", "cv2", "metaworld", "minigrid", "mujoco", "pyspiel"):
    pytest.importorskip(_package)

SIZES = {
    "classic": 5,
    "atari57": 57,
    "atari5": 5,
    "babyai": 39,
    "metaworld": 50,
    "mujoco": 11,
    "jat157": 157,
    "jat105": 105,
    "mixed": 24,
    "restraint": 12,
    "memory": 5,
    "games": 4,
    "games_ppo": 4,
    "words": 5,
    "gato29": 29,
}


@functools.cache
def suite_of(name):
    """A suite's file, resolved as gatito does, and its experts' recipes."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        plain = OmegaConf.to_container(compose("config", overrides=[f"suite={name}"]).suite, resolve=True)
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(SuiteEntry), plain))
    suite = Suite.resolve(config)
    return suite, {task.name: config.tasks[task.key].expert for task in suite}


@pytest.mark.parametrize("name", SIZES)
def test_every_suite_has_tasks_with_references_and_valid_recipes(name):
    suite, recipes = suite_of(name)
    assert suite.name == name
    assert len({task.name for task in suite}) == SIZES[name]
    for task in suite:
        assert task.reference is not None and task.source, task.name
        _check(task, recipes[task.name])
        by_success = task.family in ("babyai", "metaworld") or task.name == "memory/maze"
        assert task.metric == ("success" if by_success else "return")


def test_tasks_are_chosen_by_pattern_too():
    config = SuiteConfig("toy", {f"{group}-{name}": TaskConfig("x") for group in ("a", "b") for name in ("one", "two")})
    assert Suite.names(config, ["b/*", "a/one", "b/one"]) == ["b/one", "b/two", "a/one"]
    with pytest.raises(FatalError, match=r"task 'c/\*'"):
        Suite.names(config, ["c/*"])


def test_the_mixed_suite_keeps_its_order():
    names = [task.name for task in suite_of("mixed")[0]]
    groups = list(dict.fromkeys(name.partition("/")[0] for name in names))
    assert groups == ["classic", "babyai", "metaworld", "mujoco", "atari"]
    assert names[-3:] == ["atari/pong", "atari/freeway", "atari/boxing"]


def test_a_task_is_the_same_in_every_suite_that_has_it():
    whole, part = suite_of("atari57"), suite_of("mixed")
    tasks = {task.name: task for task in whole[0]}
    for task in part[0]:
        if task.name in tasks:
            assert task == tasks[task.name] and part[1][task.name] == whole[1][task.name]


def configs(only):
    return SuiteConfig("s", {f"a-{name}": TaskConfig("CartPole-v1") for name in ("one", "two", "three")}, only)


def test_only_selects_and_orders_tasks_and_tasks_filters_them():
    assert [task.name for task in Suite.resolve(configs(["a/three", "a/one"]))] == ["a/three", "a/one"]
    assert [task.name for task in Suite.resolve(configs(["a/three", "a/one"]), ["one"])] == ["a/one"]
    with pytest.raises(GatitoError, match="unknown task 'two'"):
        Suite.resolve(configs(["a/three", "a/one"]), ["two"])


def test_an_unknown_name_in_only_gets_the_nearest_valid_one():
    with pytest.raises(GatitoError, match="unknown task 'a/thre'. Did you mean 'a/three'"):
        Suite.resolve(configs(["a/thre"]))


def test_the_list_of_a_suite_shows_each_expert(gatito_inside):
    done = gatito_inside("suite=mixed", "stages=[list]")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "/" in line]
    assert len(lines) == 24
    assert any("metaworld/reach" in line and " script " in line for line in lines)
    assert any("atari/pong" in line and " ppo, " in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jat157", "classic"])
def test_every_task_can_be_played(name):
    for task in suite_of(name)[0]:
        [episode] = rollout(RandomPolicy(), {task: [0]}, keep_steps=True, make=ends_early)
        assert 1 <= episode.length <= 4
        assert len(episode.steps["observations"]) == episode.length + 1
