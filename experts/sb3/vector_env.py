"""Environments side by side for stable-baselines3, each of which can be brought back to where it was.

Every episode follows from a seed of its own, so where an environment is, is its episode's number and the actions since
(see :mod:`experts.sb3.replay`). Atari games step in one native call; all others one after another.
"""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from benchmarks.base.errors import GatitoError
from benchmarks.base.seeds import derive, training_seed
from benchmarks.tasks import Task, make_env
from benchmarks.tasks.atari import make_vector
from benchmarks.tasks.observations import FrameStack
from experts.recipe import ExpertRecipe
from experts.sb3.replay import Place, Replayable, inner
from experts.sb3.spaces import Translated, Translator


class CostPenalty(gym.Wrapper):
    """Takes the weighted hidden cost off the reward that an algorithm is trained on; returns in logs are without it."""

    def __init__(self, env: gym.Env, weight: float) -> None:
        """Args: an environment that gives ``info["cost"]``, and lambda in R - lambda C."""
        super().__init__(env)
        self._weight = weight

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """As the environment's own, with another reward.

        Raises:
            GatitoError: if the environment gives no cost.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        if "cost" not in info:
            raise GatitoError('expert.cost_weight needs an environment that gives info["cost"]: leave it at 0.')
        return observation, float(reward) - self._weight * float(info["cost"]), terminated, truncated, info


class _Spaces(gym.Env):
    """Spaces alone, of which networks are built; nothing can be played."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space


def spaces_only(observation_space: gym.Space, action_space: gym.Space) -> VecEnv:
    """What an algorithm is built with that is not trained.

    A FrameStack is a Box there: files that the algorithm saves need no class of gatito.
    """
    if isinstance(observation_space, FrameStack):
        low, high = observation_space.low, observation_space.high
        observation_space = gym.spaces.Box(low, high, dtype=observation_space.dtype.type)
    return DummyVecEnv([lambda: _Spaces(observation_space, action_space)])


