"""The one module that knows stable-baselines3: build an algorithm from its recipe, train it in segments, play it.

An algorithm is always built from its recipe and its numbers put in. ``PPO.load`` would run pickled code from the file,
and would not resume: random generators, the environments' states and the last observations are not in it. Here they are
(the environments by :mod:`experts.replay`), so a training that was killed ends with the weights of one that was not.
"""

import copy
import inspect
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from benchmarks import console
from benchmarks.errors import GatitoError, check_at_least, unknown
from benchmarks.policy import Decision, Observed
from benchmarks.seeds import derive
from benchmarks.tasks import Task, make_env, spaces
from experts.normalizer import normalize, normalizer_state, put_normalizer
from experts.recipe import ExpertRecipe
from experts.replay import Replayable

_ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "elu": torch.nn.ELU, "silu": torch.nn.SiLU}
_SCHEDULES = ("lr_schedule", "clip_range", "clip_range_vf", "exploration_schedule")
_BUFFER_COLUMNS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
_OURS = (
    "policy",
    "env",
    "seed",
    "device",
    "verbose",
    "tensorboard_log",
    "_init_setup_model",
    "stats_window_size",
)


class HoldingDQN(DQN):
    """DQN whose exploratory actions are held for a while: temporally extended epsilon-greedy.

    Where single random steps lead nowhere (a car in a valley), runs of them do (Dabney et al. 2021, arXiv:2006.01782;
    here with durations uniform from 1 to ``longest``). The exploration rate stays the share of exploratory steps.
    """

    longest = 1

    def let_go(self) -> None:
        """Hold nothing, as at the start of a segment."""
        self._held = np.zeros(self.n_envs, dtype=np.int64)
        self._left = np.zeros(self.n_envs, dtype=np.int64)

    def _sample_action(
        self,
        learning_starts: int,
        action_noise: Any = None,  # noqa: ANN401
        n_envs: int = 1,
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.longest == 1:
            return super()._sample_action(learning_starts, action_noise, n_envs)
        assert isinstance(self.action_space, gym.spaces.Discrete) and self._last_obs is not None
        share = 1.0 if self.num_timesteps < learning_starts else self.exploration_rate
        mean = (1 + self.longest) / 2
        begins = (self._left == 0) & (np.random.random(n_envs) < share / (mean * (1 - share) + share))  # noqa: NPY002
        count = int(self.action_space.n)
        self._held = np.where(begins, np.random.randint(count, size=n_envs), self._held)  # noqa: NPY002
        self._left = np.where(begins, np.random.randint(1, self.longest + 1, size=n_envs), self._left)  # noqa: NPY002
        greedy, _ = self.policy.predict(self._last_obs, deterministic=True)  # type: ignore[arg-type]
        actions = np.where(self._left > 0, self._held, greedy)
        self._left = np.maximum(self._left - 1, 0)
        return actions, actions


ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "a2c": A2C, "dqn": HoldingDQN}


def check_recipe(task: Task, recipe: ExpertRecipe) -> None:
    """Refuse a recipe that cannot be run, before anything is.

    Raises:
        GatitoError: for an unknown algorithm or hyperparameter (with the valid ones), or a wrong number.
    """
    if recipe.algorithm not in ALGORITHMS:
        raise unknown(f"algorithm of task {task.name}", recipe.algorithm, ALGORITHMS)
    valid = [name for name in inspect.signature(ALGORITHMS[recipe.algorithm].__init__).parameters if name != "self"]
    valid = [name for name in valid if name not in _OURS]
    for name in recipe.hyperparameters:
        if name not in valid:
            raise unknown(f"{recipe.algorithm} hyperparameter of task {task.name}", name, valid)
    check_at_least(f"suite.tasks.{task.key}.expert", recipe, steps=1, envs=1, hold_exploration=1)
    if recipe.hold_exploration > 1 and recipe.algorithm != "dqn":
        raise GatitoError(f"task {task.name}: expert.hold_exploration is for dqn alone, not for {recipe.algorithm}.")
    for name, value in recipe.hyperparameters.items():
        try:
            _parsed(value)
        except ValueError:
            raise GatitoError(f"task {task.name}: {name}={value} is no rate; write a number or lin_NUMBER.") from None


