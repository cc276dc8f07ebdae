"""The time limit of an environment, whose elapsed steps are part of a saved state."""

import gymnasium as gym


def time_limit(env: gym.Env) -> gym.wrappers.TimeLimit:
    """The wrapper that ends the episode after the task's horizon, in steps; ``env`` must have one."""
    while not isinstance(env, gym.wrappers.TimeLimit):
        assert isinstance(env, gym.Wrapper)
        env = env.env
    return env
