"""Tasks, networks and recordings that cases share."""

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import yaml

from benchmarks.base.artifacts import Artifact
from benchmarks.play.policy import RandomPolicy
from benchmarks.play.rollout import rollout
from benchmarks.play.trajectories import Trajectories, write_shard
from benchmarks.tasks import Suite, Task, make_env, spaces
from benchmarks.tasks.task import TaskConfig
from experts.recipe import ExpertRecipe
from generalist.config.codec import CodecConfig
from generalist.config.settings import ModelConfig
from tests.conftest import ROOT

HALF_CHEETAH = "mujoco/halfcheetah"


@cache
def suite_of(name: str, horizon: int | None = None, *only: str) -> Suite:
    """A suite of ``conf/suite``, or some of its tasks, with episodes of ``horizon`` steps."""
    entries, named = _file(name)
    tasks = []
    for each in only or named:
        entry = entries[each.replace("/", "-", 1)]
        task = Task.resolve(each, TaskConfig(**{key: entry[key] for key in TaskConfig.__annotations__ if key in entry}))
        tasks.append(replace(task, horizon=min(task.horizon, horizon or task.horizon)))
    return Suite(name, tuple(tasks))


def _file(name: str) -> tuple[dict[str, Any], list[str]]:
    """A suite's entries, including those of its included suites, and the names of its tasks."""
    suite = yaml.safe_load((ROOT / "conf" / "suite" / f"{name}.yaml").read_text())
    entries: dict[str, Any] = {}
    for other in suite.get("defaults", ()):
        entries |= _file(other)[0] if other != "_self_" else {}
    entries |= suite.get("tasks") or {}
    return entries, suite.get("only") or [key.replace("-", "/", 1) for key in entries]


def recipe_of(suite: str, task: str) -> ExpertRecipe:
    """The recipe of a task's expert in ``conf/suite``."""
    return ExpertRecipe(**_file(suite)[0][task.replace("/", "-", 1)]["expert"])


def model_of(name: str) -> ModelConfig:
    """A preset of ``conf/model``."""
    return ModelConfig(**yaml.safe_load((ROOT / "conf" / "model" / f"{name}.yaml").read_text()))


def codec_of(**settings: Any) -> CodecConfig:
    """The default codec, ``conf/codec/step.yaml``, with other settings."""
    return CodecConfig(**yaml.safe_load((ROOT / "conf" / "codec" / "step.yaml").read_text()) | settings)


def record(task: Task, steps: int, folder: Path) -> Trajectories:
    """Random play of a task."""
    artifact = Artifact(folder, "trajectories", {})
    artifact.start()
    played = rollout(RandomPolicy(), {task: itertools.count()}, envs_per_task=8, keep_steps=True, enough_steps=steps)
    write_shard(folder / "shard-000", played, spaces(task)[0])
    artifact.finish(0.0, distribution_kind=None, task=task.name)
    return Trajectories(folder)


class Environments:
    """Environments that are reused across rollouts: making an arm takes a third of a second."""

    def __init__(self) -> None:
        self._idle: dict[Task, list[gym.Env]] = {}

    def take(self, task: Task) -> gym.Env:
        """An environment of the task, which returns to the pool when it is closed."""
        idle = self._idle.setdefault(task, [])
        if idle:
            return idle.pop()
        env = make_env(task)
        env.close = lambda: idle.append(env)  # type: ignore[method-assign]
        return env
