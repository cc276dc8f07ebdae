"""Rendering without a screen, and with a camera that follows the robot."""

import os
import sys
from typing import Any

import gymnasium as gym


def draw_without_screen(render_mode: str | None) -> None:
    """Let MuJoCo render with EGL if there is no display; Gymnasium would try to open a window first, and fail.

    MuJoCo is imported before the variable is set: without EGL, it could otherwise not even simulate.
    """
    if render_mode is None or sys.platform != "linux" or os.environ.get("DISPLAY") or "MUJOCO_GL" in os.environ:
        return
    try:
        import mujoco  # noqa: F401
    except ImportError:
        return
    os.environ["MUJOCO_GL"] = "egl"


def follow_robot(env: gym.Env) -> None:
    """Render with the model's camera ``track``, if it has one: Gymnasium's default camera does not move."""
    renderer = getattr(env.unwrapped, "mujoco_renderer", None)
    model = getattr(env.unwrapped, "model", None)
    if renderer is None or model is None:
        return
    import mujoco

    library: Any = mujoco  # its names are made at run time
    camera = library.mj_name2id(model, library.mjtObj.mjOBJ_CAMERA, "track")
    if camera >= 0:
        renderer.camera_id = camera
