"""Meta-World's fifty manipulation tasks (Yu et al. 2020, arXiv:1910.10897), with layouts that depend on the seed only.

A Sawyer arm with a gripper. Observations ``(39,)``: hand, gripper and objects now and one step ago, and the goal, which
is visible as in the multi-task benchmarks MT1 to MT50. Actions ``(4,)``: the hand's motion, and the grip.
"""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from benchmarks.base.errors import GatitoError, unknown
from benchmarks.tasks.rendering import draw_without_screen

if TYPE_CHECKING:
    from benchmarks.tasks.task import Task, TaskConfig

_MISSING = "pip install 'gatito[metaworld]'"
_DEFAULTS = {"reward_function_version": "v2"}
_HORIZON = 200
"""Steps. Meta-World's own limit is 500, but with a few exceptions (see ``conf/suite/metaworld.yaml``) its scripted
controllers succeed within 200 steps as often as within 500."""


def resolve(name: str, config: "TaskConfig") -> tuple[Mapping[str, Any], int | None]:
    """Every argument of the environment, and its horizon.

    Raises:
        GatitoError: if the package is missing, or there is no such task or argument.
    """
    classes = _classes(name)
    if config.env_id not in classes:
        raise unknown(f"Meta-World environment of task {name}", config.env_id, classes)
    for argument in config.kwargs:
        if argument not in _DEFAULTS:
            raise unknown(f"argument of task {name}", argument, _DEFAULTS)
    return {**_DEFAULTS, **config.kwargs}, config.horizon or _HORIZON


def make(task: "Task", render_mode: str | None = None) -> gym.Env:
    """The environment with its time limit.

    Raises:
        GatitoError: if the package is missing.
    """
    draw_without_screen(render_mode)
    kwargs = {**task.kwargs, "render_mode": render_mode, "camera_name": "corner2"} if render_mode else task.kwargs
    env = _classes(task.name)[task.env_id](**kwargs)
    env.max_path_length = max(task.horizon, env.max_path_length)
    return gym.wrappers.TimeLimit(SeededSawyer(env), task.horizon)


class SeededSawyer(gym.Wrapper):
    """An arm whose episodes depend on the seed of the reset only.

    Meta-World samples a list of layouts once. Its resets write bodies' positions into the MuJoCo model, and some read
    the scene before the simulation is updated. So, as in Meta-World, the same layout is set up twice.
    """

    def __init__(self, env: Any) -> None:  # noqa: ANN401
        """Args: a new ``metaworld.sawyer_xyz_env.SawyerXYZEnv``."""
        super().__init__(env)
        self._sawyer = env
        env._set_task_called = True  # Meta-World's tasks are pickled layouts; seeds replace them here
        env.seeded_rand_vec = True
        env._partially_observable = False
        del env.sawyer_observation_space  # cached while the goal was still hidden
        self.observation_space: gym.Space = env.sawyer_observation_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Sample a layout from the seed (or from the last seed's random stream) and start an episode."""
        import mujoco
        from gymnasium.envs.mujoco import MujocoEnv

        env = self._sawyer
        if seed is not None:
            env.seed(seed)
        mujoco.mj_resetData(env.model, env.data)  # type: ignore[attr-defined]
        env._freeze_rand_vec = False
        env.reset_model()  # samples the layout and moves bodies; the simulation is updated in the next step
        env._freeze_rand_vec = True
        env.curr_path_length = 0
        observation, info = MujocoEnv.reset(env)  # the same layout, with an updated simulation
        env._prev_obs = observation[:18].copy()
        observation[18:36] = env._prev_obs
        return observation, info

    def render(self) -> Any:  # noqa: ANN401
        """The rendered image, rotated because the camera is upside down."""
        image = self._sawyer.render()
        return None if image is None else np.rot90(image, 2)


def _classes(name: str) -> Mapping[str, Any]:
    try:
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    except ImportError as error:
        raise GatitoError(f"task {name} needs a package that is not installed ({error}): {_MISSING}.") from None
    _use_fast_observations()
    return ALL_V3_ENVIRONMENTS


@functools.cache
def _use_fast_observations() -> None:
    from benchmarks.tasks.sawyer import use_fast_observations

    use_fast_observations()
