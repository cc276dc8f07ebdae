"""Environments that cannot be cloned get one line, others are accepted."""

import random
import threading

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.base.errors import GatitoError
from benchmarks.tasks.snapshots.snapshot import check
from tests.benchmarks.tasks.snapshots.helpers import task_of
from tests.conftest import make_task
from tests.environments import Counter


class Global(Counter):
    """Samples from a stream that cannot be saved."""

    def step(self, action):
        return (np.array([random.random(), 0], np.float32), *super().step(action)[1:])


class Locked(Counter):
    def __init__(self):
        super().__init__(100)
        self.lock = threading.Lock()


class Rebuilt(gym.utils.EzPickle):
    """Its copies restart."""


class Contains(Counter):
    def __init__(self):
        super().__init__(100)
        self.simulator = Rebuilt()


for _class in (Global, Locked, Contains):
    gym.register(f"{_class.__name__}-v0", entry_point=_class, max_episode_steps=100)


@pytest.mark.parametrize(
    "name, reason",
    [
        ("Global", "the same actions and random numbers lead from one state to different ones"),
        ("Locked", "TypeError: cannot pickle '_thread.lock' object"),
        ("Contains", "a copy of its Rebuilt would lose its state"),
    ],
)
def test_environments_that_cannot_be_cloned_get_one_line(name, reason):
    words = (
        rf"^the environment of task toy/{name.lower()} cannot be cloned \({reason}\): leave the task out with tasks=\["
    )
    with pytest.raises(GatitoError, match=words) as refused:
        check(make_task(f"{name}-v0"))
    assert refused.value.task == f"toy/{name.lower()}" and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["CartPole-v1", "babyai/GoToLocal", "LunarLander-v3", "sticky/Seaquest"])
def test_cloneable_environments_are_accepted(name):
    check(task_of(name))
