"""Environments in Gymnasium's registry: classic control, Box2D, toy text, and those of third parties."""

import importlib
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from benchmarks.base.errors import FatalError, GatitoError, text_of, unknown
from benchmarks.base.project import install_remedy
from benchmarks.tasks.rendering import draw_without_screen
from benchmarks.tasks.snapshots.classic_control import ClassicControl
from benchmarks.tasks.snapshots.replay import Lander, Replayed

if TYPE_CHECKING:
    from benchmarks.tasks.task import Task, TaskConfig


def resolve(name: str, config: "TaskConfig") -> tuple[Mapping[str, Any], int | None]:
    """Every argument of the environment, and its horizon.

    Raises:
        FatalError: if the registry does not know the id.
        GatitoError: if its package cannot be imported.
    """
    package, _, env_id = config.env_id.rpartition(":")
    try:
        if package:  # importing it registers its environments, as gymnasium.make would
            importlib.import_module(package)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gymnasium warns about newer versions, which a suite may not want
            spec = gym.spec(env_id)
    except ImportError as error:
        raise GatitoError(
            f"task {name}: the package of {config.env_id} cannot be imported ({error}): install it."
        ) from None
    except gym.error.Error as refusal:
        _name_the_family(name, env_id)
        if isinstance(refusal, gym.error.DeprecatedEnv):
            raise FatalError(f"task {name}: {' '.join(str(refusal).split())}") from None
        error = unknown(f"environment id of task {name}", config.env_id, gym.registry)
        near = str(error).split(" Valid:")[0]
        raise FatalError(
            f"{near} See `python -c 'import gymnasium; gymnasium.pprint_registry()'` for those installed; "
            "an id of another package is written as package:Id-v0."
        ) from None
    _name_the_family(name, env_id)
    if getattr(spec.entry_point, "__name__", "") == "_raise_mujoco_py_error":
        newest = max(known for known in gym.registry if known.startswith(f"{spec.name}-v"))
        raise FatalError(f"task {name}: gymnasium no longer has {env_id}; set env_id: {newest}.")
    kwargs = {key: value for key, value in {**spec.kwargs, **config.kwargs}.items() if key != "render_mode"}
    return kwargs, config.horizon or spec.max_episode_steps


def _name_the_family(name: str, env_id: str) -> None:
    """Reject ids of environments that belong to another family.

    Raises:
        FatalError: if the id belongs to another family; the message names it.
    """
    families = {"ALE/": "atari", "BabyAI-": "babyai"}
    for prefix, family in families.items():
        if env_id.startswith(prefix):
            raise FatalError(f"task {name}: {env_id} is played with family: {family}; add that line to the task.")
    if env_id.startswith("MiniGrid-"):
        raise FatalError(
            f"task {name}: gatito plays only minigrid's BabyAI levels (family: babyai). For {env_id}, register a "
            "version with minigrid.wrappers.FlatObsWrapper under your own id, and use that id."
        )


def make(task: "Task", render_mode: str | None = None) -> gym.Env:
    """The environment with its time limit.

    Raises:
        GatitoError: if a package is missing or an argument does not fit.
    """
    draw_without_screen(render_mode)
    try:
        kwargs = {**task.kwargs, "render_mode": render_mode} if render_mode else task.kwargs
        env = gym.make(task.env_id, max_episode_steps=task.horizon, disable_env_checker=True, **kwargs)
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        text = str(error)
        raise GatitoError(
            f"task {task.name} needs a package that is not installed ({text.rstrip('.')}): {install_remedy(text)}."
        ) from None
    except Exception as error:  # constructors raise any type
        raise GatitoError(
            f"task {task.name}: {task.env_id} rejects its arguments {dict(task.kwargs)}: {text_of(error)}"
        ) from None
    package = type(env.unwrapped).__module__
    if package.startswith("gymnasium.envs.classic_control."):
        return ClassicControl(env)
    if package == "gymnasium.envs.box2d.lunar_lander":
        return Lander(env)
    return Replayed(env) if package.startswith("gymnasium.envs.box2d.") else env
