"""Running statistics of observations and rewards: out of stable-baselines3's VecNormalize, back in, and into play."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def normalizer_state(env: Any) -> dict[str, Any]:  # noqa: ANN401
    """The numbers of a VecNormalize: ``observations`` (None if it leaves them alone) and ``rewards``."""
    bounds = {"epsilon": np.asarray(env.epsilon), "clip": np.asarray(env.clip_obs)}
    return {
        "observations": _moments(env.obs_rms) | bounds if env.norm_obs else None,
        "rewards": _moments(env.ret_rms) | {"returns": env.returns},
    }


def put_normalizer(env: Any, state: Mapping[str, Any]) -> None:  # noqa: ANN401
    """The inverse of :func:`normalizer_state`."""
    _put_moments(env.ret_rms, state["rewards"])
    env.returns = np.asarray(state["rewards"]["returns"])
    if env.norm_obs:
        _put_moments(env.obs_rms, state["observations"])


def normalize(observations: np.ndarray, numbers: Mapping[str, np.ndarray]) -> np.ndarray:
    """Scale observations, ``(n, *shape)``, as VecNormalize does, with the ``observations`` part of its state."""
    scaled = (observations - numbers["mean"]) / np.sqrt(numbers["var"] + numbers["epsilon"])
    return scaled.clip(-numbers["clip"], numbers["clip"]).astype(np.float32)


def _moments(running: Any) -> dict[str, Any]:  # noqa: ANN401
    return {name: np.asarray(getattr(running, name)) for name in ("mean", "var", "count")}


def _put_moments(running: Any, state: Mapping[str, Any]) -> None:  # noqa: ANN401
    running.mean, running.var, running.count = (np.asarray(state[name]) for name in ("mean", "var", "count"))
