"""Networks whose training is continued on other tasks: ``distill.start``."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.base.errors import GatitoError
from benchmarks.tasks import Task
from generalist.config.recipe import NetworkRecipe
from generalist.network.shape import read_shape

_FREE = ("name", "context_length")  # of the model's settings: they change no weight


def check_start(folder: Path, recipe: NetworkRecipe, tasks: Sequence[Task]) -> None:
    """Reject a start that is another network than the configured one, or has learned what should be new.

    Raises:
        GatitoError: names the settings that differ, or the task that was learned.
    """
    model, codec, learned = read_shape(folder)
    for name, there, configured in (("model", model, recipe.model), ("codec", codec, recipe.codec)):
        values = " ".join(
            f"{name}.{key}={value}"
            for key, value in asdict(there).items()
            if value != getattr(configured, key) and not (name == "model" and key in _FREE)
        )
        if values:
            raise GatitoError(f"distill.start: the network in {folder} has another {name}: set {values}.")
    if codec.conditioning == "task_id":
        raise GatitoError(
            f"distill.start: the network in {folder} has embeddings of its own tasks only: set codec.conditioning=none."
        )
    known = [task.name for task in tasks if task.name in learned]
    if recipe.distill.new_tasks and known:
        raise GatitoError(
            f"distill.new_tasks=true, but the network in {folder} has learned {', '.join(known)}: leave them out with "
            "tasks=[…], or start from one that was distilled with distill.held_out=[…]."
        )
