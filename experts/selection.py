"""Selection of a training's checkpoint, the end of training, and the expert's gate."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.tasks import Task
from experts.recipe import ExpertRecipe

Curve = Sequence[Mapping[str, float]]
"""One point per checkpoint: ``steps``, and the ``mean`` of its scores on selection seeds."""


def is_best(mean: float, earlier: Curve) -> bool:
    """Whether a checkpoint with this mean is the best so far; among equals, the later one wins."""
    return all(mean >= point["mean"] for point in earlier)


def is_trained(recipe: ExpertRecipe, curve: Curve) -> bool:
    """Whether training has ended after these checkpoints: all steps are used, or the last one is good enough."""
    if not curve:
        return False
    stops_early = recipe.stop_at is not None and curve[-1]["mean"] >= recipe.stop_at
    return stops_early or curve[-1]["steps"] >= recipe.env_steps


def judge(task: Task, scores: Sequence[float]) -> dict[str, Any]:
    """The content of an expert's gate file: its scores on new seeds, compared with the task's reference."""
    mean = float(np.mean(scores))
    return {
        "mean": mean,
        "std": float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0,
        "episodes": len(scores),
        "reference": task.reference,
        "source": task.source,
        "passed": task.reference is None or mean >= task.reference,
    }
