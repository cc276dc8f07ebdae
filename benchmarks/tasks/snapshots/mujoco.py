"""What MuJoCo holds of an environment: Gymnasium's MuJoCo tasks, Meta-World's, and any other that has an ``MjData``."""

import functools
import weakref
from typing import Any, NamedTuple

import numpy as np

_LEFT_BY_THE_LAST_STEP = ("xpos", "xquat", "xmat", "xipos", "ximat", "geom_xpos", "geom_xmat", "site_xpos", "site_xmat")
_LEFT_BY_THE_LAST_STEP += ("subtree_com", "cvel", "cinert", "cfrc_ext", "qfrc_actuator", "actuator_force", "sensordata")
"""Derived from positions and velocities, but from those at the beginning of the last substep. Some tasks read them
before the next step computes them anew (Ant is rewarded for the way from ``xpos``), and ``mj_forward`` would overwrite
them with others."""

_MOVED_BY_RESETS = ("body_pos", "body_quat", "site_pos")
"""Of the model, which is otherwise the same in all environments of a task: Meta-World puts its scenery there."""


class Saved(NamedTuple):
    """A simulation's state (``mjSTATE_INTEGRATION``) and the arrays named above."""

    integration: np.ndarray
    others: list[np.ndarray]


def is_simulation(value: Any) -> bool:  # noqa: ANN401
    """Whether this is an ``MjData`` (told without importing MuJoCo)."""
    return type(value).__name__ == "MjData" and type(value).__module__.startswith("mujoco.")


def is_view(array: np.ndarray) -> bool:
    """Whether an array shows memory of a simulator: its values are saved there, and it follows them."""
    base = array.base
    while isinstance(base, np.ndarray):
        base = base.base
    return type(base).__name__ == "PyCapsule"


def save(data: Any) -> Saved:  # noqa: ANN401
    """Copy the state of an ``MjData`` and its model."""
    mujoco, state = _mujoco()
    integration = np.empty(mujoco.mj_stateSize(data.model, state))
    mujoco.mj_getState(data.model, data, integration, state)
    return Saved(integration, [view.copy() for view in _views(data)])


def restore(data: Any, saved: Saved) -> None:  # noqa: ANN401
    """Bring an ``MjData`` of the same task, and its model, to a state."""
    mujoco, state = _mujoco()
    mujoco.mj_setState(data.model, data, saved.integration, state)
    for view, values in zip(_views(data), saved.others, strict=True):
        view[:] = values


_shown: weakref.WeakKeyDictionary[Any, list[np.ndarray]] = weakref.WeakKeyDictionary()


def _views(data: Any) -> list[np.ndarray]:  # noqa: ANN401
    """Of the arrays named above, those that hold anything; made once, since that takes longer than to copy them."""
    views = _shown.get(data)
    if views is None:
        views = [getattr(data, name) for name in _LEFT_BY_THE_LAST_STEP]
        views += [getattr(data.model, name) for name in _MOVED_BY_RESETS]
        views = _shown[data] = [view for view in views if view.size]
    return views


@functools.cache
def _mujoco() -> tuple[Any, Any]:
    import mujoco

    return mujoco, mujoco.mjtState.mjSTATE_INTEGRATION  # type: ignore[attr-defined]
