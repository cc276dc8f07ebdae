"""Running statistics of observations and rewards: out of stable-baselines3's VecNormalize, back in, and into play."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
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
    put_moments(env.ret_rms, state["rewards"])
    env.returns = np.asarray(state["rewards"]["returns"])
    if env.norm_obs:
        put_moments(env.obs_rms, state["observations"])


def normalize(observations: Any, numbers: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Scale observations, ``(n, *shape)``, as VecNormalize does, with the ``observations`` part of its state.

    Of a dictionary of observations, those are scaled that have numbers.
    """
    if isinstance(observations, Mapping):
        scaled = {name: normalize(observations[name], own) for name, own in numbers.items()}
        return {**observations, **scaled}
    scaled = (observations - numbers["mean"]) / np.sqrt(numbers["var"] + numbers["epsilon"])
    return scaled.clip(-numbers["clip"], numbers["clip"]).astype(np.float32)


def statistics_fit(numbers: Mapping[str, Any], space: gym.Space) -> bool:
    """Whether such numbers are of observations of a space."""
    if isinstance(space, gym.spaces.Dict):
        return all(name in space.spaces and statistics_fit(own, space[name]) for name, own in numbers.items())
    return "mean" in numbers and numbers["mean"].shape == (space.shape or ())


def _moments(running: Any) -> dict[str, Any]:  # noqa: ANN401
    return {name: np.asarray(getattr(running, name)) for name in ("mean", "var", "count")}


def put_moments(running: Any, state: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Put ``mean``, ``var`` and ``count`` into a running mean and deviation."""
    running.mean, running.var, running.count = (np.asarray(state[name]) for name in ("mean", "var", "count"))
