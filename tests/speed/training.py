"""Training a suite's experts, against RL-Zoo3's own ``train`` with the same algorithm, settings and steps, one by one.

Both judge what they have trained by a few episodes at the end. Neither pays here for starting Python and its packages.
"""

import contextlib
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import yaml

from benchmarks.base.artifacts import Artifact
from benchmarks.base.seeds import Purpose, episode_seed
from benchmarks.play.rollout import rollout
from experts.load import load_expert
from experts.recipe import ExpertRecipe, ExpertsConfig
from experts.train import train_experts
from tests.conftest import make_run
from tests.speed.cases import Case, Measurement
from tests.speed.crew import Crew
from tests.speed.tasks import recipe_of, suite_of

_AT_ONCE = ("classic/cartpole", "classic/acrobot", "classic/lunarlander", "classic/pendulum")
_STEPS = 20_000  # of each task; its whole recipe takes up to ten minutes of RL-Zoo3's
_JUDGED = "classic/cartpole"
_EPISODES = 30  # for its mean return
_ZOO = "RL-Zoo3's train"


def cases() -> list[Case]:
    """The tasks of ``classic`` that PPO learns, cut short, for the pace; one task's whole recipe for what comes of it.

    RL-Zoo3 leaves the number of threads to torch, which takes one a core.
    """
    return [
        Case(
            "train",
            "classic by PPO",
            f"{_ZOO}, one task after another",
            3.5,
            lambda: (
                _Ours(_AT_ONCE, _STEPS).rate,
                Crew(_zoo, [(_AT_ONCE, _STEPS)], threads=torch.get_num_threads()).rate,
            ),
            needs=("rl_zoo3",),
            repetitions=3,
        ),
        Case(
            "train",
            f"{_JUDGED}, mean return",
            _ZOO,
            0.95,
            lambda: (
                _Ours((_JUDGED,)).mean_return,
                Crew(_zoo_return, [(_JUDGED,)], threads=torch.get_num_threads()).rate,
            ),
            needs=("rl_zoo3",),
            repetitions=2,
        ),
    ]


def _recipe(task: str, steps: int | None) -> ExpertRecipe:
    recipe = recipe_of("classic", task)
    return replace(recipe, env_steps=steps or recipe.env_steps, stop_at=None)


class _Ours:
    """``gatito stages=[experts]``, repeatedly, each time with another seed."""

    def __init__(self, names: Sequence[str], steps: int | None = None) -> None:
        self._suite = suite_of("classic", None, *names)
        self._recipes = {name: _recipe(name, steps) for name in names}
        self._seed = 0

    def rate(self) -> float:
        """Environment steps of training a second."""
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            self._train(Path(folder))
            return sum(recipe.env_steps for recipe in self._recipes.values()) / (time.perf_counter() - start)

    def mean_return(self) -> float:
        """Of the first task's expert."""
        task = self._suite.tasks[0]
        with tempfile.TemporaryDirectory() as folder:
            made = self._train(Path(folder))
            policy = load_expert(made[task.name].folder, task)
            seeds = [episode_seed(Purpose.GATE, index, self._seed) for index in range(_EPISODES)]
            return float(np.mean([episode.total_return for episode in rollout(policy, {task: seeds})]))

    def _train(self, folder: Path) -> dict[str, Artifact]:
        self._seed += 1
        config = ExpertsConfig(checkpoints=1, selection_episodes=5, gate_episodes=5)
        run = make_run(folder, self._suite, seed=self._seed, workers=os.cpu_count() or 1)
        return train_experts(run, self._recipes, config)


def _zoo(names: Sequence[str], steps: int) -> Measurement:
    """Environment steps of training a second."""
    seeds = itertools.count(1)

    def rate() -> float:
        seed = next(seeds)
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            for name in names:
                _zoo_trains(name, _recipe(name, steps), seed, Path(folder))
            return len(names) * steps / (time.perf_counter() - start)

    return rate


def _zoo_return(name: str) -> Measurement:
    """Of the policy that it has in the end."""
    import gymnasium as gym
    from stable_baselines3 import PPO
    from stable_baselines3.common.evaluation import evaluate_policy

    seeds = itertools.count(1)

    def mean_return() -> float:
        with tempfile.TemporaryDirectory() as folder:
            _zoo_trains(name, _recipe(name, None), next(seeds), Path(folder))
            [trained] = Path(folder).glob("ppo/*/*-v1.zip")
            score = evaluate_policy(PPO.load(trained), gym.make(_env_id(name)), _EPISODES, warn=False)
            return float(np.mean(score[0]))

    return mean_return


def _zoo_trains(name: str, recipe: ExpertRecipe, seed: int, folder: Path) -> None:
    """Its command line, in this process, with the recipe as its file of settings."""
    from rl_zoo3.train import train

    settings = {
        "n_envs": recipe.num_envs,
        "n_timesteps": recipe.env_steps,
        "policy": "MlpPolicy",
        **recipe.hyperparameters,
    }
    if recipe.normalizes:
        scaled = {"norm_obs": recipe.normalize_observations, "norm_reward": recipe.normalize_rewards}
        settings["normalize"] = str(scaled)
    file = folder / "settings.yml"
    file.write_text(yaml.safe_dump({_env_id(name): settings}))
    command = ["train", "--algo", "ppo", "--env", _env_id(name), "--conf-file", str(file), "--log-folder", str(folder)]
    command += ["--seed", str(seed), "--device", "cpu", "--verbose", "0"]
    with mock.patch.object(sys, "argv", command), contextlib.redirect_stdout(None):
        train()


def _env_id(name: str) -> str:
    return suite_of("classic", None, name).tasks[0].env_id
