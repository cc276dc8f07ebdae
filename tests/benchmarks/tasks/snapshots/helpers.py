"""Environments of every family, and how tests of clones play them."""

import copy

import numpy as np
import pytest

from tests.conftest import make_task

BEFORE, AFTER, HORIZON = 12, 20, 25


def task_of(name, horizon=HORIZON):
    family, _, name = name.rpartition("/")
    if family in ("atari", "sticky"):
        pytest.importorskip("ale_py")
        pytest.importorskip("cv2")
        kwargs = {"repeat_action_probability": 0.0 if family == "atari" else 0.25}
        return make_task(f"ALE/{name}-v5", name=f"atari/{name}", family="atari", horizon=horizon, kwargs=kwargs)
    package = {"babyai": "minigrid", "metaworld": "metaworld", "mujoco": "mujoco"}.get(family)
    package = "Box2D" if name.startswith("LunarLander") else package
    if package:
        pytest.importorskip(package)
    if family == "babyai":
        return make_task(f"BabyAI-{name}{'' if '-v' in name else '-v0'}", family=family, horizon=horizon)
    if family == "metaworld":
        return make_task(f"{name}-v3", name=f"metaworld/{name}", family=family, horizon=horizon)
    return make_task("Counter-v0" if name == "Counter-v0" else name, horizon=horizon, kwargs=settings(name))


def settings(name):
    return {"length": 100} if name == "Counter-v0" else {}


def actions_of(env, count, seed=0):
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(count)]


def play(env, actions):
    steps = []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        steps.append((copy.deepcopy(observation), float(reward), terminated, truncated, info.get("success")))
        if terminated or truncated:
            break
    return steps


def begin(env, seed=5, steps=BEFORE):
    """Play until the middle of an episode."""
    env.reset(seed=seed)
    return play(env, actions_of(env, steps, seed))[-1][0]


def same(first, second):
    try:
        np.testing.assert_equal(first, second)
    except AssertionError:
        return False
    return True