class Training:
    """One expert in training, which can be put down at the end of any segment and taken up again, bit for bit."""

    def __init__(self, task: Task, recipe: ExpertRecipe, seed: int, state: Mapping[str, Any] | None = None) -> None:
        """Begin from scratch, or where ``state`` (see :meth:`state`) was taken.

        Raises:
            GatitoError: if stable-baselines3 refuses the recipe.
        """
        self._task = task
        self._recipe = recipe
        self._seed = seed
        self._env = _make_vec_env(task, recipe, seed)
        self._model: Any = _build(task, recipe, self._env, derive(seed, "start"))
        self._schedules = {
            name: getattr(self._model, name) for name in _SCHEDULES if callable(getattr(self._model, name, None))
        }
        if state:
            self._put(state)

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return self._model.num_timesteps

    def advance(
        self,
        until: int,
        on_progress: Callable[[int], None],
        on_metrics: Callable[[int, Mapping[str, float]], None],
    ) -> None:
        """Train until at least ``until`` environment steps; an on-policy algorithm finishes the rollout it is in.

        The segment draws from random streams of its own, so there are no generators to save.

        Args:
            until: environment steps in all.
            on_progress: told the environment steps so far, often.
            on_metrics: told steps and training metrics, once a rollout.

        Raises:
            GatitoError: if the weights are NaN afterwards.
        """
        started = self.steps
        self._model.set_random_seed(derive(self._seed, "segment", started))
        for name, schedule in self._schedules.items():
            setattr(self._model, name, _stretched(schedule, until / self._recipe.steps))
        if isinstance(self._model, HoldingDQN):
            self._model.let_go()
            self._model.exploration_rate = self._model.exploration_schedule(1.0 - started / until)
        watch = _Watch(on_progress, on_metrics)
        # Logs go through the callback; SB3's own would be printed every so many rollouts.
        try:
            self._model.learn(until - started, callback=watch, reset_num_timesteps=False, log_interval=1_000_000_000)
        except ValueError:  # torch refuses to sample from NaN
            self._check_weights()
            raise
        self._check_weights()

    def state(self) -> dict[str, Any]:
        """Everything that training goes on from, as a tree of numbers."""
        model = self._model
        state: dict[str, Any] = {
            "steps": model.num_timesteps,
            "updates": int(getattr(model, "_n_updates", 0)),
            "parameters": model.get_parameters(),
            "places": [_replayable(env).place() for env in self._dummy.envs],
            "last_observations": _raw_observations(model),
            "last_starts": np.asarray(model._last_episode_starts),
            "episodes": [[float(row["r"]), int(row["l"])] for row in model.ep_info_buffer],
        }
        if isinstance(model, OffPolicyAlgorithm):
            buffer: Any = model.replay_buffer
            size = buffer.buffer_size if buffer.full else buffer.pos
            state["calls"] = getattr(model, "_n_calls", 0)
            state["buffer"] = {name: getattr(buffer, name)[:size] for name in _BUFFER_COLUMNS}
            state["buffer_position"], state["buffer_full"] = buffer.pos, buffer.full
        if isinstance(self._env, VecNormalize):
            state["normalizer"] = normalizer_state(self._env)
        return state

    def close(self) -> None:
        """Close the environments."""
        self._env.close()

    @property
    def _dummy(self) -> DummyVecEnv:
        env = self._env.venv if isinstance(self._env, VecNormalize) else self._env
        assert isinstance(env, DummyVecEnv)
        return env

    def _check_weights(self) -> None:
        weights = self._model.policy.state_dict().values()
        if not all(bool(torch.isfinite(values).all()) for values in weights):
            raise GatitoError(
                f"the expert of task {self._task.name} diverged: its weights are NaN after {self.steps} steps. "
                "The last good checkpoint is kept; lower its learning_rate and run again."
            )

    def _put(self, state: Mapping[str, Any]) -> None:
        model = self._model
        model.set_parameters(dict(state["parameters"]), exact_match=True, device="cpu")
        model.num_timesteps, model._n_updates = int(state["steps"]), int(state["updates"])
        if isinstance(model, OffPolicyAlgorithm):
            buffer: Any = model.replay_buffer
            for name, values in state["buffer"].items():
                getattr(buffer, name)[: len(values)] = values.numpy()
            buffer.pos, buffer.full = int(state["buffer_position"]), bool(state["buffer_full"])
            model._n_calls = int(state["calls"])  # type: ignore[attr-defined]
        if isinstance(self._env, VecNormalize):
            put_normalizer(self._env, state["normalizer"])
        places = zip(self._dummy.envs, state["places"], strict=True)
        observations = np.stack([Replayable.bring(env, place) for env, place in places])
        if not np.array_equal(observations, state["last_observations"].numpy()):
            console.warn(
                f"the environment of task {self._task.name} does not follow its seed: its training goes on from other "
                "states than it was stopped in, and will not end with the same numbers."
            )
        model._last_obs = observations
        if isinstance(self._env, VecNormalize):
            self._env.old_obs = observations
            model._last_original_obs = observations
            model._last_obs = self._env.normalize_obs(observations)
        model._last_episode_starts = state["last_starts"].numpy()
        rows = [{"r": value, "l": length, "t": 0.0} for value, length in state["episodes"]]
        model.ep_info_buffer = deque(rows, maxlen=100)
        model.ep_success_buffer = deque(maxlen=100)


