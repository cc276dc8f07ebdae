"""Training that can be put down and taken up again, bit for bit.

stable-baselines3's own saving does not resume: random generators, the environments' states and the last observations
are not in it. Here they are (the environments by :mod:`experts.sb3.replay`), so a training that was killed ends with
the weights of one that was not.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.base import console
from benchmarks.base.errors import GatitoError
from benchmarks.base.flops import FlopMeter, parameter_count
from benchmarks.base.seeds import derive
from benchmarks.tasks import Task
from experts.recipe import ExpertRecipe
from experts.sb3.algorithms import Watch, build, check_masks, make_vec_env, use_empty_logger
from experts.sb3.manual_gradients import use_manual_gradients
from experts.sb3.normalizer import normalizer_state, put_normalizer

_SCHEDULES = ("lr_schedule", "clip_range", "clip_range_vf", "exploration_schedule")
_BUFFER_COLUMNS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class Training:
    """One expert in training, which can be put down at the end of any segment and taken up again, bit for bit."""

    def __init__(self, task: Task, recipe: ExpertRecipe, seed: int, state: Mapping[str, Any] | None = None) -> None:
        """Begin from scratch, or where ``state`` (see :meth:`state`) was taken.

        Raises:
            GatitoError: if stable-baselines3 refuses the recipe, or the environment has illegal actions.
        """
        self._task = task
        self._recipe = recipe
        self._seed = seed
        check_masks(task, recipe)
        self._env: Any = make_vec_env(task, recipe, seed)
        self._model: Any = build(task, recipe, self._env, derive(seed, "start"))
        self._schedules = {
            name: getattr(self._model, name) for name in _SCHEDULES if callable(getattr(self._model, name, None))
        }
        self._meter = FlopMeter(self._model.policy)
        use_manual_gradients(self._model, self._meter.add)
        if state:
            self._put(state)

    @property
    def flops(self) -> float:
        """Floating-point operations so far, see :class:`benchmarks.base.compute.FlopMeter`."""
        return self._meter.flops

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return parameter_count(self._model.policy)

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
            setattr(self._model, name, _stretched(schedule, until / self._recipe.env_steps))
        if hasattr(self._model, "let_go"):  # DQN
            self._model.let_go()
            self._model.exploration_rate = self._model.exploration_schedule(1.0 - started / until)
        use_empty_logger(self._model)
        watch = Watch(on_progress, on_metrics)
        # Logs go through the callback; SB3's own would be printed every so many rollouts.
        try:
            self._model.learn(until - started, callback=watch, reset_num_timesteps=False, log_interval=1_000_000_000)
        except (GatitoError, RuntimeError, ValueError):  # NaN is no action, to torch or to an environment
            self._check_weights()
            raise
        self._check_weights()

    def state(self) -> dict[str, Any]:
        """Everything that training goes on from, as a tree of numbers."""
        model = self._model
        state: dict[str, Any] = {
            "steps": model.num_timesteps,
            "flops": self.flops,
            "updates": int(getattr(model, "_n_updates", 0)),
            "parameters": model.get_parameters(),
            "variables": {name: getattr(model, name).detach() for name in self._variables},
            "places": self._vec_env.places(),
            "last_observations": self._raw_observations(),
            "last_starts": np.asarray(model._last_episode_starts),
            "episodes": [[float(row["r"]), int(row["l"])] for row in model.ep_info_buffer],
        }
        if self._off_policy:
            buffer = model.replay_buffer
            size = buffer.buffer_size if buffer.full else buffer.pos
            state["calls"] = getattr(model, "_n_calls", 0)
            state["buffer"] = {name: getattr(buffer, name)[:size] for name in _BUFFER_COLUMNS}
            state["buffer_position"], state["buffer_full"] = buffer.pos, buffer.full
        if self._recipe.normalizes:
            state["normalizer"] = normalizer_state(self._env)
        return state

    def close(self) -> None:
        """Close the environments."""
        self._env.close()

    @property
    def _vec_env(self) -> Any:  # noqa: ANN401
        return self._env.venv if self._recipe.normalizes else self._env

    @property
    def _off_policy(self) -> bool:
        return hasattr(self._model, "replay_buffer")

    @property
    def _variables(self) -> list[str]:
        """Trained tensors beside the networks, such as SAC's entropy coefficient."""
        return self._model._get_torch_save_params()[1]

    def _raw_observations(self) -> np.ndarray:
        return np.array(self._env.get_original_obs() if self._recipe.normalizes else self._model._last_obs)

    def _check_weights(self) -> None:
        weights = self._model.policy.state_dict().values()
        if not all(bool(torch.isfinite(values).all()) for values in weights):
            raise GatitoError(
                f"the expert of task {self._task.name} diverged: its weights are NaN after {self.steps} steps. "
                "A checkpoint from before is kept, if there is one; lower its learning_rate and run again."
            )

    def _put(self, state: Mapping[str, Any]) -> None:
        model = self._model
        model.set_parameters(dict(state["parameters"]), exact_match=True, device="cpu")
        for name, value in state["variables"].items():
            getattr(model, name).data.copy_(value)
        model.num_timesteps, model._n_updates = int(state["steps"]), int(state["updates"])
        self._meter.flops = float(state["flops"])
        if self._off_policy:
            buffer = model.replay_buffer
            for name, values in state["buffer"].items():
                getattr(buffer, name)[: len(values)] = values.numpy()
            buffer.pos, buffer.full = int(state["buffer_position"]), bool(state["buffer_full"])
            model._n_calls = int(state["calls"])
        if self._recipe.normalizes:
            put_normalizer(self._env, state["normalizer"])
        observations = self._vec_env.bring(state["places"])
        if not np.array_equal(observations, state["last_observations"].numpy()):
            console.warn(
                f"the environment of task {self._task.name} does not follow its seed: its training goes on from other "
                "states than it was stopped in, and will not end with the same numbers."
            )
        model._last_obs = observations
        if self._recipe.normalizes:
            self._env.old_obs = observations
            model._last_original_obs = observations
            model._last_obs = self._env.normalize_obs(observations)
        model._last_episode_starts = state["last_starts"].numpy()
        rows = [{"r": value, "l": length, "t": 0.0} for value, length in state["episodes"]]
        model.ep_info_buffer = deque(rows, maxlen=100)
        model.ep_success_buffer = deque(maxlen=100)


def _stretched(schedule: Callable[[float], Any], share: float) -> Callable[[float], Any]:
    """Make a schedule follow the whole training: ``learn`` counts its progress from 1 to 0 at the *segment's* end.

    ``share`` is the segment's end as a share of the whole.
    """
    return lambda remaining: schedule(max(0.0, 1.0 - (1.0 - remaining) * share))
