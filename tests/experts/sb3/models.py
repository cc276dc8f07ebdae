"""Models as stable-baselines3 itself saves them, and what they do."""

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from benchmarks.base.seeds import stream
from benchmarks.play.policy import PolicyInput
from benchmarks.tasks import spaces
from benchmarks.tasks.observations import pack
from tests.conftest import make_task


class Camera(gym.Env):
    """Small pictures, channels last; two actions."""

    def __init__(self):
        self.observation_space = gym.spaces.Box(0, 255, (36, 40, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, action):
        return self._look(), float(action), False, False, {}

    def _look(self):
        return self.np_random.integers(0, 256, (36, 40, 3)).astype(np.uint8)


class Mixed(gym.Env):
    """A dictionary of a vector and a count; one action."""

    def __init__(self):
        vector = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.observation_space = gym.spaces.Dict(place=vector, room=gym.spaces.Discrete(4))
        self.action_space = gym.spaces.Box(-2, 2, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, action):
        return self._look(), float(action[0]), False, False, {}

    def _look(self):
        place = self.np_random.normal(3, 2, 3).astype(np.float32)
        return {"place": place, "room": int(self.np_random.integers(4))}


class Loose(Mixed):
    """Bounds of actions that gatito would scale."""

    def __init__(self):
        super().__init__()
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gym.spaces.Box(np.array([0, -1], np.float32), np.array([90, 1], np.float32))

    def _look(self):
        return super()._look()["place"]


for _kind in (Camera, Mixed, Loose):
    gym.register(f"{_kind.__name__}-v0", entry_point=_kind, max_episode_steps=20)

CARTPOLE = make_task("CartPole-v1")
PENDULUM = make_task("Pendulum-v1")
CAMERA = make_task("tests.experts.sb3.models:Camera-v0")
MIXED = make_task("tests.experts.sb3.models:Mixed-v0")
LOOSE = make_task("tests.experts.sb3.models:Loose-v0")
MASKED = make_task("tests.environments:Masked-v0")


def environment(task, normalized=False, steps=50):
    """What a model is trained in; its observations normalised by what ``steps`` steps show."""
    env = DummyVecEnv([lambda: gym.make(task.env_id)])
    if not normalized:
        return env
    env = VecNormalize(env, clip_obs=3.0)
    env.seed(0)
    env.reset()
    for _ in range(steps):
        env.step([env.action_space.sample()])
    return env


def observations_of(task, count=40):
    """Observations that an environment gives: as it gives them, and packed, ``(count, *shape)``."""
    env, seen = gym.make(task.env_id), []
    env.action_space.seed(1)
    while len(seen) < count:
        observation, _ = env.reset(seed=len(seen))
        seen.append(observation)
        for _ in range(5):
            observation, *_ = env.step(env.action_space.sample())
            seen.append(observation)
    return seen, np.stack([pack(spaces(task)[0], each) for each in seen])


def actions_of(policy, task, packed, masks=None):
    """What a policy does, ``(count, *action shape)``."""
    count = len(packed)
    rows = PolicyInput(
        task, packed, np.arange(count), np.ones(count, bool), np.zeros(count),
        [stream("test", index) for index in range(count)], [None] * count, masks,
    )  # fmt: skip
    [output], _ = policy.act([rows], policy.initial_state(count))
    return np.asarray(output.actions)


def predicted(model, seen, normalizer=None):
    """What stable-baselines3 itself does with the same observations, one after another."""
    actions = []
    for observation in seen:
        if normalizer is not None:
            observation = normalizer.normalize_obs(observation)
        actions.append(model.predict(observation, deterministic=True)[0])
    return np.stack(actions)


def shake(model, task, normalizer=None):
    """Give a model weights of its own, so that what it does depends on what it observes."""
    with torch.no_grad():
        for values in model.policy.parameters():
            values += 0.3 * torch.randn_like(values)
        if not isinstance(model.action_space, gym.spaces.Discrete):
            return
        seen = observations_of(task)[0]
        shown = [each if normalizer is None else normalizer.normalize_obs(each) for each in seen]
        observations, _ = model.policy.obs_to_tensor(np.stack(shown))
        if hasattr(model, "q_net"):
            values, last = model.q_net(observations), model.q_net.q_net[-1]
        elif hasattr(model, "quantile_net"):
            values, last = model.quantile_net(observations).mean(dim=1), model.quantile_net.quantile_net[-1]
        else:
            values, last = model.policy.get_distribution(observations).distribution.logits, model.policy.action_net
        middle = torch.as_tensor(np.median(values.numpy(), axis=0))
        last.bias -= middle.repeat(len(last.bias) // len(middle))