class ExpertPolicy:
    """A trained stable-baselines3 policy behind the project's protocol, playing its most likely action."""

    name = "expert"

    def __init__(self, task: Task, recipe: ExpertRecipe, state: Mapping[str, Any]) -> None:
        """Build the policy from the recipe and put the weights of ``state`` (see :func:`policy_state`) in."""
        env = _make_vec_env(task, recipe, seed=0)
        self._model = _build(task, recipe, env, seed=0)
        env.close()
        self._model.policy.load_state_dict(state["policy"])
        self._model.policy.set_training_mode(False)
        normalizer = state.get("normalizer")
        self._normalizer = {name: np.asarray(value) for name, value in normalizer.items()} if normalizer else None
        self._space = spaces(task)[1]
        kind = "q" if isinstance(self._model, DQN) else "logits"
        self.distribution_kind: Mapping[str, str] = {
            task.name: "gaussian" if isinstance(self._space, gym.spaces.Box) else kind
        }

    def initial_state(self, lanes: int) -> None:
        """It remembers nothing."""

    @torch.no_grad()
    def act(self, observed: Sequence[Observed], state: Any) -> tuple[list[Decision], Any]:  # noqa: ANN401
        """The greedy action and the distribution behind it."""
        return [self._decide(rows.observations) for rows in observed], state

    def _decide(self, observations: np.ndarray) -> Decision:
        policy: Any = self._model.policy
        tensor, _ = policy.obs_to_tensor(
            observations if self._normalizer is None else normalize(observations, self._normalizer)
        )
        if isinstance(self._model, DQN):
            values = self._model.q_net(tensor).numpy()
            actions = values.argmax(axis=1)
            return Decision(actions, actions, values)
        distribution = policy.get_distribution(tensor).distribution
        if isinstance(self._space, gym.spaces.Box):
            space = self._space
            mean = distribution.mean.numpy().reshape(len(observations), -1)
            deviation = distribution.stddev.numpy().reshape(len(observations), -1)
            actions = mean.reshape(-1, *space.shape).clip(space.low, space.high).astype(space.dtype)
            return Decision(actions, actions, np.stack([mean, deviation], axis=1))
        logits = distribution.logits.numpy()
        actions = logits.argmax(axis=1)
        return Decision(actions, actions, logits)


