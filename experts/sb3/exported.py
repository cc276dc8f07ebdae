"""Export trained experts as zips that stable-baselines3 loads, in the layout of RL-Zoo.

``NAME.zip`` is the model, ``NAME/vecnormalize.pkl`` has the statistics of its observations, if there are any.
Stable-baselines3 writes both.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.base.files import atomic_write
from benchmarks.tasks import Task
from experts.recipe import ExpertRecipe
from experts.sb3.algorithms import save_model, save_statistics
from experts.sb3.model_files import NORMALIZER
from experts.sb3.player import ExpertPolicy


def export_model(task: Task, recipe: ExpertRecipe, state: Mapping[str, Any], target: Path, steps: int) -> None:
    """Write an expert as a zip for stable-baselines3.

    The model acts like the expert. Off-policy algorithms get new critics, since experts do not keep theirs.

    Args:
        task: the expert's task.
        recipe: the expert's recipe, which defines its networks.
        state: weights and statistics, see :func:`experts.sb3.player.policy_state`.
        target: the path of the zip.
        steps: environment steps of the training.
    """
    policy = ExpertPolicy(task, recipe, state)
    model = policy.model
    model.num_timesteps = steps
    for name in ("q_net", "quantile_net", "actor"):
        if isinstance(getattr(model.policy, f"{name}_target", None), torch.nn.Module):
            getattr(model.policy, f"{name}_target").load_state_dict(getattr(model.policy, name).state_dict())
    with atomic_write(target) as temporary:
        save_model(model, temporary)
    if policy.normalizer is None:
        return
    with atomic_write(target.with_suffix("") / NORMALIZER) as temporary:
        save_statistics(policy.normalizer, model.env, temporary)
