"""The MuJoCo state of environments with an ``MjData``: Gymnasium's MuJoCo tasks, Meta-World's, and others."""

import functools
import weakref
from typing import Any, NamedTuple

import numpy as np

_DERIVED_ARRAYS = ("xpos", "xquat", "xmat", "xipos", "ximat", "geom_xpos", "geom_xmat", "site_xpos", "site_xmat")
_DERIVED_ARRAYS += ("subtree_com", "cvel", "cinert", "cfrc_ext", "qfrc_actuator", "actuator_force", "sensordata")
"""Derived from the positions and velocities at the beginning of the last substep. Some tasks read them before the next
step recomputes them (Ant's reward is the change of ``xpos``), and ``mj_forward`` would compute different values."""

_MOVED_BY_RESETS = ("body_pos", "body_quat", "site_pos")
"""Arrays of the model, which is otherwise the same in all environments of a task: Meta-World writes layouts there."""


class Saved(NamedTuple):
    """A simulation's state (``mjSTATE_INTEGRATION``) and the arrays named above."""

    integration: np.ndarray
    others: list[np.ndarray]


def is_simulation(value: Any) -> bool:  # noqa: ANN401
    """Whether the value is an ``MjData``, checked without importing MuJoCo."""
    return type(value).__name__ == "MjData" and type(value).__module__.startswith("mujoco.")


def is_view(array: np.ndarray) -> bool:
    """Whether an array is a view of a simulator's memory, whose values are saved with the simulator."""
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
    """Restore the state of an ``MjData`` of the same task and of its model."""
    mujoco, state = _mujoco()
    mujoco.mj_setState(data.model, data, saved.integration, state)
    for view, values in zip(_views(data), saved.others, strict=True):
        view[:] = values


_cached_views: weakref.WeakKeyDictionary[Any, list[np.ndarray]] = weakref.WeakKeyDictionary()


def _views(data: Any) -> list[np.ndarray]:  # noqa: ANN401
    """The nonempty arrays among those above; cached, because creating the views takes longer than copying them."""
    views = _cached_views.get(data)
    if views is None:
        views = [getattr(data, name) for name in _DERIVED_ARRAYS]
        views += [getattr(data.model, name) for name in _MOVED_BY_RESETS]
        views = _cached_views[data] = [view for view in views if view.size]
    return views


@functools.cache
def _mujoco() -> tuple[Any, Any]:
    import mujoco

    return mujoco, mujoco.mjtState.mjSTATE_INTEGRATION  # type: ignore[attr-defined]
