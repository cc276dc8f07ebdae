"""What experts reach whose gradients are written by hand, and with stable-baselines3's own updates.

``python -m tests.speed.returns`` trains whole recipes with five seeds each, which takes an hour or two, and writes a
row of ``results/speed/returns.csv`` after each training; rows that are there are not made again.
"""

import contextlib
import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.base.artifacts import write_text
from benchmarks.base.memory import keep_freed_memory
from benchmarks.base.seeds import Purpose, derive, episode_seed
from benchmarks.play.rollout import rollout
from experts.recipe import ExpertRecipe
from experts.sb3.player import ExpertPolicy, policy_state
from experts.sb3.training import Training
from tests.conftest import ROOT
from tests.speed.tasks import recipe_of, suite_of

TABLE = ROOT / "results" / "speed" / "returns.csv"
_COLUMNS = ("task", "algorithm", "gradients", "seed", "mean_return")
_SEEDS, _EPISODES = 5, 100
_BY_HAND, _OWN = "by hand", "stable-baselines3"
_SAC = {"algorithm": "sac", "env_steps": 20_000, "num_envs": 4}
_SAC |= {"hyperparameters": {"learning_starts": 1000, "gradient_steps": 4, "learning_rate": 1e-3}}
_RECIPES: Mapping[tuple[str, str], Mapping[str, object]] = {
    # What differs from the suite's recipe; short ones where that would take hours.
    ("classic", "classic/cartpole"): {},
    ("classic", "classic/acrobot"): {},
    ("classic", "classic/pendulum"): {},
    ("classic", "classic/lunarlander"): {},
    ("classic", "classic/pendulum by SAC"): _SAC,
    ("mujoco", "mujoco/inverted-pendulum"): {"env_steps": 30_000, "stop_at": None},
}


def main() -> None:
    """Make the missing rows."""
    torch.set_num_threads(1)
    keep_freed_memory()
    rows = _rows()
    done = {(row["task"], row["algorithm"], row["gradients"], row["seed"]) for row in rows}
    for (suite, name), changes in _RECIPES.items():
        task_name = name.split(" by ")[0]
        for seed in range(_SEEDS):
            for gradients in (_BY_HAND, _OWN):
                recipe = _recipe(suite, task_name, changes)
                key = (task_name, recipe.algorithm, gradients, str(seed))
                if key in done:
                    continue
                score = _mean_return(suite, task_name, recipe, seed, by_hand=gradients == _BY_HAND)
                rows.append(dict(zip(_COLUMNS, (*key, f"{score:.2f}"), strict=True)))
                _write(rows)
                print(*rows[-1].values(), flush=True)


def _rows() -> list[dict[str, Any]]:
    if not TABLE.exists():
        return []
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(TABLE, text.getvalue())


def _recipe(suite: str, task: str, changes: Mapping[str, object]) -> ExpertRecipe:
    return replace(recipe_of(suite, task), **changes)  # type: ignore[arg-type]


def _mean_return(suite: str, name: str, recipe: ExpertRecipe, seed: int, *, by_hand: bool) -> float:
    """Of the last policy, over test episodes that both learners share."""
    task = suite_of(suite, None, name).tasks[0]
    keep = mock.patch("experts.sb3.training.use_manual_gradients", lambda *_: None)
    with contextlib.nullcontext() if by_hand else keep:
        training = Training(task, recipe, derive("returns", name, recipe.algorithm, seed))
    training.advance(recipe.env_steps, lambda _: None, lambda *_: None)
    policy = ExpertPolicy(task, recipe, policy_state(training.state()))
    training.close()
    seeds = [episode_seed(Purpose.GATE, index, seed) for index in range(_EPISODES)]
    return float(np.mean([episode.total_return for episode in rollout(policy, {task: seeds})]))


if __name__ == "__main__":
    main()
