"""What the guard around every environment costs: its checks, copies and time limits, a step."""

from collections.abc import Callable

import gymnasium as gym

from benchmarks.tasks import make_env
from tests.conftest import make_task
from tests.speed.cases import Case, Measurement, timed

_STEPS = 20_000


def cases() -> list[Case]:
    """A cheap environment, where the guard weighs most, and one whose step is physics."""
    return [
        Case("guard", env_id, "the same environment without the guard", reach, _prepare(env_id))
        for env_id, reach in (("CartPole-v1", 0.5), ("LunarLander-v3", 0.8))
    ]


def _prepare(env_id: str) -> Callable[[], tuple[Measurement, Measurement]]:
    def prepare() -> tuple[Measurement, Measurement]:
        guarded, plain = make_env(make_task(env_id)), make_env(make_task(env_id))
        assert isinstance(plain, gym.Wrapper)
        return timed(lambda: _play(guarded)), timed(lambda: _play(plain.env))

    return prepare


def _play(env: gym.Env) -> float:
    """The number of steps."""
    env.reset(seed=0)
    for _ in range(_STEPS):
        _, _, terminated, truncated, _ = env.step(0)
        if terminated or truncated:
            env.reset()
    return _STEPS
