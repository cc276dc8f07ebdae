"""Which checkpoint of a training becomes the expert, when the training ends, and whether the expert is good enough."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.tasks import Task
from experts.recipe import ExpertRecipe

Curve = Sequence[Mapping[str, float]]
"""A point per checkpoint: ``steps``, and the ``mean`` of its scores on selection seeds."""


def is_best(mean: float, earlier: Curve) -> bool:
    """Whether a checkpoint of this mean is the best so far. The later one of two equals has learnt longer."""
    return all(mean >= point["mean"] for point in earlier)


def is_trained(recipe: ExpertRecipe, curve: Curve) -> bool:
    """Whether a training with these checkpoints is over: its steps are used up, or the last checkpoint is good."""
    if not curve:
        return False
    good = recipe.stop_at is not None and curve[-1]["mean"] >= recipe.stop_at
    return good or curve[-1]["steps"] >= recipe.env_steps


def judge(task: Task, scores: Sequence[float]) -> dict[str, Any]:
    """What an expert's gate says: its scores on fresh seeds against the task's reference."""
    mean = float(np.mean(scores))
    return {
        "mean": mean,
        "std": float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0,
        "episodes": len(scores),
        "reference": task.reference,
        "source": task.source,
        "passed": task.reference is None or mean >= task.reference,
    }
