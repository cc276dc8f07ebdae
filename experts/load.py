"""Load finished experts as policies, and export them for stable-baselines3."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.base import artifacts
from benchmarks.base.checkpoints import load_state
from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import PolicyPerTask
from benchmarks.tasks import Task
from experts.programs.scripted import make_program
from experts.recipe import DATASET, POLICY, RECIPE, recipe_of


def load_expert(folder: Path, task: Task) -> Any:  # noqa: ANN401
    """The policy of a finished expert.

    Raises:
        GatitoError: if the expert has no policy, or a file is damaged.
    """
    recipe = recipe_of(folder)
    if recipe.algorithm == DATASET:
        raise GatitoError(f"the expert of task {task.name} is a dataset ({recipe.dataset}): it cannot act.")
    if not recipe.trained:
        return make_program(task, recipe)
    from experts.sb3.player import ExpertPolicy

    return ExpertPolicy(task, recipe, load_state(folder / POLICY))


def export_expert(folder: Path, task: Task, target: Path) -> bool:
    """Write a finished expert as a zip that stable-baselines3 loads; returns False if it is not a network.

    Raises:
        GatitoError: if a file is damaged.
    """
    recipe = recipe_of(folder)
    if not recipe.trained:
        return False
    from experts.sb3.exported import export_model

    manifest = artifacts.read_manifest(folder)
    steps = int(manifest["facts"].get("steps", 0)) if manifest else 0
    export_model(task, recipe, load_state(folder / POLICY), target, steps)
    return True


def load_experts(folders: Mapping[str, Path], tasks: tuple[Task, ...], name: str = "expert") -> PolicyPerTask:
    """The experts of several tasks as one policy, without the experts that are datasets."""
    tasks = tuple(task for task in tasks if algorithm_of(folders[task.name]) != DATASET)
    return PolicyPerTask(name, {task.name: load_expert(folders[task.name], task) for task in tasks})


def algorithm_of(folder: Path) -> str:
    """The algorithm of a finished expert: one of ``ALGORITHMS`` or ``PROGRAMS``, or ``DATASET``."""
    return artifacts.read_json(folder / RECIPE)["recipe"]["algorithm"]