class _Infos(list[dict[str, Any]]):
    """The infos of a step. A vector environment gives a deep copy of them away; they are new in each step as it is."""

    def __deepcopy__(self, memo: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        return list(self)


class ReplayableVecEnv(DummyVecEnv):
    """Any environments, stepped one after another."""

    def __init__(self, task: Task, recipe: ExpertRecipe, seed: int) -> None:
        translator = Translator(task)

        def maker(place: int) -> Callable[[], gym.Env]:
            return lambda: self._make(task, recipe, derive(seed, "env", place), translator)

        super().__init__([maker(place) for place in range(recipe.num_envs)])
        self.buf_infos = _Infos(self.buf_infos)

    @staticmethod
    def _make(task: Task, recipe: ExpertRecipe, seed: int, translator: Translator) -> gym.Env:
        env: gym.Env = Monitor(Replayable(Translated(make_env(task), translator), seed))
        if recipe.cost_weight:
            env = CostPenalty(env, recipe.cost_weight)
        return gym.wrappers.ClipReward(env, -1, 1) if recipe.clip_rewards else env

    def places(self) -> list[Place]:
        """Where each environment is."""
        return [inner(env).place() for env in self.envs]

    def bring(self, places: Sequence[Place]) -> np.ndarray:
        """Bring each environment to its place; the observations there, ``(envs, *shape)``."""
        return np.stack([Replayable.bring(env, place) for env, place in zip(self.envs, places, strict=True)])


_SEEDED_EVERY = 3_000  # steps: a seed costs an Atari game 90 ms, for it loads its cartridge anew; a reset costs 5


class AtariVecEnv(VecEnv):
    """Atari games in one native call a step.

    Rewards may be clipped and life losses shown as ends here, in training; scores know neither. Short games share
    a seed: one goes on with the random numbers of the game before, and a game's place is counted from their first.
    """

    def __init__(self, task: Task, recipe: ExpertRecipe, seed: int) -> None:
        self._games = make_vector(task, recipe.num_envs)
        super().__init__(recipe.num_envs, self._games.single_observation_space, self._games.single_action_space)
        self._streams = [derive(seed, "env", place) for place in range(recipe.num_envs)]
        self._clip_rewards, self._end_at_life_loss = recipe.clip_rewards, recipe.episodic_life
        self._seeded = np.zeros(recipe.num_envs, dtype=np.int64)  # how often
        self._histories: list[list[int]] = [[] for _ in range(recipe.num_envs)]  # actions since then
        self._lengths = np.zeros(recipe.num_envs, dtype=np.int64)
        self._returns = np.zeros(recipe.num_envs)
        self._lives = np.zeros(recipe.num_envs, dtype=np.int64)
        self._actions = np.zeros(recipe.num_envs, dtype=np.int64)

    def reset(self) -> np.ndarray:
        """Begin an episode everywhere."""
        return self._begin(np.ones(self.num_envs, dtype=bool), seeded=True)

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = np.asarray(actions, dtype=np.int64)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step, and begin an episode where one ended, as stable-baselines3 expects."""
        observations, rewards, terminated, truncated, told = self._games.step(self._actions)
        observations = np.array(observations)  # the emulators write into memory of their own
        rewards = np.asarray(rewards, dtype=np.float32)
        for history, action in zip(self._histories, self._actions, strict=True):
            history.append(int(action))
        self._returns += rewards
        self._lengths += 1
        over = terminated | truncated
        lost = (told["lives"] < self._lives) & ~over if self._end_at_life_loss else np.zeros_like(over)
        self._lives = np.array(told["lives"])
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for place in np.flatnonzero(over | lost):
            infos[place]["terminal_observation"] = observations[place].copy()
            infos[place]["TimeLimit.truncated"] = bool(truncated[place])
        for place in np.flatnonzero(over):
            infos[place]["episode"] = {"r": self._returns[place], "l": int(self._lengths[place]), "t": 0.0}
        long_ago = np.array([len(history) >= _SEEDED_EVERY for history in self._histories])
        for which, seeded in ((over & long_ago, True), (over & ~long_ago, False)):
            if which.any():
                observations = self._begin(which, seeded)
        return observations, rewards.clip(-1, 1) if self._clip_rewards else rewards, over | lost, infos

    def places(self) -> list[Place]:
        """Where each game is."""
        pairs = zip(self._seeded, self._histories, strict=True)
        return [{"episode": int(number), "actions": np.array(history)} for number, history in pairs]

    def bring(self, places: Sequence[Place]) -> np.ndarray:
        """Bring each game to its place; the observations there.

        All games step together: one that is younger than the oldest begins later.
        """
        histories = [[int(action) for action in np.asarray(place["actions"])] for place in places]
        longest = max(map(len, histories))
        observations = self.reset()
        for step in range(longest + 1):
            begins = np.array([len(history) == longest - step for history in histories])
            if begins.any():
                self._seeded[begins] = [int(place["episode"]) - 1 for place in np.array(places)[begins]]
                observations = self._begin(begins, seeded=True)
            if step < longest:
                ages = [step - (longest - len(history)) for history in histories]
                pairs = zip(histories, ages, strict=True)
                self.step_async(np.array([history[age] if age >= 0 else 0 for history, age in pairs]))
                # A game whose own replay has not begun only passes the time and may end: that resets it.
                observations, *_ = self.step_wait()
        return observations

    def close(self) -> None:
        """Close the games."""
        self._games.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:  # noqa: ANN401
        """What stable-baselines3 asks for: the render mode; the games have no other attributes of their own."""
        return [getattr(self, attr_name, None)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:  # noqa: ANN401
        """Not supported: all games are one object."""
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:  # noqa: ANN401
        """Not supported: all games are one object."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:  # noqa: ANN401
        """No game is wrapped in anything."""
        return [False] * len(list(self._get_indices(indices)))

    def _begin(self, which: np.ndarray, seeded: bool) -> np.ndarray:
        seeds = None
        if seeded:
            self._seeded[which] += 1
            seeds = np.array(
                [training_seed(self._streams[place], self._seeded[place]) for place in np.flatnonzero(which)]
            )
            for place in np.flatnonzero(which):
                self._histories[place] = []
        observations, infos = self._games.reset(seed=seeds, options={"reset_mask": which})
        self._returns[which] = 0.0
        self._lengths[which] = 0
        self._lives[which] = infos["lives"][which]
        return observations
