"""Drawing without a screen."""

import os
import sys


def draw_without_screen(render_mode: str | None) -> None:
    """Where there is no display, have MuJoCo draw by EGL; Gymnasium would try a window first, and fail.

    MuJoCo is imported before it can see the setting: where EGL is missing, it could then not even simulate.
    """
    if render_mode is None or sys.platform != "linux" or os.environ.get("DISPLAY") or "MUJOCO_GL" in os.environ:
        return
    try:
        import mujoco  # noqa: F401
    except ImportError:
        return
    os.environ["MUJOCO_GL"] = "egl"