def policy_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a training state that acts: policy weights and the observation normaliser."""
    normalizer = state.get("normalizer")
    return {"policy": state["parameters"]["policy"], "normalizer": normalizer and normalizer["observations"]}


def _make_vec_env(task: Task, recipe: ExpertRecipe, seed: int) -> VecEnv:
    def maker(place: int) -> Callable[[], gym.Env]:
        return lambda: Monitor(Replayable(make_env(task), derive(seed, "env", place)))

    env: VecEnv = DummyVecEnv([maker(place) for place in range(recipe.envs)])
    if not (recipe.normalize_observations or recipe.normalize_rewards):
        return env
    return VecNormalize(
        env,
        norm_obs=recipe.normalize_observations,
        norm_reward=recipe.normalize_rewards,
        gamma=recipe.hyperparameters.get("gamma", 0.99),
    )


def _build(task: Task, recipe: ExpertRecipe, env: VecEnv, seed: int) -> BaseAlgorithm:
    check_recipe(task, recipe)
    # A copy: SB3 writes into the dicts that it is given.
    arguments = {name: _parsed(value) for name, value in copy.deepcopy(recipe.hyperparameters).items()}
    policy_kwargs = arguments.get("policy_kwargs")
    if policy_kwargs and isinstance(policy_kwargs.get("activation_fn"), str):
        name = policy_kwargs["activation_fn"]
        if name not in _ACTIVATIONS:
            raise unknown(f"activation_fn of task {task.name}", name, _ACTIVATIONS)
        arguments["policy_kwargs"] = policy_kwargs | {"activation_fn": _ACTIVATIONS[name]}
    try:
        model = ALGORITHMS[recipe.algorithm]("MlpPolicy", env, seed=seed, device="cpu", verbose=0, **arguments)
    except (AssertionError, TypeError, ValueError, NotImplementedError) as error:
        raise GatitoError(f"task {task.name}: {recipe.algorithm} refuses its recipe: {error}") from error
    if isinstance(model, HoldingDQN):
        model.longest = recipe.hold_exploration
    return model


def _parsed(value: Any) -> Any:  # noqa: ANN401
    """``lin_0.001`` → a schedule from 0.001 to 0, as in RL-Zoo's files; anything else as it is."""
    if isinstance(value, str) and value.startswith("lin_"):
        return LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0)
    return value


def _stretched(schedule: Callable[[float], Any], share: float) -> Callable[[float], Any]:
    """Make a schedule follow the whole training: ``learn`` counts its progress from 1 to 0 at the *segment's* end.

    ``share`` is the segment's end as a share of the whole.
    """
    return lambda remaining: schedule(max(0.0, 1.0 - (1.0 - remaining) * share))


def _replayable(env: Any) -> Replayable:  # noqa: ANN401
    while not isinstance(env, Replayable):
        env = env.env
    return env


def _raw_observations(model: Any) -> np.ndarray:  # noqa: ANN401
    normalized = isinstance(model.env, VecNormalize)
    return np.array(model.env.get_original_obs() if normalized else model._last_obs)


class _Watch(BaseCallback):
    """Tells how far a segment is, and its metrics once a rollout that ended an episode."""

    def __init__(
        self, on_progress: Callable[[int], None], on_metrics: Callable[[int, Mapping[str, float]], None]
    ) -> None:
        super().__init__()
        self._on_progress = on_progress
        self._on_metrics = on_metrics
        self._last = 0

    def _on_step(self) -> bool:
        self._on_progress(self.num_timesteps)
        return True

    def _on_rollout_end(self) -> None:
        episodes = self.model.ep_info_buffer
        if not episodes or self.num_timesteps - self._last < 500:
            return
        self._last = self.num_timesteps
        metrics = {
            "charts/episodic_return": float(np.mean([episode["r"] for episode in episodes])),
            "charts/episodic_length": float(np.mean([episode["l"] for episode in episodes])),
        }
        values = self.model.logger.name_to_value
        metrics |= {f"losses/{name[6:]}": float(value) for name, value in values.items() if name.startswith("train/")}
        self._on_metrics(self.num_timesteps, metrics)
