"""Programs: experts that are neither trained nor stored.

A new program is a policy in this folder and a line in ``experts.recipe.PROGRAMS``; a plugin registers its programs
there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import gymnasium as gym

from benchmarks.base.errors import GatitoError
from benchmarks.play.policy import Policy
from benchmarks.tasks import Task
from experts.recipe import ExpertRecipe

Wrapper = TypeVar("Wrapper", bound=gym.Wrapper)


def wrapper_of(env: gym.Env, kind: type[Wrapper]) -> Wrapper:
    """The wrapper of a kind, below other wrappers."""
    while not isinstance(env, kind):
        assert isinstance(env, gym.Wrapper)
        env = env.env
    return env


def no_hyperparameters(task: Task, recipe: ExpertRecipe) -> None:
    """Reject a recipe with hyperparameters: a program is not trained.

    Raises:
        GatitoError: if the recipe has hyperparameters.
    """
    if recipe.hyperparameters:
        raise GatitoError(f"task {task.name}: {recipe.algorithm} is not trained: leave out its hyperparameters.")


@dataclass(frozen=True)
class Program:
    """An expert that is a program.

    Attributes:
        make: creates the policy for a task.
        family: name of the environment family that it plays; None: any.
        check: rejects an invalid recipe before the policy is made.
        made_from: digests of what it is made from beside its recipe and its code, by name.
    """

    make: Callable[[Task, ExpertRecipe], Policy]
    family: str | None = None
    check: Callable[[Task, ExpertRecipe], None] = no_hyperparameters
    made_from: Callable[[Task, ExpertRecipe], Mapping[str, str]] = lambda task, recipe: {}
